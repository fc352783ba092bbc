//! The end of a cluster: whatever there is of it, also where it never came up. As root. Nothing is believed to be gone
//! before it was looked for.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use nix::{
    mount::{MntFlags, umount2},
    net::if_::if_nametoindex,
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{cgroups, mounts, namespace::ip, state};
use crate::progress::step;

/// For the kernel to let go.
const LIMIT: Duration = Duration::from_secs(20);
const PACE: Duration = Duration::from_millis(50);

/// Ends it, and fails if anything is left.
pub fn run() -> Result<()> {
    if !state::exists() && left().is_empty() {
        println!("there is no cluster");
        return Ok(());
    }
    step("end the cluster", || {
        until(|| {
            let pids = processes();
            for pid in &pids {
                let _ = kill(*pid, Signal::SIGKILL);
            }
            pids.is_empty()
        });
        for mount in mount_points() {
            let _ = umount2(mount.as_str(), MntFlags::MNT_DETACH);
        }
        if has_link() {
            ip(&format!("link delete {}", state::HOST_LINK))?;
        }
        for name in namespaces() {
            ip(&format!("netns delete {name}"))?;
        }
        until(|| cgroups().iter().rev().map(fs::remove_dir).all(|removed| removed.is_ok()));
        mounts::remove_targets();
        until(|| fs::remove_dir_all(state::DIRECTORY).is_ok() || !Path::new(state::DIRECTORY).exists());
        let left = left();
        if !left.is_empty() {
            bail!("left of the cluster:\n{}", left.join("\n"));
        }
        Ok(())
    })?;
    println!("no process, mount, interface, namespace, cgroup or file of the cluster is left");
    Ok(())
}

/// Whether any process of it runs.
pub fn runs() -> bool {
    !processes().is_empty()
}

/// What can be found of a cluster.
fn left() -> Vec<String> {
    let mut found: Vec<String> = processes().iter().map(|pid| format!("process {pid}")).collect();
    found.extend(mount_points().iter().map(|mount| format!("mount {mount}")));
    found.extend(namespaces().iter().map(|name| format!("network namespace {name}")));
    found.extend(cgroups().iter().map(|dir| format!("cgroup {}", dir.display())));
    found.extend(has_link().then(|| format!("interface {}", state::HOST_LINK)));
    found.extend(Path::new(state::DIRECTORY).exists().then(|| format!("directory {}", state::DIRECTORY)));
    found
}

fn until(mut done: impl FnMut() -> bool) {
    let started = Instant::now();
    while !done() && started.elapsed() < LIMIT {
        thread::sleep(PACE);
    }
}

/// Those in a network namespace or below a cgroup of the cluster: daemons in the one, pods in the other.
fn processes() -> Vec<Pid> {
    let spaces: BTreeSet<u64> =
        namespaces().iter().filter_map(|name| fs::metadata(state::netns(name)).ok()).map(|file| file.ino()).collect();
    let below = format!("/{}", state::NODE_PREFIX);
    let ours = |pid: &i32| {
        let dir = Path::new("/proc").join(pid.to_string());
        fs::metadata(dir.join("ns/net")).is_ok_and(|file| spaces.contains(&file.ino()))
            || fs::read_to_string(dir.join("cgroup")).is_ok_and(|text| text.contains(&below))
    };
    let pids = names(Path::new("/proc"));
    pids.iter().filter_map(|name| name.parse().ok()).filter(ours).map(Pid::from_raw).collect()
}

fn namespaces() -> Vec<String> {
    let ours = |name: &String| name == state::CONTROL_PLANE || name.starts_with(state::NODE_PREFIX);
    names(Path::new(state::NETNS)).into_iter().filter(ours).collect()
}

/// Each before those below it.
fn cgroups() -> Vec<PathBuf> {
    let mut found = Vec::new();
    for hierarchy in cgroups::hierarchies().unwrap_or_default() {
        let roots = names(&hierarchy).into_iter().filter(|name| name.starts_with(state::NODE_PREFIX));
        let mut next: Vec<PathBuf> = roots.map(|name| hierarchy.join(name)).collect();
        while let Some(dir) = next.pop() {
            next.extend(names(&dir).iter().map(|name| dir.join(name)).filter(|path| path.is_dir()));
            found.push(dir);
        }
    }
    found
}

/// In this process's mount namespace, the newest first.
fn mount_points() -> Vec<String> {
    let table = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let points = table.lines().filter(|line| line.contains(state::DIRECTORY));
    let mut points: Vec<String> = points.filter_map(|line| line.split(' ').nth(1)).map(str::to_owned).collect();
    points.reverse();
    points
}

fn has_link() -> bool {
    if_nametoindex(state::HOST_LINK).is_ok()
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().filter_map(Result::ok);
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

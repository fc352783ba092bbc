//! The end of a cluster: no process, mount, interface, namespace or cgroup of it is left.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use nix::{
    mount::{MntFlags, umount2},
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{Cluster, STATE, control::CABLE, ip};
use crate::{process, progress::step};

/// How long what was killed may take to be gone.
const PATIENCE: Duration = Duration::from_secs(20);

impl Cluster {
    /// Ends what there is of it, also of one that did not start.
    pub fn down(&self) -> Result<()> {
        step("end the cluster", || {
            let begun = Instant::now();
            while !processes().is_empty() {
                for pid in processes() {
                    // It may have ended meanwhile.
                    let _gone = kill(Pid::from_raw(pid), Signal::SIGKILL);
                }
                if begun.elapsed() > PATIENCE {
                    bail!("processes that do not end: {:?}", processes());
                }
                thread::sleep(Duration::from_millis(50));
            }
            for netns in namespaces()? {
                ip(&format!("netns del {netns}"))?;
            }
            // Its other end was in a namespace that is gone.
            let _gone = ip(&format!("link del {CABLE}"));
            unmount()?;
            for cgroup in cgroups(Path::new("/sys/fs/cgroup")) {
                remove_tree(&cgroup);
            }
            self.forget()?;
            let left = left_over()?;
            if left.is_empty() { Ok(()) } else { bail!("left over: {}", left.join(", ")) }
        })
    }

    /// All but the images, which the next cluster wants again.
    fn forget(&self) -> Result<()> {
        let Ok(entries) = fs::read_dir(&self.dir) else { return Ok(()) };
        for path in entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| !path.ends_with("images")) {
            let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            removed.with_context(|| format!("remove {}", path.display()))?;
        }
        Ok(())
    }
}

/// Of the control plane and the nodes: in their network namespaces, or in a node's cgroups.
fn processes() -> BTreeSet<i32> {
    let listed = |text: String| text.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<i32>>();
    let mut all = BTreeSet::new();
    for netns in namespaces().unwrap_or_default() {
        all.extend(
            process::capture(Command::new("ip").args(["netns", "pids", &netns])).map(listed).unwrap_or_default(),
        );
    }
    for cgroup in cgroups(Path::new("/sys/fs/cgroup")).iter().flat_map(|cgroup| tree(cgroup)) {
        all.extend(fs::read_to_string(cgroup.join("cgroup.procs")).map(listed).unwrap_or_default());
    }
    all
}

fn namespaces() -> Result<Vec<String>> {
    let list = process::capture(Command::new("ip").args(["netns", "list"]))?;
    let names = list.lines().filter_map(|line| line.split_whitespace().next());
    Ok(names.filter(|name| *name == super::CONTROL || name.starts_with("kube-node")).map(str::to_owned).collect())
}

/// The nodes' own, in every hierarchy.
fn cgroups(root: &Path) -> Vec<PathBuf> {
    let within = |dir: &Path| -> Vec<PathBuf> {
        let entries = fs::read_dir(dir).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
        entries.filter(|path| path.is_dir() && !path.is_symlink()).collect()
    };
    let first = within(root);
    let second = first.iter().flat_map(|tree| within(tree));
    let all: Vec<PathBuf> = first.iter().cloned().chain(second).collect();
    let is_node = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("kube-node"));
    all.into_iter().filter(is_node).collect()
}

/// A cgroup and those below it, the deepest first.
fn tree(cgroup: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(cgroup).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
    let mut all: Vec<PathBuf> = entries.filter(|path| path.is_dir()).flat_map(|path| tree(&path)).collect();
    all.push(cgroup.to_owned());
    all
}

fn remove_tree(cgroup: &Path) {
    for one in tree(cgroup) {
        // What is left is told in the end.
        let _busy = fs::remove_dir(&one);
    }
}

fn mounts() -> Result<Vec<PathBuf>> {
    let table = fs::read_to_string("/proc/self/mounts").context("read /proc/self/mounts")?;
    let points = table.lines().filter_map(|line| line.split(' ').nth(1)).map(PathBuf::from);
    let mut ours: Vec<PathBuf> = points.filter(|point| point.starts_with(STATE)).collect();
    ours.sort();
    ours.reverse();
    Ok(ours)
}

fn unmount() -> Result<()> {
    for point in mounts()? {
        umount2(&point, MntFlags::MNT_DETACH).with_context(|| format!("unmount {}", point.display()))?;
    }
    Ok(())
}

fn left_over() -> Result<Vec<String>> {
    let mut left: Vec<String> = processes().iter().map(|pid| format!("process {pid}")).collect();
    left.extend(namespaces()?.into_iter().map(|name| format!("network namespace {name}")));
    left.extend(mounts()?.iter().map(|point| format!("mount {}", point.display())));
    left.extend(cgroups(Path::new("/sys/fs/cgroup")).iter().map(|path| format!("cgroup {}", path.display())));
    Ok(left)
}

//! The cgroups of a node, and what it sees of them.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, unshare},
};

use super::state;

/// One in each hierarchy, v1 and v2: the kubelet wants its root to exist.
pub fn make(name: &str) -> Result<()> {
    for hierarchy in hierarchies()? {
        hand_down(&hierarchy);
        let dir = hierarchy.join(name);
        state::create(&dir)?;
        // In v1 a new cpuset is empty, and nothing can run in it.
        for file in ["cpuset.cpus", "cpuset.mems"] {
            if hierarchy.ends_with("cpuset") {
                let from = hierarchy.join(file);
                let value = fs::read(&from).with_context(|| format!("read {}", from.display()))?;
                let to = dir.join(file);
                fs::write(&to, value).with_context(|| format!("write {}", to.display()))?;
            }
        }
    }
    Ok(())
}

/// In v2 a cgroup has the controllers that the one above hands down.
fn hand_down(hierarchy: &Path) {
    for controller in ["cpu", "cpuset", "hugetlb", "io", "memory", "pids"] {
        // What there is not, or is in v1, the kubelet does without.
        let _ = fs::write(hierarchy.join("cgroup.subtree_control"), format!("+{controller}"));
    }
}

/// The roots of all cgroup hierarchies that are mounted at the usual places.
pub fn hierarchies() -> Result<Vec<PathBuf>> {
    let root = Path::new("/sys/fs/cgroup");
    if root.join("cgroup.controllers").exists() {
        return Ok(vec![root.to_owned()]);
    }
    let mut found = Vec::new();
    for entry in fs::read_dir(root).with_context(|| format!("read {}", root.display()))? {
        let path = entry.with_context(|| format!("read {}", root.display()))?.path();
        // `cpu` may be a link to `cpu,cpuacct`.
        if path.is_dir() && !path.is_symlink() && path.join("cgroup.procs").exists() {
            found.push(path);
        }
    }
    Ok(found)
}

/// Moves this process, which has a mount namespace of its own, into a cgroup namespace whose root is the cgroup of this name: from then on
/// it sees what is below, as a node that is a container does (cgroup_namespaces(7)).
pub fn enter(name: &str) -> Result<()> {
    let hierarchies = hierarchies()?;
    for hierarchy in &hierarchies {
        join(&hierarchy.join(name))?;
    }
    let kinds: Vec<Kind> = hierarchies.iter().map(|hierarchy| kind(hierarchy)).collect::<Result<_>>()?;
    unshare(CloneFlags::CLONE_NEWCGROUP).context("unshare the cgroup namespace")?;
    for (hierarchy, kind) in hierarchies.iter().zip(&kinds) {
        umount2(hierarchy, MntFlags::MNT_DETACH).with_context(|| format!("unmount {}", hierarchy.display()))?;
        let options = Some(kind.options.as_str()).filter(|options| !options.is_empty());
        mount(Some("cgroup"), hierarchy, Some(kind.name.as_str()), MsFlags::empty(), options)
            .with_context(|| format!("mount {}", hierarchy.display()))?;
        // In v2 a cgroup that hands controllers down holds no process itself.
        let daemons = hierarchy.join("daemons");
        if kind.name == "cgroup2" {
            state::create(&daemons)?;
            join(&daemons)?;
        }
    }
    Ok(())
}

fn join(cgroup: &Path) -> Result<()> {
    let file = cgroup.join("cgroup.procs");
    fs::write(&file, "0").with_context(|| format!("write {}", file.display()))
}

/// A file system, and what it is mounted with.
struct Kind {
    name: String,
    options: String,
}

/// Of a mount of this process, as proc_pid_mountinfo(5) shows it.
fn kind(hierarchy: &Path) -> Result<Kind> {
    let table = fs::read_to_string("/proc/self/mountinfo").context("read /proc/self/mountinfo")?;
    let fields = |line: &str| -> Option<Kind> {
        let (place, system) = line.split_once(" - ")?;
        let is_it = place.split(' ').nth(4) == hierarchy.to_str();
        let words: Vec<&str> = system.split(' ').collect();
        let options = words.get(2)?.split(',').filter(|option| !matches!(*option, "rw" | "ro"));
        let name = (*words.first()?).to_owned();
        // What cgroup2 shows is set for the machine, not for a mount.
        let options = if name == "cgroup" { options.collect::<Vec<_>>().join(",") } else { String::new() };
        is_it.then_some(Kind { name, options })
    };
    table.lines().find_map(fields).with_context(|| format!("{} is not mounted", hierarchy.display()))
}

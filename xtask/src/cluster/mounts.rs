//! What a node sees instead of this machine's own files: each has its own directories at the usual places, so that two
//! kubelets do not meet.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
    unistd::sethostname,
};

use super::state::{self, Node};

/// A directory of the node's and where the node has it.
pub const DIRECTORIES: [(&str, &str); 9] = [
    ("kubelet", "/var/lib/kubelet"),
    ("containerd", "/var/lib/containerd"),
    ("containerd-run", "/run/containerd"),
    ("cni", "/etc/cni/net.d"),
    ("cni-state", "/var/lib/cni"),
    ("pod-logs", "/var/log/pods"),
    ("container-logs", "/var/log/containers"),
    ("netns", "/run/netns"),
    ("chaos", "/run/chaos"),
];

/// What a kubelet wants of the kernel. It sets what differs, and these are the whole machine's: the node gets files
/// that hold the right values already.
pub const SETTINGS: [(&str, &str); 6] = [
    ("vm/overcommit_memory", "1"),
    ("vm/panic_on_oom", "0"),
    ("kernel/panic", "10"),
    ("kernel/panic_on_oops", "1"),
    ("kernel/keys/root_maxkeys", "1000000"),
    ("kernel/keys/root_maxbytes", "25000000"),
];

/// Where a node keeps its value of a setting, below its directory.
pub fn setting_file(name: &str) -> PathBuf {
    Path::new("settings").join(name.replace('/', "."))
}

/// The list of what [`make_targets`] made.
fn list() -> PathBuf {
    state::path("made-directories")
}

/// Makes the directories of this machine that are to be mounted on, and remembers which were not there.
pub fn make_targets() -> Result<()> {
    let mut made = String::new();
    for (_, target) in DIRECTORIES {
        let mut missing: Vec<&Path> = Path::new(target).ancestors().take_while(|path| !path.exists()).collect();
        missing.reverse();
        for dir in missing {
            made.push_str(&format!("{}\n", dir.display()));
            // Before the directory: what is listed and was not made does no harm.
            state::write(&list(), &made)?;
            fs::create_dir(dir).with_context(|| format!("create {}", dir.display()))?;
        }
    }
    Ok(())
}

/// Removes those again; what somebody else has filled meanwhile stays.
pub fn remove_targets() {
    let made = fs::read_to_string(list()).unwrap_or_default();
    for dir in made.lines().rev() {
        // Not empty, or gone: either is no concern of ours.
        drop(fs::remove_dir(dir));
    }
}

/// Moves this process, which must have one thread, into mount and UTS namespaces of the node's own.
pub fn enter(node: Node) -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWUTS).context("unshare the mount and UTS namespaces")?;
    sethostname(node.name()).context("set the host name")?;
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)
        .context("make all mounts private")?;
    for (source, target) in DIRECTORIES {
        bind(&node.directory().join(source), Path::new(target))?;
        // Kubelets and runtimes hand mounts on to pods.
        mount(None::<&str>, target, None::<&str>, MsFlags::MS_SHARED, None::<&str>)
            .with_context(|| format!("make {target} shared"))?;
    }
    for (name, _) in SETTINGS {
        let target = Path::new("/proc/sys").join(name);
        if target.exists() {
            bind(&node.directory().join(setting_file(name)), &target)?;
        }
    }
    Ok(())
}

fn bind(source: &Path, target: &Path) -> Result<()> {
    mount(Some(source), target, None::<&str>, MsFlags::MS_BIND, None::<&str>)
        .with_context(|| format!("mount {} on {}", source.display(), target.display()))
}

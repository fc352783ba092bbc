//! A control group of the second hierarchy that goes away with its owner.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::{NetNs, owner};
use crate::clock;

static NEXT: AtomicU32 = AtomicU32::new(0);
static SWEEP: Once = Once::new();

/// A cgroup directly below the root of the cgroup2 mount, or below another of ours.
#[derive(Debug)]
pub struct Cgroup {
    mount: PathBuf,
    path: PathBuf,
    outer: Option<PathBuf>,
}

impl Cgroup {
    /// Makes an empty cgroup at the second level; the first is refused as a target.
    pub fn new(label: &str) -> Self {
        let mount = mount_point();
        SWEEP.call_once(|| sweep_dead_owners(&mount));
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let outer = mount.join(format!("{}{number}", owner::prefix()));
        let path = outer.join(label);
        fs::create_dir_all(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Self { mount, path, outer: Some(outer) }
    }

    /// Makes a cgroup inside this one.
    pub fn child(&self, label: &str) -> Self {
        let path = self.path.join(label);
        fs::create_dir(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Self { mount: self.mount.clone(), path, outer: None }
    }

    /// The path below the mount with a leading slash, as in `cgroup: PATH`.
    pub fn name(&self) -> String {
        format!("/{}", self.path.strip_prefix(&self.mount).expect("below the mount").display())
    }

    /// The identity that the kernel compares: the directory's inode.
    pub fn id(&self) -> u64 {
        fs::metadata(&self.path).expect("the cgroup's directory").ino()
    }

    /// A command whose process is in this cgroup before its program starts, in a network namespace if one is given.
    pub fn command(&self, ns: Option<&NetNs>, command: &[&str]) -> Command {
        let script = format!("echo $$ > {}/cgroup.procs && exec \"$@\"", self.path.display());
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(script).arg("sh");
        if let Some(ns) = ns {
            shell.args(["ip", "netns", "exec", ns.name()]);
        }
        // A group of its own, so that a Ctrl-C meant for the tests is not also one for it.
        shell.args(command).process_group(0);
        shell
    }

    /// A process that sleeps in this cgroup until it is killed; it has entered when this returns.
    pub fn resident(&self, ns: Option<&NetNs>) -> Child {
        let child = self.command(ns, &["sleep", "infinity"]).spawn().expect("sleep");
        let entered = clock::wait_until(Duration::from_secs(20), || self.processes().contains(&(child.id() as i32)));
        assert!(entered, "process {} has not entered {}", child.id(), self.path.display());
        child
    }

    /// The processes inside.
    pub fn processes(&self) -> Vec<i32> {
        processes_in(&self.path)
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let removed = clock::wait_until(Duration::from_secs(2), || {
            kill_all(&self.path);
            remove(self.outer.as_ref().unwrap_or(&self.path)).is_ok()
        });
        if !removed {
            eprintln!("left behind: {}", self.path.display());
        }
    }
}

/// Where the cgroup2 hierarchy is mounted: `/sys/fs/cgroup`, or `/sys/fs/cgroup/unified` on hybrid machines.
pub fn mount_point() -> PathBuf {
    find_mount().unwrap_or_else(|| panic!("no cgroup2 mount in /proc/self/mountinfo"))
}

/// The cgroup2 mount, if there is one.
pub fn find_mount() -> Option<PathBuf> {
    mount_in(&fs::read_to_string("/proc/self/mountinfo").ok()?)
}

/// The mount point of the line whose file system type, the first word after " - ", is cgroup2.
fn mount_in(mountinfo: &str) -> Option<PathBuf> {
    mountinfo.lines().find_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let is_cgroup2 = after.split_whitespace().next() == Some("cgroup2");
        is_cgroup2.then(|| before.split_whitespace().nth(4).map(PathBuf::from))?
    })
}

fn sweep_dead_owners(mount: &Path) {
    for name in owner::dead_in(mount) {
        let path = mount.join(name);
        clock::wait_until(Duration::from_secs(2), || {
            kill_all(&path);
            remove(&path).is_ok()
        });
    }
}

/// Kills the processes in a cgroup and below.
fn kill_all(path: &Path) {
    for pid in processes_in(path) {
        let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
    }
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).for_each(|entry| kill_all(&entry.path()));
}

fn processes_in(path: &Path) -> Vec<i32> {
    let text = fs::read_to_string(path.join("cgroup.procs")).unwrap_or_default();
    text.lines().filter_map(|line| line.parse().ok()).collect()
}

/// Removes a cgroup with those inside it; files of a cgroup directory go with it, so only directories are removed.
fn remove(path: &Path) -> io::Result<()> {
    let Ok(entries) = fs::read_dir(path) else { return Ok(()) };
    for entry in entries.flatten() {
        if entry.file_type()?.is_dir() {
            remove(&entry.path())?;
        }
    }
    fs::remove_dir(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mount_is_found_on_pure_and_hybrid_machines() {
        let pure = "29 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw\n";
        let hybrid = "30 23 0:27 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
                      42 23 0:39 / /sys/fs/cgroup/unified rw shared:9 - cgroup2 cgroup2 rw\n";
        assert_eq!(mount_in(pure), Some("/sys/fs/cgroup".into()));
        assert_eq!(mount_in(hybrid), Some("/sys/fs/cgroup/unified".into()));
        assert_eq!(mount_in("30 23 0:27 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n"), None);
    }
}

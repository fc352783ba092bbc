//! Where this machine keeps its processes, network namespaces and cgroups.
use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use super::{cgroup::Tree, error::Problem};
use chaos_sys::level;

/// A mounted cgroup v1 hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LegacyTree {
    /// Where it is mounted.
    pub mount: PathBuf,
    /// Its controllers or name, such as `memory` or `name=systemd`.
    pub name: String,
}

/// The roots that resolving reads; tests give others.
#[derive(Debug, Clone)]
pub struct Host {
    /// procfs, normally `/proc`.
    pub proc: PathBuf,
    /// Folder of named network namespaces, normally `/run/netns`.
    pub netns: PathBuf,
    /// The cgroup2 hierarchy; why there is none otherwise.
    pub unified: Result<Tree, String>,
    /// Mounted cgroup v1 hierarchies.
    pub legacy: Vec<LegacyTree>,
    /// Folders of systemd's units (systemd.unit(5)).
    pub units: Vec<PathBuf>,
    /// Below which container runtimes keep their state, normally `/`.
    pub root: PathBuf,
}

/// Those that people and packages write.
const UNITS: [&str; 5] = [
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
];

impl Host {
    /// This machine. Errors: without a readable `/proc/self/mountinfo`.
    pub fn this() -> Result<Self, Problem> {
        Self::at(Path::new("/proc"), Path::new("/run/netns"), &level::of_ancestor)
    }

    /// A machine whose procfs and namespace folder are elsewhere; the cgroup mounts are those of its
    /// `self/mountinfo` (proc_pid_mountinfo(5)). `level`: that of the cgroup with this id, which this process is in or below.
    pub fn at(proc: &Path, netns: &Path, level: &dyn Fn(u64) -> Result<u32, String>) -> Result<Self, Problem> {
        let path = proc.join("self/mountinfo");
        let table = fs::read_to_string(&path).map_err(|e| Problem::unsupported(format!("{}: {e}", path.display())))?;
        let mounts: Vec<Mount> = table.lines().filter_map(Mount::parse).collect();
        let legacy = mounts.iter().filter(|m| m.kind == "cgroup").filter_map(|mount| {
            let words = mount.options.split(',');
            let mut name = words.filter(|o| !["rw", "ro", "xattr", "clone_children", "noprefix"].contains(o));
            Some(LegacyTree { mount: mount.point.clone(), name: name.next_back()?.to_owned() })
        });
        Ok(Self {
            proc: proc.to_owned(),
            netns: netns.to_owned(),
            unified: unified(&mounts, level),
            legacy: legacy.collect(),
            units: UNITS.iter().map(PathBuf::from).collect(),
            root: PathBuf::from("/"),
        })
    }

    /// Mount of the cgroup2 hierarchy of this machine.
    ///
    /// # Errors
    /// Why there is none.
    pub fn cgroup2() -> Result<PathBuf, String> {
        Ok(Self::this().map_err(|problem| problem.text)?.unified?.mount)
    }

    /// A file of a process.
    pub fn of(&self, pid: i32, file: &str) -> PathBuf {
        self.proc.join(pid.to_string()).join(file)
    }

    /// This process's number as procfs shows it.
    pub fn own_pid(&self) -> Option<i32> {
        fs::read_link(self.proc.join("self")).ok()?.to_str()?.parse().ok()
    }

    /// Inodes of the namespaces that count as the host's: our own, and PID 1's where it may be read.
    /// Errors: without `/proc/self/ns/net`.
    pub fn netns_inodes(&self) -> io::Result<Vec<u64>> {
        let own = fs::metadata(self.proc.join("self/ns/net"))?.ino();
        let first = fs::metadata(self.of(1, "ns/net")).map(|m| m.ino());
        Ok([own].into_iter().chain(first).collect())
    }
}

/// Picks the cgroup2 mount that shows the hierarchy from its root. Where a cgroup namespace shows a part of it alone, the level of that
/// part is asked of the kernel: with another one a fault would match other cgroups than the target's. Only the true root has no
/// `cgroup.events` (cgroup-v2.rst).
fn unified(mounts: &[Mount], level: &dyn Fn(u64) -> Result<u32, String>) -> Result<Tree, String> {
    let all: Vec<&Mount> = mounts.iter().filter(|m| m.kind == "cgroup2").collect();
    if let Some(root) = all.iter().find(|m| m.point.is_dir() && !m.point.join("cgroup.events").exists()) {
        return Ok(Tree { mount: root.point.clone(), depth: 0 });
    }
    let mut why = "cgroup2 is not mounted here: this machine uses cgroup v1 only".to_owned();
    let mut parts = Vec::new();
    for part in all {
        let id = fs::metadata(&part.point).map_err(|e| e.to_string()).map(|metadata| metadata.ino());
        match id.and_then(level) {
            Ok(depth) => parts.push(Tree { mount: part.point.clone(), depth }),
            Err(error) => {
                why = format!(
                    "the cgroup2 mount at {} shows only a part of the hierarchy, of which this process cannot tell the level ({error}); \
                     run where the host's /sys/fs/cgroup is mounted",
                    part.point.display()
                );
            }
        }
    }
    // The largest of those that hold this process.
    parts.into_iter().min_by_key(|tree| tree.depth).ok_or(why)
}

pub(crate) struct Mount {
    point: PathBuf,
    kind: String,
    options: String,
}

impl Mount {
    /// One line: `38 31 0:29 / /sys/fs/cgroup/cpu rw shared:9 - cgroup cgroup rw,cpu`.
    pub(crate) fn parse(line: &str) -> Option<Self> {
        let (mount, filesystem) = line.split_once(" - ")?;
        let mut words = filesystem.split(' ');
        let kind = words.next()?.to_owned();
        let options = words.nth(1).unwrap_or_default().to_owned();
        Some(Self { point: PathBuf::from(unescape(mount.split(' ').nth(4)?)), kind, options })
    }
}

/// Undoes the octal escapes of blanks, tabs, line ends and backslashes.
fn unescape(text: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_lines_are_read() {
        let mount = Mount::parse("37 31 0:34 / /sys/fs/my\\040cg rw,nosuid shared:9 - cgroup cgroup rw,name=systemd");
        let mount = mount.unwrap();
        assert_eq!((mount.point.to_str(), mount.kind.as_str()), (Some("/sys/fs/my cg"), "cgroup"));
        assert_eq!(mount.options, "rw,name=systemd");
        assert!(Mount::parse("rubbish").is_none());
    }

    #[test]
    fn this_machine_is_found() {
        let host = Host::this().unwrap();
        assert_eq!(host.own_pid(), Some(std::process::id().cast_signed()));
        assert!(!host.netns_inodes().unwrap().is_empty());
        match &host.unified {
            Ok(tree) => assert!(tree.mount.join("cgroup.procs").exists(), "{}", tree.mount.display()),
            Err(why) => assert!(why.contains("cgroup2"), "{why}"),
        }
    }
}

//! The cgroup tree: its directories and who is in them.
use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::MetadataExt,
    path::{Component, Path, PathBuf},
};

use super::{host::Host, target::CgroupScope};

/// The cgroup2 hierarchy as it is mounted here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree {
    /// Where.
    pub mount: PathBuf,
    /// The level of the cgroup that is its root here: 0, unless a cgroup namespace shows a part of it alone
    /// (cgroup_namespaces(7)), as it does on nodes that are containers.
    pub depth: u32,
}

/// The scope of a directory of the hierarchy. `None` when it is gone or lies elsewhere.
pub fn scope(tree: &Tree, directory: &Path) -> Option<CgroupScope> {
    let below = directory.strip_prefix(&tree.mount).ok()?;
    let metadata = fs::metadata(directory).ok().filter(fs::Metadata::is_dir)?;
    Some(CgroupScope {
        path: format!("/{}", below.display()),
        directory: directory.to_owned(),
        id: metadata.ino(),
        level: tree.depth + u32::try_from(below.components().count()).ok()?,
        depth: tree.depth,
    })
}

/// The directory of this very process. `None` where it is not below the mount.
pub fn own(tree: &Tree) -> Option<PathBuf> {
    let text = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let path = text.lines().find_map(|line| line.strip_prefix("0::"));
    of_process(&tree.mount, std::process::id().cast_signed(), path)
}

/// The directory of this very process, of the hierarchy that is mounted here.
///
/// # Errors
/// Why there is none.
pub fn own_directory() -> Result<PathBuf, String> {
    let tree = Host::this().map_err(|problem| problem.text)?.unified?;
    own(&tree).ok_or_else(|| "it is not below the cgroup2 mount".to_owned())
}

/// The directory that a path as written by people, or by the kernel, means below a mount: with or without a leading `/`,
/// or with the mount itself in front. `None` for a path with `..`.
pub fn join(mount: &Path, path: &str) -> Option<PathBuf> {
    let path = Path::new(path);
    let below = path.strip_prefix(mount).unwrap_or(path);
    let mut directory = mount.to_owned();
    for component in below.components() {
        match component {
            Component::Normal(name) => directory.push(name),
            Component::RootDir | Component::CurDir => {}
            Component::ParentDir | Component::Prefix(_) => return None,
        }
    }
    Some(directory)
}

/// All directories of a tree, its root first. Those that vanish meanwhile are left out.
pub fn directories(root: &Path) -> Vec<PathBuf> {
    directories_above(root, |_| false)
}

/// The same without what is below those of which `last` is true.
pub fn directories_above(root: &Path, last: impl Fn(&Path) -> bool) -> Vec<PathBuf> {
    let mut all = vec![root.to_owned()];
    let mut next = 0;
    while let Some(directory) = all.get(next) {
        next += 1;
        if next > 1 && last(directory) {
            continue;
        }
        let entries = fs::read_dir(directory).into_iter().flatten().flatten();
        let below: Vec<PathBuf> =
            entries.filter(|e| e.file_type().is_ok_and(|kind| kind.is_dir())).map(|e| e.path()).collect();
        all.extend(below);
    }
    all
}

/// The processes in one directory.
pub fn processes_in(directory: &Path) -> impl Iterator<Item = i32> {
    let list = fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
    // 0 stands for a process of another PID namespace, which cannot be named here.
    list.lines().filter_map(|line| line.trim().parse().ok()).filter(|pid| *pid != 0).collect::<Vec<_>>().into_iter()
}

/// Is anybody in it or below it (Documentation/admin-guide/cgroup-v2.rst, "cgroup.events")?
pub fn is_populated(directory: &Path) -> bool {
    fs::read_to_string(directory.join("cgroup.events")).is_ok_and(|text| text.lines().any(|line| line == "populated 1"))
}

/// The processes in a directory and all below it.
pub fn processes_below(directory: &Path) -> BTreeSet<i32> {
    directories(directory).iter().flat_map(|below| processes_in(below)).collect()
}

/// The directory of a process in the cgroup2 hierarchy. Its path in `/proc/PID/cgroup` is tried first; where that is
/// relative to a cgroup namespace, the tree is searched.
pub fn of_process(mount: &Path, pid: i32, path: Option<&str>) -> Option<PathBuf> {
    let holds = |directory: &PathBuf| processes_in(directory).any(|found| found == pid);
    let direct = path.and_then(|path| join(mount, path)).filter(holds);
    direct.or_else(|| directories(mount).into_iter().find(holds))
}

//! Names of containers of users who are not root: rootless Podman keeps them below a user's home. All of that is the user's to write, so a name
//! stands for a container of that same user alone, and behind all others' names.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::Read,
    os::{fd::AsFd, unix::fs::MetadataExt},
    path::Path,
};

use rustix::fs::{Mode, OFlags, ResolveFlags};
use serde_json::Value;

/// Podman's lists below a home (containers/storage, docs/containers-storage.conf.5.md, `rootless_storage_path`).
const STORAGE: [&str; 2] = [
    ".local/share/containers/storage/overlay-containers/containers.json",
    ".local/share/containers/storage/overlay-containers/volatile-containers.json",
];
/// Users whose homes are looked at.
const MOST_USERS: usize = 256;

/// Bytes of a file that are read; longer ones are passed over.
pub(super) const MOST: u64 = 4 << 20;
/// Entries of a folder, or of a list, that are looked at.
pub(super) const MOST_ENTRIES: usize = 4096;
/// A longer name is none.
pub(super) const MOST_OF_NAME: usize = 256;

/// A name, and the id of a container that has it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Named {
    pub(super) name: String,
    pub(super) id: String,
    /// Its name is one within its pod, or of a user who is not root: another's container may have the same.
    pub(super) of_pod: bool,
}

/// The user in whose part of systemd's tree a directory lies: `user.slice/user-1000.slice/...` (systemd.special(7)). It is `below` the
/// tree's mount: further down, others may have directories of these names.
pub(super) fn owner_of(below: &Path) -> Option<u32> {
    let mut parts = below.components().map(|part| part.as_os_str().to_str());
    parts.next()?.filter(|part| *part == "user.slice")?;
    parts.next()??.strip_prefix("user-")?.strip_suffix(".slice")?.parse().ok()
}

/// The names of containers that run. Each is of the user in whose part of the tree it has its cgroup, None for the system's; one that is seen in
/// several places is nobody's.
pub(super) fn all(root: &Path, running: &BTreeSet<(Option<u32>, String)>) -> Vec<Named> {
    let users: BTreeSet<u32> = running.iter().filter_map(|(user, _)| *user).collect();
    let mut found = Vec::new();
    for user in users.into_iter().take(MOST_USERS) {
        let Some(home) = home(root, user) else { continue };
        let is_its = |id: &str| {
            let mut places = running.iter().filter(|(_, other)| other == id);
            places.next().is_some_and(|(place, _)| *place == Some(user)) && places.next().is_none()
        };
        for list in STORAGE {
            let list = read(&root.join(home.trim_start_matches('/')), list, user).unwrap_or_default();
            for one in list.as_array().into_iter().flatten().take(MOST_ENTRIES) {
                let id = one["id"].as_str().filter(|id| is_its(id)).unwrap_or_default();
                // When it ends, its name may come to be another user's: it is followed by its id alone.
                found.extend(names_in(one, id).map(|name| Named { name, id: id.to_owned(), of_pod: true }));
            }
        }
    }
    found.sort();
    found.dedup();
    found
}

/// The names of a container in a list of Podman's; none where it has no id.
pub(super) fn names_in(one: &Value, id: &str) -> impl Iterator<Item = String> {
    let names = one["names"].as_array().filter(|_| !id.is_empty()).into_iter().flatten().filter_map(Value::as_str);
    names.filter(|name| !name.is_empty() && name.len() <= MOST_OF_NAME).map(str::to_owned)
}

/// By the machine's own list (passwd(5)): a name service might ask the network.
fn home(root: &Path, user: u32) -> Option<String> {
    let path = root.join("etc/passwd");
    let length = fs::metadata(&path).ok()?.len();
    let text = if length <= MOST { fs::read_to_string(path).ok()? } else { return None };
    text.lines().find_map(|line| {
        let mut fields = line.split(':').skip(2);
        let found = fields.next()?.parse() == Ok(user);
        fields.nth(2).filter(|home| found && home.starts_with('/')).map(str::to_owned)
    })
}

/// A file below a home, as JSON: of this user, regular, not too long, and reached without a link and without leaving the home's file system, on which
/// others might mount what never answers.
fn read(home: &Path, path: &str, user: u32) -> Option<Value> {
    let home = rustix::fs::open(home, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let within =
        ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV | ResolveFlags::NO_MAGICLINKS;
    let file = File::from(rustix::fs::openat2(home.as_fd(), path, flags, Mode::empty(), within).ok()?);
    file.metadata().ok().filter(|kind| kind.is_file() && kind.len() <= MOST && kind.uid() == user)?;
    let mut text = Vec::new();
    file.take(MOST).read_to_end(&mut text).ok()?;
    serde_json::from_slice(&text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_first_in_the_tree_is_a_users() {
        let of = |path: &str| owner_of(Path::new(path));
        assert_eq!(of("user.slice/user-1000.slice/user@1000.service/x.scope"), Some(1000));
        for other in ["system.slice/user.slice/user-0.slice/x", "user.slice/x/user-0.slice", "user.slice", "", "/"] {
            assert_eq!(of(other), None, "{other}");
        }
    }
}

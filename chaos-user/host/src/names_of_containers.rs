//! Names of containers, by what their runtimes write to disk: no socket is asked. Others may have a hand in it: names of pods' containers are
//! their authors', so a name never stands before an id.

use std::{
    fs::{self, OpenOptions},
    io::Read,
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::Path,
};

use nix::libc;
use serde_json::Value;

use super::{
    names_of_users::{MOST, MOST_ENTRIES, MOST_OF_NAME, Named, names_in},
    runtime::is_id,
};

/// Where Docker keeps a folder for each container (moby/daemon/container, `config.v2.json`).
const DOCKER: &str = "var/lib/docker/containers";
/// Where Podman and CRI-O list theirs (containers/storage, `containers.json`), and where those are that are gone after a reboot.
const STORAGE: [&str; 2] = [
    "var/lib/containers/storage/overlay-containers/containers.json",
    "var/lib/containers/storage/overlay-containers/volatile-containers.json",
];
/// Where containerd has a bundle for each task, by its own namespaces (containerd/core/runtime/v2, `config.json`).
const CONTAINERD: &str = "run/containerd/io.containerd.runtime.v2.task";
/// Annotations that have a container's name: of containerd's and of CRI-O's part for Kubernetes.
const OF_PODS: [&str; 2] = ["io.kubernetes.cri.container-name", "io.kubernetes.container.name"];
/// The same of nerdctl.
const OF_NERDCTL: &str = "nerdctl/name";
/// All that can be read; `trusted` says whose files count.
pub(super) fn all(root: &Path, trusted: impl Fn(u32) -> bool) -> Vec<Named> {
    let mut found = Vec::new();
    let mut add = |id: &str, name: &str, of_pod: bool| {
        let name = name.trim_start_matches('/');
        if is_id(id) && !name.is_empty() && name.len() <= MOST_OF_NAME {
            found.push(Named { name: name.to_owned(), id: id.to_owned(), of_pod });
        }
    };
    for id in folders(&root.join(DOCKER)) {
        let Some(config) = read(&root.join(DOCKER).join(&id).join("config.v2.json"), &trusted) else { continue };
        add(&id, config["Name"].as_str().unwrap_or_default(), false);
    }
    for list in STORAGE {
        let list = read(&root.join(list), &trusted).unwrap_or_default();
        for one in list.as_array().into_iter().flatten().take(MOST_ENTRIES) {
            let id = one["id"].as_str().unwrap_or_default();
            names_in(one, id).for_each(|name| add(id, &name, false));
        }
    }
    let tasks = root.join(CONTAINERD);
    for namespace in folders(&tasks) {
        for id in folders(&tasks.join(&namespace)) {
            let Some(config) = read(&tasks.join(&namespace).join(&id).join("config.json"), &trusted) else { continue };
            let annotation = |name: &str| config["annotations"][name].as_str();
            let of_pod = OF_PODS.iter().find_map(|name| annotation(name));
            add(&id, of_pod.or_else(|| annotation(OF_NERDCTL)).unwrap_or_default(), of_pod.is_some());
        }
    }
    found.sort();
    found.dedup();
    found
}

/// Names of the folders in one.
fn folders(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().take(MOST_ENTRIES);
    let folders = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    folders.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

/// A file as JSON, if it is a regular one of a trusted user and not too long.
fn read(path: &Path, trusted: &impl Fn(u32) -> bool) -> Option<Value> {
    // Neither a link is followed nor a FIFO waited for.
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path).ok()?;
    let kind = file.metadata().ok().filter(|kind| kind.is_file() && kind.len() <= MOST && trusted(kind.uid()))?;
    let mut text = Vec::with_capacity(usize::try_from(kind.len()).ok()?);
    file.take(MOST).read_to_end(&mut text).ok()?;
    serde_json::from_slice(&text).ok()
}

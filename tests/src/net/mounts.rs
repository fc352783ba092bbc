//! A mount namespace of one's own: what is named inside goes with it, however the process ends.

use std::fs;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

/// For the calling thread and what it starts: private mounts, and an empty file system on each of these folders. A network
/// namespace whose name stands in a `/run/netns` of this kind leaves no name behind.
pub fn own(folders: &[&str]) {
    unshare(CloneFlags::CLONE_NEWNS).expect("a mount namespace");
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).expect("private mounts");
    for folder in folders {
        fs::create_dir_all(folder).unwrap_or_else(|error| panic!("{folder}: {error}"));
        mount(Some("chaos-test"), *folder, Some("tmpfs"), MsFlags::empty(), none)
            .unwrap_or_else(|error| panic!("a tmpfs on {folder}: {error}"));
    }
}

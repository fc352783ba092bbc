//! The parsers of what others write on this machine or answer, for `cargo xtask fuzz` and its like among the unit tests.

use crate::{
    cgroup,
    host::Mount,
    names::{conf, query},
    process::Process,
};
use hickory_proto::op::Message;
use std::path::Path;

/// An answer of the DNS.
pub fn dns(input: &[u8]) {
    let Ok(answer) = Message::from_vec(input) else { return };
    query::taken(&answer, &["db.example.com"]);
}

/// Files of procfs.
///
/// # Panics
/// A cgroup's name leads out of the mount.
pub fn procfs(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let (stat, groups) = text.split_once('\n').unwrap_or((&text, ""));
    let _ = (Process::parse(1, stat, groups), Mount::parse(stat));
    // Whatever a cgroup is called, its directory is below the mount.
    let mount = Path::new("/sys/fs/cgroup");
    assert!(cgroup::join(mount, &text).is_none_or(|path| path.starts_with(mount)));
}

/// `/etc/hosts` and `/etc/resolv.conf`.
pub fn names(text: &str) {
    let _ = conf::nameservers(text);
    if let Ok(host) = "*.example.com".parse() {
        let _ = conf::hosts(text, &host);
    }
}

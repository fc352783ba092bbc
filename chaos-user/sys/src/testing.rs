//! What the tests of several crates share.

#![allow(clippy::print_stderr, clippy::missing_panics_doc, reason = "for tests alone")]

use std::{
    fs,
    path::PathBuf,
    process::{self, Command},
    sync::atomic::{AtomicU32, Ordering},
};

use crate::{link, netlink::Rtnl, netns::Netns};

/// Whether the process is root. A test that is not says so and returns; where `CI` is set it must not be skipped.
pub fn is_root(test: &str) -> bool {
    let root = nix::unistd::geteuid().is_root();
    assert!(root || std::env::var_os("CI").is_none(), "{test}: needs root, and nothing is skipped in CI");
    if !root {
        eprintln!("skipped: {test}: needs root");
    }
    root
}

/// Ends a test that is not run by root.
#[macro_export]
macro_rules! root_or_return {
    () => {
        if !$crate::testing::is_root(module_path!()) {
            return;
        }
    };
}
pub use root_or_return;

/// A name that no other test and no other process uses; at most 15 characters with a prefix of up to four.
pub fn unique(prefix: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("{prefix}{}x{}", process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Where a cgroup2 hierarchy is mounted.
pub fn cgroup2() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let mount = mounts.lines().find(|line| line.contains(" - cgroup2 ")).and_then(|line| line.split(' ').nth(4));
    if mount.is_none() {
        eprintln!("skipped: cgroup2 is not mounted here");
    }
    mount.map(PathBuf::from)
}

/// The directory of this process's cgroup.
pub fn own_cgroup() -> Option<PathBuf> {
    let text = fs::read_to_string("/proc/self/cgroup").unwrap();
    let path = text.lines().find_map(|line| line.strip_prefix("0::/"))?.to_owned();
    Some(cgroup2()?.join(path))
}

/// Runs a program, for tests only, and returns what it wrote.
pub fn command(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output().expect("ip(8) and tc(8) are needed by the tests");
    assert!(output.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Runs ip(8).
pub fn ip(args: &[&str]) -> String {
    command("ip", args)
}

/// Runs `work` with a socket in a fresh namespace whose loopback is up.
pub fn in_scratch<T: Send>(work: impl FnOnce(&mut Rtnl) -> T + Send) -> T {
    let inside = || {
        let mut rtnl = Rtnl::open().unwrap();
        link::set_up(&mut rtnl, 1, true).unwrap();
        work(&mut rtnl)
    };
    Netns::scratch().unwrap().enter(inside).unwrap()
}

//! Users of the machine who are not root: what runs is none of their business, and they cannot hinder it.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::Path,
    process::{Command, Stdio},
};

use chaos_tests::{
    lab::Lab,
    net::Family,
    scene::{Direction, PORT},
    traffic::Flow,
};
use nix::sys::stat::{Mode, umask};

/// Whether it succeeds for a user without any right.
fn nobody_can(words: &[&str]) -> bool {
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--no-new-privs", "--"]).args(words);
    let done = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    done.expect("setpriv of util-linux").success()
}

/// Everything below, the folder itself included.
fn tree(at: &Path, found: &mut Vec<(String, u32, u32)>) {
    let Ok(entry) = fs::symlink_metadata(at) else { return };
    found.push((at.display().to_string(), entry.permissions().mode() & 0o7777, entry.uid()));
    for inner in fs::read_dir(at).into_iter().flatten().flatten() {
        tree(&inner.path(), found);
    }
}

#[test]
fn nobody_reads_locks_or_writes_what_is_kept_of_a_run() {
    let Some(lab) = Lab::open() else { return };
    // Whatever root's shell says of new files.
    let before = umask(Mode::empty());
    let running = Direction::Egress.inject(&lab, "partition: true");
    umask(before);
    let mut all = Vec::new();
    tree(Path::new("/run/chaos"), &mut all);
    assert!(all.iter().any(|(path, ..)| path.ends_with("journal.json")), "{all:?}");
    for (path, mode, owner) in &all {
        assert!(mode & 0o077 == 0 && *owner == 0, "{path}: mode {mode:o} of {owner}");
    }
    assert!(nobody_can(&["true"]), "the test itself can");
    let attempts: [&[&str]; 6] = [
        &["ls", "/run/chaos"],
        &["cat", "/run/chaos/journal.json"],
        &["flock", "--nonblock", "/run/chaos/journal.lock", "true"],
        &["flock", "--nonblock", "/run/chaos", "true"],
        &["touch", "/run/chaos/lock"],
        &["mv", "/run/chaos", "/run/chaos-away"],
    ];
    for words in attempts {
        assert!(!nobody_can(words), "nobody can {}", words.join(" "));
    }
    let to = lab.hosts.b.at(Family::V4, PORT);
    let flow = Flow::to(to).count(10).run(&lab.hosts.a.ns, &lab.hosts.b.ns);
    assert_eq!(flow.lost(), 10, "it still acts");
    running.finish();
}

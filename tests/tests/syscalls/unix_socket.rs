//! `connect` by the path of a Unix socket: that one alone fails, and for the target alone.

use super::{calls, fault, inject, scene};
use chaos_tests::need;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::Command;

/// Where the copy of this program is to connect to.
const PATH: &str = "CHAOS_TESTS_UNIX_PATH";

/// Not a test of its own: what the copy of this program does that runs as the target.
#[test]
fn connects_where_it_is_told_to() {
    let Some(path) = std::env::var_os(PATH) else { return };
    match UnixStream::connect(path) {
        Ok(_) => println!("connected"),
        Err(error) => println!("errno {}", error.raw_os_error().unwrap_or(0)),
    }
}

fn connects(mut command: Command, path: &str) -> bool {
    let output = command.env(PATH, path).output().expect("a copy of this program");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("connected") || text.contains(&format!("errno {}", nix::libc::ECONNREFUSED)), "{text}");
    text.contains("connected")
}

fn copy() -> Vec<String> {
    let program = std::env::current_exe().expect("this program");
    [&program.to_string_lossy(), "--exact", "unix_socket::connects_where_it_is_told_to", "--nocapture"]
        .map(str::to_owned)
        .to_vec()
}

#[test]
fn connect_fails_for_the_sockets_whose_paths_are_meant() {
    let Some((chaos, _slice, cgroup, target)) = scene() else { return };
    let by_lsm = |row: &serde_json::Value| row["call"] == "sendto" && row["mechanism"] == "lsm";
    let by_entry = |row: &serde_json::Value| row["call"] == "sendto" && row["mechanism"] == "entry";
    if !calls(&chaos).iter().any(|row| by_lsm(row) || by_entry(row)) {
        need::absent("programs at security hooks: this kernel lets none fail calls");
        return;
    }
    let base = format!("/tmp/chaos-unix-{}", std::process::id());
    std::fs::create_dir_all(format!("{base}/run/deep")).expect("folders");
    let sockets = ["run/a", "run/deep/b", "other"].map(|name| format!("{base}/{name}"));
    let _held: Vec<UnixListener> = sockets.iter().map(|path| UnixListener::bind(path).expect("a socket")).collect();
    let words = copy();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let within = |path: &str| connects(cgroup.command(None, &words), path);
    let outside = |path: &str| {
        let mut command = Command::new(words[0]);
        command.args(&words[1..]);
        connects(command, path)
    };
    assert!(within(&sockets[0]) && outside(&sockets[0]), "before");
    let fault = fault(&["connect"], &format!("errno: ECONNREFUSED, match: {{ paths: [\"{base}/run/**\"] }}"));
    let running = inject(&chaos, &target, &fault);
    assert!(!within(&sockets[0]) && !within(&sockets[1]));
    assert!(within(&sockets[2]), "another path");
    assert!(outside(&sockets[0]), "another process");
    let report = running.finish();
    assert_eq!(report.only_fault().injected(), 2, "{report:?}");
    assert!(within(&sockets[0]), "reverted");
    std::fs::remove_dir_all(base).expect("folders");
    need::measured("Unix sockets by path");
}

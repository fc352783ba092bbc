//! The process that tests of system calls aim at: without faults all its calls succeed, and what fails is told as it failed.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, Stdio};

const VICTIM: &str = env!("CARGO_BIN_EXE_chaos-victim");
const ODD: &str = "chaos-victim is wrong about";

/// The lines that the victim prints.
#[track_caller]
fn lines(words: &[&str]) -> Vec<String> {
    let output = Command::new(VICTIM).args(words).stdin(Stdio::null()).output().expect("chaos-victim");
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && complaint.is_empty(), "{ODD} {words:?}: {}: {complaint}", output.status);
    String::from_utf8(output.stdout).expect("text").lines().map(str::to_owned).collect()
}

fn every_call() -> Vec<String> {
    lines(&["--list"])
}

/// Runs every call, and expects that each succeeds so many times.
#[track_caller]
fn all_succeed(options: &[&str], times: usize) {
    let calls = every_call();
    let words: Vec<&str> = options.iter().copied().chain(calls.iter().map(String::as_str)).collect();
    let lines = lines(&words);
    for call in &calls {
        let of_call = |line: &&String| line.split(' ').next() == Some(call);
        let of_call: Vec<&String> = lines.iter().filter(of_call).collect();
        assert_eq!(of_call.len(), times, "{ODD} {call}: {of_call:?}");
        for line in of_call {
            let [_, "ok", took] = line.split(' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
            took.parse::<u64>().expect("microseconds");
        }
    }
    assert_eq!(lines.len(), calls.len() * times);
}

#[test]
fn every_call_succeeds_without_faults() {
    let calls = every_call();
    let many = if cfg!(target_arch = "x86_64") { 80 } else { 60 };
    assert!(calls.len() > many, "{ODD} what it knows: {calls:?}");
    all_succeed(&[], 1);
    // One by one, where nothing is there that another call needed.
    for call in &calls {
        let lines = lines(&[call]);
        assert!(lines.len() == 1 && lines[0].starts_with(&format!("{call} ok ")), "{lines:?}");
    }
}

#[test]
fn every_call_can_be_repeated() {
    all_succeed(&["--repeat", "20"], 20);
}

#[test]
fn threads_make_every_call_at_once() {
    all_succeed(&["--threads", "4", "--repeat", "5"], 20);
}

#[test]
fn every_call_succeeds_in_every_place() {
    for place in ["thread", "grandchild", "exec"] {
        all_succeed(&["--in", place, "--repeat", "2"], 2);
    }
}

#[test]
fn a_failure_has_its_errno_and_the_others_go_on() {
    // A directory has no length to set, and cannot be written to.
    let dir = std::env::temp_dir();
    let dir = dir.to_str().expect("text");
    let lines = lines(&["--path", dir, "--repeat", "2", "truncate", "write", "newfstatat", "kill"]);
    let begin = ["truncate EISDIR ", "write prepare EISDIR openat2", "newfstatat ok ", "kill ok "];
    assert_eq!(lines.len(), 2 * begin.len(), "{lines:?}");
    for (line, begin) in lines.iter().zip(begin.iter().flat_map(|begin| [begin; 2])) {
        assert!(line.starts_with(begin), "{line}");
    }
}

#[test]
fn it_waits_for_a_byte() {
    let mut command = Command::new(VICTIM);
    command.args(["--go-on-stdin", "--in", "grandchild", "--threads", "2", "read", "execve"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("chaos-victim");
    let mut said = BufReader::new(child.stdout.take().expect("a pipe"));
    let mut line = String::new();
    said.read_line(&mut line).expect("a line");
    assert_eq!(line, "ready\n");
    child.stdin.take().expect("a pipe").write_all(b"x").expect("somebody who reads");
    let mut rest = String::new();
    said.read_to_string(&mut rest).expect("text");
    assert!(child.wait().expect("an end").success());
    assert_eq!(rest.matches(" ok ").count(), 4, "{rest}");
}

#[test]
fn nonsense_is_refused() {
    for words in [&["no-such-call"][..], &[], &["--repeat", "0", "read"], &["--in", "jail", "read"], &["--path"]] {
        let output = Command::new(VICTIM).args(words).output().expect("chaos-victim");
        assert_eq!(output.status.code(), Some(2), "{words:?}");
        assert!(output.stderr.starts_with(b"error: "), "{words:?}");
    }
}

//! Faults of system calls: the victim's own calls fail as asked, once each, and nobody else's do.
//!
//! Which calls can be hit by which mechanism is the kernel's; each test asks the product, and holds it to what it promised.

#[path = "syscalls/busy.rs"]
mod busy;
#[path = "syscalls/kprobe.rs"]
mod kprobe;
#[path = "syscalls/later.rs"]
mod later;
#[path = "syscalls/overlay.rs"]
mod overlay;
#[path = "syscalls/sleeping.rs"]
mod sleeping;
#[path = "syscalls/unix_socket.rs"]
mod unix_socket;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use chaos_tests::need;
use chaos_tests::net::Cgroup;
use chaos_tests::product::{Chaos, Experiment, Running};

/// What the trial of the product calls a kernel that lets nobody fail calls at their entry.
const CGROUP_CALLS: [&str; 3] = ["socket", "connect", "bind"];

struct Victim {
    child: Child,
    words: BufReader<std::process::ChildStdout>,
}

impl Victim {
    /// One that has prepared everything and waits for the word.
    fn start(mut command: Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut words = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        words.read_line(&mut line).unwrap();
        assert_eq!(line.trim(), "ready");
        Self { child, words }
    }

    /// Lets it begin.
    fn begin(&mut self) {
        self.child.stdin.take().unwrap().write_all(b"x").unwrap();
    }

    /// What it made of its calls, in their order; nothing if it was killed.
    fn made(mut self) -> Vec<Made> {
        let lines: Vec<String> = self.words.lines().map(Result::unwrap).collect();
        self.child.wait().unwrap();
        let made = |line: &String| {
            let mut words = line.split(' ');
            let (call, result) = (words.next()?.to_owned(), words.next()?.to_owned());
            Some(Made { call, result, took: Duration::from_micros(words.next()?.parse().unwrap_or(0)) })
        };
        lines.iter().filter_map(made).collect()
    }

    /// How its calls ended.
    fn go(mut self) -> Vec<(String, String)> {
        self.begin();
        self.made().into_iter().map(|made| (made.call, made.result)).collect()
    }
}

/// A call that a victim made.
#[derive(Clone, Debug)]
struct Made {
    call: String,
    /// `ok` or the error's name.
    result: String,
    /// How long the call alone took.
    took: Duration,
}

fn words<'a>(more: &[&'a str], calls: &[&'a str]) -> Vec<&'a str> {
    [&[env!("CARGO_BIN_EXE_chaos-victim"), "--go-on-stdin"], more, calls].concat()
}

fn inside(cgroup: &Cgroup, more: &[&str], calls: &[&str]) -> Victim {
    Victim::start(cgroup.command(None, &words(more, calls)))
}

fn outside(more: &[&str], calls: &[&str]) -> Victim {
    let words = words(more, calls);
    let mut command = Command::new(words[0]);
    command.args(&words[1..]);
    Victim::start(command)
}

/// By the mechanism of each call that this kernel has, as `chaos check` says; asked once.
fn promised(chaos: &Chaos) -> BTreeMap<String, String> {
    let row = |row: &serde_json::Value| Some((row["call"].as_str()?.into(), row["mechanism"].as_str()?.into()));
    calls(chaos).iter().filter_map(row).collect()
}

/// What `chaos check` says of calls.
fn calls(chaos: &Chaos) -> &'static [serde_json::Value] {
    static CALLS: OnceLock<Vec<serde_json::Value>> = OnceLock::new();
    CALLS.get_or_init(|| {
        let output = chaos.command(&["check", "-o", "json"]);
        let check: serde_json::Value =
            serde_json::from_str(&output.stdout).unwrap_or_else(|e| panic!("{e}: {}", output.text()));
        check["calls"].as_array().unwrap().clone()
    })
}

/// What a victim can do.
fn listed() -> Vec<String> {
    let listed = Command::new(env!("CARGO_BIN_EXE_chaos-victim")).arg("--list").output().unwrap();
    String::from_utf8(listed.stdout).unwrap().lines().map(str::to_owned).collect()
}

/// A place for a victim, and how to name it in an experiment.
fn scene() -> Option<(Chaos, Cgroup, Cgroup, String)> {
    if !need::root() || !need::product() || !need::cgroup2() {
        return None;
    }
    let chaos = Chaos::find().unwrap();
    if promised(&chaos).is_empty() {
        need::absent("programs for calls: they need Linux 5.17");
        return None;
    }
    let slice = Cgroup::new("calls");
    let cgroup = slice.child("victim");
    let target = format!("cgroup: {}", cgroup.name());
    Some((chaos, slice, cgroup, target))
}

fn fault(calls: &[&str], rest: &str) -> String {
    format!("syscall: {{ calls: [{}], {rest} }}", calls.join(", "))
}

fn inject(chaos: &Chaos, target: &str, fault: &str) -> Running {
    let mut running = Running::start(chaos, &Experiment::on(target).duration("120s").fault(fault));
    running.await_injected();
    running
}

#[test]
fn every_call_that_check_promises_fails_once_and_only_inside() {
    let Some((chaos, _slice, cgroup, target)) = scene() else { return };
    let promised = promised(&chaos);
    for call in CGROUP_CALLS {
        assert!(promised.contains_key(call), "{call} can be hit on any kernel from Linux 5.18 on: {promised:?}");
    }
    let listed = listed();
    // Asking for the break is no request for memory, and nothing but the entry sees it.
    let asks_nothing = |call: &str| call == "brk" && promised.get("brk").is_some_and(|by| by == "lsm");
    let known = |call: &&str| promised.contains_key(*call) && !asks_nothing(call);
    let calls: Vec<&str> = listed.iter().map(String::as_str).filter(known).collect();
    let (hit, spared) = (inside(&cgroup, &[], &calls), outside(&[], &calls));
    // A fault takes 64 calls.
    let experiment = calls.chunks(60).fold(Experiment::on(&target).duration("600s"), |experiment, calls| {
        experiment.fault(&fault(calls, "errno: EIO, match: { all: true }"))
    });
    let running = Running::start(&chaos, &experiment);
    // A program for each call: an emulated machine takes its time.
    assert!((0..8).any(|_| running.wait_for("injected", "50s").code == 0), "not injected");
    let results = hit.go();
    let beside = spared.go();
    let report = running.finish_any().report().clone();
    assert_eq!(results.len(), calls.len(), "{results:?}");
    let wrong: Vec<_> = results.iter().filter(|(_, result)| result != "EIO").collect();
    assert!(wrong.is_empty(), "{wrong:?}");
    assert!(beside.iter().all(|(_, result)| result == "ok"), "{beside:?}");
    let injected: u64 =
        ["fault-0", "fault-1"].iter().take(calls.chunks(60).len()).map(|f| report.fault(f).injected()).sum();
    // The victim makes calls beside those that it measures.
    assert!(injected >= calls.len() as u64, "{report:?}");
    println!("{promised:?}");
    need::measured(&format!("{} calls that check promises fail", calls.len()));
}

#[test]
fn threads_grandchildren_and_new_programs_are_hit_too() {
    let Some((chaos, _slice, cgroup, target)) = scene() else { return };
    let waiting = inside(&cgroup, &[], &["bind"]);
    let running = inject(&chaos, &target, &fault(&["connect"], "errno: ETIMEDOUT, match: { all: true }"));
    for place in ["thread", "grandchild", "exec"] {
        let results = inside(&cgroup, &["--in", place], &["connect", "bind"]).go();
        assert_eq!(results, [("connect".into(), "ETIMEDOUT".into()), ("bind".into(), "ok".into())], "{place}");
    }
    let report = running.finish_any().report().clone();
    assert_eq!(report.only_fault().injected(), 3);
    assert_eq!(waiting.go(), [("bind".to_owned(), "ok".to_owned())]);
}

#[test]
fn triggers_are_exact_with_many_threads() {
    let Some((chaos, _slice, cgroup, target)) = scene() else { return };
    // What is to be hit of so many that matched.
    type Expected = fn(u64) -> u64;
    let cases: [(&str, Expected); 3] =
        [("nth: 7", |_| 1), ("budget: 33", |_| 33), ("every: 10", |matched| matched / 10)];
    for (when, expected) in cases {
        let fault =
            format!("when: {{ {when} }}, {}", fault(&["socket"], "errno: EMFILE, match: { comm: \"chaos-vict*\" }"));
        let victim = inside(&cgroup, &["--threads", "8", "--repeat", "100"], &["socket"]);
        let running = inject(&chaos, &target, &fault);
        let results = victim.go();
        let hits = results.iter().filter(|(_, result)| result == "EMFILE").count() as u64;
        let report = running.finish_any().report().clone();
        assert_eq!(results.len(), 800);
        // Where a thread was interrupted in the program, the kernel let others pass it, and says how many.
        let counted = report.only_fault();
        let (matched, missed) = (counted.matched(), counted.count("recursionMisses"));
        assert_eq!((counted.injected(), expected(matched)), (hits, hits), "{when}: {matched} matched");
        assert!(matched <= 800 && matched + missed >= 800, "{when}: {matched} and {missed} missed");
    }
}

#[test]
fn a_dry_run_and_another_port_harm_nothing() {
    let Some((chaos, _slice, cgroup, target)) = scene() else { return };
    let victim = inside(&cgroup, &[], &["connect"]);
    let fault = fault(&["connect"], "errno: ECONNREFUSED, match: { ports: [1] }");
    let running = inject(&chaos, &target, &fault);
    assert_eq!(victim.go(), [("connect".to_owned(), "ok".to_owned())]);
    let report = running.finish_any().report().clone();
    assert_eq!((report.only_fault().injected(), report.only_fault().count("seen")), (0, 1));
    let victim = inside(&cgroup, &[], &["socket"]);
    let experiment = Experiment::on(&target).duration("120s").setting("dryRun: true");
    let mut running =
        Running::start(&chaos, &experiment.fault(&self::fault(&["socket"], "errno: EMFILE, match: { all: true }")));
    running.await_injected();
    assert_eq!(victim.go(), [("socket".to_owned(), "ok".to_owned())]);
    let report = running.finish_any().report().clone();
    assert_eq!((report.only_fault().injected(), report.only_fault().count("wouldInject")), (0, 1));
}

#[test]
fn paths_are_those_that_the_target_sees() {
    let Some((chaos, _slice, cgroup, target)) = scene() else { return };
    let promised = promised(&chaos);
    if !promised.contains_key("openat") {
        need::absent("calls of files: this kernel lets no program fail them");
        return;
    }
    let long = format!("/tmp/chaos-{}/{}", std::process::id(), "folder-with-a-long-name/".repeat(9));
    std::fs::create_dir_all(&long).unwrap();
    let root = format!("/tmp/chaos-{}", std::process::id());
    let calls = ["openat", "openat2", "read", "write", "newfstatat", "unlinkat"];
    let fault = fault(&calls, &format!("errno: EIO, match: {{ paths: [\"{root}/*/**/file\"] }}"));
    let other = format!("{root}/file");
    for (path, wanted) in [(format!("{long}file"), "EIO"), (other, "ok")] {
        let victim = inside(&cgroup, &["--path", &path], &calls);
        let running = inject(&chaos, &target, &fault);
        let results = victim.go();
        let report = running.finish_any().report().clone();
        assert!(results.iter().all(|(_, result)| result == wanted), "{path}: {results:?}\n{report:?}");
    }
    std::fs::remove_dir_all(root).unwrap();
}

#[test]
fn a_killed_owner_leaves_no_fault() {
    let Some((chaos, _slice, cgroup, target)) = scene() else { return };
    let victim = inside(&cgroup, &[], &["socket"]);
    let running = inject(&chaos, &target, &fault(&["socket"], "errno: EMFILE, match: { all: true }"));
    running.kill9();
    assert_eq!(victim.go(), [("socket".to_owned(), "ok".to_owned())]);
}

#[test]
fn what_this_kernel_cannot_is_refused_with_the_reason() {
    let Some((chaos, _slice, cgroup, target)) = scene() else { return };
    let _victim = inside(&cgroup, &[], &["socket"]);
    let experiment =
        Experiment::on(&target).fault(&fault(&["sendto"], "errno: EIO, mechanism: cgroup, match: { all: true }"));
    let ended = Running::start(&chaos, &experiment).ended();
    assert_eq!(ended.output.code, 3, "{}", ended.output.text());
    assert!(ended.output.text().contains("cannot tell sendto from sendmsg and sendmmsg"), "{}", ended.output.text());
}

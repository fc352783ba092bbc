//! `chaos run FILE -- CMD`: the command runs in a cgroup of its own, is hit alone, ends the experiment, and nothing is left.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use chaos_tests::clock::wait_until;
use chaos_tests::lab::Lab;
use chaos_tests::net::cgroup::mount_point;
use chaos_tests::product::experiment::SpecFile;
use chaos_tests::product::{Experiment, Report};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const SOON: Duration = Duration::from_secs(20);
const REFUSED: &str = "name: cut, syscall: { calls: [connect], errno: ECONNREFUSED, match: { all: true } }";
const VICTIM: &str = env!("CARGO_BIN_EXE_chaos-victim");

/// A file without a selector.
fn bare(fault: &str) -> SpecFile {
    let experiment = Experiment::on("command: true").duration("120s").fault(fault);
    let lines: Vec<&str> = experiment.yaml().leak().lines().collect();
    let start = lines.iter().position(|line| line.trim() == "selector:").expect("a selector");
    let end = lines.iter().position(|line| line.trim() == "faults:").expect("faults");
    SpecFile::with("command", &[&lines[..start], &lines[end..]].concat().join("\n"))
}

struct Run {
    child: Child,
    said: BufReader<std::process::ChildStderr>,
}

impl Run {
    fn start(lab: &Lab, file: &SpecFile, command: &[&str]) -> Self {
        let mut run = Command::new(lab.chaos.path());
        run.args(["run", "-o", "json"]).arg(file.path()).arg("--").args(command);
        let mut child =
            run.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("chaos run");
        let said = BufReader::new(child.stderr.take().expect("its stderr"));
        Self { child, said }
    }

    /// Reads what the command prints until a line of it has these words; the rest of that line.
    #[track_caller]
    fn line(&mut self, begin: &str) -> String {
        let mut all = String::new();
        loop {
            let mut line = String::new();
            let read = self.said.read_line(&mut line).expect("its stderr");
            assert!(read > 0, "no line has {begin:?}: {all}");
            // What chaos itself says may have begun the line.
            if let Some((_, rest)) = line.split_once(begin) {
                return rest.trim().to_owned();
            }
            all += &line;
        }
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id() as i32)
    }

    /// Its exit code and report.
    #[track_caller]
    fn ended(mut self) -> (i32, Report) {
        drop(self.child.stdin.take());
        let mut rest = String::new();
        std::io::Read::read_to_string(&mut self.said, &mut rest).expect("its stderr");
        let output = self.child.wait_with_output().expect("its end");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let report = Report::parse(&text).unwrap_or_else(|| panic!("no report: {text}\n{rest}"));
        (output.status.code().unwrap_or(-1), report)
    }
}

/// Cgroups that some run made for its command.
fn groups() -> Vec<PathBuf> {
    let (mut found, mut open) = (Vec::new(), vec![mount_point()]);
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                if entry.file_name().to_string_lossy().starts_with("chaos-run-") {
                    found.push(entry.path());
                }
                open.push(entry.path());
            }
        }
    }
    found
}

fn lives(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

fn outside() -> String {
    let output = Command::new(VICTIM).arg("connect").output().expect("the victim");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn the_command_alone_is_hit_and_its_end_is_the_experiments() {
    let Some(lab) = Lab::alone() else { return };
    let file = bare(REFUSED);
    let mut run = Run::start(&lab, &file, &[VICTIM, "--go-on-stdin", "connect"]);
    run.line("ready");
    assert!(outside().starts_with("connect ok"), "others are untouched");
    assert_eq!(groups().len(), 1);
    run.child.stdin.as_mut().expect("its stdin").write_all(b"x").expect("a byte");
    assert!(run.line("connect ").starts_with("ECONNREFUSED"));
    let (code, report) = run.ended();
    assert_eq!((code, report.verdict()), (0, "Pass"), "{}", report.json);
    assert_eq!(report.json["command"]["exitCode"], 0, "{}", report.json);
    assert_eq!(report.json["targets"][0]["kind"], "command", "{}", report.json);
    assert_eq!(report.only_fault().injected(), 1);
    assert_eq!(groups(), Vec::<PathBuf>::new());
}

#[test]
fn its_exit_code_is_in_the_report_and_what_it_left_ends_with_it() {
    let Some(lab) = Lab::alone() else { return };
    let file = bare(REFUSED);
    let mut run = Run::start(&lab, &file, &["sh", "-c", "sleep 1000 & echo left $!; exit 7"]);
    let left = run.line("left ");
    let (code, report) = run.ended();
    assert_eq!((code, report.verdict()), (4, "NoEffect"), "{}", report.json);
    assert_eq!(report.json["command"]["exitCode"], 7, "{}", report.json);
    assert!(!lives(&left), "what the command has started ends with it");
    assert_eq!(groups(), Vec::<PathBuf>::new());
}

#[test]
fn packets_of_the_command_alone_are_hit() {
    let Some(lab) = Lab::alone() else { return };
    let file = bare("name: cut, network: { match: { all: true }, partition: true }");
    let (a, b) = (lab.hosts.a.ns.name(), lab.hosts.b.v4.to_string());
    let ping = format!("ping -c 2 -W 1 {b} > /dev/null; echo ended $?; read line");
    // ip netns exec would mount another sysfs, without the cgroups.
    let enter = format!("--net=/run/netns/{a}");
    let mut run = Command::new("nsenter");
    run.arg(&enter).arg(lab.chaos.path()).args(["run", "-o", "json"]).arg(file.path());
    let mut child = run
        .args(["--", "sh", "-c", &ping])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("chaos run");
    let said = BufReader::new(child.stderr.take().expect("its stderr"));
    let mut run = Run { child, said };
    assert_eq!(run.line("ended "), "1", "its own packets are lost");
    let beside = Command::new("nsenter").args([&enter, "ping", "-c", "2", "-W", "1", &b]).output().expect("ping");
    assert!(beside.status.success(), "others of its network namespace are untouched");
    let (code, report) = run.ended();
    assert_eq!(code, 0, "{}", report.json);
    assert!(report.only_fault().injected() >= 2);
}

#[test]
fn a_signal_reaches_the_command_and_a_kill_leaves_nothing() {
    let Some(lab) = Lab::alone() else { return };
    let file = bare(REFUSED);
    let trap = "trap 'exit 9' TERM; echo ready $$; while :; do sleep 0.05; done";
    let mut run = Run::start(&lab, &file, &["sh", "-c", trap]);
    run.line("ready ");
    kill(run.pid(), Signal::SIGTERM).expect("a signal");
    let (code, report) = run.ended();
    assert_eq!((code, report.verdict()), (5, "Aborted"), "{}", report.json);
    assert_eq!(report.json["command"]["exitCode"], 9, "{}", report.json);
    assert_eq!(groups(), Vec::<PathBuf>::new());

    for next in [&["cleanup"][..], &["run", "-o", "json"][..]] {
        let mut run = Run::start(&lab, &file, &["sh", "-c", "sleep 1000 & echo ready $! $$; wait"]);
        let pids = run.line("ready ");
        kill(run.pid(), Signal::SIGKILL).expect("a signal");
        run.child.wait().expect("its end");
        let (left, shell) = pids.split_once(' ').expect("two numbers");
        assert!(wait_until(SOON, || !lives(shell)), "the command ends with its owner");
        if next[0] == "cleanup" {
            let text = lab.chaos.command(next).expect_code(0).stdout;
            assert!(text.contains("removed cgroup "), "{text}");
        } else {
            let path = file.path().to_string_lossy().into_owned();
            lab.chaos.command(&[next, &[&path, "--", "true"]].concat()).expect_code(4);
        }
        assert!(!lives(left) && groups().is_empty(), "{:?}", groups());
    }
}

#[test]
fn what_is_missing_is_named() {
    let Some(lab) = Lab::open() else { return };
    let file = bare(REFUSED);
    let path = file.path().to_string_lossy().into_owned();
    let named = Experiment::on("command: true").fault(REFUSED).write();
    let named = named.path().to_string_lossy().into_owned();
    let other = Experiment::on_netns("web").fault("network: { match: { all: true }, partition: true }").write();
    let other = other.path().to_string_lossy().into_owned();
    for (words, said) in [
        (vec!["run", &path], "spec.selector"),
        (vec!["run", &named], "add -- CMD"),
        (vec!["plan", &named], "add -- CMD"),
        (vec!["run", &path, "--", "no-such-program"], "no-such-program"),
        (vec!["run", &other, "--", "true"], "no experiment selects the command"),
    ] {
        let text = lab.chaos.command(&words).expect_code(2).text();
        assert!(text.contains(said), "{words:?}: {text}");
    }
    let text = lab.chaos.command(&["plan", &path, "--", "true"]).expect_code(0).stdout;
    assert!(text.contains("target command true"), "{text}");
    lab.chaos.command(&["validate", &path, "--", "true"]).expect_code(0);
}

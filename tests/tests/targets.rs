//! Targets: a namespace, a cgroup, a process; those inside are hit and those outside are not.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Stdio};
use std::time::Duration;

use chaos_tests::lab::Lab;
use chaos_tests::need;
use chaos_tests::net::{Cgroup, Family, NetNs};
use chaos_tests::product::Experiment;
use chaos_tests::scene::{Direction, PORT};
use chaos_tests::traffic::udp_receiver::Receiver;

const COUNT: usize = 100;

/// A process in a cgroup, in the namespace of host `a`, that sends when told to.
struct Sender {
    child: Child,
    words: BufReader<std::process::ChildStdout>,
}

impl Sender {
    fn start(cgroup: &Cgroup, ns: &NetNs, to: &str) -> Self {
        let program = env!("CARGO_BIN_EXE_chaos-datagrams");
        let mut command = cgroup.command(Some(ns), &[program, to, &COUNT.to_string()]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let words = BufReader::new(child.stdout.take().unwrap());
        let mut sender = Self { child, words };
        sender.expect("ready");
        sender
    }

    fn expect(&mut self, wanted: &str) {
        let mut line = String::new();
        self.words.read_line(&mut line).unwrap();
        assert_eq!(line.trim(), wanted);
    }

    /// Has it send, and counts what arrives.
    fn arrivals(&mut self, to: &NetNs) -> usize {
        let receiver = Receiver::start(to, PORT);
        self.child.stdin.as_mut().unwrap().write_all(b"go\n").unwrap();
        self.expect("sent");
        receiver.finish(to, Duration::from_millis(200)).len()
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn to_b(lab: &Lab, family: Family) -> String {
    lab.hosts.b.at(family, PORT).to_string()
}

#[test]
fn a_cgroup_and_all_below_it_is_hit_and_nothing_beside_it() {
    let Some(lab) = Lab::open() else { return };
    if !need::cgroup2() {
        return;
    }
    // What stands directly below the root is too large to be a target.
    let slice = Cgroup::new("slice");
    let (target, beside) = (slice.child("target"), slice.child("beside"));
    let below = target.child("below");
    for family in Family::BOTH {
        let to = to_b(&lab, family);
        let mut inside = Sender::start(&target, &lab.hosts.a.ns, &to);
        let mut deeper = Sender::start(&below, &lab.hosts.a.ns, &to);
        let mut outside = Sender::start(&beside, &lab.hosts.a.ns, &to);
        let experiment =
            Experiment::on(&format!("cgroup: {}", target.name())).fault(&Direction::Egress.fault("partition: true"));
        let running = lab.chaos.run(&experiment);
        let mut later = Sender::start(&target, &lab.hosts.a.ns, &to);
        let b = &lab.hosts.b.ns;
        let counts = [&mut inside, &mut deeper, &mut later, &mut outside].map(|sender| sender.arrivals(b));
        assert_eq!(counts, [0, 0, 0, COUNT], "{family}: inside, below, started later, beside");
        let report = running.finish();
        assert_eq!(report.only_fault().injected(), 3 * COUNT as u64, "{family}");
        assert_eq!(report.json["targets"][0]["cgroupId"], target.id(), "{family}: {}", report.json);
        assert_eq!(inside.arrivals(b), COUNT, "{family}: after the end");
    }
}

#[test]
fn a_process_stands_for_its_cgroup_and_namespace() {
    let Some(lab) = Lab::open() else { return };
    if !need::cgroup2() {
        return;
    }
    // What stands directly below the root is too large to be a target.
    let slice = Cgroup::new("slice");
    let (target, beside) = (slice.child("target"), slice.child("beside"));
    let to = to_b(&lab, Family::V4);
    let mut inside = Sender::start(&target, &lab.hosts.a.ns, &to);
    let mut outside = Sender::start(&beside, &lab.hosts.a.ns, &to);
    let experiment =
        Experiment::on(&format!("pid: {}", inside.child.id())).fault(&Direction::Egress.fault("partition: true"));
    let running = lab.chaos.run(&experiment);
    assert_eq!((inside.arrivals(&lab.hosts.b.ns), outside.arrivals(&lab.hosts.b.ns)), (0, COUNT));
    running.finish();
}

#[test]
fn a_process_that_shares_its_cgroup_with_strangers_is_refused() {
    let Some(lab) = Lab::open() else { return };
    if !need::cgroup2() {
        return;
    }
    let shared = Cgroup::new("shared");
    let to = to_b(&lab, Family::V4);
    let one = Sender::start(&shared, &lab.hosts.a.ns, &to);
    let stranger = Sender::start(&shared, &lab.hosts.a.ns, &to);
    let experiment = Experiment::on(&format!("pid: {}", one.child.id()))
        .duration("1s")
        .fault(&Direction::Egress.fault("partition: true"));
    let output = lab.chaos.run_to_end(&experiment, &[]);
    assert!(matches!(output.code, 2 | 7), "{}: {}", output.code, output.text());
    assert!(output.text().contains(&stranger.child.id().to_string()), "the stranger is named: {}", output.text());
    assert!(output.text().contains("systemd-run"), "the remedy is named: {}", output.text());
}

#[test]
fn a_namespace_is_found_by_path_too() {
    let Some(lab) = Lab::open() else { return };
    let experiment = Experiment::on(&format!("netns: {}", lab.hosts.a.ns.path().display()));
    let running = lab.chaos.run(&experiment.fault(&Direction::Egress.fault("partition: true")));
    assert_eq!(Direction::Egress.send(&lab, Family::V4, |flow| flow.count(50)).lost(), 50);
    running.finish();
}

#[test]
fn the_root_of_all_cgroups_is_refused() {
    let Some(lab) = Lab::open() else { return };
    if !need::cgroup2() {
        return;
    }
    let experiment = Experiment::on("cgroup: /").duration("1s").fault(&Direction::Egress.fault("partition: true"));
    let output = lab.chaos.run_to_end(&experiment, &[]);
    assert!(matches!(output.code, 2 | 7), "{}: {}", output.code, output.text());
}

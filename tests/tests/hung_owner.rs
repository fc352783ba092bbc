//! A run whose process hangs: it can be stopped without its help, and it is in nobody's way.

use std::process::Child;
use std::time::Duration;

use chaos_tests::clock::{now_ns, wait_until};
use chaos_tests::lab::Lab;
use chaos_tests::need;
use chaos_tests::net::{Counters, Family, NetNs};
use chaos_tests::product::{Leftovers, Running};
use chaos_tests::scene::{Direction, PORT};
use chaos_tests::traffic::Flow;
use chaos_tests::traffic::udp::Stream;
use nix::sys::signal::Signal;

/// A lease that was renewed at the last moment has 1.5 s left: what ends sooner did not wait for it.
const AT_ONCE_MS: u64 = 1_000;
const OTHER: u16 = PORT + 1;

fn both(lab: &Lab) -> [&NetNs; 2] {
    [&lab.hosts.a.ns, &lab.hosts.b.ns]
}

fn cut(port: u16) -> String {
    format!("name: f, network: {{ match: {{ protocol: udp, ports: [{port}] }}, partition: true }}")
}

/// Whether datagrams from `a` reach a port of `b`: all of them or none.
#[track_caller]
fn reached(lab: &Lab, port: u16) -> bool {
    let lost = Flow::to(lab.hosts.b.at(Family::V4, port)).count(50).run(&lab.hosts.a.ns, &lab.hosts.b.ns).lost();
    assert!(matches!(lost, 0 | 50), "{lost} of 50 lost on port {port}");
    lost == 0
}

/// A run that acts, and whose process no longer does.
fn hung(lab: &Lab) -> Running {
    let running = lab.inject(&cut(PORT));
    assert!(!reached(lab, PORT), "it acts");
    running.signal(Signal::SIGSTOP);
    running
}

/// Milliseconds from a command's start to the first packet that passed again.
#[track_caller]
fn effect_after(lab: &Lab, command: &[&str]) -> (u64, Child) {
    let (a, b) = (&lab.hosts.a.ns, &lab.hosts.b.ns);
    let stream = Stream::start(Flow::to(lab.hosts.b.at(Family::V4, PORT)).rate(1_000).endless(), a, b);
    let started_ns = now_ns();
    let child = lab.chaos.start(command);
    let before = Counters::of(b).get("UdpInDatagrams");
    let passes = || Counters::of(b).get("UdpInDatagrams") > before + 20;
    let passed = wait_until(Duration::from_secs(10), passes);
    let outcome = stream.stop(b);
    assert!(passed, "{command:?}: still cut off after ten seconds");
    assert!(outcome.missing().first() == Some(&0), "{command:?}: it was still cut off when the command began");
    let first = outcome.first_sent_after(started_ns).expect("packets that passed");
    ((first - started_ns) / 1_000_000, child)
}

#[test]
fn stop_needs_no_help_of_the_owner() {
    let Some(lab) = Lab::alone() else { return };
    lab.inject(&cut(PORT)).finish_any();
    let before = Leftovers::now(&both(&lab));
    for by_name in [false, true] {
        let running = hung(&lab);
        let pid = running.pid().to_string();
        let name = running.name().to_owned();
        let target = if by_name { name.as_str() } else { "--all" };
        let (took_ms, child) = effect_after(&lab, &["stop", target]);
        need::measured(&format!("stop {target}: without effect after {took_ms} ms"));
        assert!(took_ms < AT_ONCE_MS, "stop {target}: it acted for {took_ms} ms more");
        let output = child.wait_with_output().expect("the command's output");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(0), "stop {target}: {said}");
        assert!(said.contains(&pid) && said.contains(&name), "who does not react is named: {said}");
        assert!(reached(&lab, PORT), "stop {target}: it came back");
        running.signal(Signal::SIGCONT);
        let ended = running.ended();
        assert_eq!((ended.output.code, ended.report().verdict()), (5, "Aborted"), "{}", ended.output.text());
        assert!(reached(&lab, PORT), "stop {target}: it came back with its owner");
        before.assert_restored(&both(&lab));
    }
}

#[test]
fn stop_all_reaches_the_hung_and_the_well() {
    let Some(lab) = Lab::alone() else { return };
    let well = lab.inject(&cut(OTHER));
    let running = hung(&lab);
    assert!(!reached(&lab, OTHER));
    lab.chaos.command(&["stop", "--all"]).expect_code(0);
    assert!(reached(&lab, PORT) && reached(&lab, OTHER), "both are off when the command returns");
    running.signal(Signal::SIGCONT);
    for run in [well, running] {
        let ended = run.ended();
        assert_eq!((ended.output.code, ended.report().verdict()), (5, "Aborted"), "{}", ended.output.text());
    }
}

#[test]
fn another_run_starts_beside_a_hung_one_and_outlives_it() {
    let Some(lab) = Lab::alone() else { return };
    lab.inject(&cut(PORT)).finish_any();
    let before = Leftovers::now(&both(&lab));
    for stopped in [false, true] {
        let running = hung(&lab);
        if stopped {
            lab.chaos.command(&["stop", "--all"]).expect_code(0);
        }
        let second = lab.inject(&cut(OTHER));
        assert!(!reached(&lab, OTHER), "stopped: {stopped}: the second acts");
        assert!(wait_until(Duration::from_secs(5), || reached(&lab, PORT)), "the first outlives its lease");
        lab.chaos.command(&["cleanup"]).expect_code(0);
        assert!(!reached(&lab, OTHER), "stopped: {stopped}: the second acts after a cleanup");
        running.signal(Signal::SIGCONT);
        let ended = running.ended();
        assert_eq!((ended.output.code, ended.report().verdict()), (5, "Aborted"), "{}", ended.output.text());
        assert_eq!(
            [PORT, OTHER].map(|port| reached(&lab, port)),
            [true, false],
            "the first is gone, the second is not"
        );
        let report = second.finish();
        assert_eq!(report.only_fault().injected(), 150, "stopped: {stopped}: {}", report.json);
        assert_eq!([PORT, OTHER].map(|port| reached(&lab, port)), [true, true]);
        before.assert_restored(&both(&lab));
    }
}

#[test]
fn a_fault_on_the_same_packets_acts_beside_a_hung_one() {
    let Some(lab) = Lab::open() else { return };
    let running = hung(&lab);
    let second = Direction::Egress.inject(&lab, "duplicate: { percent: 100 }");
    let all_twice = || {
        let outcome = Direction::Egress.send(&lab, Family::V4, |flow| flow.count(50));
        (outcome.received(), outcome.duplicates) == (50, 50)
    };
    assert!(wait_until(Duration::from_secs(5), all_twice), "the hung partition is over, the copies are made");
    running.signal(Signal::SIGCONT);
    assert_eq!(running.ended().output.code, 5);
    assert!(all_twice(), "after the end of the first");
    second.finish();
}

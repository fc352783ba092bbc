//! A process that dies or hangs cannot prolong its faults: the kernel ends them within the lease of two seconds.

use std::time::Duration;

use chaos_tests::clock::{now_ns, wait_until};
use chaos_tests::lab::Lab;
use chaos_tests::net::{Counters, Family};
use chaos_tests::product::{Leftovers, Running};
use chaos_tests::scene::{Direction, PORT};
use chaos_tests::traffic::Flow;
use chaos_tests::traffic::udp::Stream;
use nix::sys::signal::Signal;

/// The lease is renewed to two seconds ahead; half a second is for looking.
const LEASE_S: f64 = 2.5;

fn lost(lab: &Lab, direction: Direction) -> u64 {
    direction.send(lab, Family::V4, |flow| flow.count(50)).lost()
}

/// Cuts a direction off, does something to the run, and measures how long after that packets pass again.
fn seconds_of_effect(
    lab: &Lab,
    direction: Direction,
    strike: impl FnOnce(Running) -> Option<Running>,
) -> (f64, Option<Running>) {
    let running = lab.inject(&direction.fault("partition: true"));
    assert_eq!(lost(lab, direction), 50, "{direction}");
    let (from, to) = direction.ends(lab);
    let stream = Stream::start(Flow::to(to.at(Family::V4, PORT)).rate(500).endless(), &from.ns, &to.ns);
    let struck_ns = now_ns();
    let running = strike(running);
    let before = Counters::of(&to.ns).get("UdpInDatagrams");
    let passes = || Counters::of(&to.ns).get("UdpInDatagrams") > before + 20;
    let passed = wait_until(Duration::from_secs(10), passes);
    let outcome = stream.stop(&to.ns);
    assert!(passed, "{direction}: still cut off after ten seconds");
    let first = outcome.first_sent_after(struck_ns).expect("packets that passed");
    ((first - struck_ns) as f64 / 1e9, running)
}

#[test]
fn a_killed_run_loses_its_effect_and_cleanup_takes_the_rest() {
    let Some(lab) = Lab::alone() else { return };
    let namespaces = [&lab.hosts.a.ns, &lab.hosts.b.ns];
    lab.inject(&Direction::Egress.fault("partition: true")).finish_any();
    let before = Leftovers::now(&namespaces);
    for direction in Direction::BOTH {
        let (seconds, _) = seconds_of_effect(&lab, direction, |running| {
            running.kill9();
            None
        });
        assert!(seconds <= LEASE_S, "{direction}: the effect outlived its process by {seconds} s");
        lab.chaos.command(&["cleanup"]).expect_code(0);
        before.assert_restored(&namespaces);
    }
}

#[test]
fn a_run_after_a_crash_works_without_cleanup() {
    let Some(lab) = Lab::alone() else { return };
    lab.inject(&Direction::Egress.fault("partition: true")).kill9();
    let running = lab.inject(&Direction::Egress.fault("loss: { percent: 100 }"));
    assert_eq!(lost(&lab, Direction::Egress), 50);
    assert_eq!(running.finish().only_fault().matched(), 50, "the dead run's rules take nothing away");
    assert_eq!(lost(&lab, Direction::Egress), 0);
}

#[test]
fn a_stopped_run_loses_its_effect_for_good() {
    let Some(lab) = Lab::open() else { return };
    let (seconds, running) = seconds_of_effect(&lab, Direction::Egress, |running| {
        running.signal(Signal::SIGSTOP);
        Some(running)
    });
    let running = running.expect("the stopped run");
    assert!(seconds <= LEASE_S, "the effect outlived the stop by {seconds} s");
    running.signal(Signal::SIGCONT);
    let ended = running.ended();
    assert_eq!((ended.output.code, ended.report().verdict()), (5, "Aborted"), "{}", ended.output.text());
    assert!(ended.report().reason().contains("LeaseLost"), "{}", ended.report().reason());
    assert_eq!(lost(&lab, Direction::Egress), 0, "it must not come back");
}

#[test]
fn a_short_stop_is_survived() {
    let Some(lab) = Lab::open() else { return };
    let running = lab.inject(&Direction::Egress.fault("partition: true"));
    running.signal(Signal::SIGSTOP);
    assert_eq!(lost(&lab, Direction::Egress), 50);
    running.signal(Signal::SIGCONT);
    assert_eq!(running.finish().only_fault().injected(), 50);
}

/// The deadline is the kernel's too: a process that is stopped just before its end cannot overstay it.
#[test]
fn the_duration_is_kept_by_the_kernel() {
    let Some(lab) = Lab::open() else { return };
    let (a, b) = (&lab.hosts.a.ns, &lab.hosts.b.ns);
    let stream = Stream::start(Flow::to(lab.hosts.b.at(Family::V4, PORT)).rate(500).endless(), a, b);
    let running = lab.chaos.run(&lab.experiment().duration("1s").fault(&Direction::Egress.fault("partition: true")));
    running.signal(Signal::SIGSTOP);
    let before = Counters::of(b).get("UdpInDatagrams");
    assert!(wait_until(Duration::from_secs(10), || Counters::of(b).get("UdpInDatagrams") > before + 100));
    let outcome = stream.stop(b);
    running.signal(Signal::SIGCONT);
    running.ended();
    let missing = outcome.missing();
    let sent_at =
        |number: u64| outcome.arrivals.iter().find(|(payload, _)| payload.sequence == number).unwrap().0.sent_ns;
    let gap_s = (sent_at(missing[missing.len() - 1] + 1) - sent_at(missing[0] - 1)) as f64 / 1e9;
    assert!((0.9..1.25).contains(&gap_s), "a fault of 1 s acted for {gap_s} s");
}

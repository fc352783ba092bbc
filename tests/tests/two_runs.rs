//! Two runs on one target: they act together, and either may leave first.

use chaos_tests::lab::Lab;
use chaos_tests::net::{Family, NetNs};
use chaos_tests::product::Leftovers;
use chaos_tests::scene::{Direction, PORT};
use chaos_tests::traffic::Flow;

fn cut(port: u16) -> String {
    format!("name: f, network: {{ match: {{ protocol: udp, ports: [{port}] }}, partition: true }}")
}

/// Which of the ports 7000 and 7001 are reached from `a`.
fn reached(lab: &Lab) -> [bool; 2] {
    [7000, 7001].map(|port| {
        let flow = Flow::to(lab.hosts.b.at(Family::V4, port)).count(50);
        let lost = flow.run(&lab.hosts.a.ns, &lab.hosts.b.ns).lost();
        assert!(matches!(lost, 0 | 50), "{lost} of 50 lost on port {port}");
        lost == 0
    })
}

fn both(lab: &Lab) -> [&NetNs; 2] {
    [&lab.hosts.a.ns, &lab.hosts.b.ns]
}

#[test]
fn either_run_may_end_first() {
    let Some(lab) = Lab::alone() else { return };
    lab.inject(&cut(7000)).finish_any();
    let before = Leftovers::now(&both(&lab));
    for first_ends_first in [true, false] {
        let first = lab.inject(&cut(7000));
        let second = lab.inject(&cut(7001));
        assert_eq!(reached(&lab), [false, false]);
        let (ends, stays, left) =
            if first_ends_first { (first, second, [true, false]) } else { (second, first, [false, true]) };
        assert_eq!(ends.finish().only_fault().injected(), 50);
        assert_eq!(reached(&lab), left);
        let during = Leftovers::now(&both(&lab));
        lab.chaos.command(&["cleanup"]).expect_code(0);
        let changed = Leftovers::now(&both(&lab)).difference(&during);
        assert!(changed.is_empty(), "there was nothing to clean: {changed:#?}");
        assert_eq!(reached(&lab), left, "cleanup spares the survivor");
        assert_eq!(stays.finish().only_fault().injected(), 150);
        assert_eq!(reached(&lab), [true, true]);
        before.assert_restored(&both(&lab));
    }
}

#[test]
fn either_run_may_be_killed_first() {
    let Some(lab) = Lab::alone() else { return };
    lab.inject(&cut(7000)).finish_any();
    let before = Leftovers::now(&both(&lab));
    for first_dies in [true, false] {
        let first = lab.inject(&cut(7000));
        let second = lab.inject(&cut(7001));
        let (dies, lives, left) =
            if first_dies { (first, second, [true, false]) } else { (second, first, [false, true]) };
        dies.kill9();
        let off = || reached(&lab) == left;
        assert!(chaos_tests::clock::wait_until(std::time::Duration::from_secs(5), off), "{:?}", reached(&lab));
        lab.chaos.command(&["cleanup"]).expect_code(0);
        assert_eq!(reached(&lab), left, "cleanup takes what the dead one left, and nothing of the survivor's");
        lives.finish();
        assert_eq!(reached(&lab), [true, true]);
        lab.chaos.command(&["cleanup"]).expect_code(0);
        before.assert_restored(&both(&lab));
    }
}

#[test]
fn a_partition_of_one_run_is_not_passed_by_copies_of_another() {
    let Some(lab) = Lab::open() else { return };
    for partition_first in [true, false] {
        let actions = ["partition: true", "duplicate: { percent: 100 }"];
        let order = if partition_first { [0, 1] } else { [1, 0] };
        let runs = order.map(|index| lab.inject(&Direction::Egress.fault(actions[index])));
        let outcome = Direction::Egress.send(&lab, Family::V4, |flow| flow.count(500));
        assert_eq!(outcome.received(), 0);
        for (run, index) in runs.into_iter().zip(order) {
            let report = run.finish_any();
            // What a partition drops is not matched by what comes later in the fixed order.
            let expected = if index == 0 { 500 } else { 0 };
            assert_eq!(report.report().only_fault().matched(), expected, "{}", actions[index]);
        }
    }
}

#[test]
fn losses_of_two_runs_multiply() {
    let Some(lab) = Lab::open() else { return };
    let half = format!("when: {{ every: 2 }}, {}", Direction::Egress.fault("loss: { percent: 100 }"));
    let runs = [lab.inject(&half), lab.inject(&half)];
    let outcome = Direction::Egress.send(&lab, Family::V4, |flow| flow.count(1_000));
    assert_eq!(outcome.lost(), 750, "half, and half of the rest");
    let mut counts = runs.map(|run| {
        let report = run.finish();
        (report.only_fault().matched(), report.only_fault().injected())
    });
    counts.sort_unstable();
    assert_eq!(counts, [(500, 250), (1_000, 500)]);
}

#[test]
fn two_targets_of_one_run_are_counted_apart() {
    let Some(lab) = Lab::open() else { return };
    let experiment = lab.experiment().target(&format!("netns: {}", lab.hosts.b.ns.name())).fault(&cut(PORT));
    let running = lab.chaos.run(&experiment);
    let (a, b) = (&lab.hosts.a, &lab.hosts.b);
    let there = Flow::to(b.at(Family::V4, PORT)).count(30).run(&a.ns, &b.ns).lost();
    let back = Flow::to(a.at(Family::V4, PORT)).count(20).run(&b.ns, &a.ns).lost();
    assert_eq!((there, back), (30, 20));
    let report = running.finish();
    let faults = report.json["faults"].as_array().expect("faults");
    let mut injected: Vec<u64> = faults.iter().filter_map(|fault| fault["injected"].as_u64()).collect();
    injected.sort_unstable();
    assert_eq!(injected, [20, 30], "{}", report.json);
}

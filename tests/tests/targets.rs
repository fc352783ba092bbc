//! Targets: a namespace, a cgroup, a process; those inside are hit and those outside are not.

use chaos_tests::lab::Lab;
use chaos_tests::need;
use chaos_tests::net::{Cgroup, Family, NetNs};
use chaos_tests::product::Experiment;
use chaos_tests::scene::{Direction, PORT};
use chaos_tests::traffic::source::Source;

const COUNT: usize = 100;

/// A process in a cgroup, in the namespace of host `a`, that sends when told to.
fn sender(cgroup: &Cgroup, ns: &NetNs, to: &str) -> Source {
    let program = env!("CARGO_BIN_EXE_chaos-datagrams");
    Source::start(cgroup.command(Some(ns), &[program, to, &COUNT.to_string()]))
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
        let mut inside = sender(&target, &lab.hosts.a.ns, &to);
        let mut deeper = sender(&below, &lab.hosts.a.ns, &to);
        let mut outside = sender(&beside, &lab.hosts.a.ns, &to);
        let experiment =
            Experiment::on(&format!("cgroup: {}", target.name())).fault(&Direction::Egress.fault("partition: true"));
        let running = lab.chaos.run(&experiment);
        let mut later = sender(&target, &lab.hosts.a.ns, &to);
        let b = &lab.hosts.b.ns;
        let counts = [&mut inside, &mut deeper, &mut later, &mut outside].map(|source| source.arrivals(b, PORT));
        assert_eq!(counts, [0, 0, 0, COUNT], "{family}: inside, below, started later, beside");
        let report = running.finish();
        assert_eq!(report.only_fault().injected(), 3 * COUNT as u64, "{family}");
        assert_eq!(report.json["targets"][0]["cgroupId"], target.id(), "{family}: {}", report.json);
        assert_eq!(inside.arrivals(b, PORT), COUNT, "{family}: after the end");
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
    let mut inside = sender(&target, &lab.hosts.a.ns, &to);
    let mut outside = sender(&beside, &lab.hosts.a.ns, &to);
    let experiment =
        Experiment::on(&format!("pid: {}", inside.pid())).fault(&Direction::Egress.fault("partition: true"));
    let running = lab.chaos.run(&experiment);
    assert_eq!((inside.arrivals(&lab.hosts.b.ns, PORT), outside.arrivals(&lab.hosts.b.ns, PORT)), (0, COUNT));
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
    let one = sender(&shared, &lab.hosts.a.ns, &to);
    let stranger = sender(&shared, &lab.hosts.a.ns, &to);
    let experiment = Experiment::on(&format!("pid: {}", one.pid()))
        .duration("1s")
        .fault(&Direction::Egress.fault("partition: true"));
    let output = lab.chaos.run_to_end(&experiment, &[]);
    assert!(matches!(output.code, 2 | 7), "{}: {}", output.code, output.text());
    assert!(output.text().contains(&stranger.pid().to_string()), "the stranger is named: {}", output.text());
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

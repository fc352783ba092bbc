//! On a kernel without fq: what would delay packets is refused, by name and before anything is attached, and all else works.

use chaos_tests::lab::Lab;
use chaos_tests::need;
use chaos_tests::net::{Family, NetNs};
use chaos_tests::product::{Leftovers, Report};
use chaos_tests::scene::{Direction, PORT};
use chaos_tests::traffic::{Flow, Ping};

/// All that needs the queue.
const DELAYING: [&str; 4] = [
    "latency: { delay: 50ms }",
    "latency: { delay: 50ms, jitter: 10ms, distribution: normal }",
    "latency: { delay: 50ms }, reorder: { percent: 25 }",
    "bandwidth: { rate: 1mbit }",
];
const CUT: &str = "name: cut, network: { match: { protocol: udp, ports: [7000] }, partition: true }";

/// Two hosts on a kernel without fq, with no other test on the machine at that time.
fn open() -> Option<Lab> {
    Lab::alone().filter(|_| need::no_fq())
}

fn both(lab: &Lab) -> [&NetNs; 2] {
    [&lab.hosts.a.ns, &lab.hosts.b.ns]
}

/// How many of 100 datagrams to a port are lost.
fn lost(lab: &Lab, port: u16) -> u64 {
    let flow = Flow::to(lab.hosts.b.at(Family::V4, port)).count(100);
    flow.run(&lab.hosts.a.ns, &lab.hosts.b.ns).lost()
}

/// The machine after a run that has come and gone, which may make what stays for good.
fn settled(lab: &Lab) -> Leftovers {
    lab.inject(CUT).finish_any();
    Leftovers::now(&both(lab))
}

#[track_caller]
fn assert_names_fq(what: &str, text: &str) {
    assert!(text.contains("qdisc fq") && text.contains("sch_fq"), "{what}: the lack and the remedy: {text}");
}

#[test]
fn a_delay_is_refused_by_name_and_nothing_is_attached() {
    let Some(lab) = open() else { return };
    let before = settled(&lab);
    for action in DELAYING {
        for direction in ["egress", "ingress", "both"] {
            let what = format!("{action} {direction}");
            let fault = format!("name: f, network: {{ direction: {direction}, match: {{ all: true }}, {action} }}");
            let output = lab.chaos.run_to_end(&lab.experiment().duration("2s").fault(&fault), &[]).expect_code(3);
            assert_names_fq(&what, &output.text());
            before.assert_restored(&both(&lab));
        }
    }
    for family in Family::BOTH {
        assert_eq!(Ping::to(lab.hosts.b.ip(family)).count(5).run(&lab.hosts.a.ns).lost(), 0, "{family}: the wire");
    }
}

#[test]
fn one_fault_that_cannot_be_served_keeps_all_others_from_starting() {
    let Some(lab) = open() else { return };
    let before = settled(&lab);
    let slow = "name: slow, network: { match: { all: true }, latency: { delay: 50ms } }";
    for faults in [[CUT, slow], [slow, CUT]] {
        let experiment = faults.iter().fold(lab.experiment().duration("20s"), |all, fault| all.fault(fault));
        let output = lab.chaos.run_to_end(&experiment, &[]).expect_code(3);
        assert_names_fq("beside a partition", &output.text());
        assert_eq!(lost(&lab, PORT), 0, "the partition beside it");
        before.assert_restored(&both(&lab));
    }
}

#[test]
fn what_cannot_be_served_is_skipped_where_that_is_asked_for() {
    let Some(lab) = open() else { return };
    let slow = "name: slow, network: { match: { all: true }, latency: { delay: 50ms } }";
    let experiment = lab.experiment().setting("onUnsupported: skip").fault(slow).fault(CUT);
    let file = experiment.write();
    let plan = lab.chaos.command(&["plan", &file.path().to_string_lossy()]).expect_code(0);
    assert!(plan.stdout.contains("left out") && !plan.stdout.contains("refused"), "{}", plan.stdout);
    assert_names_fq("planned", &plan.stdout);
    let running = lab.chaos.run(&experiment);
    assert_eq!((lost(&lab, PORT), lost(&lab, PORT + 1)), (100, 0));
    let ended = running.finish_any();
    assert_eq!((ended.output.code, ended.report().fault("cut").injected()), (0, 100), "{}", ended.output.text());
    assert_names_fq("skipped", &ended.output.text());
}

#[test]
fn a_plan_says_so_and_attaches_nothing() {
    let Some(lab) = open() else { return };
    let before = settled(&lab);
    for action in DELAYING {
        let fault = format!("name: f, network: {{ match: {{ all: true }}, {action} }}");
        let file = lab.experiment().fault(&fault).write();
        let output = lab.chaos.command(&["plan", &file.path().to_string_lossy()]).expect_code(3);
        assert_names_fq(action, &output.text());
    }
    before.assert_restored(&both(&lab));
}

#[test]
fn loss_works_on_the_same_kernel() {
    let Some(lab) = open() else { return };
    let before = settled(&lab);
    for direction in Direction::BOTH {
        let play = direction.play(&lab, "loss: { percent: 100 }", |flow| flow.count(100));
        assert_eq!(play.sum(|outcome| outcome.lost()), 200, "{direction}");
        play.assert_counts(200);
        let report: &Report = &play.report;
        assert!(!report.only_fault().mechanism().contains("fq"), "{direction}: {}", report.json);
    }
    before.assert_restored(&both(&lab));
}

//! `perPacket: true`: every packet that new connections send is decided by itself, and the interface is as before afterwards.

use std::time::Duration;

use chaos_tests::clock::wait_until;
use chaos_tests::lab::Lab;
use chaos_tests::need;
use chaos_tests::net::{Cgroup, Family, NetNs, vlan};
use chaos_tests::product::Experiment;
use chaos_tests::scene::PORT;
use chaos_tests::traffic::sink::Sink;
use chaos_tests::traffic::tcp::{Until, transfer};

const FAULT: &str = "name: f, network: { match: { protocol: tcp }, duplicate: { percent: 1 }, perPacket: true }";

fn limit(ns: &NetNs, interface: &str) -> u64 {
    let text = ns.ip(&format!("-d link show {interface}"));
    let mut words = text.split_whitespace().skip_while(|word| *word != "gso_max_segs");
    words.nth(1).and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("no gso_max_segs in {text}"))
}

#[test]
fn every_packet_of_a_bulk_transfer_is_a_decision() {
    let Some(lab) = Lab::open() else { return };
    let (a, b) = (&lab.hosts.a, &lab.hosts.b);
    for (family, bytes) in [(Family::V4, 20_000_000), (Family::V6, 20_000_000)] {
        let running = lab.inject(FAULT);
        assert_eq!(limit(&a.ns, "eth0"), 1);
        let done = transfer(&a.ns, &b.ns, b.at(family, PORT), Until::Bytes(bytes));
        let report = running.finish();
        assert_eq!((done.bytes, done.wrong_bytes), (bytes, 0), "{family}");
        let fault = report.only_fault();
        assert!(fault.matched() > bytes / 1_460, "{family}: {}", fault.json);
        assert_eq!(fault.skbs(), fault.matched(), "{family}: {}", fault.json);
    }
    // The same without it, or this test would prove nothing.
    let running = lab.inject(&FAULT.replace(", perPacket: true", ""));
    transfer(&a.ns, &b.ns, b.at(Family::V4, PORT), Until::Bytes(20_000_000));
    let report = running.finish();
    assert!(report.only_fault().skbs() * 2 < report.only_fault().matched(), "nothing travelled in batches");
}

#[test]
fn the_last_of_several_runs_gives_the_old_value_back() {
    let Some(lab) = Lab::open() else { return };
    let a = &lab.hosts.a.ns;
    a.ip("link set eth0 gso_max_segs 17");
    let first = lab.inject(FAULT);
    let second = lab.inject(FAULT);
    assert_eq!(limit(a, "eth0"), 1);
    first.finish_any();
    assert_eq!(limit(a, "eth0"), 1, "the second still needs it");
    second.finish_any();
    assert_eq!(limit(a, "eth0"), 17);
}

#[test]
fn what_a_killed_run_changed_is_given_back_by_cleanup_and_by_the_next() {
    let Some(lab) = Lab::alone() else { return };
    let a = &lab.hosts.a.ns;
    let before = limit(a, "eth0");
    lab.inject(FAULT).kill9();
    assert_eq!(limit(a, "eth0"), 1, "nobody is left to give it back");
    let status = lab.chaos.command(&["status"]);
    assert!(status.text().contains("gso_max_segs of eth0"), "{}", status.text());
    lab.chaos.command(&["cleanup"]).expect_code(0);
    assert_eq!(limit(a, "eth0"), before);
    lab.inject(FAULT).kill9();
    let running = lab.inject(FAULT);
    assert_eq!(limit(a, "eth0"), 1);
    running.finish_any();
    assert_eq!(limit(a, "eth0"), before, "what the killed run found, not what it left");
    // One that lives keeps it, whoever dies.
    let (lives, dies) = (lab.inject(FAULT), lab.inject(FAULT));
    dies.kill9();
    lab.chaos.command(&["cleanup"]).expect_code(0);
    assert_eq!(limit(a, "eth0"), 1);
    lives.finish_any();
    assert_eq!(limit(a, "eth0"), before);
}

#[test]
fn what_somebody_else_set_meanwhile_stays() {
    let Some(lab) = Lab::open() else { return };
    let a = &lab.hosts.a.ns;
    let running = lab.inject(FAULT);
    a.ip("link set eth0 gso_max_segs 23");
    running.finish_any();
    assert_eq!(limit(a, "eth0"), 23);
}

#[test]
fn connections_of_devices_above_are_limited_too() {
    let Some(lab) = Lab::open() else { return };
    if !vlan::join(&lab.hosts) {
        return;
    }
    let (a, b) = (&lab.hosts.a.ns, &lab.hosts.b.ns);
    let before = limit(a, "eth0.100");
    let running = lab.inject(FAULT);
    let done = transfer(a, b, vlan::at(2, PORT), Until::Bytes(5_000_000));
    let report = running.finish();
    assert_eq!((done.bytes, done.wrong_bytes), (5_000_000, 0));
    assert!(report.only_fault().matched() > 5_000_000 / 1_460, "{}", report.json);
    assert_eq!(report.only_fault().skbs(), report.only_fault().matched());
    assert_eq!(limit(a, "eth0.100"), before);
}

#[test]
fn a_dry_run_changes_no_interface() {
    let Some(lab) = Lab::open() else { return };
    let before = limit(&lab.hosts.a.ns, "eth0");
    let running = lab.chaos.run(&lab.experiment().setting("dryRun: true").fault(FAULT));
    assert_eq!(limit(&lab.hosts.a.ns, "eth0"), before);
    running.finish_any();
}

#[test]
fn it_is_refused_where_it_would_not_help_or_would_hit_others() {
    let Some(lab) = Lab::open() else { return };
    let before = limit(&lab.hosts.a.ns, "eth0");
    let ingress = FAULT.replace("match:", "direction: ingress, match:");
    let output = lab.chaos.run_to_end(&lab.experiment().duration("1s").fault(&ingress), &[]);
    assert!(output.text().contains("perPacket"), "{}", output.text());
    output.expect_code(3);
    if need::cgroup2() {
        let slice = Cgroup::new("slice");
        let (target, beside) = (slice.child("target"), slice.child("beside"));
        let start = |cgroup: &Cgroup, port: &str| {
            Sink::start(cgroup.command(Some(&lab.hosts.a.ns), &[env!("CARGO_BIN_EXE_chaos-sink"), port]))
        };
        let _both = (start(&target, "7000"), start(&beside, "7001"));
        let experiment = Experiment::on(&format!("cgroup: {}", target.name())).duration("1s").fault(FAULT);
        let output = lab.chaos.run_to_end(&experiment, &[]);
        assert!(output.text().contains("perPacket"), "{}", output.text());
        output.expect_code(3);
    }
    let same = || limit(&lab.hosts.a.ns, "eth0") == before;
    assert!(wait_until(Duration::from_millis(100), same));
}

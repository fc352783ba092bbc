//! Devices that stand on others: a packet that passes several is decided once.

use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;
use std::time::Duration;

use chaos_tests::lab::Lab;
use chaos_tests::need;
use chaos_tests::net::{Cgroup, Family, vlan};
use chaos_tests::product::Experiment;
use chaos_tests::scene::{Direction, PORT};
use chaos_tests::traffic::Flow;
use chaos_tests::traffic::udp_receiver::Receiver;

const COUNT: u64 = 500;

/// Duplicates make a packet that is decided twice visible to the receiver: four copies instead of two.
#[track_caller]
fn assert_once(lab: &Lab, from_a: &Flow, to_a: &Flow) {
    for (direction, flow) in [(Direction::Egress, from_a), (Direction::Ingress, to_a)] {
        let (from, to) = direction.ends(lab);
        let everything = |action: &str| {
            lab.inject(&format!("name: f, network: {{ direction: {direction}, match: {{ all: true }}, {action} }}"))
        };
        let running = everything("duplicate: { percent: 100 }");
        let outcome = flow.clone().count(COUNT).run(&from.ns, &to.ns);
        let report = running.finish();
        assert_eq!((outcome.received(), outcome.duplicates), (COUNT, COUNT), "{direction}: copies");
        assert_near(&report, direction);
        let running = everything("partition: true");
        assert_eq!(flow.clone().count(COUNT).run(&from.ns, &to.ns).lost(), COUNT, "{direction}");
        assert_near(&running.finish(), direction);
    }
}

/// `all: true` also counts the odd multicast report of the kernel, but never each packet twice.
#[track_caller]
fn assert_near(report: &chaos_tests::product::Report, direction: Direction) {
    let fault = report.only_fault();
    assert!((COUNT..COUNT + 20).contains(&fault.matched()), "{direction}: {}", fault.json);
}

#[test]
fn behind_a_bridge_each_packet_counts_once() {
    let Some(lab) = Lab::bridged() else { return };
    for family in Family::BOTH {
        assert_once(&lab, &Flow::to(lab.hosts.b.at(family, PORT)), &Flow::to(lab.hosts.a.at(family, PORT)));
    }
}

#[test]
fn on_a_vlan_each_packet_counts_once_and_so_beside_it() {
    let Some(lab) = Lab::open() else { return };
    if !vlan::join(&lab.hosts) {
        return;
    }
    assert_once(&lab, &Flow::to(vlan::at(2, PORT)), &Flow::to(vlan::at(1, PORT)));
    assert_once(&lab, &Flow::to(lab.hosts.b.at(Family::V4, PORT)), &Flow::to(lab.hosts.a.at(Family::V4, PORT)));
}

#[test]
fn a_vlan_can_be_named() {
    let Some(lab) = Lab::open() else { return };
    if !vlan::join(&lab.hosts) {
        return;
    }
    let running = lab.inject(
        "name: f, network: { direction: both, match: { interfaces: [eth0.100] }, duplicate: { percent: 100 } }",
    );
    let tagged = Flow::to(vlan::at(2, PORT)).count(COUNT).run(&lab.hosts.a.ns, &lab.hosts.b.ns);
    let bare = Flow::to(lab.hosts.b.at(Family::V4, PORT)).count(COUNT).run(&lab.hosts.a.ns, &lab.hosts.b.ns);
    running.finish();
    assert_eq!((tagged.duplicates, bare.duplicates), (COUNT, 0));
}

#[test]
fn a_bridge_over_a_vlan_asks_for_a_name() {
    let Some(lab) = Lab::open() else { return };
    if !vlan::join(&lab.hosts) {
        return;
    }
    let a = &lab.hosts.a.ns;
    a.ip("link add br1 type bridge");
    a.ip("link set eth0.100 master br1");
    let fault = "name: f, network: { match: { protocol: udp }, partition: true }";
    let output = lab.chaos.run_to_end(&lab.experiment().duration("1s").fault(fault), &[]);
    let text = output.text();
    assert!(text.contains("br1") && text.contains("eth0") && text.contains("match.interfaces"), "{text}");
    output.expect_code(2);
    let named = "name: f, network: { match: { protocol: udp, interfaces: [eth0] }, partition: true }";
    let running = lab.inject(named);
    let flow = Flow::to(lab.hosts.b.at(Family::V4, PORT)).count(COUNT);
    assert_eq!(flow.run(a, &lab.hosts.b.ns).lost(), COUNT);
    assert_eq!(running.finish().only_fault().injected(), COUNT);
}

#[test]
fn a_process_behind_a_bridge_is_told_from_its_neighbours_once() {
    let Some(lab) = Lab::bridged() else { return };
    if !need::cgroup2() {
        return;
    }
    let slice = Cgroup::new("slice");
    let (target, beside) = (slice.child("target"), slice.child("beside"));
    let to = lab.hosts.b.at(Family::V4, PORT).to_string();
    let [mut inside, mut outside] = [&target, &beside].map(|cgroup| {
        let program = [env!("CARGO_BIN_EXE_chaos-datagrams"), &to, &COUNT.to_string()];
        let mut command = cgroup.command(Some(&lab.hosts.a.ns), &program);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap()
    });
    let words = [&mut inside, &mut outside].map(|child| BufReader::new(child.stdout.take().unwrap()).lines());
    let [mut from_inside, mut from_outside] = words;
    for line in [from_inside.next(), from_outside.next()] {
        assert_eq!(line.unwrap().unwrap(), "ready");
    }
    let fault = "name: f, network: { match: { all: true }, duplicate: { percent: 100 } }";
    let running = lab.chaos.run(&Experiment::on(&format!("cgroup: {}", target.name())).fault(fault));
    let arrivals = [(&mut inside, &mut from_inside), (&mut outside, &mut from_outside)].map(|(child, words)| {
        let receiver = Receiver::start(&lab.hosts.b.ns, PORT);
        child.stdin.as_mut().unwrap().write_all(b"go\n").unwrap();
        assert_eq!(words.next().unwrap().unwrap(), "sent");
        receiver.finish(&lab.hosts.b.ns, Duration::from_millis(200)).len() as u64
    });
    let report = running.finish();
    for child in [&mut inside, &mut outside] {
        let _ = child.kill();
        let _ = child.wait();
    }
    assert_eq!(arrivals, [2 * COUNT, COUNT], "inside, beside");
    assert_eq!((report.only_fault().matched(), report.only_fault().action("duplicated")), (COUNT, COUNT));
}

//! A target that goes and comes again while an experiment runs is under the faults again; one that goes is let go at once.

use std::time::Duration;

use chaos_tests::clock::wait_until;
use chaos_tests::lab::Lab;
use chaos_tests::net::{Cgroup, NetNs};
use chaos_tests::product::Experiment;
use chaos_tests::product::run::Ended;
use chaos_tests::traffic::Ping;

/// For what the product looks at ten times a second.
const SOON: Duration = Duration::from_secs(5);
const CUT: &str = "name: cut, network: { match: { all: true }, partition: true }";

/// Joins `a` to `b` by a wire of their own, with addresses 10.79.N.1 and 10.79.N.2.
fn wire(a: &NetNs, b: &NetNs, interface: &str, number: u8) {
    a.ip(&format!("link add {interface} type veth peer name w{number} netns {}", b.name()));
    for (ns, name, last) in [(a, interface, 1), (b, &*format!("w{number}"), 2)] {
        ns.ip(&format!("addr add 10.79.{number}.{last}/24 dev {name}"));
        ns.ip(&format!("link set {name} up"));
    }
}

fn answers(ns: &NetNs, number: u8) -> bool {
    Ping::to([10, 79, number, 2].into()).count(1).run(ns).received() == 1
}

fn has_link(ns: &NetNs, name: &str) -> bool {
    ns.ip("-o link show").contains(&format!(": {name}@"))
}

/// No answer for a while, not only once.
fn is_cut(ns: &NetNs, number: u8) -> bool {
    wait_until(SOON, || !answers(ns, number)) && !(0..5).any(|_| answers(ns, number))
}

#[track_caller]
fn target(ended: &Ended) -> serde_json::Value {
    let targets = ended.report().json["targets"].as_array().expect("targets").clone();
    assert_eq!(targets.len(), 1, "each once: {targets:?}");
    targets[0].clone()
}

#[test]
fn a_namespace_of_that_name_that_comes_again_is_cut_off_again() {
    let Some(lab) = Lab::open() else { return };
    let (target_ns, b) = (NetNs::new("f"), &lab.hosts.b.ns);
    wire(&target_ns, b, "eth0", 1);
    assert!(answers(&target_ns, 1));
    let running = lab.chaos.run(&Experiment::on_netns(target_ns.name()).fault(CUT));
    assert!(!answers(&target_ns, 1));
    let bystander = lab.hosts.neighbour();

    chaos_tests::command::run(&format!("ip netns del {}", target_ns.name()));
    // The other end goes with the namespace: nobody keeps it.
    assert!(wait_until(SOON, || !has_link(b, "w1")), "the namespace lives on: {}", b.ip("-o link show"));

    chaos_tests::command::run(&format!("ip netns add {}", target_ns.name()));
    wire(&target_ns, b, "eth0", 2);
    assert!(is_cut(&target_ns, 2), "the new namespace is not under the fault");
    let to_b = bystander.b_at(chaos_tests::net::Family::V4, 0).ip();
    assert_eq!(Ping::to(to_b).count(3).run(&bystander.host.ns).received(), 3, "others are untouched");

    let ended = running.finish_any();
    let target = target(&ended);
    assert_eq!((ended.output.code, &*target["state"].to_string()), (0, "\"Reverted\""), "{}", ended.output.text());
    assert!(!target["gaps"].as_array().expect("gaps").is_empty(), "{target}");
    assert!(ended.report().only_fault().injected() >= 2, "counts of both are added");
    assert!(answers(&target_ns, 2), "reverted");
}

#[test]
fn interfaces_that_come_and_are_made_anew_are_cut_off_too() {
    let Some(lab) = Lab::open() else { return };
    let (target_ns, b) = (NetNs::new("f"), &lab.hosts.b.ns);
    wire(&target_ns, b, "eth0", 1);
    let running = lab.chaos.run(&Experiment::on_netns(target_ns.name()).fault(CUT));
    assert!(!answers(&target_ns, 1));
    wire(&target_ns, b, "eth1", 2);
    assert!(is_cut(&target_ns, 2), "eth1 is not under the fault");
    assert!(!answers(&target_ns, 1), "and eth0 still is");
    target_ns.ip("link del eth0");
    wire(&target_ns, b, "eth0", 3);
    assert!(is_cut(&target_ns, 3), "the new eth0 is not under the fault");
    let ended = running.finish_any();
    assert_eq!(ended.output.code, 0, "{}", ended.output.text());
    let gaps = target(&ended)["gaps"].to_string();
    assert!(gaps.contains("eth1") && gaps.contains("eth0"), "{gaps}");
    assert!(answers(&target_ns, 2) && answers(&target_ns, 3), "reverted");
}

#[test]
fn delays_find_an_interface_that_is_made_anew() {
    let Some(lab) = Lab::delaying() else { return };
    let (target_ns, b) = (NetNs::new("f"), &lab.hosts.b.ns);
    wire(&target_ns, b, "eth0", 1);
    let fault = "name: slow, network: { match: { all: true }, latency: { delay: 300ms } }";
    let running = lab.chaos.run(&Experiment::on_netns(target_ns.name()).fault(fault));
    target_ns.ip("link del eth0");
    wire(&target_ns, b, "eth0", 2);
    let slow =
        || Ping::to([10, 79, 2, 2].into()).count(1).run(&target_ns).rtts_ms().first().is_some_and(|ms| *ms >= 290.0);
    assert!(wait_until(SOON, slow), "the new eth0 is not under the fault");
    assert_eq!(running.finish_any().output.code, 0);
    assert!(!target_ns.ip("-o link show").contains("chq"), "our devices are gone");
}

#[test]
fn a_cgroup_that_is_made_anew_is_hit_again() {
    let Some(lab) = Lab::open() else { return };
    let group = Cgroup::new("again");
    let folder = chaos_tests::net::cgroup::mount_point().join(group.name().trim_start_matches('/'));
    let ns = &lab.hosts.a.ns;
    let mut first = group.resident(Some(ns));
    let b = lab.hosts.b.v4.to_string();
    let run = |group: &Cgroup| {
        let mut command = group.command(Some(ns), &["ping", "-c", "1", "-W", "1", &b]);
        command.stdout(std::process::Stdio::null()).status().expect("ping").success()
    };
    assert!(run(&group));
    let experiment = Experiment::on(&format!("cgroup: {}", group.name())).fault(CUT);
    let running = lab.chaos.run(&experiment);
    assert!(!run(&group));
    first.kill().expect("kill");
    first.wait().expect("wait");
    assert!(wait_until(SOON, || std::fs::remove_dir(&folder).is_ok()));
    std::fs::create_dir(&folder).expect("the same cgroup");
    let mut second = group.resident(Some(ns));
    let hit = wait_until(SOON, || !run(&group));
    second.kill().expect("kill");
    second.wait().expect("wait");
    assert!(hit, "the new cgroup is not under the fault");
    let ended = running.finish_any();
    assert_eq!(ended.output.code, 0, "{}", ended.output.text());
}

#[test]
fn one_that_is_gone_until_the_end_is_no_plain_pass() {
    let Some(lab) = Lab::open() else { return };
    let (target_ns, b) = (NetNs::new("f"), &lab.hosts.b.ns);
    wire(&target_ns, b, "eth0", 1);
    let running = lab.chaos.run(&Experiment::on_netns(target_ns.name()).fault(CUT));
    assert!(!answers(&target_ns, 1));
    chaos_tests::command::run(&format!("ip netns del {}", target_ns.name()));
    assert!(wait_until(SOON, || !has_link(b, "w1")));
    let ended = running.finish_any();
    let target = target(&ended);
    assert_eq!((ended.output.code, target["state"].as_str()), (0, Some("Gone")), "{}", ended.output.text());
    assert!(ended.report().reason().contains("gone until the end"), "{}", ended.output.text());
    assert_eq!(target["gaps"].as_array().map(Vec::len), Some(1), "{target}");
    chaos_tests::command::run(&format!("ip netns add {}", target_ns.name()));
}

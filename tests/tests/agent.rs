//! A node's agent beside a small API server: what it holds, and for how long faults are off while one process of it follows another.

use std::time::{Duration, Instant};

use chaos_tests::{
    clock::wait_until,
    need,
    net::{Family, Host, Hosts, NetNs},
    node::{Cut, Knocks, LocalPod, Scene, injection},
};
use nix::sys::signal::Signal;
use serde_json::json;

const PATIENCE: Duration = Duration::from_secs(30);
/// Anonymous memory of an agent, in MiB: what is its own whatever the build. Types of the kernel, objects and lists take five times as much
/// while they are read.
const LEAN: f64 = 12.0;

#[test]
fn what_was_needed_once_goes_back_to_the_kernel() {
    let Some(scene) = Scene::of_twenty() else { return };
    let agent = &scene.agent;
    let lean = |when: &str| {
        // Once it says that it lives, at the latest.
        let lean = wait_until(PATIENCE, || agent.memory("RssAnon") <= LEAN);
        let [all, own, peak] = ["VmRSS", "RssAnon", "VmHWM"].map(|key| agent.memory(key));
        need::measured(&format!("{when}: {all:.1} MiB resident, {own:.1} of them anonymous; at most it was {peak:.1}"));
        assert!(lean, "{when}: {own:.1} MiB are anonymous");
    };
    lean("with a list of 110 pods");
    scene.cut("192.0.2.7");
    lean("with 20 targets");
}

#[test]
fn a_process_that_stands_by_takes_over_and_hardly_a_packet_gets_through() {
    let Some(mut cut) = Cut::open() else { return };
    let (alone, of_start) = cut.replaced(Signal::SIGTERM);
    let (killed, of_next) = cut.replaced(Signal::SIGKILL);
    let before = cut.matched();
    let beside = cut.handed_over();
    need::measured(&format!(
        "packets got through for {beside:.0?} from one process to the next beside it; for {alone:.0?} to one that was started after it \
         ({of_start:.0?} of them from its start on), for {killed:.0?} after SIGKILL ({of_next:.0?} of them)"
    ));
    assert!(beside < alone / 3, "{beside:?} instead of {alone:?}");
    // Counts go on, and so do the faults.
    assert!(wait_until(PATIENCE, || cut.matched() > before), "{} matched, {before} before", cut.matched());
    let node = || cut.scene.server.get("nodeagents", "node1")["status"]["active"][0] == "shop/cut";
    assert!(wait_until(PATIENCE, node), "{}", cut.scene.agent.said());
}

#[test]
fn a_process_that_stands_by_touches_nothing_and_leaves_a_stopped_ones_lease_alone() {
    let Some(cut) = Cut::open() else { return };
    let prepares = Instant::now();
    let mut next = cut.scene.follower();
    assert_eq!(cut.knocks.since(prepares), 0, "it touched what the other one owns");
    cut.scene.agent.signal(Signal::SIGSTOP);
    // The lease is over; who stands by does not know why, and the kernel would let both act.
    cut.knocks.await_open();
    assert!(!next.has_ended(), "{}", next.said());
    cut.scene.agent.signal(Signal::SIGCONT);
    cut.scene.await_phase("Aborted", &cut.scene.agent);
    cut.scene.agent.signal(Signal::SIGKILL);
    next.await_ready();
    // What is over for good stays so for the next one.
    assert!(wait_until(PATIENCE, || next.said().contains("takes over")), "{}", next.said());
    cut.scene.await_phase("Aborted", &next);
    cut.knocks.await_open();
}

/// The members of a StatefulSet, each of which is also behind the headless Service that is named as peer.
#[test]
fn with_both_directions_a_service_s_peers_are_hit_in_both_roles_of_its_port() {
    let mut hosts = None;
    let scene = Scene::open(|| vec![LocalPod::new(&hosts.insert(Hosts::new()).a.ns)]);
    let (Some(scene), Some(hosts)) = (scene, hosts) else { return };
    let (target, member) = (&hosts.a, &hosts.b);
    let knocks = |from: &NetNs, to: &Host, port: u16| Knocks::start(from, &to.ns, to.at(Family::V4, port));
    let own = knocks(&target.ns, member, 7000);
    let [theirs, beside] = [7000, 7001].map(|port| knocks(&member.ns, target, port));
    let all = [&own, &theirs, &beside];
    all.iter().for_each(|one| one.await_open());
    scene.server.put(
        "peersets",
        json!({
            "apiVersion": "chaos-ebpf.dev/v1alpha1", "kind": "PeerSet", "metadata": { "namespace": "shop", "name": "members", "uid": "uid-members" },
            "spec": { "addresses": [{ "cidr": format!("{}/32", member.v4), "port": 7000 }] },
        }),
    );
    let cut = |name: &str, direction: &str| {
        let mut one = injection(name, 600, &scene.pods, "192.0.2.7");
        let network = &mut one["spec"]["faults"][0]["network"];
        (network["direction"], network["match"]["peers"]) =
            (direction.into(), json!([{ "service": { "name": "members" } }]));
        one["spec"]["peerSets"] = json!([{ "fault": 0, "sets": ["members"] }]);
        scene.server.put("injections", one);
        let acts = || scene.server.get("injections", name)["status"]["phase"] == "Injected";
        assert!(wait_until(PATIENCE, acts), "{:#}", scene.server.get("injections", name));
    };
    let open_now = |one: &Knocks| {
        let then = Instant::now();
        wait_until(PATIENCE, || one.since(then) > 0)
    };
    cut("one-way", "egress");
    own.await_shut();
    assert!(open_now(&theirs) && open_now(&beside), "that they are sent is not asked for");
    scene.server.delete("injections", "one-way");
    own.await_open();
    cut("both-ways", "both");
    own.await_shut();
    theirs.await_shut();
    assert!(open_now(&beside), "another port is another Service's");
    scene.server.delete("injections", "both-ways");
    all.iter().for_each(|one| one.await_open());
}

/// Without a set a fault would have fewer exceptions than were asked for.
#[test]
fn an_order_waits_for_its_sets_and_keeps_them_when_they_go() {
    let mut hosts = None;
    let scene = Scene::open(|| vec![LocalPod::new(&hosts.insert(Hosts::new()).a.ns)]);
    let (Some(scene), Some(hosts)) = (scene, hosts) else { return };
    let (target, member) = (&hosts.a, &hosts.b);
    let knocks = |port: u16| Knocks::start(&target.ns, &member.ns, member.at(Family::V4, port));
    let [cut, spared] = [7000, 7001].map(knocks);
    [&cut, &spared].into_iter().for_each(Knocks::await_open);
    let set = |name: &str| {
        json!({
            "apiVersion": "chaos-ebpf.dev/v1alpha1", "kind": "PeerSet",
            "metadata": { "namespace": "shop", "name": name, "uid": format!("uid-{name}") },
            "spec": { "addresses": [{ "cidr": format!("{}/32", member.v4), "port": 7001 }] },
        })
    };
    let order = |name: &str, except: Option<&str>, peer: String| {
        let mut one = injection(name, 600, &scene.pods, &peer);
        if let Some(set) = except {
            one["spec"]["faults"][0]["network"]["match"]["except"] =
                json!([{ "peers": [{ "service": { "name": "spared" } }] }]);
            one["spec"]["peerSets"] = json!([{ "fault": 0, "except": 0, "sets": [set] }]);
        }
        scene.server.put("injections", one);
    };
    let phase = |name: &str| scene.server.get("injections", name)["status"]["phase"].clone();
    let await_acts = |name: &str| {
        assert!(wait_until(PATIENCE, || phase(name) == "Injected"), "{:#}", scene.server.get("injections", name));
    };
    let is_open = |one: &Knocks| {
        let then = Instant::now();
        wait_until(PATIENCE, || one.since(then) > 0)
    };
    order("waits", Some("late"), member.v4.to_string());
    // What came later was carried out, so that the first was seen.
    order("beside", None, "192.0.2.7".to_owned());
    await_acts("beside");
    assert!(phase("waits") != "Injected" && is_open(&cut) && is_open(&spared), "{}", phase("waits"));
    scene.server.put("peersets", set("late"));
    await_acts("waits");
    cut.await_shut();
    assert!(is_open(&spared));
    scene.server.delete("peersets", "late");
    scene.server.put("peersets", set("next"));
    order("after", Some("next"), "192.0.2.7".to_owned());
    await_acts("after");
    assert!(is_open(&spared), "its exception went with the set");
    cut.await_shut();
    ["waits", "beside", "after"].into_iter().for_each(|name| scene.server.delete("injections", name));
    scene.server.delete("peersets", "next");
    cut.await_open();
}

/// A node has 127 sets of ports for all of its experiments.
#[test]
fn experiments_that_wait_for_a_first_pod_take_no_set_of_ports() {
    let Some(cut) = Cut::open() else { return };
    let server = &cut.scene.server;
    server.delete("injections", "cut");
    cut.knocks.await_open();
    let follows = |name: &str, app: &str, port: u16| {
        let mut one = injection(name, 600, &[], "192.0.2.7");
        one["spec"]["follow"] = json!({ "namespaces": ["shop"], "labels": [{ "matchLabels": { "app": app } }] });
        one["spec"]["faults"][0]["network"]["match"] = json!({ "protocol": "udp", "ports": [port] });
        server.put("injections", one);
    };
    let acts = |name: &str| server.get("injections", name)["status"]["phase"] == "Injected";
    let names: Vec<String> = (0..128).map(|number| format!("waits-{number}")).collect();
    names.iter().for_each(|name| follows(name, "nobody", 7000));
    let last = || server.get("injections", "waits-127")["status"].clone();
    assert!(wait_until(PATIENCE, || names.iter().all(|name| acts(name))), "{:#}", last());
    // There is room for those that have a pod, and each has its own ports.
    follows("other", "late", 7001);
    follows("late", "late", 7000);
    assert!(wait_until(PATIENCE, || acts("late") && acts("other")), "{}", cut.scene.agent.said());
    assert!(cut.knocks.since(Instant::now() - Duration::from_secs(1)) > 0, "nobody is hit yet");
    let mut pod = cut.scene.pods[0].object();
    pod["metadata"]["labels"]["app"] = "late".into();
    server.put("pods", pod);
    cut.knocks.await_shut();
    server.delete("injections", "late");
    cut.knocks.await_open();
}

#[test]
fn an_injection_that_is_being_deleted_is_over_whoever_holds_it_back() {
    let Some(cut) = Cut::open() else { return };
    let server = &cut.scene.server;
    let mut held = server.get("injections", "cut");
    held["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
    held["metadata"]["finalizers"] = json!(["example.com/held"]);
    server.put("injections", held.clone());
    cut.knocks.await_open();
    cut.scene.await_phase("Aborted", &cut.scene.agent);
    // Nor does it begin so.
    (held["metadata"]["uid"], held["metadata"]["name"]) = ("uid-held".into(), "held".into());
    held["status"] = json!({});
    server.put("injections", held);
    let over = || server.get("injections", "held")["status"]["phase"] == "Aborted";
    assert!(wait_until(PATIENCE, over), "{:#}", server.get("injections", "held"));
    assert!(server.get("injections", "held")["status"]["startedAt"].is_null());
}

//! A node's agent beside a small API server: what it holds, and for how long faults are off while one process of it follows another.

use std::time::Duration;

use chaos_tests::{
    clock::wait_until,
    lab::NodeLock,
    need,
    net::NetNs,
    node::{Agent, ApiServer, LocalPod, injection, pod_object},
    product::Chaos,
};

const PATIENCE: Duration = Duration::from_secs(30);
/// Pods that a node has at most, unless its kubelet is told otherwise.
const PODS: usize = 110;

/// An API server whose node has as many pods as it may: these, and others of which nothing runs here.
fn server_with(pods: &[LocalPod]) -> ApiServer {
    let server = ApiServer::start();
    pods.iter().for_each(|pod| server.put("pods", pod.object()));
    for number in pods.len()..PODS {
        server.put("pods", pod_object(&format!("other-{number}"), &format!("ffffffff-0000-4000-8000-{number:012x}")));
    }
    server
}

/// Waits until the agent has found out what the kernel can do: all is loaded and done that is done once.
fn await_checked(server: &ApiServer, agent: &Agent) {
    agent.await_ready();
    let checked = || server.get("nodeagents", "node1")["status"]["capabilities"].is_array();
    assert!(wait_until(PATIENCE, checked), "it does not say what can be done: {}", agent.said());
}

fn await_phase(server: &ApiServer, name: &str, phase: &str, agent: &Agent) {
    let mut status = serde_json::Value::Null;
    let stands = wait_until(PATIENCE, || {
        status = server.get("injections", name)["status"].clone();
        status["phase"] == phase
    });
    assert!(stands, "{name} is not {phase}: {status}\n{}", agent.said());
}

/// Anonymous memory of an agent, in MiB: what is its own whatever the build. Types of the kernel, objects and lists take five times as much
/// while they are read.
const LEAN: f64 = 12.0;

#[test]
fn what_was_needed_once_goes_back_to_the_kernel() {
    if !need::root() || !need::product() || !need::cgroup2() {
        return;
    }
    let _alone = NodeLock::exclusive();
    let chaos = Chaos::find().expect("found before");
    let namespaces: Vec<NetNs> = (0..20).map(|_| wired()).collect();
    let pods: Vec<LocalPod> = namespaces.iter().map(LocalPod::new).collect();
    let server = server_with(&pods);
    let agent = Agent::start(&chaos, &server);
    await_checked(&server, &agent);
    let lean = |when: &str| {
        // Once it says that it lives, at the latest.
        let lean = wait_until(PATIENCE, || agent.memory("RssAnon") <= LEAN);
        let [all, own, peak] = ["VmRSS", "RssAnon", "VmHWM"].map(|key| agent.memory(key));
        need::measured(&format!("{when}: {all:.1} MiB resident, {own:.1} of them anonymous; at most it was {peak:.1}"));
        assert!(lean, "{when}: {own:.1} MiB are anonymous");
    };
    lean("with a list of 110 pods");
    server.put("injections", injection("cut", 60, &pods, "192.0.2.7"));
    await_phase(&server, "cut", "Injected", &agent);
    lean("with 20 targets");
    server.delete("injections", "cut");
}

/// A namespace with a device.
fn wired() -> NetNs {
    let ns = NetNs::new("pod");
    ns.ip("link add eth0 type veth peer name other");
    ns.ip("addr add 10.99.0.2/24 dev eth0");
    ns.ip("link set eth0 up");
    ns
}

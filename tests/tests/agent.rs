//! A node's agent beside a small API server: what it holds, and for how long faults are off while one process of it follows another.

use std::time::{Duration, Instant};

use chaos_tests::{
    clock::wait_until,
    lab::NodeLock,
    need,
    net::{Family, Hosts, NetNs},
    node::{Agent, ApiServer, Knocks, LocalPod, injection, pod_object},
    product::Chaos,
};
use nix::sys::signal::Signal;

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

/// A pod that knocks at a peer from which an Injection cuts it off, and the agent that does so.
struct Scene {
    chaos: Chaos,
    server: ApiServer,
    agent: Agent,
    knocks: Knocks,
    _pods: Vec<LocalPod>,
    _hosts: Hosts,
    _alone: NodeLock,
}

impl Scene {
    #[track_caller]
    fn open(seconds: u32) -> Option<Self> {
        if !need::root() || !need::product() || !need::cgroup2() {
            return None;
        }
        let alone = NodeLock::exclusive();
        let chaos = Chaos::find().expect("found before");
        let hosts = Hosts::new();
        let pods = vec![LocalPod::new(&hosts.a.ns)];
        let knocks = Knocks::start(&hosts.a.ns, &hosts.b.ns, hosts.b.at(Family::V4, 7000));
        let server = server_with(&pods);
        let agent = Agent::start(&chaos, &server);
        await_checked(&server, &agent);
        knocks.await_open();
        server.put("injections", injection("cut", seconds, &pods, &hosts.b.v4.to_string()));
        await_phase(&server, "cut", "Injected", &agent);
        knocks.await_shut();
        Some(Self { chaos, server, agent, knocks, _pods: pods, _hosts: hosts, _alone: alone })
    }

    /// The next process, beside the one that acts: the agent is not ready until it is prepared.
    #[track_caller]
    fn follower(&self) -> Agent {
        let next = self.agent.beside(&self.chaos, &self.server);
        assert!(wait_until(PATIENCE, || !self.agent.is_ready()), "an update would go on before it is prepared");
        next.await_ready();
        next
    }

    /// Ends the agent and starts the next one after it; how long packets got through.
    #[track_caller]
    fn replaced(&mut self, signal: Signal) -> (Duration, Duration) {
        let then = Instant::now();
        self.agent.signal(signal);
        self.agent.await_end();
        let begun = Instant::now();
        self.agent = self.agent.beside(&self.chaos, &self.server);
        self.agent.await_ready();
        self.knocks.await_shut();
        let last = self.knocks.last().map_or(Duration::ZERO, |last| last.saturating_duration_since(begun));
        (self.knocks.open_since(then), last)
    }

    fn matched(&self) -> u64 {
        self.server.get("injections", "cut")["status"]["faults"][0]["matched"].as_u64().unwrap_or(0)
    }
}

#[test]
fn a_process_that_stands_by_takes_over_and_hardly_a_packet_gets_through() {
    let Some(mut scene) = Scene::open(120) else { return };
    let (alone, of_start) = scene.replaced(Signal::SIGTERM);
    let (killed, of_next) = scene.replaced(Signal::SIGKILL);
    let prepares = Instant::now();
    let mut next = scene.follower();
    assert_eq!(scene.knocks.since(prepares), 0, "it touched what the other one owns");
    let before = scene.matched();
    let then = Instant::now();
    scene.agent.signal(Signal::SIGTERM);
    scene.agent.await_end();
    next.await_ready();
    scene.knocks.await_shut();
    let beside = scene.knocks.open_since(then);
    need::measured(&format!(
        "packets got through for {beside:.0?} from one process to the next beside it; for {alone:.0?} to one that was started after it \
         ({of_start:.0?} of them from its start on), for {killed:.0?} after SIGKILL ({of_next:.0?} of them)"
    ));
    assert!(beside < alone / 3, "{beside:?} instead of {alone:?}");
    // Counts go on, and so do the faults; the third change of process was in order like the first.
    assert!(wait_until(PATIENCE, || scene.matched() > before), "{} matched, {before} before", scene.matched());
    assert!(!next.has_ended());
    assert!(scene.server.get("nodeagents", "node1")["status"]["active"][0] == "shop/cut", "{}", next.said());
}

#[test]
fn a_process_that_stands_by_leaves_a_stopped_ones_lease_alone() {
    let Some(scene) = Scene::open(120) else { return };
    let mut next = scene.follower();
    scene.agent.signal(Signal::SIGSTOP);
    // The lease is over; who stands by does not know why, and the kernel would let both act.
    scene.knocks.await_open();
    assert!(!next.has_ended(), "{}", next.said());
    scene.agent.signal(Signal::SIGCONT);
    await_phase(&scene.server, "cut", "Aborted", &scene.agent);
    scene.agent.signal(Signal::SIGKILL);
    next.await_ready();
    // What is over for good stays so for the next one.
    let told = || next.said().contains("takes over");
    assert!(wait_until(PATIENCE, told), "{}", next.said());
    await_phase(&scene.server, "cut", "Aborted", &next);
    scene.knocks.await_open();
}

/// A namespace with a device.
fn wired() -> NetNs {
    let ns = NetNs::new("pod");
    ns.ip("link add eth0 type veth peer name other");
    ns.ip("addr add 10.99.0.2/24 dev eth0");
    ns.ip("link set eth0 up");
    ns
}

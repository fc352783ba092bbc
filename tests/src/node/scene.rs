//! A node with as many pods as it may have, some of them on this machine, and its agent.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::{Agent, ApiServer, Knocks, LocalPod, NODE, injection, pod_object};
use crate::{
    clock::wait_until,
    lab::NodeLock,
    need,
    net::{Family, Hosts, NetNs},
    product::Chaos,
};

const PATIENCE: Duration = Duration::from_secs(30);
/// Pods that a node has at most, unless its kubelet is told otherwise.
const PODS: usize = 110;

/// Nothing else of the tests' is on the machine.
#[derive(Debug)]
pub struct Scene {
    /// The API server.
    pub server: ApiServer,
    /// The agent that acts.
    pub agent: Agent,
    /// Pods of this machine.
    pub pods: Vec<LocalPod>,
    chaos: Chaos,
    _alone: NodeLock,
}

impl Scene {
    /// One where all is done that is done once: loaded, listed, and what the kernel can do found out. None where it cannot be.
    #[track_caller]
    pub fn open(namespaces: impl FnOnce() -> Vec<LocalPod>) -> Option<Self> {
        if !need::root() || !need::product() || !need::cgroup2() {
            return None;
        }
        let alone = NodeLock::exclusive();
        let chaos = Chaos::find().ok()?;
        let (server, pods) = (ApiServer::start(), namespaces());
        pods.iter().for_each(|pod| server.put("pods", pod.object()));
        for number in pods.len()..PODS {
            let uid = format!("ffffffff-0000-4000-8000-{number:012x}");
            server.put("pods", pod_object(&format!("other-{number}"), &uid));
        }
        let agent = Agent::start(&chaos, &server);
        agent.await_ready();
        let checked = || server.get("nodeagents", NODE)["status"]["capabilities"].is_array();
        assert!(wait_until(PATIENCE, checked), "it does not say what can be done: {}", agent.said());
        Some(Self { server, agent, pods, chaos, _alone: alone })
    }

    /// One with twenty pods of this machine, which send nothing.
    #[track_caller]
    pub fn of_twenty() -> Option<Self> {
        Self::open(|| {
            let pod = |_| {
                // The process in it keeps it, whatever becomes of its name.
                let ns = NetNs::new("pod");
                ns.ip("link add eth0 type veth peer name other");
                ns.ip("addr add 10.99.0.2/24 dev eth0");
                ns.ip("link set eth0 up");
                LocalPod::new(&ns)
            };
            (0..20).map(pod).collect()
        })
    }

    /// Cuts its pods off from an address.
    #[track_caller]
    pub fn cut(&self, from: &str) {
        self.server.put("injections", injection("cut", 600, &self.pods, from));
        self.await_phase("Injected", &self.agent);
    }

    /// Waits until the Injection stands so, as this agent says.
    #[track_caller]
    pub fn await_phase(&self, phase: &str, agent: &Agent) {
        let mut status = serde_json::Value::Null;
        let stands = wait_until(PATIENCE, || {
            status = self.server.get("injections", "cut")["status"].clone();
            status["phase"] == phase
        });
        assert!(stands, "it is not {phase}: {status}\n{}", agent.said());
    }

    /// The next process, beside the one that acts and stays ready: an update deletes an old pod that is not.
    #[track_caller]
    pub fn follower(&self) -> Agent {
        let next = self.agent.beside(&self.chaos, &self.server);
        let prepared = || {
            assert!(self.agent.is_ready());
            next.said().contains("stands by")
        };
        assert!(wait_until(PATIENCE, prepared), "{}", next.said());
        next
    }
}

impl Drop for Scene {
    /// A killed agent leaves what the next one takes up; there is no next one here.
    fn drop(&mut self) {
        self.agent.kill();
        let _cleaned = self.chaos.command(&["cleanup"]);
        let _gone = [self.server.kubeconfig(), "/run/chaos/agent.json".into()].map(std::fs::remove_file);
    }
}

/// One with a pod that knocks at a peer from which it is cut off.
#[derive(Debug)]
pub struct Cut {
    /// The node.
    pub scene: Scene,
    /// What gets through.
    pub knocks: Knocks,
    _hosts: Hosts,
}

impl Cut {
    /// Under the fault.
    #[track_caller]
    pub fn open() -> Option<Self> {
        let mut hosts = None;
        let scene = Scene::open(|| vec![LocalPod::new(&hosts.insert(Hosts::new()).a.ns)])?;
        let hosts = hosts?;
        let knocks = Knocks::start(&hosts.a.ns, &hosts.b.ns, hosts.b.at(Family::V4, 7000));
        knocks.await_open();
        scene.cut(&hosts.b.v4.to_string());
        knocks.await_shut();
        Some(Self { scene, knocks, _hosts: hosts })
    }

    /// Ends the agent and starts the next one after it. How long packets got through, and how long of that after the next one's start.
    #[track_caller]
    pub fn replaced(&mut self, signal: Signal) -> (Duration, Duration) {
        let scene = &mut self.scene;
        let then = Instant::now();
        scene.agent.signal(signal);
        scene.agent.await_end();
        let begun = Instant::now();
        scene.agent = scene.agent.beside(&scene.chaos, &scene.server);
        scene.agent.await_ready();
        self.knocks.await_shut();
        let last = self.knocks.last().map_or(Duration::ZERO, |last| last.saturating_duration_since(begun));
        (self.knocks.open_since(then), last)
    }

    /// Has the next process take over beside the one that acts. How long packets got through.
    #[track_caller]
    pub fn handed_over(&mut self) -> Duration {
        let mut next = self.scene.follower();
        let then = Instant::now();
        self.scene.agent.signal(Signal::SIGTERM);
        self.scene.agent.await_end();
        std::mem::swap(&mut self.scene.agent, &mut next);
        self.scene.agent.await_ready();
        self.knocks.await_shut();
        self.knocks.open_since(then)
    }

    /// Packets that the Injection counts.
    pub fn matched(&self) -> u64 {
        self.scene.server.get("injections", "cut")["status"]["faults"][0]["matched"].as_u64().unwrap_or(0)
    }
}

//! Nodes and pods that only the API server knows: no kubelet stands behind them, and agents that are played answer for them.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{Receiver, Sender, channel},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::{Value, json};

use super::{Cluster, Request, Scene, Watch, process_named};

const API: &str = "/apis/chaos-ebpf.dev/v1alpha1";
/// Of its nodes.
const LABEL: &str = "chaos-tests/crowd";

/// Nodes with pods on them, which go with their owner.
#[derive(Debug)]
pub struct Crowd {
    /// Where the pods are.
    pub scene: Scene,
    /// How many nodes.
    pub nodes: usize,
    /// How many pods on each.
    pub each: usize,
    // Last, so that it wakes up when all is gone.
    _manager: Asleep,
}

/// A process that is stopped until its owner goes.
#[derive(Debug)]
struct Asleep(Pid);

impl Drop for Asleep {
    fn drop(&mut self) {
        let _ended = kill(self.0, Signal::SIGCONT);
    }
}

impl Crowd {
    /// Makes them. The controller manager sleeps meanwhile: it would find that no kubelet answers, and evict all of them.
    #[track_caller]
    pub fn gather(cluster: &Cluster, nodes: usize, each: usize) -> Self {
        let scene = Scene::new(cluster);
        let manager = Pid::from_raw(process_named("kube-controller-manager").expect("a controller manager"));
        kill(manager, Signal::SIGSTOP).expect("stop the controller manager");
        let crowd = Self { scene, nodes, each, _manager: Asleep(manager) };
        let made: Vec<Request> = (0..nodes).map(|number| Request::create("/api/v1/nodes", node(number))).collect();
        cluster.send(&made).expect("nodes");
        let path = format!("/api/v1/namespaces/{}/pods", crowd.scene.namespace);
        let numbers = || (0..nodes).flat_map(|node| (0..each).map(move |pod| (node, node * each + pod)));
        let made: Vec<_> = numbers().map(|(node, number)| Request::create(&path, pod(node, number))).collect();
        cluster.send(&made).expect("pods");
        let run = |number| Request::merge(format!("{path}/{}/status", pod_name(number)), running(number));
        let running: Vec<_> = numbers().map(|(_, number)| run(number)).collect();
        cluster.send(&running).expect("statuses of pods");
        crowd
    }

    fn path(&self, resource: &str) -> String {
        format!("{API}/namespaces/{}/{resource}", self.scene.namespace)
    }

    /// All objects of one of our resources here.
    #[track_caller]
    pub fn list(&self, resource: &str) -> Vec<Value> {
        self.scene.cluster.read(&self.path(resource))["items"].as_array().cloned().unwrap_or_default()
    }

    /// The experiment of this name.
    #[track_caller]
    pub fn experiment(&self, name: &str) -> Value {
        self.scene.cluster.read(&format!("{}/{name}", self.path("experiments")))
    }

    /// Lets agents answer from now on.
    #[track_caller]
    pub fn agents(&self) -> Agents {
        Agents::start(self.scene.cluster.clone(), self.path("injections"))
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        let cluster = &self.scene.cluster;
        let at_once = json!({ "kind": "DeleteOptions", "apiVersion": "v1", "gracePeriodSeconds": 0 });
        let pods = format!("/api/v1/namespaces/{}/pods", self.scene.namespace);
        let nodes = format!("/api/v1/nodes?labelSelector={}", LABEL.replace('/', "%2F"));
        for path in [self.path("experiments"), self.path("injections"), pods, nodes] {
            // A request that takes a minute is cut off.
            let all = [Request::delete(path, at_once.clone())];
            let tried = (0..20).map(|_| cluster.send(&all)).find(Result::is_ok);
            if tried.is_none() {
                eprintln!("the crowd stays: {all:?}");
            }
        }
    }
}

fn node_name(number: usize) -> String {
    format!("crowd-{number:04}")
}

fn pod_name(number: usize) -> String {
    format!("pod-{number:05}")
}

fn node(number: usize) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Node", "metadata": { "name": node_name(number), "labels": { LABEL: "" } },
        "status": { "conditions": [{ "type": "Ready", "status": "True" }] },
    })
}

fn pod(node: usize, number: usize) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": pod_name(number), "labels": { "app": "crowd" } },
        "spec": {
            "nodeName": node_name(node), "automountServiceAccountToken": false, "terminationGracePeriodSeconds": 0,
            "tolerations": [{ "operator": "Exists" }], "containers": [{ "name": "main", "image": "none" }],
        },
    })
}

/// Of 100.64.0.0/10, where no pod of this machine is.
fn running(number: usize) -> Value {
    let ip = format!("100.64.{}.{}", number / 256, number % 256);
    json!({ "status": { "phase": "Running", "podIP": ip, "podIPs": [{ "ip": ip }] } })
}

/// What agents of all nodes would say, said by one thread: Prepared, Injected as soon as the spec says start, Reverted as it says stop.
#[derive(Debug)]
pub struct Agents {
    cluster: Cluster,
    path: String,
    known: Arc<Mutex<BTreeMap<String, Known>>>,
    /// What each target has counted.
    count: Arc<AtomicU64>,
    watch: Arc<Mutex<Option<Watch>>>,
    end: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Known {
    injection: Value,
    said: &'static str,
}

impl Agents {
    fn start(cluster: Cluster, path: String) -> Self {
        let (known, count, end) = (Arc::default(), Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let mut agents = Self { cluster, path, known, count, watch: Arc::default(), end, thread: None };
        let (sender, receiver) = channel();
        let watching = agents.beside();
        thread::spawn(move || watching.follow(&sender));
        let answering = agents.beside();
        agents.thread = Some(thread::spawn(move || answering.answer(&receiver)));
        agents
    }

    /// Hears of all Injections, again and again: the API server ends a watch that is slow to read.
    fn follow(&self, events: &Sender<Value>) {
        while !self.end.load(Ordering::Relaxed) {
            let mut watch = self.cluster.watch(&self.path);
            let coming = watch.events();
            *self.watch.lock().unwrap_or_else(PoisonError::into_inner) = Some(watch);
            coming.for_each(|event| drop(events.send(event)));
        }
    }

    /// The same, without what ends it.
    fn beside(&self) -> Self {
        let (cluster, path) = (self.cluster.clone(), self.path.clone());
        let (known, count, end) = (Arc::clone(&self.known), Arc::clone(&self.count), Arc::clone(&self.end));
        Self { cluster, path, known, count, watch: Arc::clone(&self.watch), end, thread: None }
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<String, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answer(&self, events: &Receiver<Value>) {
        while !self.end.load(Ordering::Relaxed) {
            let Ok(first) = events.recv_timeout(Duration::from_millis(50)) else { continue };
            let more: Vec<Value> = events.try_iter().take(500).collect();
            let mut answers = Vec::new();
            for event in std::iter::once(first).chain(more) {
                answers.extend(self.learn(&event));
            }
            if let Err(error) = self.cluster.send(&answers) {
                // Some may be gone by now.
                eprintln!("agents: {error}");
            }
        }
    }

    /// What is to be said to an event.
    fn learn(&self, event: &Value) -> Option<Request> {
        let injection = &event["object"];
        let name = injection["metadata"]["name"].as_str()?.to_owned();
        let mut known = self.known();
        if event["type"] == "DELETED" {
            known.remove(&name);
            return None;
        }
        let phase = match (&injection["spec"]["stop"], &injection["spec"]["start"]) {
            (Value::String(_), _) => "Reverted",
            (_, Value::Bool(true)) => "Injected",
            _ => "Prepared",
        };
        let before = known.get(&name).map(|one| one.said);
        known.insert(name, Known { injection: injection.clone(), said: phase });
        (before != Some(phase)).then(|| self.say(injection, phase))
    }

    /// All of them write what their targets have counted by now, each the same; how long that took.
    #[track_caller]
    pub fn count(&self, each: u64) -> Duration {
        self.count.store(each, Ordering::Relaxed);
        let all: Vec<Request> = self.known().values().map(|one| self.say(&one.injection, one.said)).collect();
        let begun = Instant::now();
        self.cluster.send(&all).expect("statuses of Injections");
        begun.elapsed()
    }

    /// As chaos-user/agent/src/part.rs says it.
    fn say(&self, injection: &Value, phase: &str) -> Request {
        let (meta, spec) = (&injection["metadata"], &injection["spec"]);
        let (name, node) = (meta["name"].as_str().unwrap_or_default(), spec["nodeName"].as_str().unwrap_or_default());
        let count = if phase == "Prepared" { 0 } else { self.count.load(Ordering::Relaxed) };
        let targets = spec["targets"].as_array().cloned().unwrap_or_default();
        let record = |one: &Value| {
            json!({
                "namespace": one["namespace"], "pod": one["name"], "uid": one["uid"], "node": node, "state": phase,
                "mechanism": "tcx", "matched": 2 * count, "injected": count,
            })
        };
        let total = count * targets.len() as u64;
        let mut status = json!({
            "observedGeneration": meta["generation"], "phase": phase,
            "faults": [{ "name": "fault", "seen": 3 * total, "matched": 2 * total, "injected": total, "skipped": total }],
            "targets": targets.iter().map(record).collect::<Vec<_>>(),
        });
        if phase != "Prepared" {
            status["startedAt"] = json!("2026-01-01T00:00:00Z");
        }
        if phase == "Reverted" {
            status["endedAt"] = json!("2026-01-01T00:05:00Z");
            status["report"] = report(&targets, count);
        }
        let body = json!({
            "apiVersion": "chaos-ebpf.dev/v1alpha1", "kind": "Injection", "metadata": { "name": name }, "status": status,
        });
        Request::apply(&format!("{}/{name}/status", self.path), "chaos-agent", body).by_agent_of(node)
    }

    /// How many have said this last.
    pub fn saying(&self, phase: &str) -> usize {
        self.known().values().filter(|one| one.said == phase).count()
    }
}

impl Drop for Agents {
    fn drop(&mut self) {
        // Those of its threads have nothing to end.
        let Some(thread) = self.thread.take() else { return };
        self.end.store(true, Ordering::Relaxed);
        *self.watch.lock().unwrap_or_else(PoisonError::into_inner) = None;
        let _panicked = thread.join();
    }
}

const ACTIONS: [&str; 8] =
    ["delayed", "lost", "duplicated", "corrupted", "detectedByDrop", "reordered", "reset", "errors"];
const TESTS: [&str; 8] = ["direction", "peer", "protocol", "port", "connection", "scope", "time", "except"];

/// The whole report of a node, with all fields that an agent writes.
fn report(targets: &[Value], count: u64) -> Value {
    let name =
        |one: &Value| format!("{}/{}", one["namespace"].as_str().unwrap_or(""), one["name"].as_str().unwrap_or(""));
    let zeros =
        |names: &[&str]| names.iter().map(|name| ((*name).to_owned(), json!(0))).collect::<serde_json::Map<_, _>>();
    let fault = |one: &Value| {
        json!({
            "name": "fault", "target": name(one), "mechanism": "tcx", "seen": 3 * count, "matched": 2 * count, "injected": count,
            "skipped": count, "skbs": count, "bytes": 100 * count, "dropped": 0, "overflow": 0, "skippedByLease": 0,
            "recursionMisses": 0, "actions": zeros(&ACTIONS), "rejectedBy": zeros(&TESTS),
            "samples": { "hits": [], "missed": [] },
        })
    };
    let target =
        |one: &Value| json!({ "kind": "pod", "name": name(one), "cgroupId": 1, "state": "Reverted", "gaps": [] });
    json!({
        "experiment": "crowd", "verdict": "Pass", "reason": "", "seed": 1, "warnings": [], "startedAt": "2026-01-01T00:00:00Z",
        "endedAt": "2026-01-01T00:05:00Z", "targets": targets.iter().map(target).collect::<Vec<_>>(),
        "faults": targets.iter().map(fault).collect::<Vec<_>>(),
    })
}

/// A value of /proc/PID/status in KiB.
pub fn memory_of(pid: i32, what: &str) -> u64 {
    let text = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("status")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(what)?.strip_prefix(':'));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or_default()
}

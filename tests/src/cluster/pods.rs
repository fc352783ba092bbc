//! Pods of a test in a namespace of their own, and what can be seen from inside them.

use std::{
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::json;

use super::{Cluster, first_process, kubectl::PATIENCE};
use crate::clock::wait_until;

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A namespace with pods in it, which goes with its owner.
#[derive(Debug)]
pub struct Scene {
    /// Where.
    pub cluster: Cluster,
    /// The namespace.
    pub namespace: String,
}

/// A pod that runs.
#[derive(Clone, Debug)]
pub struct Pod {
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// Its address.
    pub ip: String,
    /// The host's number of its first container's first process.
    pub pid: i32,
}

impl Scene {
    /// An empty namespace.
    pub fn new(cluster: &Cluster) -> Self {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let namespace = format!("test-{}-{number}", std::process::id());
        cluster.kubectl(&format!("create namespace {namespace}"));
        let scene = Self { cluster: cluster.clone(), namespace };
        // Pods cannot be made before it is there.
        let account = format!("get serviceaccount default -n {}", scene.namespace);
        let words: Vec<&str> = account.split_whitespace().collect();
        cluster.wait("the namespace has its service account", || cluster.ask(&words, "").is_ok());
        scene
    }

    /// A pod's document: its name, its label `app`, its node.
    pub fn pod(&self, name: &str, app: &str, node: &str) -> serde_json::Value {
        json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": { "name": name, "namespace": self.namespace, "labels": { "app": app } },
            "spec": {
                "nodeName": node, "terminationGracePeriodSeconds": 0, "automountServiceAccountToken": false,
                "containers": [container("main", &["serve", "80"])],
            },
        })
    }

    /// Makes them, and waits until all of them run.
    #[track_caller]
    pub fn start(&self, pods: &[serde_json::Value]) -> Vec<Pod> {
        let documents = json!({ "apiVersion": "v1", "kind": "List", "items": pods });
        self.cluster.apply(&documents.to_string());
        pods.iter().map(|pod| self.running(pod["metadata"]["name"].as_str().unwrap_or_default())).collect()
    }

    /// Waits until a pod runs.
    #[track_caller]
    pub fn running(&self, name: &str) -> Pod {
        self.await_pod(name, PATIENCE, Pod::of)
    }

    /// Waits until a pod runs, wherever it does; its address.
    #[track_caller]
    pub fn address(&self, name: &str, patience: Duration) -> String {
        let address =
            |pod: &serde_json::Value| pod["status"]["podIP"].as_str().filter(|_| is_ready(pod)).map(str::to_owned);
        self.await_pod(name, patience, address)
    }

    #[track_caller]
    fn await_pod<T>(&self, name: &str, patience: Duration, seen: impl Fn(&serde_json::Value) -> Option<T>) -> T {
        let mut found = None;
        let get = || self.cluster.get("pod", &self.namespace, name);
        let holds = || {
            found = get().as_ref().and_then(&seen);
            found.is_some()
        };
        assert!(wait_until(patience, holds), "pod {name} does not run: {:?}", get());
        found.expect("it runs")
    }
}

fn is_ready(pod: &serde_json::Value) -> bool {
    let containers = pod["status"]["containerStatuses"].as_array();
    containers.is_some_and(|all| all.iter().all(|one| one["ready"] == true))
}

impl Drop for Scene {
    fn drop(&mut self) {
        let words = ["delete", "namespace", &self.namespace, "--wait=false"];
        let _gone = self.cluster.ask(&words, "");
        if std::thread::panicking() {
            // A Halt that a failed test leaves would refuse every further one.
            let _lifted = self.cluster.ask(&["delete", "halts", "--all"], "");
        }
    }
}

/// A container of the tests' image.
pub fn container(name: &str, words: &[&str]) -> serde_json::Value {
    json!({ "name": name, "image": "localhost/chaos-pod:1", "imagePullPolicy": "Never", "command": ["/bin/chaos-pod"], "args": words })
}

impl Pod {
    fn of(pod: &serde_json::Value) -> Option<Self> {
        let text = |value: &serde_json::Value| value.as_str().map(str::to_owned);
        if !is_ready(pod) {
            return None;
        }
        let uid = text(&pod["metadata"]["uid"])?;
        let id = pod["status"]["containerStatuses"][0]["containerID"].as_str()?.rsplit('/').next()?.to_owned();
        let pid = first_process(&id)?;
        Some(Self { name: text(&pod["metadata"]["name"])?, uid, ip: text(&pod["status"]["podIP"])?, pid })
    }

    /// A command in its network namespace.
    pub fn inside(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--net", "-t", &self.pid.to_string(), "--", program]);
        command
    }

    /// Does something in its network namespace, on a thread of its own.
    #[track_caller]
    pub fn in_network<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let netns = std::fs::File::open(format!("/proc/{}/ns/net", self.pid)).expect("a namespace");
        let entered = || {
            nix::sched::setns(netns, nix::sched::CloneFlags::CLONE_NEWNET).expect("setns");
            work()
        };
        std::thread::scope(|scope| scope.spawn(entered).join()).expect("a thread")
    }

    /// How many of so many pings are answered.
    #[track_caller]
    pub fn pings(&self, address: &str, count: u32) -> u32 {
        let mut ping = self.inside("ping");
        let output = ping.args(["-n", "-q", "-i", "0.02", "-W", "1", "-c", &count.to_string(), address]).output();
        counted(&String::from_utf8_lossy(&output.expect("ping").stdout)).1
    }

    /// Pings every 20 ms until they are ended.
    pub fn begin_pings(&self, address: &str) -> Pings {
        let mut ping = self.inside("ping");
        ping.args(["-n", "-q", "-i", "0.02", "-W", "1", address]).stdout(Stdio::piped());
        Pings(ping.spawn().expect("ping"))
    }

    /// Whether one of a few pings is answered.
    #[track_caller]
    pub fn reaches(&self, address: &str) -> bool {
        self.pings(address, 3) > 0
    }

    /// What a pod behind an address answers over TCP; None where nobody does within a second.
    pub fn asks(&self, address: &str) -> Option<String> {
        self.asks_at(address, 80)
    }

    /// The same at another port.
    pub fn asks_at(&self, address: &str, port: u16) -> Option<String> {
        let script = format!("exec 3<>/dev/tcp/{address}/{port} && cat <&3");
        let output = self.inside("timeout").args(["1", "bash", "-c", &script]).output().ok()?;
        let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        (!text.is_empty()).then_some(text)
    }

    /// Waits until it is reached, or is no longer.
    #[track_caller]
    pub fn wait_reaches(&self, address: &str, wanted: bool, patience: Duration) {
        let holds = || (self.pings(address, 1) > 0) == wanted;
        let what = if wanted { "reachable" } else { "out of reach" };
        assert!(wait_until(patience, holds), "{address} is not {what} from {}", self.name);
    }
}

/// Sent and answered, as ping sums them up.
#[track_caller]
fn counted(text: &str) -> (u32, u32) {
    let number =
        |word: &str| text.split([',', '\n']).find_map(|part| part.trim().strip_suffix(word)?.trim().parse().ok());
    let (sent, answered) = (number("packets transmitted"), number("received"));
    sent.zip(answered).unwrap_or_else(|| panic!("ping says: {text}"))
}

/// Pings that go on.
#[derive(Debug)]
pub struct Pings(Child);

impl Pings {
    /// Ends them: how many were sent, and how many answered.
    #[track_caller]
    pub fn end(self) -> (u32, u32) {
        let _sums_up = kill(Pid::from_raw(self.0.id().cast_signed()), Signal::SIGINT);
        let output = self.0.wait_with_output().expect("ping");
        counted(&String::from_utf8_lossy(&output.stdout))
    }
}

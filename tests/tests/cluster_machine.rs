//! On a node in a virtual machine, whose kernel can do what that of this machine may lack: delays, rates, errors of system calls and
//! threads that sleep. Its pods are seen from a pod of another node, which sends them datagrams that they send back.
//! `cargo xtask test --cluster cluster_machine` starts such a node.

#[path = "cluster_machine/matrix.rs"]
mod matrix;

use std::{
    net::UdpSocket,
    sync::OnceLock,
    thread,
    time::{Duration, Instant},
};

use chaos_tests::{
    cluster::{Asked, Cluster, Install, Pod, Race, Scene, container},
    need,
    stats::quantile::median,
};
use serde_json::{Value, json};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// Emulated, all takes longer.
const READY: Duration = Duration::from_secs(120);

/// The pods: a target with two containers and its neighbour on the machine, and one that looks at them.
struct Stage {
    install: Install,
    scene: Scene,
    eye: Pod,
    target: String,
    neighbour: String,
}

static STAGE: OnceLock<Option<Stage>> = OnceLock::new();

impl Stage {
    #[track_caller]
    fn open() -> Option<&'static Self> {
        STAGE.get_or_init(|| Self::new(&need::cluster()?)).as_ref()
    }

    fn new(cluster: &Cluster) -> Option<Self> {
        let Some(machine) = machine(cluster) else {
            need::absent("no node of this cluster is in a virtual machine");
            return None;
        };
        let install = Install::here(cluster);
        let scene = Scene::new(cluster);
        let mut target = scene.pod("target", "target", &machine);
        target["spec"]["containers"] =
            json!([container("main", &["serve", "80"]), container("side", &["serve", "81"])]);
        let eye = scene.start(&[scene.pod("eye", "eye", "node1")]).remove(0);
        let pods = json!({ "apiVersion": "v1", "kind": "List", "items": [target, scene.pod("neighbour", "neighbour", &machine)] });
        cluster.apply(&pods.to_string());
        let [target, neighbour] = ["target", "neighbour"].map(|name| scene.address(name, READY));
        Some(Self { install, scene, eye, target, neighbour })
    }

    /// A socket in the pod that looks.
    fn socket(&self, to: &str, port: u16) -> UdpSocket {
        let socket = self.eye.in_network(|| UdpSocket::bind("0.0.0.0:0").expect("a socket"));
        socket.connect((to, port)).expect("a route");
        socket
    }

    /// How long answers of a container take, ms, in order; without those that do not come.
    fn echoes(&self, to: &str, port: u16, count: u32) -> Vec<f64> {
        let socket = self.socket(to, port);
        let mut times: Vec<f64> = (0..count).filter_map(|number| echo(&socket, number)).collect();
        times.sort_by(f64::total_cmp);
        times
    }

    #[track_caller]
    fn usual(&self, to: &str, port: u16) -> f64 {
        let times = self.echoes(to, port, 20);
        assert!(times.len() >= 19, "{to}:{port} answered {} of 20", times.len());
        median(&times)
    }

    /// While this network fault acts on the target.
    #[track_caller]
    fn under<T>(&self, name: &str, network: &Value, look: impl FnOnce() -> T) -> T {
        let asked = Asked::apply(&self.scene, name, 120, "target", network);
        asked.await_injected();
        let seen = look();
        asked.stop("finish");
        let over = asked.await_over();
        assert_eq!(over.verdict(), "Pass", "{over:?}");
        seen
    }
}

/// The node whose kernel is another one than that of the rest.
fn machine(cluster: &Cluster) -> Option<String> {
    let ours = nix::sys::utsname::uname().expect("uname").release().to_string_lossy().into_owned();
    let nodes = cluster.list("nodes");
    let other = nodes.iter().find(|node| node["status"]["nodeInfo"]["kernelVersion"] != ours.as_str());
    other.and_then(|node| node["metadata"]["name"].as_str().map(str::to_owned))
}

/// Milliseconds until a datagram is back.
fn echo(socket: &UdpSocket, number: u32) -> Option<f64> {
    let begin = Instant::now();
    socket.send(&number.to_be_bytes()).ok()?;
    loop {
        let left = PATIENCE.saturating_sub(begin.elapsed());
        socket.set_read_timeout(Some(left.max(Duration::from_millis(1)))).ok()?;
        let mut buffer = [0; 64];
        let length = socket.recv(&mut buffer).ok()?;
        if buffer[..length] == number.to_be_bytes() {
            return Some(begin.elapsed().as_secs_f64() * 1000.0);
        }
    }
}

#[test]
fn a_delay_is_felt_in_both_directions_and_by_the_target_alone() {
    let Some(stage) = Stage::open() else { return };
    let before = stage.usual(&stage.target, 80);
    for direction in ["egress", "ingress"] {
        let network = json!({ "direction": direction, "match": { "all": true }, "latency": { "delay": "150ms" } });
        let (target, neighbour) = stage.under(&format!("late-{direction}"), &network, || {
            (stage.usual(&stage.target, 80), stage.usual(&stage.neighbour, 80))
        });
        assert!((145.0..250.0).contains(&(target - before)), "{direction}: {target} ms instead of {before}");
        assert!(neighbour < 100.0, "{direction}: the neighbour answers after {neighbour} ms");
    }
    assert!(stage.usual(&stage.target, 80) < before + 100.0, "it answers as before");
}

#[test]
fn jitter_spreads_the_round_trips() {
    let Some(stage) = Stage::open() else { return };
    let before = stage.usual(&stage.target, 80);
    let network = json!({ "match": { "all": true }, "latency": { "delay": "200ms", "jitter": "100ms" } });
    let times = stage.under("uneven", &network, || stage.echoes(&stage.target, 80, 60));
    assert!(times.len() >= 58, "{} of 60 came back", times.len());
    let (low, high) = (times[5], times[times.len() - 6]);
    assert!(low > 95.0 && high < 400.0 + before, "{low} to {high} ms");
    assert!(high - low > 100.0, "200 ms of spread were asked for: {low} to {high} ms");
}

#[test]
fn a_rate_holds() {
    let Some(stage) = Stage::open() else { return };
    let network = json!({ "match": { "all": true }, "bandwidth": { "rate": "1mbit" } });
    let (bytes, seconds) = stage.under("narrow", &network, || {
        let socket = stage.socket(&stage.target, 80);
        let receiver = socket.try_clone().expect("the same socket");
        receiver.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let sender = thread::spawn(move || {
            let begin = Instant::now();
            for number in 0u32..2_000 {
                let _ = socket.send(&[0; 1000]);
                // 4 Mbit/s.
                let due = begin + Duration::from_millis(2) * number;
                thread::sleep(due.saturating_duration_since(Instant::now()));
            }
        });
        let mut buffer = [0; 2048];
        let mut arrivals = Vec::new();
        while let Ok(length) = receiver.recv(&mut buffer) {
            arrivals.push((Instant::now(), length));
        }
        sender.join().expect("a sender");
        let (first, last) = (arrivals.first().expect("some came").0, arrivals.last().expect("some came").0);
        (arrivals.iter().skip(1).map(|(_, length)| length + 42).sum::<usize>(), (last - first).as_secs_f64())
    });
    let rate = bytes as f64 * 8.0 / seconds / 1e6;
    assert!((0.9..1.1).contains(&rate), "{rate} Mbit/s instead of 1");
}

/// A fault of calls on one container of the target.
fn calls(stage: &Stage, name: &str, fault: &Value) -> Asked {
    let pods = json!({ "labelSelector": { "matchLabels": { "app": "target" } }, "containers": ["main"] });
    let mut fault = fault.clone();
    fault["calls"] = json!(["sendto"]);
    fault["match"] = json!({ "all": true });
    let spec =
        json!({ "duration": "120s", "selector": { "pods": pods }, "faults": [{ "name": "fault", "syscall": fault }] });
    Asked::apply_spec(&stage.scene, name, &spec)
}

#[test]
fn calls_of_one_container_fail_and_its_neighbours_do_not() {
    let Some(stage) = Stage::open() else { return };
    let asked = calls(stage, "mute", &json!({ "errno": "EPERM" }));
    asked.await_injected();
    let socket = stage.socket(&stage.target, 80);
    assert_eq!(echo(&socket, 1), None, "the target's sendto fails");
    stage.usual(&stage.target, 81);
    stage.usual(&stage.neighbour, 80);
    asked.stop("finish");
    assert_eq!(asked.await_over().verdict(), "Pass");
    stage.usual(&stage.target, 80);
}

/// In a container /dev/fuse is neither seen nor allowed: the agent opens it all the same, without being privileged. With the overlay it is
/// there.
#[test]
fn threads_sleep_whether_the_agent_is_privileged_or_not() {
    let Some(stage) = Stage::open() else { return };
    for overlay in ["", "overlays/privileged"] {
        stage.install.apply(overlay);
        stage.install.await_ready();
        let before = stage.usual(&stage.target, 80);
        let name = if overlay.is_empty() { "slow" } else { "slow-privileged" };
        let asked = calls(stage, name, &json!({ "latency": { "delay": "300ms" } }));
        asked.await_injected();
        let late = stage.usual(&stage.target, 80);
        assert!((290.0..450.0).contains(&(late - before)), "{name}: {late} ms instead of {before}");
        assert!(
            stage.usual(&stage.target, 81) < 150.0 && stage.usual(&stage.neighbour, 80) < 150.0,
            "{name}: the others answer at once"
        );
        asked.stop("finish");
        assert_eq!(asked.await_over().verdict(), "Pass");
    }
    stage.install.apply("");
    stage.install.await_ready();
}

/// What `cluster_speed` measures, with half of the pods on the emulated machine, which is not to have to send a thousand datagrams a second
/// for each of them.
#[test]
fn twenty_pods_are_under_it_soon_and_are_let_go_soon() {
    let Some(stage) = Stage::open() else { return };
    let machine = machine(&stage.scene.cluster).expect("a machine");
    Race::new(&stage.scene, &stage.eye, ["node2", &machine], 10).run(5, Duration::from_secs(3));
}

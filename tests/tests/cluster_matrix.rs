//! On a Kubernetes cluster: who is cut off from whom, seen by all of four pods, for each way to choose targets, peers and direction.
//!
//! The nodes share this machine's kernel, so the effect is one that every kernel has: all datagrams of a pair are lost. What else a fault may
//! do to packets (part of them lost, doubled, damaged) acts beside it.

use std::{
    collections::BTreeSet,
    net::UdpSocket,
    sync::{
        OnceLock,
        atomic::{AtomicU8, Ordering},
    },
    thread,
    time::Duration,
};

use chaos_tests::{
    clock::wait_until,
    cluster::{
        Asked, Install, Pod, Scene, container,
        matrix::{PODS, all, apply, noise, numbered, partition, pod, towards},
    },
    need,
};
use serde_json::{Value, json};

const PORT: u16 = 7777;
/// Another one, to which a pod of the node's network knocks.
const KNOCKS: u16 = 7778;
/// Datagrams of each pair in one look: of 25 % loss, none of 30 get through once in 10^18 looks.
const DATAGRAMS: usize = 30;
/// For a fault to begin or to end.
const SOON: Duration = Duration::from_secs(20);
/// A datagram that is on its way after that is lost.
const LATE: Duration = Duration::from_millis(200);

/// Pods 0 to 3, two on each node; the partition of a pod is its number modulo 2.
struct Matrix {
    scene: Scene,
    pods: Vec<Pod>,
    sockets: Vec<UdpSocket>,
    look: AtomicU8,
}

static MATRIX: OnceLock<Option<Matrix>> = OnceLock::new();

/// In a pod's network; reading from it does not wait.
fn socket(pod: &Pod, port: u16) -> UdpSocket {
    let socket = pod.in_network(|| UdpSocket::bind(("0.0.0.0", port)).expect("a socket"));
    socket.set_nonblocking(true).expect("a socket that does not wait");
    socket
}

impl Matrix {
    #[track_caller]
    fn new() -> Option<Self> {
        let cluster = need::cluster()?;
        let _installed = Install::here(&cluster);
        let scene = Scene::new(&cluster);
        let document = |number: usize| {
            let node = if number < 2 { "node1" } else { "node2" };
            numbered(&scene, number, node)
        };
        let pods = scene.start(&(0..PODS).map(document).collect::<Vec<_>>());
        let sockets = pods.iter().map(|pod| socket(pod, PORT)).collect();
        Some(Self { scene, pods, sockets, look: AtomicU8::new(0) })
    }

    /// Made once for all tests.
    #[track_caller]
    fn open() -> Option<&'static Self> {
        MATRIX.get_or_init(Self::new).as_ref()
    }

    /// Pairs of which nothing gets through, as `from` and `to`.
    fn cut_off(&self) -> BTreeSet<String> {
        let look = self.look.fetch_add(1, Ordering::Relaxed);
        let pairs = || (0..PODS).flat_map(|from| (0..PODS).map(move |to| (from, to))).filter(|(from, to)| from != to);
        for _ in 0..DATAGRAMS {
            for (from, to) in pairs() {
                let _refused = self.sockets[from].send_to(&[look, from as u8], (self.pods[to].ip.as_str(), PORT));
            }
            thread::sleep(Duration::from_millis(2));
        }
        // That nothing comes cannot be awaited.
        thread::sleep(LATE);
        let mut heard = BTreeSet::new();
        for (to, socket) in self.sockets.iter().enumerate() {
            let mut buffer = [0; 16];
            while let Ok((length, _)) = socket.recv_from(&mut buffer) {
                if length == 2 && buffer[0] == look {
                    heard.insert((usize::from(buffer[1]), to));
                }
            }
        }
        pairs().filter(|pair| !heard.contains(pair)).map(|(from, to)| format!("{from}{to}")).collect()
    }

    /// Waits until exactly these are, and stay so for another look.
    #[track_caller]
    fn expect(&self, pairs: &str) {
        let expected: BTreeSet<String> = pairs.split_whitespace().map(str::to_owned).collect();
        let mut seen = BTreeSet::new();
        let holds = || {
            seen = self.cut_off();
            seen == expected
        };
        assert!(wait_until(SOON, holds), "cut off are {seen:?} instead of {expected:?}");
        assert_eq!(self.cut_off(), expected, "it has changed");
    }

    #[track_caller]
    fn apply(&self, name: &str, targets: &Value, network: &Value) -> Asked {
        apply(&self.scene, name, targets, network)
    }

    /// Applies one, looks who is cut off, and that it ends with the experiment.
    #[track_caller]
    fn case(&self, name: &str, targets: &Value, network: &Value, pairs: &str) {
        let asked = self.apply(name, targets, network);
        self.expect(pairs);
        asked.delete();
        self.expect("");
    }
}

/// All datagrams of these peers are lost.
fn cut(direction: &str, peers: &Value) -> Value {
    towards(direction, peers, ("partition", json!(true)))
}

#[test]
fn targets_peers_and_directions_are_those_that_were_asked_for() {
    let Some(matrix) = Matrix::open() else { return };
    matrix.expect("");
    matrix.case("to-all", &pod(0), &cut("egress", &all()), "01 02 03");
    matrix.case("to-one", &pod(0), &cut("egress", &pod(1)), "01");
    matrix.case("to-partition", &pod(0), &cut("egress", &partition(0)), "02");
    matrix.case("from-one", &pod(0), &cut("ingress", &pod(1)), "10");
    matrix.case("both-one", &pod(0), &cut("both", &pod(1)), "01 10");
    matrix.case("both-partition", &pod(0), &cut("both", &partition(0)), "02 20");
    matrix.case("by-label", &partition(1), &cut("egress", &partition(0)), "10 12 30 32");
    matrix.case("crossover", &partition(0), &cut("both", &partition(1)), "01 03 10 12 21 23 30 32");
}

#[test]
fn experiments_add_up_and_end_alone() {
    let Some(matrix) = Matrix::open() else { return };
    let one = matrix.apply("one", &pod(0), &cut("egress", &pod(1)));
    let two = matrix.apply("two", &pod(0), &cut("egress", &partition(0)));
    matrix.expect("01 02");
    one.delete();
    matrix.expect("02");
    let far = matrix.apply("far", &pod(2), &cut("egress", &pod(3)));
    matrix.expect("02 23");
    two.delete();
    far.delete();
    matrix.expect("");
    let beside = noise();
    let apply = |(action, parameters): &(&str, Value)| {
        matrix.apply(action, &pod(0), &towards("both", &all(), (action, parameters.clone())))
    };
    let lossy: Vec<Asked> = beside.iter().map(apply).collect();
    matrix.expect("");
    let one = matrix.apply("one", &pod(0), &cut("egress", &pod(1)));
    matrix.expect("01");
    for asked in lossy.iter().chain([&one]) {
        asked.delete();
    }
    matrix.expect("");
}

#[test]
fn a_short_one_ends_by_itself() {
    let Some(matrix) = Matrix::open() else { return };
    let faults = json!([{ "name": "fault", "network": cut("egress", &pod(1)) }]);
    let spec = json!({ "duration": "5s", "selector": { "pods": pod(0) }, "faults": faults });
    let short = Asked::apply_spec(&matrix.scene, "short", &spec);
    short.await_injected();
    matrix.expect("01");
    let over = short.await_over();
    assert_eq!(over.verdict(), "Pass", "{over:?}");
    matrix.expect("");
}

/// Its packets are told apart by its cgroup: neither its node nor the pods there are hit.
#[test]
fn of_a_pod_in_the_nodes_network_that_pod_alone_is_hit() {
    let Some(matrix) = Matrix::open() else { return };
    let to = &matrix.pods[3];
    let hears = socket(to, KNOCKS);
    let mut knocking = matrix.scene.pod("in-node", "in-node", "node1");
    knocking["spec"]["hostNetwork"] = true.into();
    knocking["spec"]["containers"] = json!([container("main", &["knock", &to.ip, &KNOCKS.to_string(), "10"])]);
    matrix.scene.cluster.apply(&knocking.to_string());
    let heard = || {
        while hears.recv_from(&mut [0; 64]).is_ok() {}
        thread::sleep(LATE);
        hears.recv_from(&mut [0; 64]).is_ok()
    };
    assert!(wait_until(SOON, &heard), "it does not knock");
    let targets = json!({ "labelSelector": { "matchLabels": { "app": "in-node" } } });
    let cut = matrix.apply("in-node", &targets, &json!({ "match": { "all": true }, "partition": true }));
    assert!(wait_until(SOON, || !heard()), "it is not cut off");
    matrix.expect("");
    assert!(!heard(), "it is cut off no longer");
    cut.delete();
    assert!(wait_until(SOON, &heard), "it is still cut off");
}

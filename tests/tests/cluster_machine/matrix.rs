//! The matrix of `cluster_matrix` with delays: pod 0 is on the machine, whose kernel can hold packets back. Echoes between all pods say
//! which ways are slow, and how often: a delay in each direction counts twice.

use std::{
    collections::BTreeMap,
    net::UdpSocket,
    time::{Duration, Instant},
};

use chaos_tests::{
    clock::wait_until,
    cluster::{
        Asked, Pod,
        matrix::{PODS, all, apply, noise, numbered, partition, pod, towards},
    },
    stats::quantile::median,
};
use serde_json::{Value, json};

use super::{READY, Stage, machine};

const PORT: u16 = 80;
/// Milliseconds.
const DELAY: f64 = 200.0;
/// Datagrams of each pair in one look: of those that noise leaves, a few come back.
const DATAGRAMS: u32 = 24;
/// Answers that make a look count.
const ENOUGH: usize = 3;
/// For a look at all pairs.
const LOOK: Duration = Duration::from_millis(1500);
/// For a fault to begin or to end.
const SOON: Duration = Duration::from_secs(30);

struct Matrix<'a> {
    stage: &'a Stage,
    addresses: Vec<String>,
    /// Those that this machine's kernel has: all but the first.
    seen: Vec<Pod>,
    usual: BTreeMap<(usize, usize), f64>,
}

impl<'a> Matrix<'a> {
    fn new(stage: &'a Stage) -> Self {
        let (scene, far) = (&stage.scene, machine(&stage.scene.cluster).expect("a machine"));
        let nodes = ["node1", "node2", "node2"];
        let near: Vec<Value> = (1..PODS).map(|number| numbered(scene, number, nodes[number - 1])).collect();
        scene.cluster.apply(&numbered(scene, 0, &far).to_string());
        let seen = scene.start(&near);
        let mut addresses = vec![scene.address("pod-0", READY)];
        addresses.extend(seen.iter().map(|pod| pod.ip.clone()));
        let mut matrix = Self { stage, addresses, seen, usual: BTreeMap::new() };
        assert!(wait_until(SOON, || matrix.times().len() == PODS * (PODS - 1) / 2), "not all pods answer");
        matrix.usual = matrix.times();
        matrix
    }

    /// Milliseconds for the way there and back between each two, without those between which hardly anything comes back.
    fn times(&self) -> BTreeMap<(usize, usize), f64> {
        let pairs = (1..PODS).flat_map(|from| (0..from).map(move |to| (to, from)));
        let sockets: Vec<((usize, usize), UdpSocket)> = pairs
            .map(|(to, from)| {
                let socket = self.seen[from - 1].in_network(|| UdpSocket::bind("0.0.0.0:0").expect("a socket"));
                socket.connect((self.addresses[to].as_str(), PORT)).expect("a route");
                socket.set_nonblocking(true).expect("a socket that does not wait");
                ((to, from), socket)
            })
            .collect();
        let begin = Instant::now();
        let mut times: BTreeMap<(usize, usize), BTreeMap<u32, f64>> = BTreeMap::new();
        let (mut sent, mut number) = (Vec::new(), 0);
        while begin.elapsed() < LOOK {
            if number < DATAGRAMS {
                sent.push(Instant::now());
                for (_, socket) in &sockets {
                    let _refused = socket.send(&u32::to_be_bytes(number));
                }
                number += 1;
            }
            std::thread::sleep(Duration::from_millis(5));
            for (pair, socket) in &sockets {
                let mut buffer = [0; 4];
                while socket.recv(&mut buffer).is_ok_and(|length| length == 4) {
                    let number = u32::from_be_bytes(buffer);
                    // A second copy, or a number that damage made.
                    let Some(at) = sent.get(number as usize) else { continue };
                    let time = at.elapsed().as_secs_f64() * 1000.0;
                    times.entry(*pair).or_default().entry(number).or_insert(time);
                }
            }
        }
        let enough = times.into_iter().filter(|(_, times)| times.len() >= ENOUGH);
        enough
            .map(|(pair, times)| {
                let mut times: Vec<f64> = times.into_values().collect();
                times.sort_by(f64::total_cmp);
                (pair, median(&times))
            })
            .collect()
    }

    /// How many delays each two have between them; None where nobody can say.
    fn delays(&self) -> Option<BTreeMap<(usize, usize), u32>> {
        let times = self.times();
        let count =
            |pair: &(usize, usize), time: &f64| Some(((time - self.usual.get(pair)?) / DELAY).round().max(0.0) as u32);
        let all: Option<BTreeMap<_, _>> = times.iter().map(|(pair, time)| Some((*pair, count(pair, time)?))).collect();
        all.filter(|all| all.len() == self.usual.len())
            .map(|all| all.into_iter().filter(|(_, count)| *count > 0).collect())
    }

    /// Waits until exactly these ways are slow, and stay so for another look. `02` is that from 0 to 2.
    #[track_caller]
    fn expect(&self, ways: &str) {
        let mut expected = BTreeMap::new();
        for way in ways.split_whitespace() {
            let digit = |at: usize| usize::from(way.as_bytes()[at] - b'0');
            *expected.entry((digit(0).min(digit(1)), digit(0).max(digit(1)))).or_insert(0) += 1;
        }
        let mut seen = None;
        let holds = || {
            seen = self.delays();
            seen.as_ref() == Some(&expected)
        };
        assert!(wait_until(SOON, holds), "delays are {seen:?} instead of {expected:?}");
        assert_eq!(self.delays(), Some(expected), "it has changed");
    }

    #[track_caller]
    fn late(&self, name: &str, direction: &str, peers: &Value) -> Asked {
        let delay = json!({ "delay": format!("{DELAY}ms") });
        apply(&self.stage.scene, name, &pod(0), &towards(direction, peers, ("latency", delay)))
    }

    #[track_caller]
    fn case(&self, name: &str, direction: &str, peers: &Value, ways: &str) {
        let asked = self.late(name, direction, peers);
        self.expect(ways);
        asked.delete();
    }
}

#[test]
fn delays_are_between_those_that_were_asked_for() {
    let Some(stage) = Stage::open() else { return };
    let matrix = Matrix::new(stage);
    matrix.expect("");
    matrix.case("to-all", "egress", &all(), "01 02 03");
    matrix.case("to-one", "egress", &pod(1), "01");
    matrix.case("to-partition", "egress", &partition(0), "02");
    matrix.case("both-ways", "both", &partition(0), "02 20");
    let one = matrix.late("one", "egress", &pod(1));
    let two = matrix.late("two", "egress", &partition(0));
    matrix.expect("01 02");
    one.delete();
    matrix.expect("02");
    two.delete();
    matrix.expect("");
    for (action, parameters) in noise() {
        let beside = towards("egress", &all(), (action, parameters));
        let beside = apply(&stage.scene, &format!("beside-{action}"), &pod(0), &beside);
        matrix.expect("");
        matrix.case(&format!("with-{action}"), "egress", &all(), "01 02 03");
        beside.delete();
    }
    matrix.expect("");
}

//! How soon pods are under a fault and how soon they are let go: each sends datagrams to one that notes when they come.

use std::{
    collections::BTreeMap,
    fs,
    net::UdpSocket,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::channel,
    },
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::{Asked, Pod, Request, Scene, container};
use crate::{
    clock::wait_until,
    need,
    stats::quantile::{median, quantile},
};

/// Half of them on each of two nodes.
pub const PODS: usize = 20;
const PORT: u16 = 7778;
/// Labels them.
const CROWD: &str = "quick";
/// For all pods of the slowest node to run.
const READY: Duration = Duration::from_secs(180);
/// Under the fault, once it is said to act.
const QUIET: Duration = Duration::from_millis(300);

/// When what came from whom.
type Arrivals = BTreeMap<String, Vec<Instant>>;

/// Receives in a pod's network namespace until it is told to end.
fn receive(pod: &Pod, end: &Arc<AtomicBool>) -> thread::JoinHandle<Arrivals> {
    let socket = pod.in_network(|| UdpSocket::bind(("0.0.0.0", PORT)).expect("bind"));
    let end = Arc::clone(end);
    thread::spawn(move || {
        socket.set_read_timeout(Some(Duration::from_millis(20))).expect("a timeout");
        let (mut arrivals, mut buffer) = (Arrivals::new(), [0; 64]);
        while !end.load(Ordering::Relaxed) {
            if let Ok((_, from)) = socket.recv_from(&mut buffer) {
                arrivals.entry(from.ip().to_string()).or_default().push(Instant::now());
            }
        }
        arrivals
    })
}

/// Milliseconds from a moment to each of these; negative where it was before.
fn after(moment: Instant, times: impl Iterator<Item = Instant>) -> Vec<f64> {
    let each = times.map(|time| match time.checked_duration_since(moment) {
        Some(later) => later.as_secs_f64() * 1000.0,
        None => -(moment - time).as_secs_f64() * 1000.0,
    });
    let mut all: Vec<f64> = each.collect();
    all.sort_by(f64::total_cmp);
    all
}

/// Busy and all ticks of the processors until now (proc_stat(5)).
fn ticks() -> (u64, u64) {
    let stat = fs::read_to_string("/proc/stat").expect("/proc/stat");
    let ticks: Vec<u64> = stat.lines().next().unwrap_or_default().split(' ').filter_map(|n| n.parse().ok()).collect();
    let (all, idle) = (ticks.iter().sum::<u64>(), ticks.iter().skip(3).take(2).sum::<u64>());
    (all - idle, all)
}

/// Waits until the nodes are done with starting the pods, which takes all processors of a small machine for seconds: a second in which a
/// third of them had nothing to do.
fn settle() {
    let is_calm = || {
        let before = ticks();
        thread::sleep(Duration::from_secs(1)); // The sample.
        let (busy, all) = ticks();
        (busy - before.0) * 3 <= (all - before.1) * 2
    };
    if !wait_until(Duration::from_secs(30), is_calm) {
        need::measured("the machine is never idle: what follows is not what a quiet one does");
    }
}

/// Milliseconds, of one experiment.
struct Round {
    /// From the return of `kubectl apply` to the last datagram that got through, of the first pod and of the last.
    cut: [f64; 2],
    /// How long `kubectl delete` took.
    delete: f64,
    /// From its return to the first datagram that got through, of the first pod and of the last.
    released: [f64; 2],
}

/// Pods that send, and the one that hears them.
pub struct Race<'a> {
    scene: &'a Scene,
    sink: &'a Pod,
    nodes: [&'a str; 2],
    crowd: String,
    addresses: Vec<String>,
}

impl<'a> Race<'a> {
    /// Starts them on these nodes; each sends a datagram every so many milliseconds.
    #[track_caller]
    pub fn new(scene: &'a Scene, sink: &'a Pod, nodes: [&'a str; 2], pace: u32) -> Self {
        // Others of another test may be there yet.
        let crowd = format!("{CROWD}-{pace}");
        let pod = |number: usize| {
            let mut pod = scene.pod(&format!("{crowd}-{number}"), &crowd, nodes[number % 2]);
            let words = ["knock", &sink.ip, &PORT.to_string(), &pace.to_string()];
            pod["spec"]["containers"] = json!([container("main", &words)]);
            pod
        };
        let pods: Vec<Value> = (0..PODS).map(pod).collect();
        scene.cluster.apply(&json!({ "apiVersion": "v1", "kind": "List", "items": pods }).to_string());
        let addresses = (0..PODS).map(|number| scene.address(&format!("{crowd}-{number}"), READY)).collect();
        Self { scene, sink, nodes, crowd, addresses }
    }

    /// One experiment on them, that cuts them off from the one that hears. `pause`: for the samples under it and after it.
    #[track_caller]
    fn round(&self, pause: Duration) -> Round {
        let end = Arc::new(AtomicBool::new(false));
        let receiver = receive(self.sink, &end);
        settle();
        let network = json!({ "match": { "peers": [{ "cidr": format!("{}/32", self.sink.ip) }] }, "partition": true });
        let cut = Asked::apply(self.scene, &self.crowd, 120, &self.crowd, &network);
        let applied = Instant::now();
        // Nobody asks how it stands meanwhile: another kubectl would take half of a small machine.
        thread::sleep(pause);
        cut.await_injected();
        let injected = Instant::now();
        thread::sleep(QUIET); // The sample in which none may come.
        let before_delete = Instant::now();
        cut.delete();
        let deleted = Instant::now();
        thread::sleep(pause);
        end.store(true, Ordering::Relaxed);
        let arrivals = receiver.join().expect("a receiver");
        assert_eq!(arrivals.len(), PODS, "some pod was never heard");
        let of = |ip: &String| arrivals[ip].iter().copied();
        let last =
            after(applied, self.addresses.iter().filter_map(|ip| of(ip).filter(|time| *time < before_delete).max()));
        let late = arrivals.values().flatten().filter(|time| (injected..before_delete).contains(*time)).count();
        assert_eq!(late, 0, "datagrams got through after the experiment said that it acts");
        let first = after(deleted, self.addresses.iter().filter_map(|ip| of(ip).find(|time| *time >= before_delete)));
        assert_eq!(first.len(), PODS, "some pod is not let go");
        Round {
            cut: [last[0], last[PODS - 1]],
            delete: (deleted - before_delete).as_secs_f64() * 1000.0,
            released: [first[0], first[PODS - 1]],
        }
    }

    /// Several, and what they took.
    #[track_caller]
    pub fn run(&self, rounds: usize, pause: Duration) {
        let all: Vec<Round> = (0..rounds).map(|_| self.round(pause)).collect();
        need::measured(&format!(
            "median and range of {rounds} rounds on {}, from the return of kubectl apply to the last datagram that got through: first pod {}, \
             last of {PODS} {}",
            self.nodes.join(" and "),
            spread(&all, |one| one.cut[0]),
            spread(&all, |one| one.cut[1])
        ));
        need::measured(&format!(
            "on {} kubectl delete took {}; from its return to the first datagram that got through: first pod {}, last of {PODS} {}",
            self.nodes.join(" and "),
            spread(&all, |one| one.delete),
            spread(&all, |one| one.released[0]),
            spread(&all, |one| one.released[1])
        ));
    }
}

impl Race<'_> {
    /// So many experiments made at once, several on each pod: how long after the last was made all act.
    #[track_caller]
    pub fn together(&self, count: usize) {
        let (cluster, namespace) = (&self.scene.cluster, &self.scene.namespace);
        let path = format!("/apis/chaos-ebpf.dev/v1alpha1/namespaces/{namespace}/experiments");
        let one = |number: usize| {
            let cidr = format!("{}/32", self.sink.ip);
            let body = json!({
                "apiVersion": "chaos-ebpf.dev/v1alpha1", "kind": "Experiment", "metadata": { "name": format!("together-{number}") },
                "spec": {
                    "duration": "120s", "selector": { "pods": { "names": [format!("{}-{}", self.crowd, number % PODS)] } },
                    "faults": [{ "network": { "match": { "peers": [{ "cidr": cidr }] }, "partition": true } }],
                },
            });
            Request::create(&path, body)
        };
        let requests: Vec<Request> = (0..count).map(one).collect();
        let end = Arc::new(AtomicBool::new(false));
        let receiver = receive(self.sink, &end);
        settle();
        let mut watch = cluster.watch(&path);
        let (to, injected) = channel();
        let events = watch.events();
        let watcher = thread::spawn(move || {
            let acts = |event: &Value| event["object"]["status"]["phase"] == "Injected";
            events
                .filter(acts)
                .for_each(|event| drop(to.send((event["object"]["metadata"]["name"].to_string(), Instant::now()))));
        });
        cluster.send(&requests).expect("experiments are taken");
        let made = Instant::now();
        let mut seen: BTreeMap<String, Instant> = BTreeMap::new();
        while seen.len() < count {
            let next = injected.recv_timeout(Duration::from_secs(60));
            let (name, time) = next.unwrap_or_else(|_| panic!("{} of {count} are injected", seen.len()));
            seen.entry(name).or_insert(time);
        }
        thread::sleep(QUIET); // The sample in which none may come.
        end.store(true, Ordering::Relaxed);
        let arrivals = receiver.join().expect("a receiver");
        drop(watch);
        watcher.join().expect("a watcher");
        let told = after(made, seen.values().copied());
        let last = after(made, arrivals.values().filter_map(|times| times.last().copied()));
        need::measured(&format!(
            "{count} experiments on {PODS} pods, from the last create's answer: the last datagram got through after {:.0} ms, the last experiment \
             said that it acts after {:.0} ms, half of them after {:.0} ms",
            last[PODS - 1],
            told[count - 1],
            median(&told)
        ));
        cluster.kubectl(&format!("delete experiments --all -n {namespace}"));
    }
}

impl Drop for Race<'_> {
    fn drop(&mut self) {
        let label = format!("app={}", self.crowd);
        let words = ["delete", "pods", "-n", &self.scene.namespace, "-l", &label, "--wait=false", "--grace-period=0"];
        let _gone = self.scene.cluster.ask(&words, "");
    }
}

/// The median and the extremes.
fn spread(rounds: &[Round], figure: impl Fn(&Round) -> f64) -> String {
    let all: Vec<f64> = rounds.iter().map(figure).collect();
    format!("{:.0} ms ({:.0} to {:.0})", median(&all), quantile(&all, 0.0), quantile(&all, 1.0))
}

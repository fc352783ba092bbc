//! A benchmark on a Kubernetes cluster: how long after `kubectl apply` has returned the first and the last of twenty pods is under
//! the fault, and how long after `kubectl delete` has. Every pod sends a datagram a millisecond; what arrives is what counts.
//! `cargo xtask test --cluster cluster_speed` runs it and prints; a bound is not tested, since it would be one of the machine.

use std::{
    collections::BTreeMap,
    fs,
    net::UdpSocket,
    os::fd::{AsFd as _, OwnedFd},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use chaos_tests::{
    clock::wait_until,
    cluster::{Asked, Pod, Shop, container},
    need,
};
use serde_json::json;

const PODS: usize = 20;
/// Experiments one after the other.
const ROUNDS: usize = 7;
const PORT: u16 = 7778;

/// When what came from whom.
type Arrivals = BTreeMap<String, Vec<Instant>>;

/// Receives in a pod's network namespace until it is told to end.
fn receive(pod: &Pod, end: &Arc<AtomicBool>) -> thread::JoinHandle<Arrivals> {
    let netns: OwnedFd = fs::File::open(format!("/proc/{}/ns/net", pod.pid)).expect("a namespace").into();
    let end = Arc::clone(end);
    thread::spawn(move || {
        nix::sched::setns(netns.as_fd(), nix::sched::CloneFlags::CLONE_NEWNET).expect("setns");
        let socket = UdpSocket::bind(("0.0.0.0", PORT)).expect("bind");
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

/// One experiment on these pods.
fn round(shop: &Shop, pods: &[Pod]) -> Round {
    let end = Arc::new(AtomicBool::new(false));
    let receiver = receive(&shop.db, &end);
    settle();
    let cut = Asked::apply(&shop.scene, "quick", 120, "quick", &Shop::cut());
    let applied = Instant::now();
    // The sample under the fault. Nobody asks how it stands meanwhile: another kubectl would take half of a small machine.
    thread::sleep(Duration::from_secs(1));
    cut.await_injected();
    let before_delete = Instant::now();
    cut.delete();
    let deleted = Instant::now();
    thread::sleep(Duration::from_millis(1500)); // The sample after it.
    end.store(true, Ordering::Relaxed);
    let arrivals = receiver.join().expect("a receiver");
    assert_eq!(arrivals.len(), PODS, "some pod was never heard");
    let of = |pod: &Pod| arrivals[&pod.ip].iter().copied();
    let last = after(applied, pods.iter().filter_map(|pod| of(pod).filter(|time| *time < before_delete).max()));
    let first = after(deleted, pods.iter().filter_map(|pod| of(pod).find(|time| *time >= before_delete)));
    assert_eq!(first.len(), PODS, "some pod is not let go");
    Round {
        cut: [last[0], last[PODS - 1]],
        delete: (deleted - before_delete).as_secs_f64() * 1000.0,
        released: [first[0], first[PODS - 1]],
    }
}

/// The median and the extremes.
fn spread(rounds: &[Round], figure: impl Fn(&Round) -> f64) -> String {
    let mut all: Vec<f64> = rounds.iter().map(figure).collect();
    all.sort_by(f64::total_cmp);
    format!("{:.0} ms ({:.0} to {:.0})", all[all.len() / 2], all[0], all[all.len() - 1])
}

#[test]
fn twenty_pods_are_under_it_soon_and_are_let_go_soon() {
    let Some(shop) = Shop::open() else { return };
    let crowd: Vec<_> = (0..PODS)
        .map(|number| {
            let mut pod =
                shop.scene.pod(&format!("quick-{number}"), "quick", if number % 2 == 0 { "node1" } else { "node2" });
            pod["spec"]["containers"] = json!([container("main", &["knock", &shop.db.ip, &PORT.to_string()])]);
            pod
        })
        .collect();
    let pods = shop.scene.start(&crowd);
    let rounds: Vec<Round> = (0..ROUNDS).map(|_| round(shop, &pods)).collect();
    need::measured(&format!(
        "median and range of {ROUNDS} rounds, from the return of kubectl apply to the last datagram that got through: first pod {}, \
         last of {PODS} {}",
        spread(&rounds, |one| one.cut[0]),
        spread(&rounds, |one| one.cut[1])
    ));
    need::measured(&format!(
        "kubectl delete took {}; from its return to the first datagram that got through: first pod {}, last of {PODS} {}",
        spread(&rounds, |one| one.delete),
        spread(&rounds, |one| one.released[0]),
        spread(&rounds, |one| one.released[1])
    ));
    for pod in &pods {
        shop.scene
            .cluster
            .kubectl(&format!("delete pod {} -n {} --wait=false --grace-period=0", pod.name, shop.scene.namespace));
    }
}

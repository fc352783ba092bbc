//! Fidelity: what netem does on the same kernel within the same minutes is the measure of what chaos does. Only ratios of
//! interleaved measurements count: absolute numbers depend on the machine and on what else it does. Needs fq and netem.

use std::time::Duration;

use chaos_tests::lab::Lab;
use chaos_tests::need;
use chaos_tests::net::{Family, Host, offload};
use chaos_tests::scene::{Direction, PORT};
use chaos_tests::stats::ks::one_sample;
use chaos_tests::stats::quantile::median;
use chaos_tests::stats::theory;
use chaos_tests::traffic::bulk::{Bulk, bulk, raise_windows};
use chaos_tests::traffic::tcp::{Until, transfer};
use chaos_tests::traffic::{Flow, Outcome};

/// How often chaos and netem take turns.
const TURNS: usize = 5;
/// Where the machine's other work spoils a comparison, so many times more turns may settle it: medians are taken over all.
const ROUNDS: usize = 3;

fn lab() -> Option<Lab> {
    let lab = Lab::delaying().filter(|_| need::netem())?.by_chance();
    raise_windows(&lab.hosts.a.ns);
    raise_windows(&lab.hosts.b.ns);
    Some(lab)
}

/// Runs something under netem at the root of the sender's device: the wire's far side, seen from a receiving target.
fn under_netem<T>(sender: &Host, netem: &str, run: impl FnOnce() -> T) -> T {
    sender.ns.tc(&format!("qdisc add dev eth0 root netem limit 100000 {netem}"));
    let result = run();
    sender.ns.tc("qdisc del dev eth0 root");
    result
}

/// One TCP flow of four seconds.
fn stream(lab: &Lab, direction: Direction) -> Bulk {
    let (from, to) = direction.ends(lab);
    bulk(&from.ns, &to.ns, to.at(Family::V4, PORT), Duration::from_secs(4))
}

/// Flows under chaos and under netem.
#[derive(Default)]
struct Turns {
    ours: Vec<Bulk>,
    netem: Vec<Bulk>,
}

impl Turns {
    fn take(&mut self, lab: &Lab, direction: Direction, action: &str, netem: &str) {
        let (from, _) = direction.ends(lab);
        for _ in 0..TURNS {
            let running = lab.inject(&direction.fault_on("tcp", action));
            self.ours.push(stream(lab, direction));
            let report = running.finish();
            assert_eq!(report.only_fault().count("overflow"), 0, "{direction}: {}", report.only_fault().json);
            self.netem.push(under_netem(from, netem, || stream(lab, direction)));
        }
    }

    /// Prints the measurements and returns the ratio of their medians.
    fn ratio(&self, what: &str, of: impl Fn(&Bulk) -> f64) -> f64 {
        let (ours, netem): (Vec<f64>, Vec<f64>) =
            (self.ours.iter().map(&of).collect(), self.netem.iter().map(&of).collect());
        let ratio = median(&ours) / median(&netem);
        need::measured(&format!("{what}: {ratio:.3} of netem; chaos {ours:.1?}, netem {netem:.1?}"));
        ratio
    }
}

fn tcp_under_delay(direction: Direction, least: f64) {
    let Some(lab) = lab() else { return };
    let mut turns = Turns::default();
    let mut ratio = 0.0;
    for _ in 0..ROUNDS {
        turns.take(&lab, direction, "latency: { delay: 50ms }", "delay 50ms");
        ratio = turns.ratio(&format!("{direction}, Mbit/s"), Bulk::mbit_per_s);
        if ratio >= least {
            return;
        }
    }
    panic!("{direction}: {ratio:.2} of netem's throughput, not {least}");
}

#[test]
fn tcp_under_egress_delay() {
    tcp_under_delay(Direction::Egress, 0.85);
}

/// Two more passes of the receive path than netem on the other end of the wire.
#[test]
fn tcp_under_ingress_delay() {
    tcp_under_delay(Direction::Ingress, 0.75);
}

fn retransmits_per_megabyte(bulk: &Bulk) -> f64 {
    f64::from(bulk.sender.retransmits) * 1e6 / bulk.sender.bytes_acked as f64
}

/// A sender that is told of its losses backs off instead of sending again: that is not what a wire does.
#[test]
fn tcp_under_loss() {
    let Some(lab) = lab() else { return };
    for direction in Direction::BOTH {
        let mut turns = Turns::default();
        let like_netem = (0..ROUNDS).any(|_| {
            turns.take(&lab, direction, "loss: { percent: 2 }", "loss 2%");
            let speed = turns.ratio(&format!("{direction}, Mbit/s"), Bulk::mbit_per_s);
            let again = turns.ratio(&format!("{direction}, retransmits per MB"), retransmits_per_megabyte);
            speed >= 0.7 && (0.85..1.15).contains(&again)
        });
        assert!(
            like_netem,
            "{direction}: less than 0.7 of netem's throughput, or other retransmits by 15 %; see above"
        );
    }
}

/// As on a rate that a shaper sets: the same at the receiver, whatever the sender does.
#[test]
fn tcp_under_a_rate() {
    let Some(lab) = lab() else { return };
    for direction in Direction::BOTH {
        let running = lab.inject(&direction.fault_on("tcp", "bandwidth: { rate: 20mbit }"));
        let rate = stream(&lab, direction).mbit_per_s() * 1_514.0 / 1_448.0;
        running.finish();
        need::measured(&format!("{direction}: {rate:.2} of 20 Mbit/s"));
        assert!((19.0..21.0).contains(&rate), "{direction}: {rate:.2} of 20 Mbit/s");
    }
}

/// The distance between delays, less what the machine takes itself, and a theory.
fn distance(outcome: &Outcome, own_ms: f64, cdf: impl Fn(f64) -> f64) -> f64 {
    assert_eq!(outcome.lost(), 0, "jitter loses nothing");
    let delays: Vec<f64> = outcome.delays_ms().into_iter().map(|delay| delay - own_ms).collect();
    one_sample(&delays, cdf).distance
}

/// Delays under chaos are as close to the theory as those under netem: in the median of several flows, for the machine's
/// other work can spoil any one of them.
fn jitter(action: &str, netem: &str, flow: impl Fn(Flow) -> Flow, cdf: impl Fn(f64) -> f64) {
    let Some(lab) = lab() else { return };
    for direction in Direction::BOTH {
        let (from, _) = direction.ends(&lab);
        let own = median(&direction.send(&lab, Family::V4, |flow| flow.count(500).rate(250)).delays_ms());
        let send = || distance(&direction.send(&lab, Family::V4, &flow), own, &cdf);
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        let like_netem = (0..TURNS * ROUNDS).any(|turn| {
            let running = direction.inject(&lab, action);
            ours.push(send());
            running.finish();
            theirs.push(under_netem(from, netem, send));
            turn + 1 >= TURNS && median(&ours) <= median(&theirs) + 0.02
        });
        need::measured(&format!(
            "{direction}, {netem}: distances {ours:.3?}, netem's {theirs:.3?}, own delay {own:.2} ms"
        ));
        assert!(like_netem, "{direction}, {netem}: in the median more than 0.02 further from the theory than netem");
    }
}

/// Two hundred in flight: two that share a place in the queue would wait for each other.
#[test]
fn uniform_jitter_of_many_in_flight() {
    let action = "latency: { delay: 200ms, jitter: 150ms, distribution: uniform }";
    jitter(action, "delay 200ms 150ms", |flow| flow.count(2_000).rate(1_000), theory::uniform(200.0, 150.0));
}

#[test]
fn normal_jitter_of_many_in_flight() {
    let action = "latency: { delay: 400ms, jitter: 80ms, distribution: normal }";
    let netem = "delay 400ms 80ms distribution normal";
    jitter(action, netem, |flow| flow.count(2_000).rate(1_000), theory::normal(400.0, 80.0));
}

/// Three packets in flight: a queue that orders a flow by its head shows here.
#[test]
fn uniform_jitter_of_few_in_flight() {
    let action = "latency: { delay: 50ms, jitter: 40ms, distribution: uniform }";
    jitter(action, "delay 50ms 40ms", |flow| flow.count(400).rate(60), theory::uniform(50.0, 40.0));
}

/// Behind netem the CPUs that empty its queue race with one another.
#[test]
fn order_under_constant_delay() {
    let Some(lab) = lab() else { return };
    let flow = |flow: Flow| flow.count(1_000).rate(1_000);
    for direction in Direction::BOTH {
        let (from, _) = direction.ends(&lab);
        let turn = |_| {
            let running = direction.inject(&lab, "latency: { delay: 50ms }");
            let ours = direction.send(&lab, Family::V4, flow);
            running.finish();
            let netem = under_netem(from, "delay 50ms", || direction.send(&lab, Family::V4, flow));
            assert_eq!((ours.lost(), netem.lost()), (0, 0), "{direction}: a delay loses nothing");
            (ours.reordered, netem.reordered)
        };
        let (ours, netem): (Vec<u64>, Vec<u64>) = (0..TURNS).map(turn).unzip();
        need::measured(&format!("{direction}: reordered of 1,000: chaos {ours:?}, netem {netem:?}"));
        let allowed = netem.iter().sum::<u64>() + 10;
        assert!(ours.iter().sum::<u64>() <= allowed, "{direction}: {ours:?} of 1,000 reordered, netem {netem:?}");
    }
}

/// Whatever the pair of devices does with large packets, the stream is right to the byte.
#[test]
fn streams_are_exact_whatever_the_size_of_packets() {
    let Some(lab) = lab() else { return };
    for mtu in [1_500, 9_000] {
        for offloads in [true, false] {
            for host in [&lab.hosts.a, &lab.hosts.b] {
                host.ns.ip(&format!("link set eth0 mtu {mtu}"));
                offload::set_all(&host.ns, "eth0", offloads);
            }
            for direction in Direction::BOTH {
                let (from, to) = direction.ends(&lab);
                let running = lab.inject(&direction.fault_on("tcp", "latency: { delay: 20ms }"));
                for family in Family::BOTH {
                    let what = format!("{direction} {family}, MTU {mtu}, offloads {offloads}");
                    let done = transfer(&from.ns, &to.ns, to.at(family, PORT), Until::Bytes(10_000_000));
                    assert_eq!((done.bytes, done.wrong_bytes, done.error), (10_000_000, 0, None), "{what}");
                    println!("{what}: {:.1} Mbit/s, {} sent again", done.mbit_per_s(), done.sender.retransmits);
                    assert!(done.sender.retransmits <= done.sender.segments_out / 100, "{what}: {:?}", done.sender);
                }
                let report = running.finish();
                let fault = report.only_fault();
                assert_eq!((fault.count("overflow"), fault.action("errors")), (0, 0), "{}", fault.json);
            }
        }
    }
}

//! Measurements and theories held against netem, the kernel's own network emulator, where there is one: bounds that the
//! reference does not keep would be wrong bounds.

use std::time::Duration;

use chaos_tests::need;
use chaos_tests::net::{Counters, Family, Hosts};
use chaos_tests::stats::binomial::{Z, assert_percent, interval_correlated};
use chaos_tests::stats::bursts::Bursts;
use chaos_tests::stats::ks::one_sample;
use chaos_tests::stats::quantile::{mean, median};
use chaos_tests::stats::theory;
use chaos_tests::traffic::tcp::{Until, transfer};
use chaos_tests::traffic::udp::run_all;
use chaos_tests::traffic::{Flow, Outcome, Ping};

/// Two hosts with netem on what `a` sends.
fn emulated(netem: &str) -> Option<Hosts> {
    if !need::root() || !need::netem() {
        return None;
    }
    let hosts = Hosts::new();
    hosts.a.ns.tc(&format!("qdisc add dev eth0 root netem limit 100000 {netem}"));
    Some(hosts)
}

fn send(hosts: &Hosts, family: Family, describe: impl Fn(Flow) -> Flow) -> Outcome {
    describe(Flow::to(hosts.b.at(family, 7000))).run(&hosts.a.ns, &hosts.b.ns)
}

#[test]
fn loss() {
    let Some(hosts) = emulated("loss 2%") else { return };
    for family in Family::BOTH {
        let outcome = send(&hosts, family, |flow| flow.count(20_000));
        assert_percent(&family.to_string(), outcome.lost(), outcome.sent, 2.0);
        assert!(Bursts::of(&outcome.fates()).repeat_share() < 0.08);
    }
}

#[test]
fn gilbert_elliott() {
    let Some(hosts) = emulated("loss gemodel 1% 10% 100% 0%") else { return };
    let outcome = send(&hosts, Family::V4, |flow| flow.count(50_000));
    let (into_bad, out_of_bad) = (0.01, 0.1);
    let expected = interval_correlated(outcome.sent, into_bad / (into_bad + out_of_bad), 1.0 - into_bad - out_of_bad);
    assert!(expected.contains(&outcome.lost()), "{} lost, not {expected:?}", outcome.lost());
    let bursts = Bursts::of(&outcome.fates());
    let deviation = (1.0 - out_of_bad).sqrt() / out_of_bad / (bursts.lengths.len() as f64).sqrt();
    assert!((bursts.mean_length() - 10.0).abs() < Z * deviation, "runs of {}", bursts.mean_length());
}

#[test]
fn duplicates() {
    let Some(hosts) = emulated("duplicate 10%") else { return };
    let outcome = send(&hosts, Family::V6, |flow| flow.count(20_000));
    assert_percent("duplicates", outcome.duplicates, outcome.sent, 10.0);
    assert!(outcome.lost() == 0 && outcome.extra_copies().values().all(|copies| *copies == 1));
}

#[test]
fn corruption_is_detected() {
    let Some(hosts) = emulated("corrupt 10%") else { return };
    let before = Counters::of(&hosts.b.ns);
    let outcome = send(&hosts, Family::V4, |flow| flow.count(10_000));
    assert_eq!(outcome.damaged, 0);
    let moved = Counters::of(&hosts.b.ns).since(&before);
    assert!(moved.sum(&["UdpInCsumErrors", "IpExtInCsumErrors"]) > 0, "{}", moved.moved());
}

#[test]
fn delay() {
    let Some(hosts) = emulated("delay 50ms") else { return };
    for family in Family::BOTH {
        let rtt = median(
            &Ping::to(hosts.b.ip(family)).count(20).interval(Duration::from_millis(20)).run(&hosts.a.ns).rtts_ms(),
        );
        assert!((0.97..1.25).contains(&(rtt / 50.0)), "{family}: {rtt:.1} ms");
        let delay = median(&send(&hosts, family, |flow| flow.rate(1_000)).delays_ms());
        assert!((0.97..1.25).contains(&(delay / 50.0)), "{family}: {delay:.1} ms");
    }
}

/// Measures delays under netem, takes off what the machine itself takes, and compares with a theory.
fn jitter(netem: &str, cdf: impl Fn(f64) -> f64) {
    let Some(hosts) = emulated("delay 0ms") else { return };
    let slow = |flow: Flow| flow.count(1_500).rate(250);
    let own = median(&send(&hosts, Family::V4, slow).delays_ms());
    hosts.a.ns.tc(&format!("qdisc change dev eth0 root netem limit 100000 {netem}"));
    let outcome = send(&hosts, Family::V4, slow);
    let delays: Vec<f64> = outcome.delays_ms().into_iter().map(|delay| delay - own).collect();
    let ks = one_sample(&delays, cdf);
    assert!(ks.p_value > 0.001, "{netem}: {ks:?}, mean {:.1} ms, own {own:.2} ms", mean(&delays));
    assert!(outcome.reordered > 100, "{netem}: {} reordered", outcome.reordered);
}

#[test]
fn uniform_jitter() {
    jitter("delay 200ms 150ms", theory::uniform(200.0, 150.0));
}

#[test]
fn normal_jitter() {
    jitter("delay 400ms 80ms distribution normal", theory::normal(400.0, 80.0));
}

#[test]
fn bandwidth() {
    if !need::root() || !need::netem() {
        return;
    }
    let hosts = Hosts::new();
    hosts.a.ns.tc("qdisc add dev eth0 root tbf rate 10mbit burst 32kb limit 75000");
    let done = transfer(&hosts.a.ns, &hosts.b.ns, hosts.b.at(Family::V4, 7001), Until::Time(Duration::from_secs(8)));
    let tcp = done.mbit_per_s() * 1_514.0 / 1_448.0;
    assert!((9.5..10.5).contains(&tcp), "TCP: {tcp:.2} Mbit/s");
    let flow = Flow::to(hosts.b.at(Family::V4, 7000)).size(1_200).rate(2_000).count(10_000);
    let outcomes = run_all(&hosts.a.ns, &hosts.b.ns, &[flow]);
    let arrivals = &outcomes[0].arrivals;
    let span_s = (arrivals[arrivals.len() - 1].1 - arrivals[0].1) as f64 / 1e9;
    let udp = (arrivals.len() - 1) as f64 * 1_242.0 * 8.0 / 1e6 / span_s;
    assert!((9.5..10.5).contains(&udp), "UDP: {udp:.2} Mbit/s");
}

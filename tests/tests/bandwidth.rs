//! Bandwidth: the rate that was asked for, for one flow and for several together. Needs fq.

use std::time::Duration;

use chaos_tests::lab::Lab;
use chaos_tests::net::Family;
use chaos_tests::scene::{Direction, PORT};
use chaos_tests::stats::quantile::median;
use chaos_tests::traffic::tcp::{Until, transfer};
use chaos_tests::traffic::udp::run_all;
use chaos_tests::traffic::{Flow, Outcome, Ping};

const RATE_MBIT: f64 = 10.0;
const ACTION: &str = "bandwidth: { rate: 10mbit }";

/// Five per cent either way.
#[track_caller]
fn assert_rate(what: &str, mbit: f64) {
    let ratio = mbit / RATE_MBIT;
    assert!((0.95..1.05).contains(&ratio), "{what}: {mbit:.2} of {RATE_MBIT} Mbit/s");
}

/// Ethernet and IP and TCP headers in each segment; the rate counts frames, as tc does.
fn overhead(family: Family) -> f64 {
    let headers = if family == Family::V4 { 52.0 } else { 72.0 };
    1_514.0 / (1_500.0 - headers)
}

#[test]
fn tcp_gets_the_rate() {
    let Some(lab) = Lab::delaying() else { return };
    for direction in Direction::BOTH {
        let (from, to) = direction.ends(&lab);
        for family in Family::BOTH {
            let running = lab.inject(&direction.fault_on("tcp", ACTION));
            let done = transfer(&from.ns, &to.ns, to.at(family, PORT), Until::Time(Duration::from_secs(8)));
            running.finish();
            assert_eq!((done.wrong_bytes, done.error), (0, None), "{direction} {family}");
            assert_rate(&format!("{direction} {family}"), done.mbit_per_s() * overhead(family));
        }
    }
}

/// The rate at which frames of a flow came out, from the first arrival to the last.
fn arrival_mbit(outcomes: &[Outcome], payload: usize, headers: usize) -> f64 {
    let times = || outcomes.iter().flat_map(|outcome| outcome.arrivals.iter().map(|(_, at)| *at));
    let (first, last) = (times().min().expect("arrivals"), times().max().expect("arrivals"));
    (times().count() - 1) as f64 * (payload + headers) as f64 * 8e3 / (last - first) as f64
}

#[test]
fn udp_gets_the_rate_and_loses_the_rest() {
    let Some(lab) = Lab::delaying() else { return };
    for direction in Direction::BOTH {
        let (from, to) = direction.ends(&lab);
        for (family, headers) in Family::BOTH.into_iter().zip([42, 62]) {
            let running = direction.inject(&lab, "bandwidth: { rate: 10mbit, limit: 50 }");
            // 20 Mbit/s for five seconds.
            let flow = Flow::to(to.at(family, PORT)).size(1_200).rate(2_000).count(10_000);
            let outcomes = run_all(&from.ns, &to.ns, &[flow]);
            let report = running.finish();
            let what = format!("{direction} {family}");
            assert_rate(&what, arrival_mbit(&outcomes, 1_200, headers));
            let fault = report.only_fault();
            assert_eq!(fault.count("overflow") + fault.count("dropped"), outcomes[0].lost(), "{what}: {}", fault.json);
        }
    }
}

#[test]
fn two_flows_share_one_rate() {
    let Some(lab) = Lab::delaying() else { return };
    let running = Direction::Egress.inject(&lab, ACTION);
    let flow = |id: u32| Flow::to(lab.hosts.b.at(Family::V4, PORT)).id(id).size(1_200).rate(1_000).count(5_000);
    let outcomes = run_all(&lab.hosts.a.ns, &lab.hosts.b.ns, &[flow(0), flow(1)]);
    running.finish();
    assert_rate("both", arrival_mbit(&outcomes, 1_200, 42));
}

#[test]
fn latency_and_bandwidth_hold_together() {
    let Some(lab) = Lab::delaying() else { return };
    let (a, b) = (&lab.hosts.a, &lab.hosts.b);
    let experiment = lab
        .experiment()
        .fault("name: slow, network: { match: { all: true }, latency: { delay: 50ms } }")
        .fault("name: thin, network: { match: { all: true }, bandwidth: { rate: 10mbit } }");
    let running = lab.chaos.run(&experiment);
    let idle = median(&Ping::to(b.v4.into()).count(20).run(&a.ns).rtts_ms());
    let done = transfer(&a.ns, &b.ns, b.at(Family::V4, PORT), Until::Time(Duration::from_secs(8)));
    running.finish();
    assert!((0.97..1.3).contains(&(idle / 50.0)), "{idle:.1} ms instead of 50 ms");
    assert_rate("TCP", done.mbit_per_s() * overhead(Family::V4));
}

//! Beside the kernel's own emulators, netem and tbf: short and long delays, little and much loss, rates, and how delays that vary are
//! spread. In turns within one run.
#![allow(missing_docs, reason = "a benchmark")]

use std::time::Duration;

use chaos_tests::{
    figure::{self, Figure, Rounds, absent},
    lab::Lab,
    need,
    net::{Family, NetNs},
    stats::{bursts::Bursts, ks::one_sample, quantile::median, theory},
    traffic::{
        Flow,
        tcp::{Until, transfer},
    },
};

const PORT: u16 = 7001;
const MATCH_TCP: &str = "match: { protocol: tcp }";

fn main() {
    if !need::has_fq() || !need::netem() {
        return absent("emulation/latency", "this kernel has no fq or no netem; a virtual machine has both");
    }
    let Some(lab) = Lab::alone().map(Lab::by_chance) else { return };
    for delay in ["1ms", "200ms"] {
        let fault = format!("{MATCH_TCP}, latency: {{ delay: {delay}, limit: 100000 }}");
        rate(&lab, &format!("latency-{delay}"), &fault, &format!("netem limit 100000 delay {delay}"));
    }
    for percent in ["0.1", "1", "5"] {
        let fault = format!("{MATCH_TCP}, loss: {{ percent: {percent} }}");
        rate(&lab, &format!("loss-{percent}"), &fault, &format!("netem limit 100000 loss {percent}%"));
        lost(&lab, percent);
    }
    correlated(&lab);
    for speed in ["10mbit", "100mbit", "1gbit"] {
        let fault = format!("{MATCH_TCP}, bandwidth: {{ rate: {speed} }}");
        rate(&lab, &format!("rate-{speed}"), &fault, &format!("tbf rate {speed} burst 128kb latency 50ms"));
    }
    spread(&lab, "normal", theory::normal(100.0, 20.0));
    spread(&lab, "uniform", theory::uniform(100.0, 20.0));
}

fn under<T>(ns: &NetNs, qdisc: &str, deed: impl FnOnce() -> T) -> T {
    ns.tc(&format!("qdisc add dev eth0 root {qdisc}"));
    let done = deed();
    ns.tc("qdisc del dev eth0 root");
    done
}

/// What TCP carries under both.
fn rate(lab: &Lab, name: &str, fault: &str, qdisc: &str) {
    let (a, b) = (&lab.hosts.a, &lab.hosts.b);
    let time = Until::Time(Duration::from_secs(if figure::quick() { 2 } else { 5 }));
    let carried = || transfer(&a.ns, &b.ns, b.at(Family::V4, PORT), time).mbit_per_s();
    let rounds = figure::in_turns(
        || {
            let running = lab.inject(&format!("name: f, network: {{ {fault} }}"));
            let carried = carried();
            // Little loss may lose nothing in a short time.
            running.finish_any();
            carried
        },
        || under(&a.ns, qdisc, carried),
    );
    Figure::beside(&format!("emulation/{name}"), "Mbit/s", &rounds).print();
}

/// The share that is lost, beside netem's.
fn lost(lab: &Lab, percent: &str) {
    let (a, b) = (&lab.hosts.a, &lab.hosts.b);
    let count = if figure::quick() { 10_000 } else { 50_000 };
    let share = || {
        let outcome = Flow::to(b.at(Family::V4, PORT)).count(count).run(&a.ns, &b.ns);
        100.0 * outcome.lost() as f64 / outcome.sent as f64
    };
    let rounds = figure::in_turns(
        || {
            let running = lab
                .inject(&format!("name: f, network: {{ match: {{ protocol: udp }}, loss: {{ percent: {percent} }} }}"));
            let share = share();
            running.finish_any();
            share
        },
        || under(&a.ns, &format!("netem limit 100000 loss {percent}%"), share),
    );
    Figure::beside(&format!("emulation/lost-{percent}"), "% of datagrams", &rounds).print();
}

/// How like its forerunner a datagram fares where half of that was asked, beside netem's.
fn correlated(lab: &Lab) {
    let (a, b) = (&lab.hosts.a, &lab.hosts.b);
    let count = if figure::quick() { 5_000 } else { 20_000 };
    let found = || Bursts::of(&Flow::to(b.at(Family::V4, PORT)).count(count).run(&a.ns, &b.ns).fates()).correlation();
    let rounds = figure::in_turns(
        || {
            let running =
                lab.inject("name: f, network: { match: { protocol: udp }, loss: { percent: 20, correlation: 50 } }");
            let found = found();
            running.finish();
            found
        },
        || under(&a.ns, "netem limit 100000 loss 20% 50%", found),
    );
    Figure::beside("emulation/loss-correlation", "where 0.5 is asked", &rounds).print();
}

/// The greatest distance of delays from their theory (Kolmogorov and Smirnov), beside that of netem's.
fn spread(lab: &Lab, distribution: &str, cdf: impl Fn(f64) -> f64) {
    let (a, b) = (&lab.hosts.a, &lab.hosts.b);
    let count = if figure::quick() { 500 } else { 2_000 };
    let delays = || Flow::to(b.at(Family::V4, PORT)).rate(500).count(count).run(&a.ns, &b.ns).delays_ms();
    let own = median(&delays());
    let distance = || {
        let delays: Vec<f64> = delays().into_iter().map(|delay| delay - own).collect();
        one_sample(&delays, &cdf).distance
    };
    // Without a distribution netem's is uniform.
    let netem = if distribution == "uniform" { String::new() } else { format!(" distribution {distribution}") };
    let rounds: Rounds = figure::in_turns(
        || {
            let action = format!("latency: {{ delay: 100ms, jitter: 20ms, distribution: {distribution} }}");
            let running = lab.inject(&format!("name: f, network: {{ match: {{ protocol: udp }}, {action} }}"));
            let distance = distance();
            running.finish();
            distance
        },
        || under(&a.ns, &format!("netem limit 100000 delay 100ms 20ms{netem}"), distance),
    );
    Figure::beside(&format!("emulation/jitter-{distribution}"), "KS distance", &rounds).print();
}

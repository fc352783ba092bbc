//! What a wire carries: without a fault, with one that does not match, with one that matches and leaves; and delays and loss beside
//! netem's. In turns within one run.
#![allow(missing_docs, reason = "a benchmark")]

use std::time::Duration;

use chaos_tests::{
    clock::busy,
    figure::{self, Figure, Rounds, absent},
    lab::Lab,
    need,
    net::{Family, Host, NetNs},
    stats::quantile::{median, quantile},
    traffic::{
        Flow, Ping,
        tcp::{Transfer, Until, transfer},
    },
};

/// Tells that the processor is emulated: only what cannot be measured otherwise.
const MACHINE: &str = "CHAOS_BENCH_MACHINE";
const PORT: u16 = 7001;
const MATCH_TCP: &str = "match: { protocol: tcp }";

fn main() {
    let Some(lab) = Lab::alone().map(Lab::by_chance) else { return };
    if std::env::var_os(MACHINE).is_none() {
        states(&lab);
    }
    if !need::has_fq() || !need::netem() {
        return absent("wire/latency", "this kernel has no fq or no netem; a virtual machine has both");
    }
    latency(&lab, "50ms");
    loss(&lab);
    latency(&lab, "10ms");
    accuracy(&lab);
}

fn seconds(quick: u64, full: u64) -> Until {
    Until::Time(Duration::from_secs(if figure::quick() { quick } else { full }))
}

fn send(from: &Host, to: &Host, until: Until) -> Transfer {
    transfer(&from.ns, &to.ns, to.at(Family::V4, PORT), until)
}

/// The middle round trip, us.
fn round_trip(lab: &Lab) -> f64 {
    let ping = Ping::to(lab.hosts.b.ip(Family::V4)).count(100).interval(Duration::from_millis(2));
    median(&ping.run(&lab.hosts.a.ns).rtts_ms()) * 1000.0
}

/// Throughput, round trip, and the time of processors for each MB, us.
fn load(lab: &Lab) -> [f64; 3] {
    let before = busy();
    let done = send(&lab.hosts.a, &lab.hosts.b, seconds(1, 3));
    let used = (busy() - before).as_secs_f64() * 1e6 / (done.bytes as f64 / 1e6);
    [done.mbit_per_s(), round_trip(lab), used]
}

fn states(lab: &Lab) {
    let cases = [
        ("no-match", "name: f, network: { match: { protocol: udp, ports: [9] }, partition: true }"),
        // A hit that is a whole life away: all packets match, and all are left.
        ("matched", "name: f, when: { nth: 1000000000000 }, network: { match: { all: true }, partition: true }"),
    ];
    for (name, fault) in cases {
        let mut figures = [("throughput", "Mbit/s"), ("round-trip", "us"), ("processor", "us per MB")]
            .map(|(what, unit)| (what, unit, Rounds::new()));
        for _ in 0..figure::rounds() {
            let alone = load(lab);
            let running = lab.inject(fault);
            let ours = load(lab);
            // One that was never to hit anything does not pass.
            running.finish_any();
            for ((_, _, rounds), pair) in figures.iter_mut().zip(ours.into_iter().zip(alone)) {
                rounds.push(pair);
            }
        }
        for (what, unit, rounds) in &figures {
            Figure::beside(&format!("wire/{name}/{what}"), unit, rounds).print();
        }
    }
}

/// Something with netem on what a host sends.
fn under_netem<T>(ns: &NetNs, netem: &str, deed: impl FnOnce() -> T) -> T {
    ns.tc(&format!("qdisc add dev eth0 root netem limit 100000 {netem}"));
    let done = deed();
    ns.tc("qdisc del dev eth0 root");
    done
}

fn latency(lab: &Lab, delay: &str) {
    let (a, b) = (&lab.hosts.a, &lab.hosts.b);
    // On ingress netem stands at the other end, which is where a host has it for what a container receives.
    for (direction, from, to) in [("egress", a, b), ("ingress", b, a)] {
        let rate = || send(from, to, seconds(2, 5)).mbit_per_s();
        let fault = format!(
            "name: f, network: {{ direction: {direction}, {MATCH_TCP}, latency: {{ delay: {delay}, limit: 100000 }} }}"
        );
        let rounds = figure::in_turns(
            || {
                let running = lab.inject(&fault);
                let rate = rate();
                running.finish();
                rate
            },
            || under_netem(&from.ns, &format!("delay {delay}"), rate),
        );
        Figure::beside(&format!("wire/latency-{delay}/{direction}"), "Mbit/s", &rounds).print();
    }
}

fn loss(lab: &Lab) {
    let (a, b) = (&lab.hosts.a, &lab.hosts.b);
    let mut throughput = Rounds::new();
    // Segments sent again for each MB that arrived.
    let measure = || {
        let done = send(a, b, seconds(2, 5));
        (f64::from(done.sender.retransmits) / (done.bytes as f64 / 1e6), done.mbit_per_s())
    };
    let again: Rounds = (0..figure::rounds())
        .map(|_| {
            let running = lab.inject(&format!("name: f, network: {{ {MATCH_TCP}, loss: {{ percent: 2 }} }}"));
            let ours = measure();
            running.finish();
            let netem = under_netem(&a.ns, "loss 2%", measure);
            throughput.push((ours.1, netem.1));
            (ours.0, netem.0)
        })
        .collect();
    Figure::beside("wire/loss-2/retransmits", "segments per MB", &again).print();
    Figure::beside("wire/loss-2/throughput", "Mbit/s", &throughput).print();
}

/// How far a datagram's delay is from what was asked.
fn accuracy(lab: &Lab) {
    let (a, b) = (&lab.hosts.a, &lab.hosts.b);
    let delays = || Flow::to(b.at(Family::V4, 7000)).rate(500).count(1_000).run(&a.ns, &b.ns).delays_ms();
    let (mut middle, mut late) = (Rounds::new(), Rounds::new());
    for _ in 0..figure::rounds() {
        let running = lab.inject("name: f, network: { match: { protocol: udp }, latency: { delay: 10ms } }");
        let ours = delays();
        running.finish();
        let netem = under_netem(&a.ns, "delay 10ms", delays);
        middle.push((median(&ours) - 10.0, median(&netem) - 10.0));
        late.push((quantile(&ours, 0.99) - 10.0, quantile(&netem, 0.99) - 10.0));
    }
    Figure::beside("wire/delay-error/p50", "ms beyond 10", &middle).print();
    Figure::beside("wire/delay-error/p99", "ms beyond 10", &late).print();
}

//! What a wire carries while faults that hit nothing are there: by the number of flows and of rules, with the segments cut early or
//! late, and for datagrams. Each beside the same wire without a fault, in turns within one run.
#![allow(missing_docs, reason = "a benchmark")]

use std::{thread, time::Duration};

use chaos_tests::{
    figure::{self, Figure},
    lab::Lab,
    net::{Family, Hosts, offload},
    product::Running,
    traffic::{
        Flow,
        tcp::{Until, transfer},
    },
};

const PORT: u16 = 7001;

fn main() {
    // Emulated, a wire is as fast as its emulator.
    if std::env::var_os("CHAOS_BENCH_MACHINE").is_some() {
        return;
    }
    let Some(lab) = Lab::alone().map(Lab::by_chance) else { return };
    for flows in [1, 8, 64] {
        beside(&format!("load/flows-{flows}"), "Mbit/s", &lab, (1, OTHER), || tcp(&lab.hosts, flows));
    }
    beside("load/rules-64", "Mbit/s", &lab, (64, OTHER), || tcp(&lab.hosts, 1));
    beside("load/matched-rules-64", "Mbit/s", &lab, (64, EVERY), || tcp(&lab.hosts, 1));
    beside("load/datagrams", "datagrams/s", &lab, (1, OTHER), || datagrams(&lab.hosts));
    beside("load/matched-datagrams", "datagrams/s", &lab, (1, EVERY), || datagrams(&lab.hosts));
    for host in [&lab.hosts.a, &lab.hosts.b] {
        offload::set_all(&host.ns, "eth0", false);
    }
    beside("load/mtu-1500-no-offloads", "Mbit/s", &lab, (1, OTHER), || tcp(&lab.hosts, 1));
}

/// What matches nothing of what is sent.
const OTHER: &str = "network: { match: { protocol: 99 }, loss: { percent: 5 } }";
/// What matches all of it, with a hit that is a whole life away.
const EVERY: &str = "when: { nth: 1000000000000 }, network: { match: { all: true }, partition: true }";

/// So many faults of a kind, none of which does anything: an experiment has at most 16.
fn rules(lab: &Lab, (number, what): (usize, &str)) -> Vec<Running> {
    let all: Vec<String> = (0..number).map(|rule| format!("name: f{rule}, {what}")).collect();
    all.chunks(16)
        .map(|faults| {
            let experiment = faults.iter().fold(lab.experiment(), |experiment, fault| experiment.fault(fault));
            let mut running = Running::start(&lab.chaos, &experiment.duration("600s"));
            running.await_injected();
            running
        })
        .collect()
}

fn beside(name: &str, unit: &'static str, lab: &Lab, faults: (usize, &str), measure: impl Fn() -> f64) {
    let rounds = figure::in_turns(
        || {
            let running = rules(lab, faults);
            let measured = measure();
            // Those that were to hit nothing do not pass.
            running.into_iter().for_each(|one| drop(one.finish_any()));
            measured
        },
        &measure,
    );
    Figure::beside(name, unit, &rounds).print();
}

/// All flows together.
fn tcp(hosts: &Hosts, flows: u16) -> f64 {
    let time = Until::Time(Duration::from_secs(if figure::quick() { 1 } else { 3 }));
    let one = |flow: u16| transfer(&hosts.a.ns, &hosts.b.ns, hosts.b.at(Family::V4, PORT + flow), time).mbit_per_s();
    thread::scope(|scope| {
        let all: Vec<_> = (0..flows).map(|flow| scope.spawn(move || one(flow))).collect();
        all.into_iter().map(|one| one.join().expect("a flow")).sum()
    })
}

/// Those that arrive of one sender that waits for nothing.
fn datagrams(hosts: &Hosts) -> f64 {
    let count = if figure::quick() { 50_000 } else { 300_000 };
    let outcome = Flow::to(hosts.b.at(Family::V4, PORT)).flat_out().count(count).run(&hosts.a.ns, &hosts.b.ns);
    let (Some(first), Some(last)) = (outcome.arrivals.first(), outcome.arrivals.last()) else { return 0.0 };
    outcome.arrivals.len() as f64 / ((last.1 - first.1) as f64 / 1e9)
}

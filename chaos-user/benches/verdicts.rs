//! What the network program costs on each path, in ns over an empty program in the same run (BPF_PROG_TEST_RUN).
#![allow(missing_docs, reason = "a benchmark")]

#[path = "../tests/common/mod.rs"]
mod common;

use aya::maps::lpm_trie::Key;
use chaos_abi::*;
use chaos_engine::sets;
use chaos_tests::{
    figure::{self, Figure, Rounds},
    stats::quantile::median,
};
use common::*;

/// Runs within one measurement: short enough that most are not interrupted.
const REPEAT: u32 = 20_000;
/// Measurements within a round, of which the median counts.
const MEASUREMENTS: usize = 9;
/// The same where each run needs a packet of its own.
const FRESH: usize = 2_000;
const UNIT: &str = "ns over empty";

fn dice(percent: u32) -> [u64; 8] {
    Dice { percent, correlation: 0 }.encode()
}

/// Matches and does nothing.
fn never() -> Rule {
    always(ACTION_LOSS, dice(0))
}

/// Does not match the packet of this benchmark.
fn other() -> Rule {
    Rule { protocol: 17, ..never() }
}

fn packet() -> Vec<u8> {
    ipv4(6, 0, &tcp(1000, 2000, 16))
}

/// Prints the figure; what it is over the empty program, by round.
fn print(name: &str, rounds: &Rounds) -> Vec<f64> {
    Figure::over(&format!("verdicts/{name}"), UNIT, rounds).print();
    rounds.iter().map(|(ours, empty)| ours - empty).collect()
}

fn measure_at(name: &str, stage: &Stage, point: u32, packet: &[u8]) -> Vec<f64> {
    let round = |_| {
        let pairs: Vec<(u32, u32)> = (0..MEASUREMENTS).map(|_| stage.time(point, packet, REPEAT)).collect();
        let (ours, empty): (Vec<f64>, Vec<f64>) =
            pairs.into_iter().map(|(ours, empty)| (f64::from(ours), f64::from(empty))).unzip();
        (median(&ours), median(&empty))
    };
    print(name, &(0..figure::rounds()).map(round).collect())
}

fn measure(name: &str, stage: &Stage) -> Vec<f64> {
    measure_at(name, stage, EGRESS, &packet())
}

fn main() {
    if !privileged() {
        return;
    }
    let mut stage = Stage::new();
    idle(&mut stage);
    rules(&mut stage);
    experiments(&mut stage);
    actions(&mut stage);
    shapes(&mut stage);
    peers();
    targets(&mut stage);
}

fn idle(stage: &mut Stage) {
    stage.rules(&[]);
    measure("idle", stage);
    stage.lease(false);
    stage.rules(&[never()]);
    measure("lapsed", stage);
    stage.lease(true);
}

fn rules(stage: &mut Stage) {
    for (name, rule) in [("no-match", other()), ("matched", never())] {
        let mut cases = Vec::new();
        for count in [1_usize, 4, 8, 16, 64] {
            stage.rules(&vec![rule; count]);
            cases.push((count as f64, measure(&format!("{name}/{count}-rules"), stage)));
        }
        Figure::slope(&format!("verdicts/{name}/per-rule"), "ns per rule", &cases).print();
    }
}

/// Each with a rule and a lease of its own, at one attach point.
fn experiments(stage: &mut Stage) {
    let mut cases = Vec::new();
    for count in [1_u32, 4, 16] {
        (1..=count).for_each(|lease| stage.lease_of(lease, true));
        stage.rules(&(1..=count).map(|lease| Rule { lease, ..other() }).collect::<Vec<_>>());
        cases.push((f64::from(count), measure(&format!("no-match/{count}-experiments"), stage)));
    }
    Figure::slope("verdicts/no-match/per-experiment", "ns each", &cases).print();
}

fn actions(stage: &mut Stage) {
    // What leaves the packet as it was can be repeated on it.
    let limit = u64::MAX;
    let bandwidth = Bandwidth { ns_per_byte: 1 << RATE_SHIFT, burst: 1, limit }.encode();
    for (name, rule, point) in [
        ("partition", always(ACTION_PARTITION, [0; 8]), EGRESS),
        ("loss", always(ACTION_LOSS, dice(ALWAYS)), EGRESS),
        // A test run leaves the length on the wire at 0 for egress, and nothing takes no time.
        ("bandwidth", always(ACTION_BANDWIDTH, bandwidth), INGRESS),
    ] {
        stage.rules(&[rule]);
        measure_at(&format!("action/{name}"), stage, point, &packet());
    }
    let mut delivered = dice(ALWAYS);
    delivered[2] = u64::from(CORRUPT_DELIVERED);
    let latency = Latency { delay: 1_000_000, ..Latency::default() }.encode();
    for (name, action, args) in [
        ("latency", ACTION_LATENCY, latency),
        ("duplicate", ACTION_DUPLICATE, dice(ALWAYS)),
        ("corrupt-detected", ACTION_CORRUPT, dice(ALWAYS)),
        ("corrupt-delivered", ACTION_CORRUPT, delivered),
        ("reset", ACTION_RESET, dice(ALWAYS)),
    ] {
        stage.rules(&[always(action, args)]);
        let rounds: Rounds = (0..figure::rounds()).map(|_| stage.time_fresh(EGRESS, &packet(), FRESH)).collect();
        print(&format!("action/{name}"), &rounds);
    }
}

/// Headers that are not read where they lie.
fn shapes(stage: &mut Stage) {
    stage.rules(&[other()]);
    let body = tcp(1000, 2000, 16);
    measure_at("no-match/ipv6", stage, EGRESS, &ipv6(6, &body));
    measure_at("no-match/tagged", stage, EGRESS, &tagged(&packet(), 0x8100));
    measure_at("no-match/ingress", stage, INGRESS, &packet());
}

/// Sets of which the packet's peer is none, and one of which it is.
fn peers() {
    type Fill = fn(&mut Stage, u32);
    let kinds: [(&str, &str, u32, Fill); 2] =
        [("peer", "peers", RULE_ADDRS, singles), ("prefix", "prefixes", RULE_PREFIXES, prefixes)];
    for (one, kind, flags, fill) in kinds {
        let rule = Rule { peers: 1, flags, ..never() };
        let mut cases = Vec::new();
        for count in [1_u32, 1_000, 10_000] {
            let mut stage = Stage::new();
            fill(&mut stage, count);
            stage.rules(&[rule]);
            cases.push((f64::from(count), measure(&format!("no-match/{count}-{kind}"), &stage)));
            if count == 10_000 {
                let peer = sets::key(1, "10.0.0.2".parse().expect("an address"));
                stage.datapath.addrs.insert(peer, 1, 0).expect("room for a peer");
                stage.datapath.prefixes.insert(&Key::new(160, peer), 1, 0).expect("room for a prefix");
                measure(&format!("matched/{count}-{kind}"), &stage);
            }
        }
        Figure::slope(&format!("verdicts/no-match/per-{one}"), "ns each", &cases).print();
    }
}

fn singles(stage: &mut Stage, count: u32) {
    for n in 0..count {
        let address = std::net::Ipv4Addr::from_bits(0x0b00_0000 + n);
        stage.datapath.addrs.insert(sets::key(1, address.into()), 1, 0).expect("room for a peer");
    }
}

fn prefixes(stage: &mut Stage, count: u32) {
    for n in 0..count {
        let address = std::net::Ipv4Addr::from_bits(0x0c00_0000 + (n << 8));
        let key = Key::new(32 + 24, sets::key(1, address.into()));
        stage.datapath.prefixes.insert(&key, 1, 0).expect("room for a prefix");
    }
}

/// Other attach points beside the one that the packet passes.
fn targets(stage: &mut Stage) {
    stage.rules(&[other()]);
    let mut cases = Vec::new();
    for count in [1_u32, 250, 1_000] {
        stage.targets(count);
        cases.push((f64::from(count), measure(&format!("no-match/{count}-targets"), stage)));
    }
    Figure::slope("verdicts/no-match/per-target", "ns each", &cases).print();
}

//! What the network program costs on each path, in ns over an empty program in the same run (BPF_PROG_TEST_RUN); one JSON line per case.
#![allow(missing_docs, reason = "a benchmark")]

#[path = "../tests/common/mod.rs"]
mod common;

use aya::maps::lpm_trie::Key;
use chaos::engine::sets;
use chaos_abi::*;
use common::*;
use serde_json::json;

/// Runs within one measurement, and measurements of each case, interleaved with the empty program's.
const REPEAT: u32 = 200_000;
const ROUNDS: usize = 7;

fn never(action: u32) -> Rule {
    always(action, Dice { percent: 0, correlation: 0 }.encode())
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn measure(name: &str, stage: &Stage, packet: &[u8]) {
    let (mut over, mut empty) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let (ours, theirs) = stage.time(EGRESS, packet, REPEAT);
        over.push(f64::from(ours) - f64::from(theirs));
        empty.push(f64::from(theirs));
    }
    let median_over = median(&mut over);
    let (least, most) = (over[0], over[over.len() - 1]);
    let line = json!({ "name": name, "ns": median_over, "min": least, "max": most, "empty": median(&mut empty) });
    println!("{line}");
}

fn peers(stage: &mut Stage, singles: u32, prefixes: u32) {
    for n in 0..singles {
        let address = std::net::Ipv4Addr::from_bits(0x0b00_0000 + n);
        stage.datapath.addrs.insert(sets::key(1, address.into()), 1, 0).unwrap();
    }
    for n in 0..prefixes {
        let address = std::net::Ipv4Addr::from_bits(0x0c00_0000 + (n << 8));
        stage.datapath.prefixes.insert(&Key::new(32 + 24, sets::key(1, address.into())), 1, 0).unwrap();
    }
}

fn main() {
    if !privileged() {
        return;
    }
    let packet = ipv4(6, 0, &tcp(1000, 2000, 16));
    let udp_rule = || Rule { protocol: 17, ..never(ACTION_LOSS) };
    let mut stage = Stage::new();
    stage.rules(&[]);
    measure("idle", &stage, &packet);
    stage.lease(false);
    stage.rules(&[never(ACTION_LOSS)]);
    measure("lapsed", &stage, &packet);
    stage.lease(true);
    for count in [1, 4, 16, 64] {
        stage.rules(&vec![udp_rule(); count]);
        measure(&format!("no match, {count} rules"), &stage, &packet);
    }
    stage.rules(&[never(ACTION_LOSS)]);
    measure("matched, not hit", &stage, &packet);
    stage.rules(&vec![never(ACTION_LOSS); 16]);
    measure("matched, 16 rules", &stage, &packet);
    let actions = [
        ("partition", always(ACTION_PARTITION, [0; 8])),
        ("loss", always(ACTION_LOSS, Dice { percent: ALWAYS, correlation: 0 }.encode())),
    ];
    for (name, rule) in actions {
        stage.rules(&[rule]);
        measure(name, &stage, &packet);
    }
    for (singles, prefixes) in [(1, 0), (1_000, 0), (10_000, 0), (0, 1), (0, 1_000), (0, 10_000)] {
        let mut stage = Stage::new();
        peers(&mut stage, singles, prefixes);
        let flag = if singles > 0 { RULE_ADDRS } else { RULE_PREFIXES };
        stage.rules(&[Rule { peers: 1, flags: flag, ..never(ACTION_LOSS) }]);
        measure(&format!("no match among {singles} peers and {prefixes} prefixes"), &stage, &packet);
    }
}

//! What is counted is what has happened.

use super::{ACK, dice};
use crate::common::*;
use chaos_abi::*;

const LATENCY: Latency = Latency {
    delay: 1_000_000,
    jitter: 0,
    correlation: 0,
    distribution: 0,
    keep_order: 0,
    reorder: 0,
    reorder_correlation: 0,
    gap: 0,
};

/// Delayed packets go to this device from now on.
fn queue(stage: &mut Stage, ifindex: u32) {
    for id in [EGRESS, INGRESS] {
        let point = stage.datapath.points.get(&id, 0).unwrap();
        stage.datapath.points.set(id, Point { pair_tx: ifindex, ..point }, 0).unwrap();
    }
}

#[test]
fn a_packet_that_was_not_delayed_is_not_counted_as_delayed() {
    if !privileged() {
        return;
    }
    let mut stage = Stage::new();
    let frame = ipv4(17, 0, &udp(1, 2));
    for device in [0, NO_DEVICE] {
        stage.rules(&[always(ACTION_LATENCY, LATENCY.encode()), always(ACTION_LATENCY, LATENCY.encode())]);
        queue(&mut stage, device);
        for point in [EGRESS, INGRESS] {
            assert_eq!(stage.run(point, &frame), NEXT, "it goes on untouched");
        }
        let counts = [1, 2].map(|id| stage.count(id));
        for one in counts {
            assert_eq!((one.matched, one.injected, one.delayed, one.bytes, one.skipped), (2, 0, 0, 0, 2), "{one:?}");
        }
        assert_eq!(counts.map(|one| one.errors), [0, 2], "told once");
    }
}

/// A later version may join these programs.
#[test]
fn an_action_that_the_programs_do_not_know_passes_and_is_counted() {
    if !privileged() {
        return;
    }
    let mut stage = Stage::new();
    stage.rules(&[always(ACTIONS + 1, dice(ALWAYS)), always(ACTION_LOSS, dice(0))]);
    for point in [EGRESS, INGRESS] {
        assert_eq!(stage.run(point, &ipv4(17, 0, &udp(1, 2))), NEXT);
    }
    let [unknown, later] = [1, 2].map(|id| stage.count(id));
    assert_eq!((unknown.matched, unknown.injected, unknown.lost, unknown.skipped, unknown.errors), (2, 0, 0, 2, 2));
    assert_eq!(later.matched, 2, "the walk goes on");
    assert!(stage.datapath.knows(ACTIONS).unwrap() && !stage.datapath.knows(ACTIONS + 1).unwrap());
}

#[test]
fn what_the_queue_had_no_room_for_is_lost_once_and_not_delayed() {
    if !privileged() {
        return;
    }
    let mut stage = Stage::new();
    stage.rules(&[always(ACTION_LATENCY, LATENCY.encode()), always(ACTION_LATENCY, LATENCY.encode())]);
    stage.queue_is_up(false);
    assert_eq!(stage.run(EGRESS, &ipv4(17, 0, &udp(1, 2))), REDIRECT, "dropped, and nobody is told");
    let [first, last] = [1, 2].map(|id| stage.count(id));
    assert_eq!((first.matched, first.injected, first.skipped, first.overflow, first.delayed), (1, 0, 1, 0, 0));
    assert_eq!((last.matched, last.injected, last.skipped, last.overflow, last.delayed), (1, 1, 0, 1, 0));
    stage.queue_is_up(true);
    assert_eq!(stage.run(EGRESS, &ipv4(17, 0, &udp(1, 2))), REDIRECT);
    for (id, injected) in [(1, 1), (2, 2)] {
        let one = stage.count(id);
        assert_eq!((one.matched, one.injected, one.delayed), (2, injected, 1), "{one:?}");
    }
}

#[test]
fn what_a_later_rule_drops_was_not_delayed() {
    if !privileged() {
        return;
    }
    let mut stage = Stage::new();
    let no_room = Bandwidth { ns_per_byte: 1 << RATE_SHIFT, burst: 0, limit: 0 }.encode();
    stage.rules(&[always(ACTION_LATENCY, LATENCY.encode()), always(ACTION_BANDWIDTH, no_room)]);
    assert_eq!(stage.run(INGRESS, &ipv4(17, 0, &udp(1, 2))), SHOT);
    let [latency, bandwidth] = [1, 2].map(|id| stage.count(id));
    assert_eq!((latency.matched, latency.injected, latency.skipped, latency.delayed), (1, 0, 1, 0));
    assert_eq!((bandwidth.injected, bandwidth.overflow, bandwidth.delayed), (1, 1, 0));
}

#[test]
fn a_dry_run_adds_up() {
    if !privileged() {
        return;
    }
    let mut stage = Stage::new();
    let flags = RULE_DRY_RUN | RULE_TRIGGER;
    stage.rules(&[Rule { flags, every: 2, ..always(ACTION_LOSS, dice(ALWAYS)) }]);
    for _ in 0..8 {
        assert_eq!(stage.run(EGRESS, &ipv4(17, 0, &udp(1, 2))), NEXT);
    }
    let one = stage.count(1);
    assert_eq!((one.matched, one.would_inject, one.skipped, one.injected), (8, 4, 4, 0));
}

#[test]
fn nothing_is_seen_after_the_lease_has_lapsed() {
    if !privileged() {
        return;
    }
    let mut stage = Stage::new();
    let by_entry = Rule { protocol: 6, ..always(ACTION_PARTITION, [0; 8]) };
    let by_rule = Rule { connections: CONN_NEW, ..always(ACTION_PARTITION, [0; 8]) };
    let meant = always(ACTION_LOSS, dice(ALWAYS));
    stage.rules(&[by_entry, by_rule, meant]);
    let frame = ipv4(17, 0, &udp(1, 2));
    assert_eq!(stage.run(EGRESS, &frame), REDIRECT);
    stage.lease(false);
    assert_eq!(stage.run(EGRESS, &frame), NEXT);
    let counts = [1, 2, 3].map(|id| stage.count(id));
    assert_eq!(counts.map(|one| one.seen), [1, 1, 1], "while it held");
    assert_eq!(counts.map(|one| one.rejected.iter().sum::<u64>()), [1, 1, 0]);
    assert_eq!(counts.map(|one| one.skipped_by_lease), [0, 0, 1]);
}

/// RFC 1858, 3: a first fragment of 8 bytes has the ports, and the flags are in the next.
#[test]
fn a_tiny_fragment_has_ports_and_nothing_else() {
    if !privileged() {
        return;
    }
    let mut stage = Stage::new();
    let mut bits = [0; 1024];
    bits[53 >> 6] |= 1 << (53 & 63);
    stage.datapath.port_sets.set(1, bits, 0).unwrap();
    let tiny = |port: u16| ipv4(6, 0x2000, &tcp(9, port, ACK)[..8]);
    let ports = Rule { protocol: 6, ports: 1, ..always(ACTION_PARTITION, [0; 8]) };
    stage.rules(&[ports]);
    assert_eq!([tiny(53), tiny(54)].map(|frame| stage.run(EGRESS, &frame)), [REDIRECT, NEXT]);
    // What is not in it decides nothing.
    for (action, connections) in
        [(ACTION_PARTITION, CONN_NEW), (ACTION_PARTITION, CONN_ESTABLISHED), (ACTION_RESET, CONN_ANY)]
    {
        stage.rules(&[Rule { connections, ..always(action, dice(ALWAYS)) }]);
        assert_eq!(stage.run(EGRESS, &tiny(53)), NEXT, "action {action}, connections {connections}");
    }
    let mut delivered = dice(ALWAYS);
    delivered[2] = u64::from(CORRUPT_DELIVERED);
    stage.rules(&[always(ACTION_CORRUPT, delivered)]);
    let passed = stage.pass_all(EGRESS, &[tiny(53)]);
    assert_eq!(passed, [Some((NEXT, tiny(53)))]);
}

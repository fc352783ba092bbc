//! Every verdict path of the network program by BPF_PROG_TEST_RUN.
#![allow(missing_docs, reason = "tests")]

mod common;
mod verdicts {
    mod counts;
    pub mod garbage;
    use super::{ACK, dice};
}

use chaos_abi::*;
use common::*;
use verdicts::garbage;

const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;

fn dice(percent: u32) -> [u64; 8] {
    Dice { percent, correlation: 0 }.encode()
}

#[test]
fn no_rule_no_verdict() {
    if !privileged() {
        return;
    }
    let mut stage = Stage::new();
    stage.rules(&[]);
    for point in [EGRESS, INGRESS] {
        assert_eq!(stage.run(point, &ipv4(17, 0, &udp(1, 2))), NEXT);
    }
}

#[test]
fn dropping_is_silent() {
    if !privileged() {
        return;
    }
    let mut stage = Stage::new();
    for rule in [always(ACTION_PARTITION, [0; 8]), always(ACTION_LOSS, dice(ALWAYS))] {
        stage.rules(&[rule]);
        for frame in
            [ipv4(17, 0, &udp(1, 2)), ipv6(17, &udp(1, 2)), ipv4(6, 0, &tcp(1, 2, SYN)), ipv4(1, 0, &[8, 0, 0, 0])]
        {
            assert_eq!(stage.run(EGRESS, &frame), REDIRECT);
            assert_eq!(stage.run(INGRESS, &frame), SHOT);
        }
        let counters = stage.count(1);
        assert_eq!((counters.seen, counters.matched, counters.injected, counters.lost), (8, 8, 8, 8));
    }
}

#[test]
fn each_action_has_its_verdict() {
    if !privileged() {
        return;
    }
    let mut stage = Stage::new();
    let frame = ipv4(6, 0, &tcp(1000, 2000, ACK));
    let latency = Latency { delay: 1_000_000, ..Latency::default() }.encode();
    let bandwidth = Bandwidth { ns_per_byte: 1 << RATE_SHIFT, burst: 1, limit: u64::MAX }.encode();
    let mut delivered = dice(ALWAYS);
    delivered[2] = u64::from(CORRUPT_DELIVERED);
    type Case = (u32, [u64; 8], i32, fn(&Counters) -> u64);
    let cases: [Case; 6] = [
        (ACTION_DUPLICATE, dice(ALWAYS), NEXT, |c| c.duplicated),
        (ACTION_CORRUPT, dice(ALWAYS), NEXT, |c| c.corrupted),
        (ACTION_CORRUPT, delivered, NEXT, |c| c.corrupted),
        (ACTION_RESET, dice(ALWAYS), NEXT, |c| c.reset),
        (ACTION_LATENCY, latency, REDIRECT, |c| c.delayed),
        (ACTION_BANDWIDTH, bandwidth, REDIRECT, |c| c.delayed),
    ];
    for (action, args, verdict, counter) in cases {
        stage.rules(&[always(action, args)]);
        // A test run leaves the length on the wire at 0 for egress, and nothing takes no time.
        let point = if action == ACTION_BANDWIDTH { INGRESS } else { EGRESS };
        assert_eq!(stage.run(point, &frame), verdict, "action {action}");
        let counters = stage.count(1);
        assert_eq!(
            (counter(&counters), counters.injected, counters.errors),
            (1, 1, 0),
            "action {action}: {counters:?}"
        );
    }
}

#[test]
fn a_rst_is_never_answered_and_other_protocols_are_left_alone() {
    if !privileged() {
        return;
    }
    let mut stage = Stage::new();
    stage.rules(&[always(ACTION_RESET, dice(ALWAYS))]);
    for frame in [ipv4(6, 0, &tcp(1, 2, RST)), ipv4(17, 0, &udp(1, 2)), ipv6(58, &[128, 0, 0, 0])] {
        assert_eq!(stage.run(EGRESS, &frame), NEXT);
    }
    let counters = stage.count(1);
    assert_eq!((counters.matched, counters.skipped, counters.injected), (3, 3, 0));
}

#[test]
fn what_is_not_ip_and_neighbour_discovery_are_not_even_seen() {
    if !privileged() {
        return;
    }
    let mut stage = Stage::new();
    stage.rules(&[always(ACTION_PARTITION, [0; 8])]);
    let mut arp = ipv4(17, 0, &udp(1, 2));
    arp[12..14].copy_from_slice(&[0x08, 0x06]);
    assert_eq!(stage.run(EGRESS, &arp), NEXT);
    for kind in 133..=137 {
        assert_eq!(stage.run(EGRESS, &ipv6(58, &[kind, 0, 0, 0, 0, 0, 0, 0])), NEXT, "ICMPv6 {kind}");
    }
    // Behind a hop-by-hop header too.
    assert_eq!(stage.run(EGRESS, &ipv6(0, &[58, 0, 0, 0, 0, 0, 0, 0, 135, 0, 0, 0, 0, 0, 0, 0])), NEXT);
    assert_eq!(stage.count(1).seen, 0);
    assert_eq!(stage.run(EGRESS, &ipv6(58, &[128, 0, 0, 0, 0, 0, 0, 0])), REDIRECT, "an echo request");
}

#[test]
fn headers_are_found_behind_tags_and_extension_headers() {
    if !privileged() {
        return;
    }
    let mut stage = Stage::new();
    let mut bits = [0; 1024];
    bits[53 >> 6] |= 1 << (53 & 63);
    stage.datapath.port_sets.set(1, bits, 0).unwrap();
    let rule = Rule { protocol: PROTO_PORTS, ports: 1, ..always(ACTION_PARTITION, [0; 8]) };
    stage.rules(&[rule]);
    let (hit, other) = (udp(9, 53), udp(53, 9));
    let behind = |body: &[u8]| {
        let mut options = vec![60, 0, 0, 0, 0, 0, 0, 0, 17, 1];
        options.extend([0; 14]);
        options.extend(body);
        ipv6(0, &options)
    };
    let fragment = |offset: u8, body: &[u8]| {
        let mut head = vec![17, 0, 0, offset, 0, 0, 0, 1];
        head.extend(body);
        ipv6(44, &head)
    };
    let cases = [
        (ipv4(17, 0, &hit), REDIRECT, "plain"),
        (ipv4(17, 0, &other), NEXT, "other port"),
        (tagged(&ipv4(17, 0, &hit), 0x8100), REDIRECT, "VLAN"),
        (tagged(&tagged(&ipv4(17, 0, &hit), 0x8100), 0x88a8), REDIRECT, "QinQ"),
        (behind(&hit), REDIRECT, "IPv6 options"),
        (behind(&other), NEXT, "IPv6 options, other port"),
        (ipv4(17, 0x2000, &hit), REDIRECT, "first fragment"),
        (ipv4(17, 1, &hit), NEXT, "later fragment: no port"),
        (fragment(1, &hit), REDIRECT, "IPv6 first fragment"),
        (fragment(8, &hit), NEXT, "IPv6 later fragment"),
        (ipv4(132, 0, &hit), REDIRECT, "SCTP"),
        (ipv4(47, 0, &hit), NEXT, "GRE has no ports"),
    ];
    for (frame, verdict, what) in cases {
        assert_eq!(stage.run(EGRESS, &frame), verdict, "{what}");
    }
}

#[test]
fn leases_generations_and_deadlines_are_obeyed() {
    if !privileged() {
        return;
    }
    let mut stage = Stage::new();
    stage.rules(&[always(ACTION_PARTITION, [0; 8])]);
    let frame = ipv4(17, 0, &udp(1, 2));
    stage.lease(false);
    assert_eq!(stage.run(EGRESS, &frame), NEXT, "lapsed");
    assert_eq!(stage.count(1).skipped_by_lease, 1);
    stage.lease(true);
    assert_eq!(stage.run(EGRESS, &frame), REDIRECT);
    let lease = stage.datapath.leases.get(&1, 0).unwrap();
    stage.datapath.leases.set(1, Lease { generation: 0, ..lease }, 0).unwrap();
    assert_eq!(stage.run(EGRESS, &frame), NEXT, "another generation");
    stage.datapath.leases.set(1, Lease { end: 1, deadline: 1, ..lease }, 0).unwrap();
    assert_eq!(stage.run(EGRESS, &frame), NEXT, "past the deadline");
    stage.datapath.leases.set(1, lease, 0).unwrap();
    for how in [STOP_ABORT, STOP_FINISH] {
        stage.datapath.stops.set(1, stop_word(lease.id, how), 0).unwrap();
        assert_eq!(stage.run(EGRESS, &frame), NEXT, "stopped, although the lease holds");
    }
    stage.datapath.leases.set(1, Lease { id: lease.id + LEASE_ID_STEP, ..lease }, 0).unwrap();
    assert_eq!(stage.run(EGRESS, &frame), REDIRECT, "an earlier experiment in the slot was stopped");
    stage.datapath.leases.set(1, Lease { state: LEASE_PAUSED, ..lease }, 0).unwrap();
    assert_eq!(stage.run(EGRESS, &frame), NEXT, "paused");
    assert_eq!(stage.count(1).seen, 2, "only while it was active");
}

#[test]
fn an_exception_spares_the_next_rule_only() {
    if !privileged() {
        return;
    }
    let mut stage = Stage::new();
    let except = Rule { action: ACTION_EXCEPT, protocol: 17, ..Rule::zeroed() };
    stage.rules(&[except, always(ACTION_PARTITION, [0; 8]), always(ACTION_LOSS, dice(0))]);
    assert_eq!(stage.run(EGRESS, &ipv4(17, 0, &udp(1, 2))), NEXT);
    assert_eq!(stage.run(EGRESS, &ipv4(6, 0, &tcp(1, 2, ACK))), REDIRECT);
    let (spared, later) = (stage.count(2), stage.count(3));
    assert_eq!((spared.seen, spared.rejected[REJECT_EXCEPT], spared.matched), (2, 1, 1));
    assert_eq!((later.seen, later.matched), (1, 1), "a packet dropped by an earlier rule is not seen by later ones");
}

/// 10^5 random frames and every prefix of good ones, through every action both ways: never an error of the run, and neither a hit
/// nor a changed byte outside the match.
#[test]
fn garbage_is_passed() {
    if !privileged() {
        return;
    }
    let mut stage = Stage::new();
    let latency = Latency { delay: 1_000_000, jitter: 500_000, ..Latency::default() }.encode();
    let mut delivered = dice(ALWAYS);
    delivered[2] = u64::from(CORRUPT_DELIVERED);
    let bandwidth = Bandwidth { ns_per_byte: 1 << RATE_SHIFT, burst: 1, limit: u64::MAX }.encode();
    type Case = (u32, [u64; 8], fn(&Counters) -> u64);
    let cases: [Case; 8] = [
        (ACTION_PARTITION, [0; 8], |c| c.lost),
        (ACTION_LOSS, dice(ALWAYS), |c| c.lost),
        (ACTION_RESET, dice(ALWAYS), |c| c.reset),
        (ACTION_DUPLICATE, dice(ALWAYS), |c| c.duplicated),
        (ACTION_CORRUPT, dice(ALWAYS), |c| c.corrupted + c.detected_by_drop),
        (ACTION_CORRUPT, delivered, |c| c.corrupted),
        (ACTION_LATENCY, latency, |c| c.delayed),
        // A test run leaves the length on the wire at 0 for egress, and nothing takes no time.
        (ACTION_BANDWIDTH, bandwidth, |c| c.injected),
    ];
    for ingress in [false, true] {
        for protocol in [garbage::UDP, garbage::TCP] {
            let frames = garbage::Frames::new(protocol, ingress);
            for (action, args, counter) in cases {
                let what = format!("action {action} {args:?}, protocol {protocol}, ingress {ingress}");
                garbage::stage_rule(&mut stage, always(action, args), protocol, ingress);
                frames.assert_others_pass(&stage, &what);
                // Nothing but TCP is reset.
                if action != ACTION_RESET || protocol == garbage::TCP {
                    frames.assert_meant_are_hit(&stage, action, counter, &what);
                }
            }
        }
    }
}

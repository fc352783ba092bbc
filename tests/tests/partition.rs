//! Partition: what matches is cut off, and nothing else is.

use std::io::{Read, Write};
use std::net::{IpAddr, TcpStream};
use std::time::Duration;

use chaos_tests::clock::wait_until;
use chaos_tests::lab::Lab;
use chaos_tests::net::Family;
use chaos_tests::product::Running;
use chaos_tests::scene::{Direction, PORT};
use chaos_tests::traffic::connect::{Pair, attempt};
use chaos_tests::traffic::{Flow, Ping};

/// Longer than TCP waits before it sends again after a short cut.
const LONG: Duration = Duration::from_secs(10);

/// Partitions host `a` from what a match covers.
#[track_caller]
fn partition(lab: &Lab, direction: &str, matches: &str) -> Running {
    lab.inject(&format!("name: f, network: {{ direction: {direction}, match: {{ {matches} }}, partition: true }}"))
}

/// Whether a few packets from `a` to an address and port of `b` arrive; half of them arriving is a failure of its own.
#[track_caller]
fn arrives(lab: &Lab, to: IpAddr, port: u16) -> bool {
    passes(Flow::to((to, port).into()), lab)
}

#[track_caller]
fn passes(flow: Flow, lab: &Lab) -> bool {
    all_or_none(flow.count(100).run(&lab.hosts.a.ns, &lab.hosts.b.ns).lost())
}

#[track_caller]
fn all_or_none(lost: u64) -> bool {
    assert!(lost == 0 || lost == 100, "{lost} of 100 packets were lost: a partition is all or nothing");
    lost == 0
}

/// Whether echo requests from `a` are answered.
fn answered(lab: &Lab, family: Family) -> bool {
    Ping::to(lab.hosts.b.ip(family)).count(3).patience(Duration::from_millis(200)).run(&lab.hosts.a.ns).received() > 0
}

#[test]
fn each_direction_is_cut_by_itself() {
    let Some(lab) = Lab::open() else { return };
    for (direction, cut) in [("egress", [true, false]), ("ingress", [false, true]), ("both", [true, true])] {
        let running = partition(&lab, direction, "all: true");
        for family in Family::BOTH {
            for (way, cut) in Direction::BOTH.into_iter().zip(cut) {
                let lost = way.send(&lab, family, |flow| flow.count(100)).lost();
                assert_eq!(!all_or_none(lost), cut, "{way} {family} under a partition of {direction}");
            }
            assert!(!answered(&lab, family), "an echo needs both ways");
        }
        running.finish();
        for family in Family::BOTH {
            assert!(answered(&lab, family), "{family} after the end");
        }
    }
}

#[test]
fn only_the_named_peers_are_cut_off() {
    let Some(lab) = Lab::open() else { return };
    let peers = "peers: [ { cidr: 10.77.0.3/32 }, { cidr: \"fd77::3/128\" } ]";
    for direction in ["egress", "both"] {
        let running = partition(&lab, direction, peers);
        for family in Family::BOTH {
            let reached = [2, 3, 4].map(|number| arrives(&lab, lab.hosts.b_number(family, number), PORT));
            assert_eq!(reached, [true, false, true], "{direction} {family}");
        }
        let report = running.finish();
        assert_eq!(report.only_fault().injected(), 200, "{direction}");
        assert!(report.only_fault().count("rejectedBy.peer") >= 400, "{direction}: {}", report.json);
    }
}

#[test]
fn the_longest_prefix_does_not_matter_but_membership_does() {
    let Some(lab) = Lab::open() else { return };
    let running = partition(
        &lab,
        "egress",
        "peers: [ { cidr: 10.77.0.0/24 }, { cidr: \"fd77::/64\" } ], except: [ { peers: [ { cidr: 10.77.0.2/31 }, { cidr: \"fd77::2/127\" } ] } ]",
    );
    for family in Family::BOTH {
        let reached = [2, 3, 4].map(|number| arrives(&lab, lab.hosts.b_number(family, number), PORT));
        assert_eq!(reached, [true, true, false], "{family}");
    }
    running.finish();
}

#[test]
fn exceptions_are_spared() {
    let Some(lab) = Lab::open() else { return };
    let running =
        partition(&lab, "egress", "all: true, except: [ { protocol: udp, ports: [7001] }, { protocol: icmp } ]");
    for family in Family::BOTH {
        let b = lab.hosts.b.ip(family);
        assert!(arrives(&lab, b, 7001) && !arrives(&lab, b, 7000), "{family}");
        assert!(answered(&lab, family), "{family}");
    }
    running.finish();
}

#[test]
fn protocols_are_told_apart_by_name_and_number() {
    let Some(lab) = Lab::open() else { return };
    for (protocol, [udp, tcp, icmp]) in [
        ("udp", [false, true, true]),
        ("17", [false, true, true]),
        ("tcp", [true, false, true]),
        ("icmp", [true, true, false]),
    ] {
        let running = partition(&lab, "egress", &format!("protocol: {protocol}"));
        for family in Family::BOTH {
            assert_eq!(arrives(&lab, lab.hosts.b.ip(family), PORT), udp, "UDP, {family}, protocol {protocol}");
            assert_eq!(refused(&lab, family, 9), tcp, "TCP, {family}, protocol {protocol}");
            assert_eq!(answered(&lab, family), icmp, "ICMP, {family}, protocol {protocol}");
        }
        running.finish();
    }
}

/// Whether a SYN to a port where nobody listens is answered.
fn refused(lab: &Lab, family: Family, port: u16) -> bool {
    attempt(&lab.hosts.a.ns, 0, lab.hosts.b.at(family, port), Duration::from_millis(400)).ending.is_refused()
}

#[test]
fn ports_are_single_ranges_and_of_every_protocol_that_has_them() {
    let Some(lab) = Lab::open() else { return };
    let running = partition(&lab, "egress", "ports: [7000, \"7010-7012\"]");
    for family in Family::BOTH {
        let b = lab.hosts.b.ip(family);
        let reached = [6999, 7000, 7001, 7009, 7010, 7011, 7012, 7013].map(|port| arrives(&lab, b, port));
        assert_eq!(reached, [true, false, true, true, false, false, false, true], "{family}");
        assert!(!refused(&lab, family, 7011) && refused(&lab, family, 7013), "{family}: TCP has ports, too");
        assert!(answered(&lab, family), "{family}: ICMP has none");
    }
    running.finish();
}

#[test]
fn local_ports_are_the_targets_own() {
    let Some(lab) = Lab::open() else { return };
    let running = partition(&lab, "egress", "protocol: udp, localPorts: [6000]");
    for family in Family::BOTH {
        let from = |port| passes(Flow::to(lab.hosts.b.at(family, PORT)).from_port(port), &lab);
        assert!(!from(6000) && from(6001), "{family}");
        assert!(arrives(&lab, lab.hosts.b.ip(family), 6000), "{family}: the peer's port is another one");
    }
    running.finish();
}

#[test]
fn new_connections_are_cut_off_and_old_ones_live() {
    let Some(lab) = Lab::open() else { return };
    let (a, b) = (&lab.hosts.a.ns, &lab.hosts.b.ns);
    for family in Family::BOTH {
        let at = lab.hosts.b.at(family, PORT);
        let old = Pair::open(a, b, at);
        let running = partition(&lab, "egress", "protocol: tcp, connections: new");
        assert!(echoes(&old, LONG), "{family}: the old connection");
        assert!(!refused(&lab, family, 9), "{family}: a new connection");
        running.finish();
    }
}

#[test]
fn established_connections_are_cut_off_and_new_ones_are_made() {
    let Some(lab) = Lab::open() else { return };
    let (a, b) = (&lab.hosts.a.ns, &lab.hosts.b.ns);
    for family in Family::BOTH {
        let at = lab.hosts.b.at(family, PORT);
        let old = Pair::open(a, b, at);
        let running = partition(&lab, "egress", "protocol: tcp, connections: established");
        assert!(!echoes(&old, Duration::from_secs(1)), "{family}: the old connection");
        assert!(refused(&lab, family, 9), "{family}: the SYN passes and is answered");
        running.finish();
        assert!(echoes(&old, LONG), "{family}: TCP has sent again what was lost");
    }
}

/// Whether a byte from the client reaches the server and one comes back.
fn echoes(pair: &Pair, limit: Duration) -> bool {
    let mut byte = [0u8; 1];
    pair.server.set_nonblocking(true).unwrap();
    pair.client.set_nonblocking(true).unwrap();
    (&pair.client).write_all(&[1]).unwrap();
    let arrives = |mut stream: &TcpStream, byte: &mut [u8]| wait_until(limit, || stream.read(byte).is_ok());
    arrives(&pair.server, &mut byte) && (&pair.server).write_all(&[2]).is_ok() && arrives(&pair.client, &mut byte)
}

#[test]
fn a_neighbour_of_the_target_is_untouched() {
    let Some(lab) = Lab::open() else { return };
    let neighbour = lab.hosts.neighbour();
    let running = partition(&lab, "both", "all: true");
    for family in Family::BOTH {
        let outcome = Flow::to(neighbour.b_at(family, PORT)).run(&neighbour.host.ns, &lab.hosts.b.ns);
        assert_eq!(outcome.lost(), 0, "{family}");
        assert!(!answered(&lab, family), "{family}: the target itself");
    }
    running.finish();
}

#[test]
fn addresses_are_still_resolved() {
    let Some(lab) = Lab::open() else { return };
    let running = partition(&lab, "both", "all: true");
    lab.hosts.forget_neighbours();
    for family in Family::BOTH {
        assert!(!answered(&lab, family), "{family}");
        let b = lab.hosts.b.ip(family);
        let resolved =
            || lab.hosts.a.ns.ip(&format!("neigh show to {b} dev eth0")).contains("lladdr 02:00:00:00:00:0b");
        assert!(wait_until(Duration::from_secs(3), resolved), "{b} was not resolved: the partition cuts more than IP");
    }
    running.finish();
}

#[test]
fn the_loopback_is_spared_unless_it_is_named() {
    let Some(lab) = Lab::open() else { return };
    let to_itself = |lab: &Lab, family| {
        Flow::to(lab.hosts.a.at(family, PORT)).count(100).run(&lab.hosts.a.ns, &lab.hosts.a.ns).lost()
    };
    let running = partition(&lab, "both", "all: true");
    for family in Family::BOTH {
        assert_eq!(to_itself(&lab, family), 0, "{family}");
    }
    running.finish_any();
    let running = partition(&lab, "egress", "interfaces: [lo]");
    for family in Family::BOTH {
        assert_eq!(to_itself(&lab, family), 100, "{family}");
        assert!(answered(&lab, family), "{family}: the wire");
    }
    running.finish();
}

#[test]
fn behind_a_bridge_a_packet_is_decided_once() {
    let Some(lab) = Lab::bridged() else { return };
    for direction in Direction::BOTH {
        let play = direction.play(&lab, "duplicate: { percent: 100 }", |flow| flow.count(500));
        for outcome in &play.outcomes {
            assert_eq!((outcome.received(), outcome.duplicates), (500, 500), "{direction}: two of each, not four");
        }
        play.assert_counts(1_000);
    }
}

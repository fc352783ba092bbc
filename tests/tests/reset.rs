//! Resets: both ends learn of it at once, by segments that any TCP must believe.

use std::io::{ErrorKind, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use chaos_tests::lab::Lab;
use chaos_tests::net::{Family, offload};
use chaos_tests::scene::{Direction, PORT};
use chaos_tests::traffic::Capture;
use chaos_tests::traffic::capture::Captured;
use chaos_tests::traffic::connect::{Ending, Pair, attempt, await_end, listener};
use chaos_tests::traffic::frame::{Tcp, flags};
use chaos_tests::traffic::swarm;

/// Generous: a reset comes within a round trip; what waits for a retransmission takes longer than this only by accident.
const LIMIT: Duration = Duration::from_secs(5);
const ACTION: &str = "reset: { percent: 100 }";

#[test]
fn connecting_is_refused() {
    let Some(lab) = Lab::open() else { return };
    for direction in Direction::BOTH {
        let (from, to) = direction.ends(&lab);
        for family in Family::BOTH {
            let at = to.at(family, PORT);
            let _listener = listener(&to.ns, at);
            let before = attempt(&from.ns, 0, at, LIMIT);
            assert!(before.ending.is_open(), "{direction} {family}: {before:?}");
            drop(before);
            let running = lab.inject(&direction.fault_on("tcp", ACTION));
            let during = attempt(&from.ns, 0, at, LIMIT);
            assert!(during.ending.is_refused(), "{direction} {family}: {during:?}");
            let fault = running.finish();
            assert!(fault.only_fault().action("reset") >= 1, "{direction} {family}");
            let after = attempt(&from.ns, 0, at, LIMIT);
            assert!(after.ending.is_open(), "{direction} {family}: {after:?}");
        }
    }
}

#[test]
fn a_refused_syn_gets_the_acknowledgement_that_it_waits_for() {
    let Some(lab) = Lab::open() else { return };
    for family in Family::BOTH {
        let running = lab.inject(&Direction::Egress.fault_on("tcp", ACTION));
        let at_a = Capture::open(&lab.hosts.a.ns, "eth0");
        let at_b = Capture::open(&lab.hosts.b.ns, "eth0");
        let attempt = attempt(&lab.hosts.a.ns, 33_333, lab.hosts.b.at(family, PORT), LIMIT);
        assert!(matches!(attempt.ending, Ending::Refused), "{family}: {attempt:?}");
        let resets = at_a.segments(|segment| segment.has(flags::RST) && segment.destination == 33_333);
        assert_eq!(resets.len(), 1, "{family}: {resets:?}");
        let (segment, captured) = &resets[0];
        assert!(segment.has(flags::ACK) && captured.checksum_right(), "{family}: {segment:?}");
        // The SYN itself never arrives, and a listener that got one has nothing to refuse.
        let syns = at_b.segments(|segment| segment.has(flags::SYN));
        assert!(syns.is_empty(), "{family}: {syns:?}");
        running.finish();
    }
}

#[test]
fn both_ends_of_an_established_connection_are_reset() {
    let Some(lab) = Lab::open() else { return };
    for offloads in [true, false] {
        for host in [&lab.hosts.a, &lab.hosts.b] {
            offload::set_all(&host.ns, "eth0", offloads);
        }
        for direction in Direction::BOTH {
            for family in Family::BOTH {
                established(&lab, direction, family, &format!("{direction} {family}, offloads {offloads}"));
            }
        }
    }
}

/// Opens a connection, lets its next segment be reset, and checks both ends and every RST on the wire.
fn established(lab: &Lab, direction: Direction, family: Family, what: &str) {
    let (from, to) = direction.ends(lab);
    let captures = [Capture::open(&lab.hosts.a.ns, "eth0"), Capture::open(&lab.hosts.b.ns, "eth0")];
    let pair = Pair::open(&from.ns, &to.ns, to.at(family, PORT));
    (&pair.client).write_all(b"before").unwrap();
    pair.server.set_read_timeout(Some(LIMIT)).unwrap();
    assert_eq!(pair.server.peek(&mut [0; 16]).unwrap(), 6, "{what}");
    let before = captures.each_ref().map(|capture| capture.segments(|_| true));
    let running = lab.inject(&direction.fault_on("tcp", ACTION));
    (&pair.client).write_all(b"during").unwrap();
    assert_eq!(await_end(&pair.client, LIMIT), Some(ErrorKind::ConnectionReset), "{what}: the sender");
    // The first six bytes may be read before the error is.
    assert_eq!(await_end(&pair.server, LIMIT), Some(ErrorKind::ConnectionReset), "{what}: the receiver");
    let report = running.finish();
    assert_eq!(report.only_fault().action("reset"), 1, "{what}: one segment was reset");
    let ports = [pair.client.local_addr().unwrap().port(), PORT];
    let resets = captures.each_ref().map(|capture| capture.segments(|segment| segment.has(flags::RST)));
    for (place, (before, resets)) in before.iter().zip(&resets).enumerate() {
        check_resets(before, resets, ports, &format!("{what}, seen at {}", ["a", "b"][place]));
    }
    // The end that is beside the fault gets its RST there, the other end gets its own over the wire.
    assert!(!resets[0].is_empty() && !resets[1].is_empty(), "{what}: {resets:?}");
}

/// Each RST must carry exactly the receiver's next sequence number and a right checksum, and none may answer another.
fn check_resets(before: &[(Tcp, Captured)], resets: &[(Tcp, Captured)], ports: [u16; 2], what: &str) {
    for port in ports {
        let last = before.iter().rev().find(|(segment, _)| segment.source == port);
        let next = last.expect("segments of the handshake").0.next_sequence();
        let sent: Vec<_> = resets.iter().filter(|(segment, _)| segment.source == port).collect();
        assert!(sent.len() <= 1, "{what}: a RST was answered or repeated: {sent:?}");
        for (reset, captured) in sent {
            assert!(captured.checksum_right(), "{what}: wrong checksum of {reset:?}");
            // Who completes a checksum on the way is not known where the packet is made: it must be right either way.
            assert!(reset.checksum_full && reset.checksum_seed, "{what}: right only for one kind of device: {reset:?}");
            assert_eq!(reset.sequence, next, "{what}: not the receiver's next sequence number: {reset:?}");
        }
    }
}

#[test]
fn a_share_of_the_connections_is_reset_and_the_others_live() {
    let Some(lab) = Lab::open() else { return };
    let fault = "name: f, when: { percent: 30, per: connection }, \
                 network: { match: { protocol: tcp, ports: [7000] }, reset: { percent: 100 } }";
    let running = lab.inject(fault);
    let to = (&lab.hosts.b.ns, lab.hosts.b.at(Family::V4, PORT));
    let results = swarm::tcp_echo((&lab.hosts.a.ns, 20_000), to, 300, 5, LIMIT);
    running.finish();
    let refused = results.iter().filter(|result| !result.connected).count() as u64;
    chaos_tests::stats::binomial::assert_percent("refused connections", refused, 300, 30.0);
    assert!(results.iter().all(|result| !result.connected || result.rounds == 5), "a connection was reset half-way");
}

#[test]
fn other_traffic_is_not_reset() {
    let Some(lab) = Lab::open() else { return };
    let running = lab.inject(&Direction::Egress.fault_on("tcp", ACTION));
    for family in Family::BOTH {
        let pair = Pair::open(&lab.hosts.a.ns, &lab.hosts.b.ns, lab.hosts.b.at(family, PORT + 1));
        (&pair.client).write_all(b"x").unwrap();
        pair.server.set_read_timeout(Some(LIMIT)).unwrap();
        assert_eq!(pair.server.peek(&mut [0; 4]).unwrap(), 1, "{family}");
    }
    let ended = running.finish_any();
    assert_eq!(ended.report().verdict(), "NoEffect");
}

/// On loopback a packet keeps the route that it had: what is sent into the receive path anew has none, and is no answer there.
#[test]
fn on_loopback_both_ends_are_reset_too() {
    let Some(lab) = Lab::open() else { return };
    let ns = &lab.hosts.a.ns;
    let own = Family::BOTH.map(|family| lab.hosts.a.ip(family));
    let local = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
    for address in local.into_iter().chain(own) {
        for direction in ["egress", "both"] {
            let what = format!("{address} {direction}");
            let at = SocketAddr::new(address, PORT);
            let pair = Pair::open(ns, ns, at);
            let _listener = listener(ns, SocketAddr::new(address, PORT + 1));
            let running = lab.inject(&format!(
                "name: f, network: {{ direction: {direction}, match: {{ protocol: tcp, interfaces: [lo] }}, {ACTION} }}"
            ));
            let refused = attempt(ns, 0, SocketAddr::new(address, PORT + 1), LIMIT);
            assert!(refused.ending.is_refused(), "{what}: {refused:?}");
            (&pair.client).write_all(b"during").unwrap();
            assert_eq!(await_end(&pair.client, LIMIT), Some(ErrorKind::ConnectionReset), "{what}: the sender");
            assert_eq!(await_end(&pair.server, LIMIT), Some(ErrorKind::ConnectionReset), "{what}: the receiver");
            let report = running.finish();
            let fault = report.only_fault();
            fault.assert_adds_up();
            assert_eq!(
                (fault.action("reset"), fault.injected(), fault.action("errors")),
                (2, 2, 0),
                "{what}: {}",
                fault.json
            );
        }
    }
}

/// A buffer of many segments is reset whole, and what later faults see of it is one RST, whether they mean it or not.
#[test]
fn later_faults_see_one_packet_of_a_buffer_that_was_reset() {
    let Some(lab) = Lab::open() else { return };
    let (a, b) = (&lab.hosts.a.ns, &lab.hosts.b);
    let pair = Pair::open(a, &b.ns, b.at(Family::V4, PORT));
    let later = |name: &str, port: u16| {
        format!(
            "name: {name}, optional: true, network: {{ match: {{ protocol: tcp, ports: [{port}] }}, duplicate: {{ percent: 0.001 }} }}"
        )
    };
    let experiment = lab
        .experiment()
        .fault(&Direction::Egress.fault_on("tcp", ACTION))
        .fault(&later("meant", PORT))
        .fault(&later("other", PORT + 1));
    let running = lab.chaos.run(&experiment);
    // Within the window that a connection begins with (RFC 6928).
    (&pair.client).write_all(&[7; 9 * 1448]).unwrap();
    assert_eq!(await_end(&pair.client, LIMIT), Some(ErrorKind::ConnectionReset));
    let report = running.finish_any().report().clone();
    let reset = report.fault("f");
    assert!(reset.action("reset") > reset.skbs(), "no buffer of several segments: {}", reset.json);
    assert_eq!([report.fault("meant").seen(), report.fault("other").seen()], [reset.skbs(); 2], "{}", report.json);
    assert_eq!(report.fault("meant").matched(), reset.skbs());
}

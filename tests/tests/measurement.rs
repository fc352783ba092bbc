//! The measurements proved without the product, against causes that are known.

use std::io::{ErrorKind, Write};
use std::time::Duration;

use chaos_tests::need;
use chaos_tests::net::{Counters, Family, Hosts, offload};
use chaos_tests::traffic::capture::Captured;
use chaos_tests::traffic::connect::{Ending, Pair, attempt, await_end, listener};
use chaos_tests::traffic::frame::{ethertype, flags, ip};
use chaos_tests::traffic::inject::{Datagram, Injector, garbage};
use chaos_tests::traffic::payload::Payload;
use chaos_tests::traffic::tcp::{Until, transfer};
use chaos_tests::traffic::udp::{Stream, run_all};
use chaos_tests::traffic::udp_receiver::Receiver;
use chaos_tests::traffic::{Capture, Flow, Ping, swarm};

const MAC_A: [u8; 6] = [2, 0, 0, 0, 0, 0x0a];
const MAC_B: [u8; 6] = [2, 0, 0, 0, 0, 0x0b];

fn datagram(sequence: u64, port: u16, size: usize) -> Datagram {
    let mut payload = vec![0; size];
    Payload { flow: 0, sequence, sent_ns: 1 }.write(&mut payload);
    let (source, destination) = (([10, 77, 0, 1].into(), 5000), ([10, 77, 0, 2].into(), port));
    Datagram { source_mac: MAC_A, destination_mac: MAC_B, source, destination, payload }
}

#[test]
fn a_gap_and_a_repetition_made_by_hand_are_found() {
    if !need::root() {
        return;
    }
    let hosts = Hosts::new();
    let injector = Injector::open(&hosts.a.ns, "eth0");
    let receiver = Receiver::start(&hosts.b.ns, 7000);
    for sequence in [0, 1, 1, 4, 3] {
        injector.send(&datagram(sequence, 7000, 64).frame(None));
    }
    let mut broken = datagram(5, 7000, 64).frame(None);
    let last = broken.len() - 20;
    broken[last] ^= 0x10;
    injector.send(&broken);
    for fragment in datagram(6, 7000, 600).fragments(256) {
        injector.send(&fragment);
    }
    let arrivals = receiver.finish(&hosts.b.ns, Duration::from_millis(200));
    let readings: Vec<_> = arrivals.iter().map(|arrival| format!("{:?}", arrival.reading)).collect();
    let numbers: Vec<_> = readings.iter().filter_map(|reading| reading.split("sequence: ").nth(1)).collect();
    let numbers: Vec<_> = numbers.iter().map(|rest| rest.split(',').next().unwrap()).collect();
    assert_eq!(numbers, ["0", "1", "1", "4", "3", "6"], "{readings:?}");
    assert_eq!(readings.iter().filter(|reading| reading.starts_with("Damaged")).count(), 1);
}

#[test]
fn several_senders_are_told_apart() {
    if !need::root() {
        return;
    }
    let hosts = Hosts::new();
    let flow =
        |id: u32| Flow::to(hosts.b.at(Family::V6, 7000)).id(id).on_cpu(id as usize % 2).count(2_000 + u64::from(id));
    let outcomes = run_all(&hosts.a.ns, &hosts.b.ns, &[flow(0), flow(1), flow(2)]);
    let received: Vec<u64> = outcomes.iter().map(|outcome| outcome.received()).collect();
    assert_eq!(received, [2_000, 2_001, 2_002]);
}

#[test]
fn udp_segment_sends_many_packets_as_one() {
    if !need::root() {
        return;
    }
    let hosts = Hosts::new();
    for family in Family::BOTH {
        let capture = Capture::open(&hosts.b.ns, "eth0");
        let flow = Flow::to(hosts.b.at(family, 7000)).count(400).size(200).segments(40);
        let outcome = flow.run(&hosts.a.ns, &hosts.b.ns);
        assert_eq!((outcome.sent, outcome.received(), outcome.damaged), (400, 400, 0), "{family}");
        let large = capture.frames().iter().filter(|frame| !frame.outgoing && frame.segment_size == 200).count();
        assert_eq!(large, 10, "{family}: ten packets of forty on the wire");
    }
}

#[test]
fn a_stream_tells_when_the_wire_was_cut() {
    if !need::root() {
        return;
    }
    let hosts = Hosts::new();
    let stream = Stream::start(Flow::to(hosts.b.at(Family::V4, 7000)).rate(500).endless(), &hosts.a.ns, &hosts.b.ns);
    let counted = || Counters::of(&hosts.b.ns).get("UdpInDatagrams") > 20;
    assert!(chaos_tests::clock::wait_until(Duration::from_secs(5), counted));
    hosts.b.ns.ip("link set eth0 down");
    let cut = chaos_tests::clock::now_ns();
    let outcome = stream.stop(&hosts.b.ns);
    assert!(outcome.received() > 20);
    assert_eq!(outcome.first_sent_after(cut), None);
}

#[test]
fn pings_of_many_sizes_come_back_in_order() {
    if !need::root() {
        return;
    }
    let hosts = Hosts::new();
    for family in Family::BOTH {
        let answers =
            Ping::to(hosts.b.ip(family)).count(50).size(1200).interval(Duration::from_millis(1)).run(&hosts.a.ns);
        assert_eq!((answers.received(), answers.lost(), answers.reordered), (50, 0, 0), "{family}");
        assert!(answers.rtts_ms().iter().all(|rtt| *rtt > 0.0));
    }
}

#[test]
fn a_transfer_is_measured_and_verified_with_offloads_on_and_off() {
    if !need::root() {
        return;
    }
    let hosts = Hosts::new();
    for offloads in [true, false] {
        offload::set_all(&hosts.a.ns, "eth0", offloads);
        for family in Family::BOTH {
            let done = transfer(&hosts.a.ns, &hosts.b.ns, hosts.b.at(family, 7001), Until::Bytes(4_000_003));
            assert_eq!((done.bytes, done.wrong_bytes, done.error), (4_000_003, 0, None));
            assert!(done.mbit_per_s() > 1.0);
            assert!(done.sender.bytes_acked >= 4_000_003, "{:?}", done.sender);
        }
    }
}

#[test]
fn endings_of_connections_are_told_apart() {
    if !need::root() {
        return;
    }
    let hosts = Hosts::new();
    let limit = Duration::from_secs(5);
    for family in Family::BOTH {
        assert!(matches!(attempt(&hosts.a.ns, 0, hosts.b.at(family, 9), limit).ending, Ending::Refused));
        let pair = Pair::open(&hosts.a.ns, &hosts.b.ns, hosts.b.at(family, 7002));
        let quiet = await_end(&pair.client, Duration::from_millis(20));
        assert_eq!(quiet, Some(ErrorKind::TimedOut), "an open connection does not end");
        // Closing with unread data sends a RST.
        (&pair.client).write_all(b"unread").unwrap();
        assert_eq!(await_peek(&pair.server), 6);
        let capture = Capture::open(&hosts.a.ns, "eth0");
        drop(pair.server);
        assert_eq!(await_end(&pair.client, limit), Some(ErrorKind::ConnectionReset));
        let resets = capture.segments(|segment| segment.has(flags::RST));
        assert_eq!(resets.len(), 1);
        assert!(!resets[0].1.outgoing && resets[0].1.checksum_right(), "{:?}", resets[0]);
    }
    hosts.b.ns.ip("link set eth0 down");
    let silent = attempt(&hosts.a.ns, 0, hosts.b.at(Family::V4, 9), Duration::from_millis(100));
    assert!(matches!(silent.ending, Ending::TimedOut), "{silent:?}");
    assert!(silent.took >= Duration::from_millis(100));
}

fn await_peek(stream: &std::net::TcpStream) -> usize {
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    stream.peek(&mut [0; 16]).unwrap()
}

#[test]
fn a_connection_can_come_from_a_chosen_port() {
    if !need::root() {
        return;
    }
    let hosts = Hosts::new();
    let listener = listener(&hosts.b.ns, hosts.b.at(Family::V4, 7003));
    assert!(attempt(&hosts.a.ns, 23_456, hosts.b.at(Family::V4, 7003), Duration::from_secs(5)).ending.is_open());
    assert_eq!(listener.accept().unwrap().1.port(), 23_456);
}

#[test]
fn a_thousand_connections_echo_and_a_refused_one_does_not() {
    if !need::root() {
        return;
    }
    let hosts = Hosts::new();
    for family in Family::BOTH {
        let at = hosts.b.at(family, 7004);
        let results = swarm::tcp_echo((&hosts.a.ns, 20_000), (&hosts.b.ns, at), 1_000, 5, Duration::from_secs(5));
        assert_eq!(results.len(), 1_000);
        assert!(results.iter().all(|result| result.connected && result.rounds == 5), "{family}");
        let counts = swarm::udp_flows((&hosts.a.ns, 20_000), (&hosts.b.ns, at), 1_000, 10);
        assert!(counts.iter().all(|count| *count == 10) && counts.len() == 1_000, "{family}");
    }
}

#[test]
fn a_capture_sees_address_resolution_and_tagged_frames() {
    if !need::root() {
        return;
    }
    let hosts = Hosts::new();
    let capture = Capture::open(&hosts.b.ns, "eth0");
    hosts.forget_neighbours();
    for family in Family::BOTH {
        assert_eq!(Ping::to(hosts.b.ip(family)).count(1).run(&hosts.a.ns).received(), 1);
    }
    Injector::open(&hosts.a.ns, "eth0").send(&datagram(0, 7000, 64).frame(Some(5)));
    let frames = capture.frames();
    let arp = frames.iter().filter(|frame| frame.ethertype() == Some(ethertype::ARP)).count();
    assert!(arp >= 2, "request and reply, not {arp}");
    let discovery =
        frames.iter().filter_map(|frame| ip(&frame.bytes).map(|ip| (ip.protocol, ip.payload.first().copied())));
    assert!(discovery.clone().any(|found| found == (58, Some(135))), "a neighbour solicitation");
    assert!(discovery.clone().any(|found| found == (58, Some(136))), "a neighbour advertisement");
    // The tag itself the kernel keeps aside.
    let tagged =
        |frame: &Captured| ip(&frame.bytes).is_some_and(|ip| ip.protocol == 17 && ip.payload[2..4] == [0x1b, 0x58]);
    assert_eq!(frames.iter().filter(|frame| tagged(frame)).count(), 1, "the frame to port 7000");
}

#[test]
fn garbage_crosses_the_wire() {
    if !need::root() {
        return;
    }
    let hosts = Hosts::new();
    let capture = Capture::open(&hosts.b.ns, "eth0");
    let injector = Injector::open(&hosts.a.ns, "eth0");
    let frames = garbage(&datagram(0, 7000, 64));
    frames.iter().for_each(|frame| injector.send(frame));
    let received = capture.frames().into_iter().filter(|frame| !frame.outgoing).count();
    assert!(received >= frames.len(), "{received} of {}", frames.len());
}

//! Frames that no ordinary socket sends: they are neither a way around a fault nor a way to break it.

use std::time::Duration;

use chaos_tests::lab::Lab;
use chaos_tests::net::Family;
use chaos_tests::scene::{Direction, PORT};
use chaos_tests::traffic::inject::{Datagram, Injector, garbage};
use chaos_tests::traffic::payload::Payload;
use chaos_tests::traffic::udp_receiver::Receiver;
use chaos_tests::traffic::{Capture, Flow};

fn datagram(sequence: u64, port: u16, size: usize) -> Datagram {
    let mut payload = vec![0; size];
    Payload { flow: 0, sequence, sent_ns: 1 }.write(&mut payload);
    Datagram {
        source_mac: [2, 0, 0, 0, 0, 0x0a],
        destination_mac: [2, 0, 0, 0, 0, 0x0b],
        source: ([10, 77, 0, 1].into(), 5000),
        destination: ([10, 77, 0, 2].into(), port),
        payload,
    }
}

/// How many of ten fragmented datagrams to a port arrive whole.
fn fragmented(lab: &Lab, port: u16) -> usize {
    let injector = Injector::open(&lab.hosts.a.ns, "eth0");
    let receiver = Receiver::start(&lab.hosts.b.ns, port);
    for sequence in 0..10 {
        for fragment in datagram(sequence, port, 1_000).fragments(256) {
            injector.send(&fragment);
        }
    }
    receiver.finish(&lab.hosts.b.ns, Duration::from_millis(300)).len()
}

#[test]
fn a_fragmented_datagram_does_not_slip_through() {
    let Some(lab) = Lab::open() else { return };
    assert_eq!(fragmented(&lab, PORT), 10, "without a fault");
    let running = Direction::Egress.inject(&lab, "partition: true");
    assert_eq!((fragmented(&lab, PORT), fragmented(&lab, PORT + 1)), (0, 10));
    running.finish();
}

/// What the kernel itself cuts to the wire's size, and puts together again behind the fault.
#[test]
fn the_kernels_own_fragments_are_hit_with_what_they_carry() {
    let Some(lab) = Lab::open() else { return };
    const COUNT: u64 = 100;
    // 4,000 bytes need three fragments of either protocol.
    let cut = |flow: Flow| flow.count(COUNT).size(4_000).rate(2_000);
    for direction in Direction::BOTH {
        for family in Family::BOTH {
            let what = format!("{direction} {family}");
            assert_eq!(direction.send(&lab, family, cut).received(), COUNT, "{what}: without a fault");
            // Only the first fragment has ports; without it the others are nothing.
            let running = direction.inject(&lab, "partition: true");
            assert_eq!(direction.send(&lab, family, cut).received(), 0, "{what}");
            let (from, to) = direction.ends(&lab);
            let other = cut(Flow::to(to.at(family, PORT + 1)));
            assert_eq!(other.run(&from.ns, &to.ns).received(), COUNT, "{what}: another port");
            assert_eq!(running.finish().only_fault().injected(), COUNT, "{what}");
            // The protocol stands in each.
            let every_fragment = format!(
                "name: f, network: {{ direction: {direction}, match: {{ protocol: udp }}, duplicate: {{ percent: 100 }} }}"
            );
            let running = lab.inject(&every_fragment);
            let outcome = direction.send(&lab, family, cut);
            assert_eq!((outcome.received(), outcome.damaged), (COUNT, 0), "{what}: copies of fragments do no harm");
            assert_eq!(running.finish().only_fault().action("duplicated"), 3 * COUNT, "{what}: every fragment");
        }
    }
}

/// Headers that promise a payload which is not there: nothing can be damaged, and the report does not say that anything was.
#[test]
fn what_the_kernel_refuses_is_no_effect() {
    let Some(lab) = Lab::open() else { return };
    let running = Direction::Egress.inject(&lab, "corrupt: { percent: 100, mode: delivered }");
    let capture = Capture::open(&lab.hosts.b.ns, "eth0");
    let injector = Injector::open(&lab.hosts.a.ns, "eth0");
    let headers = |sequence| datagram(sequence, PORT, 64).frame(None)[..14 + 20 + 8].to_vec();
    let sent: Vec<Vec<u8>> = (0..10).map(headers).collect();
    sent.iter().for_each(|frame| injector.send(frame));
    let ended = running.finish_any();
    let arrived = capture.frames().into_iter().filter(|frame| !frame.outgoing && sent.contains(&frame.bytes)).count();
    assert_eq!(arrived, 10, "they pass as they were");
    let report = ended.report();
    let fault = report.only_fault();
    assert_eq!((fault.matched(), fault.action("errors"), fault.action("corrupted")), (10, 10, 0), "{}", fault.json);
    assert_eq!((report.verdict(), ended.output.code), ("NoEffect", 4), "{}", report.reason());
    assert!(report.reason().contains("refused"), "{}", report.reason());
}

#[test]
fn garbage_passes_and_breaks_nothing() {
    let Some(lab) = Lab::open() else { return };
    for action in
        ["partition: true", "corrupt: { percent: 100, mode: delivered }", "corrupt: { percent: 100, mode: detected }"]
    {
        let running = Direction::Egress.inject(&lab, action);
        let capture = Capture::open(&lab.hosts.b.ns, "eth0");
        let injector = Injector::open(&lab.hosts.a.ns, "eth0");
        let frames = garbage(&datagram(0, PORT + 1, 64));
        frames.iter().for_each(|frame| injector.send(frame));
        let received = capture.frames().into_iter().filter(|frame| !frame.outgoing).count();
        assert!(received >= frames.len(), "{action}: {received} of {} frames that do not match arrived", frames.len());
        let outcome = Direction::Egress.send(&lab, Family::V4, |flow| flow.count(50));
        assert_eq!(outcome.received(), 0, "{action}: the fault still acts");
        running.finish();
    }
}

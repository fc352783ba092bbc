//! Many packets that the kernel carries as one: counts are packets, decisions are what the kernel carries.

use chaos_tests::lab::Lab;
use chaos_tests::need;
use chaos_tests::net::Family;
use chaos_tests::scene::{Direction, PORT};
use chaos_tests::stats::binomial::interval;
use chaos_tests::traffic::Flow;
use chaos_tests::traffic::tcp::{Until, transfer};

const SEGMENTS: u64 = 40;

fn in_batches(flow: Flow) -> Flow {
    flow.count(400 * SEGMENTS).size(200).segments(SEGMENTS as usize)
}

/// As how many packets the kernel carries a batch where the faults of this direction meet it. Before Linux 5.12 it takes datagrams
/// apart for an interface of veth (include/linux/netdev_features.h, NETIF_F_GSO_SOFTWARE): they arrive one by one.
fn carried(direction: Direction) -> u64 {
    if direction == Direction::Egress || need::linux_is_at_least(5, 12) { 1 } else { SEGMENTS }
}

#[test]
fn a_share_of_the_batches_is_lost_whole() {
    let Some(lab) = Lab::open() else { return };
    for direction in Direction::BOTH {
        let play = direction.play(&lab, "loss: { percent: 10 }", in_batches);
        let (decisions, size) = (400 * carried(direction), SEGMENTS / carried(direction));
        for outcome in &play.outcomes {
            for batch in outcome.fates().chunks(size as usize) {
                let whole = batch.iter().all(|fate| *fate == batch[0]);
                assert!(whole, "{direction}: a part of a batch was lost: {:?}", outcome.missing());
            }
            let (lost, expected) = (outcome.lost() / size, interval(decisions, 0.1));
            assert!(expected.contains(&lost), "{direction}: {lost} batches of {decisions}, not {expected:?}");
        }
        play.assert_counts(play.sum(|outcome| outcome.lost()));
        assert_eq!(play.report.only_fault().skbs(), 2 * decisions, "{direction}: one decision for each batch");
    }
}

#[test]
fn a_position_counts_packets_and_hits_its_batch() {
    let Some(lab) = Lab::open() else { return };
    // The 45th packet is the fifth of the second batch; the 50 first reach into it.
    for (when, hit) in [("nth: 45", 40..80), ("first: 50", 0..80), ("nth: 81", 80..120)] {
        let fault = format!("when: {{ {when} }}, {}", Direction::Egress.fault("partition: true"));
        let running = lab.inject(&fault);
        let outcome = Direction::Egress.send(&lab, Family::V4, in_batches);
        let report = running.finish();
        assert_eq!(outcome.missing(), hit.clone().collect::<Vec<u64>>(), "{when}");
        assert_eq!(report.only_fault().injected(), hit.end - hit.start, "{when}");
    }
}

#[test]
fn batches_are_duplicated_whole() {
    let Some(lab) = Lab::open() else { return };
    for direction in Direction::BOTH {
        let play = direction.play(&lab, "duplicate: { percent: 100 }", in_batches);
        for outcome in &play.outcomes {
            assert_eq!((outcome.received(), outcome.duplicates), (outcome.sent, outcome.sent), "{direction}");
        }
        play.assert_counts(play.sum(|outcome| outcome.sent));
    }
}

/// Damage in a batch may hit one packet of it or lose the whole batch; what arrives must be as the mode says either way.
#[test]
fn corrupted_batches_keep_the_promise_of_their_mode() {
    let Some(lab) = Lab::open() else { return };
    for direction in Direction::BOTH {
        let play = direction.play(&lab, "corrupt: { percent: 20, mode: detected }", in_batches);
        assert_eq!(play.sum(|outcome| outcome.damaged), 0, "{direction}: damaged data was delivered");
        assert!(play.sum(|outcome| outcome.lost()) > 0, "{direction}: nothing was hit");
        let play = direction.play(&lab, "corrupt: { percent: 20, mode: delivered }", in_batches);
        assert!(play.sum(|outcome| outcome.damaged) > 0, "{direction}: no damaged data was delivered");
        assert_eq!(play.sum(|outcome| outcome.lost()), 0, "{direction}: damaged packets arrive, too");
    }
}

#[test]
fn a_tcp_stream_is_counted_in_segments() {
    let Some(lab) = Lab::open() else { return };
    let (a, b) = (&lab.hosts.a, &lab.hosts.b);
    let running = lab.inject(&Direction::Egress.fault_on("tcp", "duplicate: { percent: 1 }"));
    let done = transfer(&a.ns, &b.ns, b.at(Family::V4, PORT), Until::Bytes(20_000_000));
    let report = running.finish();
    assert_eq!((done.bytes, done.wrong_bytes), (20_000_000, 0));
    let fault = report.only_fault();
    let (packets, skbs) = (fault.matched(), fault.skbs());
    // 1,448 bytes of payload in each segment; acknowledgements and the like come on top.
    assert!(packets >= 20_000_000 / 1_460, "{packets} packets cannot carry it");
    assert!(skbs * 2 < packets, "{skbs} decisions for {packets} packets: nothing travelled in batches");
    let sent = u64::from(done.sender.segments_out);
    assert!(packets.abs_diff(sent) <= 4, "{packets} packets counted, the sender counts {sent}");
}

#[test]
fn per_packet_ends_batches_for_new_connections() {
    let Some(lab) = Lab::open() else { return };
    let (a, b) = (&lab.hosts.a, &lab.hosts.b);
    let running = lab.inject(&Direction::Egress.fault_on("tcp", "loss: { percent: 0.5 }, perPacket: true"));
    let done = transfer(&a.ns, &b.ns, b.at(Family::V4, PORT), Until::Bytes(5_000_000));
    let report = running.finish();
    assert_eq!((done.bytes, done.wrong_bytes), (5_000_000, 0));
    assert_eq!(report.only_fault().skbs(), report.only_fault().matched(), "every packet is decided by itself");
}

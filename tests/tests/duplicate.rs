//! Duplicates: how many, of which packets, and each of them once.

use chaos_tests::lab::Lab;
use chaos_tests::need;
use chaos_tests::net::{Family, offload};
use chaos_tests::scene::{Direction, PORT};
use chaos_tests::stats::binomial::{assert_percent, interval_correlated};
use chaos_tests::stats::bursts::Bursts;
use chaos_tests::traffic::tcp::{Until, transfer};
use chaos_tests::traffic::{Flow, Ping};

#[test]
fn every_packet_arrives_twice() {
    let Some(lab) = Lab::open() else { return };
    for direction in Direction::BOTH {
        let play = direction.play(&lab, "duplicate: { percent: 100 }", |flow| flow.count(2_000));
        for outcome in &play.outcomes {
            assert_eq!((outcome.received(), outcome.duplicates, outcome.damaged), (2_000, 2_000, 0), "{direction}");
            assert!(outcome.extra_copies().values().all(|copies| *copies == 1), "{direction}: one copy of each");
        }
        // Copies are not matched again: else they would breed.
        play.assert_counts(4_000);
        assert_eq!(play.report.only_fault().action("duplicated"), 4_000);
    }
}

#[test]
fn a_tenth_of_the_packets_arrives_twice() {
    let Some(lab) = Lab::open() else { return };
    for direction in Direction::BOTH {
        let play = direction.play(&lab, "duplicate: { percent: 10 }", |flow| flow.count(20_000));
        for outcome in &play.outcomes {
            assert_eq!((outcome.lost(), outcome.damaged), (0, 0), "{direction}");
            assert_percent(&format!("{direction}"), outcome.duplicates, outcome.sent, 10.0);
            assert!(outcome.extra_copies().values().all(|copies| *copies == 1), "{direction}: one copy of each");
        }
        play.assert_counts(play.sum(|outcome| outcome.duplicates));
    }
}

#[test]
fn an_echo_request_sent_twice_is_answered_twice() {
    let Some(lab) = Lab::open() else { return };
    let running = lab.inject("name: f, network: { match: { protocol: icmp }, duplicate: { percent: 100 } }");
    for family in Family::BOTH {
        let answers = Ping::to(lab.hosts.b.ip(family)).count(20).run(&lab.hosts.a.ns);
        assert_eq!((answers.received(), answers.duplicates), (20, 20), "{family}");
    }
    running.finish();
}

#[test]
fn tcp_takes_duplicates_without_harm() {
    let Some(lab) = Lab::open() else { return };
    for direction in Direction::BOTH {
        let (from, to) = direction.ends(&lab);
        let running = lab.inject(&direction.fault_on("tcp", "duplicate: { percent: 20 }"));
        for family in Family::BOTH {
            let done = transfer(&from.ns, &to.ns, to.at(family, PORT), Until::Bytes(5_000_000));
            assert_eq!((done.bytes, done.wrong_bytes, done.error), (5_000_000, 0, None), "{direction} {family}");
        }
        assert!(running.finish().only_fault().action("duplicated") > 0, "{direction}");
    }
}

/// Hosts whose devices compute nothing.
fn without_offloads() -> Option<Lab> {
    let lab = Lab::open()?;
    for host in [&lab.hosts.a, &lab.hosts.b] {
        offload::set_all(&host.ns, "eth0", false);
    }
    Some(lab)
}

#[test]
fn copies_of_batches_are_whole_where_the_device_computes_nothing() {
    let Some(lab) = without_offloads() else { return };
    let batches = |flow: Flow| flow.count(4_000).segments(40);
    if !batches(Flow::to(lab.hosts.b.at(Family::V4, PORT))).takes_batches(&lab.hosts.a.ns) {
        need::absent("batches of datagrams for a device that computes no checksums (Linux 6.11)");
        return;
    }
    for direction in Direction::BOTH {
        let play = direction.play(&lab, "duplicate: { percent: 100 }", batches);
        for outcome in &play.outcomes {
            assert_eq!((outcome.received(), outcome.duplicates, outcome.damaged), (4_000, 4_000, 0), "{direction}");
        }
        play.assert_counts(8_000);
    }
}

#[test]
fn copies_are_whole_where_the_device_computes_nothing() {
    let Some(lab) = without_offloads() else { return };
    for direction in Direction::BOTH {
        let play = direction.play(&lab, "duplicate: { percent: 100 }", |flow| flow.count(2_000).size(1_200));
        for outcome in &play.outcomes {
            assert_eq!((outcome.received(), outcome.duplicates, outcome.damaged), (2_000, 2_000, 0), "{direction}");
        }
        play.assert_counts(4_000);
        let (from, to) = direction.ends(&lab);
        let running = lab.inject(&direction.fault_on("tcp", "duplicate: { percent: 20 }"));
        for family in Family::BOTH {
            let done = transfer(&from.ns, &to.ns, to.at(family, PORT), Until::Bytes(5_000_000));
            assert_eq!((done.bytes, done.wrong_bytes, done.error), (5_000_000, 0, None), "{direction} {family}");
        }
        let report = running.finish();
        // The stack still carries batches and cuts them behind the fault; 5 MB are more than 3,400 segments, of each family.
        let fault = report.only_fault();
        assert!(fault.matched() > 2 * 3_400, "{direction}: {}", fault.json);
        assert!(fault.action("duplicated") > 0 && fault.action("errors") == 0, "{direction}: {}", fault.json);
    }
}

#[test]
fn correlated_duplicates_come_together_at_the_same_rate() {
    let Some(lab) = Lab::open() else { return };
    for direction in Direction::BOTH {
        let action = "duplicate: { percent: 20, correlation: 50 }";
        let play = direction.play(&lab, action, |flow| flow.count(20_000));
        for outcome in &play.outcomes {
            let expected = interval_correlated(outcome.sent, 0.2, 0.5);
            let copies = outcome.extra_copies();
            assert!(
                expected.contains(&outcome.duplicates),
                "{direction}: {} copies, not {expected:?}",
                outcome.duplicates
            );
            let single: Vec<bool> = (0..outcome.sent).map(|sequence| !copies.contains_key(&sequence)).collect();
            let correlation = Bursts::of(&single).correlation();
            assert!((correlation - 0.5).abs() < 0.06, "{direction}: correlation {correlation}");
        }
        play.assert_counts(play.sum(|outcome| outcome.duplicates));
    }
}

//! Duplicates: how many, of which packets, and each of them once.

use chaos_tests::lab::Lab;
use chaos_tests::net::Family;
use chaos_tests::scene::{Direction, PORT};
use chaos_tests::stats::binomial::assert_percent;
use chaos_tests::traffic::Ping;
use chaos_tests::traffic::tcp::{Until, transfer};

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

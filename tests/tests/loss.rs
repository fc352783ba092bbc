//! Loss: as much as was asked for, distributed as asked for, and counted to the packet.

use chaos_tests::lab::Lab;
use chaos_tests::net::{Counters, Family};
use chaos_tests::scene::{Direction, PORT};
use chaos_tests::stats::binomial::{Z, assert_percent, interval_correlated};
use chaos_tests::stats::bursts::Bursts;
use chaos_tests::traffic::tcp::{Until, transfer};

const PACKETS: u64 = 20_000;

#[test]
fn two_percent_of_independent_loss() {
    let Some(lab) = Lab::open() else { return };
    for direction in Direction::BOTH {
        let play = direction.play(&lab, "loss: { percent: 2 }", |flow| flow.count(PACKETS));
        for outcome in &play.outcomes {
            assert_percent(&format!("{direction}"), outcome.lost(), outcome.sent, 2.0);
            // Independent losses repeat as often as they occur: two in a hundred.
            let repeats = Bursts::of(&outcome.fates()).repeat_share();
            assert!(repeats < 0.08, "{direction}: {repeats} of the losses follow a loss");
        }
        let lost = play.sum(|outcome| outcome.lost());
        play.assert_counts(lost);
        assert_eq!(play.report.only_fault().action("lost"), lost);
    }
}

#[test]
fn a_fraction_of_a_percent_is_not_rounded_away() {
    let Some(lab) = Lab::open() else { return };
    let play = Direction::Egress.play(&lab, "loss: { percent: 0.1 }", |flow| flow.count(50_000).flat_out());
    let lost = play.sum(|outcome| outcome.lost());
    assert_percent("both families", lost, 100_000, 0.1);
    play.assert_counts(lost);
}

#[test]
fn correlated_loss_comes_in_bursts_at_the_same_rate() {
    let Some(lab) = Lab::open() else { return };
    for direction in Direction::BOTH {
        let play = direction.play(&lab, "loss: { percent: 20, correlation: 50 }", |flow| flow.count(PACKETS));
        for outcome in &play.outcomes {
            let expected = interval_correlated(outcome.sent, 0.2, 0.5);
            assert!(expected.contains(&outcome.lost()), "{direction}: {} lost, not {expected:?}", outcome.lost());
            // Of about 4,000 losses the share that repeats is known to about 3 %.
            let correlation = Bursts::of(&outcome.fates()).correlation();
            assert!((correlation - 0.5).abs() < 0.06, "{direction}: correlation {correlation}");
        }
        play.assert_counts(play.sum(|outcome| outcome.lost()));
    }
}

#[test]
fn gilbert_elliott_loses_runs_of_the_length_that_its_parameters_give() {
    let Some(lab) = Lab::open() else { return };
    let (into_bad, out_of_bad) = (0.01, 0.1);
    let action = "loss: { gilbertElliott: { p: 1, r: 10, h: 0, k: 100 } }";
    for direction in Direction::BOTH {
        let play = direction.play(&lab, action, |flow| flow.count(50_000));
        for outcome in &play.outcomes {
            // A chain of two states: the share of time in the bad one, and the correlation of neighbours.
            let rate = into_bad / (into_bad + out_of_bad);
            let expected = interval_correlated(outcome.sent, rate, 1.0 - into_bad - out_of_bad);
            assert!(expected.contains(&outcome.lost()), "{direction}: {} lost, not {expected:?}", outcome.lost());
            // Lengths of runs are geometric: mean 1/r, standard deviation sqrt(1 - r) / r.
            let bursts = Bursts::of(&outcome.fates());
            let deviation = (1.0 - out_of_bad).sqrt() / out_of_bad / (bursts.lengths.len() as f64).sqrt();
            let off = (bursts.mean_length() - 1.0 / out_of_bad).abs();
            assert!(off < Z * deviation, "{direction}: runs of {} packets", bursts.mean_length());
        }
        play.assert_counts(play.sum(|outcome| outcome.lost()));
    }
}

/// What is dropped at the sender's own exit must look to its TCP like loss on the way: sent, and sent again. A drop that is
/// reported to the sender is not counted as a retransmission and slows the flow at once.
#[test]
fn lost_segments_are_retransmitted() {
    let Some(lab) = Lab::open() else { return };
    let (a, b) = (&lab.hosts.a, &lab.hosts.b);
    for family in Family::BOTH {
        let running = lab.inject(&Direction::Egress.fault_on("tcp", "loss: { percent: 2 }"));
        let before = Counters::of(&a.ns);
        let done = transfer(&a.ns, &b.ns, b.at(family, PORT), Until::Bytes(40_000_000));
        let resent = Counters::of(&a.ns).since(&before).get("TcpRetransSegs") as u64;
        let report = running.finish();
        assert_eq!((done.bytes, done.wrong_bytes, done.error), (40_000_000, 0, None), "{family}");
        let lost = report.only_fault().action("lost");
        assert!(lost > 0 && resent > 0, "{family}: {lost} lost, {resent} sent again");
        // Each lost segment is sent again at least once, but for the few that carry no data.
        assert!(resent * 10 >= lost * 9, "{family}: {lost} segments lost, only {resent} sent again");
    }
}

#[test]
fn losing_everything_loses_everything_and_then_nothing() {
    let Some(lab) = Lab::open() else { return };
    for direction in Direction::BOTH {
        let play = direction.play(&lab, "loss: { percent: 100 }", |flow| flow.count(500));
        assert_eq!(play.sum(|outcome| outcome.received()), 0, "{direction}");
        play.assert_counts(1_000);
        for family in Family::BOTH {
            assert_eq!(
                direction.send(&lab, family, |flow| flow.count(500)).lost(),
                0,
                "{direction} {family} afterwards"
            );
        }
    }
}

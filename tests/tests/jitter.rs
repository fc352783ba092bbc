//! Jitter and reordering: delays distributed as asked for. Needs fq.

use chaos_tests::lab::Lab;
use chaos_tests::net::Family;
use chaos_tests::scene::{Direction, Play};
use chaos_tests::stats::binomial::assert_percent;
use chaos_tests::stats::ks::one_sample;
use chaos_tests::stats::quantile::{mean, median};
use chaos_tests::stats::theory;
use chaos_tests::traffic::Flow;

/// A slow flow: what is tested is the delay of each packet, not a queue.
fn slow(flow: Flow) -> Flow {
    flow.count(1_500).rate(250)
}

/// What the machine itself takes on the way, to be taken off.
fn own_delay_ms(lab: &Lab, direction: Direction) -> f64 {
    median(&direction.send(lab, Family::V4, |flow| flow.count(200).rate(250)).delays_ms())
}

fn delays_ms(play: &Play, own_ms: f64) -> Vec<f64> {
    play.outcomes.iter().flat_map(|outcome| outcome.delays_ms()).map(|delay| delay - own_ms).collect()
}

/// The distances at which a right product fails one run in a thousand.
#[track_caller]
fn assert_distribution(what: &str, delays: &[f64], cdf: impl Fn(f64) -> f64) {
    let ks = one_sample(delays, cdf);
    assert!(ks.p_value > 0.001, "{what}: {ks:?} over {} packets, mean {:.1} ms", delays.len(), mean(delays));
}

#[test]
fn uniform_jitter() {
    let Some(lab) = Lab::delaying() else { return };
    for direction in Direction::BOTH {
        let own = own_delay_ms(&lab, direction);
        let play = direction.play(&lab, "latency: { delay: 200ms, jitter: 150ms, distribution: uniform }", slow);
        assert_eq!(play.sum(|outcome| outcome.lost()), 0, "{direction}");
        assert_distribution(&format!("{direction}"), &delays_ms(&play, own), theory::uniform(200.0, 150.0));
    }
}

#[test]
fn normal_jitter() {
    let Some(lab) = Lab::delaying() else { return };
    for direction in Direction::BOTH {
        let own = own_delay_ms(&lab, direction);
        let play = direction.play(&lab, "latency: { delay: 400ms, jitter: 80ms, distribution: normal }", slow);
        assert_distribution(&format!("{direction}"), &delays_ms(&play, own), theory::normal(400.0, 80.0));
    }
}

/// Whatever the exact shape of the Pareto tables, they lean: most packets are early and a few very late.
#[test]
fn pareto_jitter_has_a_long_tail() {
    let Some(lab) = Lab::delaying() else { return };
    let own = own_delay_ms(&lab, Direction::Egress);
    for distribution in ["pareto", "paretonormal"] {
        let action = format!("latency: {{ delay: 200ms, jitter: 40ms, distribution: {distribution} }}");
        let delays = delays_ms(&Direction::Egress.play(&lab, &action, slow), own);
        assert!(mean(&delays) > median(&delays), "{distribution}: mean {}, median {}", mean(&delays), median(&delays));
        assert!((median(&delays) - 200.0).abs() < 60.0, "{distribution}: median {}", median(&delays));
    }
}

#[test]
fn jitter_reorders_unless_order_is_kept() {
    let Some(lab) = Lab::delaying() else { return };
    for direction in Direction::BOTH {
        let busy = |flow: Flow| flow.count(1_000).rate(1_000);
        let loose = direction.play(&lab, "latency: { delay: 100ms, jitter: 50ms }", busy);
        assert!(
            loose.outcomes.iter().all(|outcome| outcome.reordered > 100),
            "{direction}: {:?}",
            loose.sum(|o| o.reordered)
        );
        let strict = direction.play(&lab, "latency: { delay: 100ms, jitter: 50ms, keepOrder: true }", busy);
        assert_eq!(strict.sum(|outcome| outcome.reordered), 0, "{direction}");
        assert_eq!(loose.sum(|outcome| outcome.lost()) + strict.sum(|outcome| outcome.lost()), 0, "{direction}");
    }
}

#[test]
fn correlated_jitter_resembles_its_predecessor() {
    let Some(lab) = Lab::delaying() else { return };
    let neighbours = |action: &str| {
        let play = Direction::Egress.play(&lab, action, slow);
        let mut packets: Vec<(u64, f64)> = Vec::new();
        for (payload, at) in &play.outcomes[0].arrivals {
            packets.push((payload.sequence, (at - payload.sent_ns) as f64 / 1e6));
        }
        packets.sort_by_key(|(sequence, _)| *sequence);
        let delays: Vec<f64> = packets.into_iter().map(|(_, delay)| delay).collect();
        let (centre, pairs) = (mean(&delays), delays.windows(2));
        let product = mean(&pairs.map(|pair| (pair[0] - centre) * (pair[1] - centre)).collect::<Vec<_>>());
        product / mean(&delays.iter().map(|delay| (delay - centre).powi(2)).collect::<Vec<_>>())
    };
    let independent = neighbours("latency: { delay: 200ms, jitter: 150ms }");
    let correlated = neighbours("latency: { delay: 200ms, jitter: 150ms, correlation: 75 }");
    assert!(independent.abs() < 0.12, "{independent}");
    assert!((0.55..0.95).contains(&correlated), "{correlated}");
}

#[test]
fn reordered_packets_overtake_the_delayed_ones() {
    let Some(lab) = Lab::delaying() else { return };
    for direction in Direction::BOTH {
        let busy = |flow: Flow| flow.count(4_000).rate(1_000);
        let play = direction.play(&lab, "latency: { delay: 100ms }, reorder: { percent: 25 }", busy);
        for outcome in &play.outcomes {
            assert_eq!(outcome.lost(), 0, "{direction}");
            let early = outcome.delays_ms().into_iter().filter(|delay| *delay < 50.0).count() as u64;
            assert_percent(&format!("{direction}: early packets"), early, outcome.sent, 25.0);
        }
        let early = play.sum(|outcome| outcome.delays_ms().into_iter().filter(|delay| *delay < 50.0).count() as u64);
        assert_eq!(play.report.only_fault().action("reordered"), early, "{direction}");
    }
}

#[test]
fn a_gap_spares_the_packets_between() {
    let Some(lab) = Lab::delaying() else { return };
    let busy = |flow: Flow| flow.count(1_000).rate(1_000);
    let play = Direction::Egress.play(&lab, "latency: { delay: 100ms }, reorder: { percent: 100, gap: 5 }", busy);
    for outcome in &play.outcomes {
        let mut early: Vec<u64> =
            outcome.arrivals.iter().filter(|(p, at)| at - p.sent_ns < 50_000_000).map(|(p, _)| p.sequence).collect();
        early.sort_unstable();
        let distances: Vec<u64> = early.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(!early.is_empty() && distances.iter().all(|distance| *distance == 5), "{early:?}");
    }
}

//! Triggers: which of the matched packets are hit.

use std::time::Duration;

use chaos_tests::clock::wait_until;
use chaos_tests::lab::Lab;
use chaos_tests::net::{Counters, Family};
use chaos_tests::scene::{Direction, PORT};
use chaos_tests::stats::binomial::assert_percent;
use chaos_tests::traffic::udp::{Stream, run_all};
use chaos_tests::traffic::{Flow, Outcome};

/// A partition of the measured flow under a trigger.
fn cut(direction: Direction, when: &str) -> String {
    format!("when: {{ {when} }}, {}", direction.fault("partition: true"))
}

/// Which numbers of a flow of 1,000 packets a trigger hits; the report must say how many.
#[track_caller]
fn hits(lab: &Lab, direction: Direction, when: &str) -> Vec<u64> {
    let running = lab.inject(&cut(direction, when));
    let outcome = direction.send(lab, Family::V4, |flow| flow);
    let report = running.finish();
    let fault = report.only_fault();
    fault.assert_adds_up();
    assert_eq!((fault.matched(), fault.injected()), (1_000, outcome.lost()), "{when}: {}", fault.json);
    outcome.missing()
}

#[test]
fn positions_are_exact() {
    let Some(lab) = Lab::open() else { return };
    let every_seventh: Vec<u64> = (6..1_000).step_by(7).collect();
    for direction in Direction::BOTH {
        assert_eq!(hits(&lab, direction, "nth: 3"), [2], "{direction}");
        assert_eq!(hits(&lab, direction, "nth: 1000"), [999], "{direction}");
        assert_eq!(hits(&lab, direction, "every: 7"), every_seventh, "{direction}");
        assert_eq!(hits(&lab, direction, "first: 10"), (0..10).collect::<Vec<u64>>(), "{direction}");
        assert_eq!(hits(&lab, direction, "budget: 5"), (0..5).collect::<Vec<u64>>(), "{direction}");
    }
}

#[test]
fn conditions_must_all_agree() {
    let Some(lab) = Lab::open() else { return };
    assert_eq!(hits(&lab, Direction::Egress, "every: 4, budget: 3"), [3, 7, 11]);
    assert_eq!(hits(&lab, Direction::Egress, "every: 4, first: 10"), [3, 7]);
    assert_eq!(hits(&lab, Direction::Egress, "percent: 50, budget: 20").len(), 20);
}

#[test]
fn a_percentage_holds_and_is_counted_with_senders_on_every_cpu() {
    let Some(lab) = Lab::open() else { return };
    for direction in Direction::BOTH {
        let running = lab.inject(&cut(direction, "percent: 10"));
        let outcomes = from_every_cpu(&lab, direction, 20_000);
        let report = running.finish();
        let (sent, lost) = totals(&outcomes);
        assert_percent(&format!("{direction}"), lost, sent, 10.0);
        let fault = report.only_fault();
        assert_eq!((fault.matched(), fault.injected()), (sent, lost), "{direction}: {}", fault.json);
    }
}

#[test]
fn positions_are_counted_over_all_cpus() {
    let Some(lab) = Lab::open() else { return };
    for (when, hit) in [("every: 10", 4_000), ("budget: 123", 123), ("first: 77", 77), ("nth: 5000", 1)] {
        let running = lab.inject(&cut(Direction::Egress, when));
        let (sent, lost) = totals(&from_every_cpu(&lab, Direction::Egress, 20_000));
        let report = running.finish();
        assert_eq!((sent, lost), (40_000, hit), "{when}");
        assert_eq!(report.only_fault().injected(), hit, "{when}");
    }
}

/// Two senders at once, on different CPUs where there are two.
fn from_every_cpu(lab: &Lab, direction: Direction, each: u64) -> Vec<Outcome> {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let (from, to) = direction.ends(lab);
    let flow = |id: u32| Flow::to(to.at(Family::V4, PORT)).id(id).on_cpu(id as usize % cpus).count(each);
    run_all(&from.ns, &to.ns, &[flow(0), flow(1)])
}

fn totals(outcomes: &[Outcome]) -> (u64, u64) {
    (outcomes.iter().map(|outcome| outcome.sent).sum(), outcomes.iter().map(Outcome::lost).sum())
}

#[test]
fn a_window_of_time_opens_and_closes() {
    let Some(lab) = Lab::open() else { return };
    let (a, b) = (&lab.hosts.a.ns, &lab.hosts.b.ns);
    // The stream runs before the fault is there and after its window has closed.
    let stream = Stream::start(Flow::to(lab.hosts.b.at(Family::V4, PORT)).rate(500).endless(), a, b);
    let running = lab.inject(&cut(Direction::Egress, "after: 500ms, for: 1s"));
    running.wait_for("hit", "10s").expect_code(0);
    // While the window is open nothing arrives, so that further arrivals mean that it has closed.
    let arrived = || Counters::of(b).get("UdpInDatagrams");
    let inside = arrived();
    assert!(wait_until(Duration::from_secs(10), || arrived() > inside + 100), "the window never closes");
    let outcome = stream.stop(b);
    let report = running.finish();
    let missing = outcome.missing();
    assert_eq!(report.only_fault().injected(), missing.len() as u64);
    assert!(report.only_fault().count("rejectedBy.time") > 0, "{}", report.json);
    // The packets around the gap tell how long it was.
    let (begin, end) = gap(&outcome);
    let gap_s = (end - begin) as f64 / 1e9;
    assert!((0.9..1.25).contains(&gap_s), "the window was open for {gap_s} s, not 1 s");
}

/// The window is one for all CPUs: it opens and closes for both senders at the same moment.
#[test]
fn a_window_of_time_is_the_same_on_every_cpu() {
    let Some(lab) = Lab::open() else { return };
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    for direction in Direction::BOTH {
        let (from, to) = direction.ends(&lab);
        // Ports of their own: each stream has a receiver to itself.
        let streams = [0, 1].map(|index: usize| {
            let flow = Flow::to(to.at(Family::V4, PORT + index as u16)).on_cpu(index % cpus).rate(1_000).endless();
            Stream::start(flow, &from.ns, &to.ns)
        });
        let both = direction.fault("partition: true").replace("[7000]", "[7000, 7001]");
        let running = lab.inject(&format!("when: {{ after: 300ms, for: 700ms }}, {both}"));
        running.wait_for("hit", "10s").expect_code(0);
        let arrived = || Counters::of(&to.ns).get("UdpInDatagrams");
        let inside = arrived();
        assert!(wait_until(Duration::from_secs(10), || arrived() > inside + 200), "the window never closes");
        let outcomes = streams.map(|stream| stream.stop(&to.ns));
        let report = running.finish();
        let gaps = outcomes.each_ref().map(gap);
        let lost: u64 = outcomes.iter().map(|outcome| outcome.missing().len() as u64).sum();
        assert_eq!(report.only_fault().injected(), lost, "{direction}: {}", report.json);
        for (begin, end) in gaps {
            let length = (end - begin) as f64 / 1e9;
            assert!((0.65..0.95).contains(&length), "{direction}: the window was open for {length} s, not 0.7 s");
        }
        // A packet before and one after bound each edge; a sender may have napped between them.
        let [one, other] = gaps;
        let apart = one.0.abs_diff(other.0).max(one.1.abs_diff(other.1));
        assert!(apart < 200_000_000, "{direction}: the edges are {} us apart", apart / 1_000);
    }
}

/// When the packets around a flow's only gap were sent.
#[track_caller]
fn gap(outcome: &Outcome) -> (u64, u64) {
    let missing = outcome.missing();
    let (first, last) = (missing[0], missing[missing.len() - 1]);
    assert_eq!(missing.len() as u64, last - first + 1, "one gap without holes");
    assert!(first > 0 && last < outcome.sent - 1, "packets pass before and after the window");
    let sent_at =
        |number: u64| outcome.arrivals.iter().find(|(payload, _)| payload.sequence == number).unwrap().0.sent_ns;
    (sent_at(first - 1), sent_at(last + 1))
}

#[test]
fn the_same_seed_has_the_same_victims() {
    let Some(lab) = Lab::open() else { return };
    for action in ["loss: { percent: 20 }", "loss: { percent: 20, correlation: 30 }", "duplicate: { percent: 20 }"] {
        let victims = |seed: u64| {
            let experiment = lab.experiment().setting(&format!("seed: {seed}")).fault(&Direction::Egress.fault(action));
            let running = lab.chaos.run(&experiment);
            let outcome = Direction::Egress.send(&lab, Family::V4, |flow| flow);
            let report = running.finish();
            assert_eq!(report.seed(), seed);
            (outcome.missing(), outcome.extra_copies())
        };
        let first = victims(42);
        assert_eq!(first, victims(42), "{action}");
        assert_ne!(first, victims(43), "{action}");
    }
}

#[test]
fn a_run_without_a_seed_reports_one_that_repeats_it() {
    let Some(lab) = Lab::open() else { return };
    let victims = |setting: Option<String>| {
        let experiment = lab.experiment().fault(&cut(Direction::Egress, "percent: 20"));
        let experiment = setting.into_iter().fold(experiment, |experiment, setting| experiment.setting(&setting));
        let running = lab.chaos.run(&experiment);
        let missing = Direction::Egress.send(&lab, Family::V4, |flow| flow).missing();
        (running.finish().seed(), missing)
    };
    let (seed, missing) = victims(None);
    assert_eq!(victims(Some(format!("seed: {seed}"))), (seed, missing));
    assert_ne!(victims(None).0, seed, "two runs without a seed should differ");
}

#[test]
fn a_dry_run_decides_and_harms_nothing() {
    let Some(lab) = Lab::open() else { return };
    for action in ["loss: { percent: 10 }", "duplicate: { percent: 10 }", "corrupt: { percent: 10, mode: delivered }"] {
        let experiment = lab.experiment().setting("dryRun: true").fault(&Direction::Egress.fault(action));
        let running = lab.chaos.run(&experiment);
        let outcome = Direction::Egress.send(&lab, Family::V4, |flow| flow.count(10_000));
        let report = running.finish_any().report().clone();
        assert_eq!((outcome.received(), outcome.duplicates, outcome.damaged), (10_000, 0, 0), "{action}");
        let fault = report.only_fault();
        assert_eq!((fault.matched(), fault.injected()), (10_000, 0), "{action}: {}", fault.json);
        assert_percent(action, fault.count("wouldInject"), 10_000, 10.0);
    }
}

//! What probes change.

use super::*;
use chaos_outcome::{PhaseReport, ProbeReport};
use chaos_spec::ProbePhase;

fn probed(when: Value) -> Experiment {
    let mut one = serde_json::to_value(all()).unwrap();
    one["spec"]["probes"] = json!([{ "name": "up", "tcp": { "address": "10.0.0.1:80" }, "when": when }]);
    serde_json::from_value(one).unwrap()
}

fn saw(phase: &str, failed: bool) -> Vec<ProbeReport> {
    let phase = PhaseReport { phase: phase.to_owned(), failed, ..PhaseReport::default() };
    vec![ProbeReport { name: "up".to_owned(), phases: vec![phase] }]
}

#[test]
fn nothing_is_made_before_the_probes_have_passed() {
    let (one, now) = (probed(json!("before")), SystemTime::now());
    let waiting = decide(&one, &world(), &[], &Seen::default(), now);
    assert_eq!((waiting.probe, waiting.injections.len()), (Some(ProbePhase::Before), 0));
    assert_eq!((waiting.status.phase, waiting.again.is_some()), (Phase::Pending, true));
    let passed = Seen { done: vec![ProbePhase::Before], reports: saw("before", false), ..Seen::default() };
    assert_eq!(decide(&one, &world(), &[], &passed, now).injections.len(), 2);
    let failed = Seen { failed: Some("up".to_owned()), reports: saw("before", true), ..passed };
    let refused = decide(&one, &world(), &[], &failed, now);
    assert_eq!((refused.status.verdict, refused.injections.len()), (Some(Verdict::Fail), 0));
    assert_eq!(refused.status.probes.len(), 1);
}

#[test]
fn a_probe_that_fails_during_the_faults_stops_them() {
    let (mut one, now) = (probed(json!("during")), SystemTime::now());
    let first = decide(&one, &world(), &[], &Seen::default(), now);
    let ready = answered(&first, &mut one, |_| (InjectionPhase::Prepared, 0));
    let started = decide(&one, &world(), &ready, &Seen::default(), now);
    let acting = answered(&started, &mut one, |_| (InjectionPhase::Injected, 3));
    let acts = decide(&one, &world(), &acting, &Seen::default(), now + Duration::from_secs(1));
    assert_eq!(acts.probe, Some(ProbePhase::During));
    let failed = Some("up".to_owned());
    let seen = Seen { running: Some(ProbePhase::During), failed: failed.clone(), ..Seen::default() };
    let stopped = decide(&one, &world(), &acting, &seen, now + Duration::from_secs(2));
    assert!(stopped.injections.iter().all(|one| one.spec.stop == Some(Stop::Abort)));
    let over = answered(&stopped, &mut one, |_| (InjectionPhase::Aborted, 3));
    let waits = decide(&one, &world(), &over, &seen, now + Duration::from_secs(3));
    assert!(!waits.status.phase.is_over() && waits.probe.is_none(), "what they saw is booked first");
    let seen = Seen { failed, reports: saw("during", true), ..Seen::default() };
    let ended = decide(&one, &world(), &over, &seen, now + Duration::from_secs(3));
    assert_eq!((ended.status.phase, ended.status.verdict), (Phase::Finished, Some(Verdict::Fail)));
}

#[test]
fn probes_after_the_faults_are_waited_for() {
    let (mut one, now) = (probed(json!("after")), SystemTime::now());
    let first = decide(&one, &world(), &[], &Seen::default(), now);
    let ready = answered(&first, &mut one, |_| (InjectionPhase::Prepared, 0));
    let started = decide(&one, &world(), &ready, &Seen::default(), now);
    let over = answered(&started, &mut one, |_| (InjectionPhase::Reverted, 3));
    let asks = decide(&one, &world(), &over, &Seen::default(), now + Duration::from_secs(31));
    assert_eq!((asks.status.phase, asks.probe), (Phase::Reverting, Some(ProbePhase::After)));
    let seen = Seen { done: vec![ProbePhase::After], reports: saw("after", false), ..Seen::default() };
    let ended = decide(&one, &world(), &over, &seen, now + Duration::from_secs(31));
    assert_eq!((ended.status.phase, ended.status.verdict), (Phase::Finished, Some(Verdict::Pass)));
}

use super::*;
use crate::{
    api::INJECTED,
    controller::deadline::{Hindrance, Obstacle, Start, carried, pruned, within},
};

fn forbidden() -> Obstacle {
    let status = json!({ "code": 403, "reason": "Forbidden", "message": "exceeded quota: q" });
    Hindrance::Api(kube::Error::Api(Box::new(serde_json::from_value(status).unwrap()))).obstacle()
}

fn injected(decision: &Decision) -> (String, String, String) {
    let one = decision.status.conditions.iter().find(|one| one.type_ == INJECTED).unwrap();
    (one.status.clone(), one.reason.clone(), one.message.clone())
}

fn looked(experiment: &Experiment, existing: &[Injection], start: &Start) -> Decision {
    let now = SystemTime::now();
    within(experiment, existing, decide(experiment, &world(), existing, &Seen::default(), now), start, now)
}

#[test]
fn what_keeps_it_from_beginning_is_said_and_ends_it() {
    let mut experiment = all();
    let fresh = looked(&experiment, &[], &Start::default());
    assert_eq!(injected(&fresh).1, "Preparing");
    let hindered = |seconds| Start { waited: Duration::from_secs(seconds), obstacle: Some(forbidden()) };
    let waiting = looked(&experiment, &[], &hindered(59));
    let words = "exceeded quota: q (403)".to_owned();
    assert_eq!(injected(&waiting), ("False".into(), "CannotInject".into(), words));
    assert!(!waiting.status.phase.is_over() && waiting.again.unwrap() <= Duration::from_secs(1));
    let late = looked(&experiment, &[], &hindered(60));
    assert_eq!((late.status.verdict, late.status.phase), (Some(Verdict::Error), Phase::Failed));
    assert!(late.status.reason.contains("within 1m (spec.startDeadline): exceeded quota: q"), "{}", late.status.reason);
    assert!(late.injections.is_empty(), "what is not there is not made to be stopped");
    experiment.spec.start_deadline = Some("2m".parse().unwrap());
    assert_eq!(looked(&experiment, &[], &hindered(119)).status.verdict, None);
    assert_eq!(looked(&experiment, &[], &hindered(120)).status.verdict, Some(Verdict::Error));
}

#[test]
fn nobody_starts_after_the_deadline() {
    let mut experiment = all();
    let first = looked(&experiment, &[], &Start::default());
    let prepared = answered(&first, &mut experiment, |_| (InjectionPhase::Prepared, 0));
    let late = Start { waited: Duration::from_secs(61), obstacle: None };
    let decision = looked(&experiment, &prepared, &late);
    assert_eq!((decision.status.verdict, &decision.status.started_at), (Some(Verdict::Error), &None));
    assert_eq!(decision.injections.len(), 2);
    assert!(decision.injections.iter().all(|one| !one.spec.start && one.spec.stop == Some(Stop::Abort)));
    // What acts has nothing to do with it.
    let started = looked(&experiment, &prepared, &Start::default());
    assert!(started.status.started_at.is_some());
    let acting = answered(&started, &mut experiment, |_| (InjectionPhase::Injected, 3));
    assert_eq!(looked(&experiment, &acting, &late).status.verdict, None);
}

#[test]
fn a_start_that_cannot_be_written_does_not_come_later() {
    let mut experiment = all();
    let first = looked(&experiment, &[], &Start::default());
    let prepared = answered(&first, &mut experiment, |_| (InjectionPhase::Prepared, 0));
    let started = looked(&experiment, &prepared, &Start::default());
    // The status says that it started; the orders were refused.
    let obstacle = Obstacle { text: "denied by a webhook".to_owned(), reason: "CannotInject" };
    experiment.status = Some(started.status);
    let late = Start { waited: Duration::from_secs(61), obstacle: Some(obstacle) };
    let decision = looked(&experiment, &prepared, &late);
    assert_eq!((decision.status.verdict, &decision.status.started_at), (Some(Verdict::Error), &None));
    assert!(decision.status.reason.contains("denied by a webhook"), "{}", decision.status.reason);
    assert!(decision.injections.iter().all(|one| !one.spec.start && one.spec.stop == Some(Stop::Abort)));
}

#[test]
fn another_replica_goes_on_counting() {
    let now = SystemTime::now();
    let mut status = looked(&all(), &[], &Start::default()).status;
    assert!(carried(&status, now + Duration::from_secs(40)) >= Duration::from_secs(39));
    status.conditions.clear();
    assert_eq!(carried(&status, now), Duration::ZERO);
}

#[test]
fn what_the_api_server_dropped_is_found_and_nothing_starts() {
    let sent = json!({ "faults": [{ "a": 1 }, { "match": { "http": { "path": "/" }, "ports": ["80"] } }] });
    let back = json!({ "faults": [{ "a": 1 }, { "match": { "ports": ["80"] } }], "more": true });
    assert_eq!(pruned(&sent, &back, "spec").as_deref(), Some("spec.faults[1].match.http"));
    assert_eq!(pruned(&back, &back, "spec"), None);
    assert_eq!(pruned(&sent, &json!({ "faults": [{ "a": 1 }] }), "spec").as_deref(), Some("spec.faults[1]"));

    let mut experiment = all();
    let first = looked(&experiment, &[], &Start::default());
    let prepared = answered(&first, &mut experiment, |_| (InjectionPhase::Prepared, 0));
    let obstacle = Some(Hindrance::Pruned("spec.faults[0].network.match.http".to_owned()).obstacle());
    let decision = looked(&experiment, &prepared, &Start { waited: Duration::ZERO, obstacle });
    assert_eq!(decision.status.verdict, Some(Verdict::Error));
    assert!(decision.status.reason.contains("apply the CRDs"), "{}", decision.status.reason);
    assert!(decision.injections.iter().all(|one| !one.spec.start && one.spec.stop == Some(Stop::Abort)));
}

#[test]
fn an_order_that_lacks_a_field_is_not_started_by_another_replica() {
    let mut experiment = all();
    experiment.spec.faults[0].when.percent = serde_json::from_value(json!(50.0)).unwrap();
    let first = looked(&experiment, &[], &Start::default());
    let mut prepared = answered(&first, &mut experiment, |_| (InjectionPhase::Prepared, 0));
    prepared[1].spec.faults[0].when.percent = None;
    let decision = looked(&experiment, &prepared, &Start::default());
    assert_eq!(decision.status.verdict, Some(Verdict::Error));
    assert!(decision.status.reason.starts_with("spec.faults[0].when"), "{}", decision.status.reason);
}

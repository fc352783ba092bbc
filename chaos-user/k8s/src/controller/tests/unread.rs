use super::*;
use crate::api::DEGRADED;

fn unreadable() -> Experiment {
    experiment(json!({ "all": true }), json!({ "peers": [{ "cidr": "10.0.0.7/8" }] }))
}

fn decided(experiment: &Experiment, existing: &[Injection], now: SystemTime) -> Decision {
    decide(experiment, &world(), existing, &Seen::default(), now)
}

/// As the API server has them after the start, and the experiment.
fn acting(now: SystemTime) -> (Experiment, Vec<Injection>) {
    let mut experiment = all();
    let first = decided(&experiment, &[], now);
    let prepared = answered(&first, &mut experiment, |_| (InjectionPhase::Prepared, 0));
    let started = decided(&experiment, &prepared, now);
    let mut acting = answered(&started, &mut experiment, |_| (InjectionPhase::Injected, 3));
    acting.iter_mut().for_each(|one| one.metadata.resource_version = Some("7".to_owned()));
    (experiment, acting)
}

#[test]
fn what_cannot_be_read_never_begins() {
    let decision = decided(&unreadable(), &[], SystemTime::now());
    assert_eq!((decision.status.phase, decision.status.verdict), (Phase::Failed, Some(Verdict::Invalid)));
    let path = "spec.faults[0].network.match.peers[0].cidr";
    assert!(decision.status.reason.starts_with(path), "{}", decision.status.reason);
    assert!(decision.injections.is_empty());
}

#[test]
fn what_acts_already_ends_on_time_and_can_be_stopped() {
    let now = SystemTime::now();
    let (readable, acting) = acting(now);
    let mut experiment = unreadable();
    experiment.status = readable.status;
    let decision = decided(&experiment, &acting, now);
    assert!(!decision.status.phase.is_over());
    let degraded = decision.status.conditions.iter().find(|one| one.type_ == DEGRADED).unwrap();
    assert_eq!((degraded.status.as_str(), degraded.reason.as_str()), ("True", "Unreadable"));
    let specs = |all: &[Injection]| all.iter().map(|one| one.spec.clone()).collect::<Vec<_>>();
    assert_eq!(specs(&decision.injections), specs(&acting));

    let mut stopped = experiment.clone();
    stopped.metadata.annotations = Some([("chaos-ebpf.dev/stop".to_owned(), "abort".to_owned())].into());
    let decision = decided(&stopped, &acting, now);
    assert!(decision.injections.iter().all(|one| one.spec.stop == Some(Stop::Abort) && !one.spec.faults.is_empty()));

    let mut over = acting.clone();
    over.iter_mut().for_each(|one| one.status.as_mut().unwrap().phase = InjectionPhase::Reverted);
    let decision = decided(&experiment, &over, now);
    assert_eq!(decision.status.verdict, Some(Verdict::Invalid));
    // Nodes that say nothing any more hold nobody up either.
    let late = now + Duration::from_secs(30 + 31);
    assert_eq!(decided(&experiment, &acting, late).status.verdict, Some(Verdict::Invalid));
}

#[test]
fn an_order_that_an_old_controller_cannot_read_is_not_started() {
    let mut experiment = all();
    let first = decided(&experiment, &[], SystemTime::now());
    let mut prepared = answered(&first, &mut experiment, |_| (InjectionPhase::Prepared, 0));
    let mut newer = serde_json::to_value(&prepared[0]).unwrap();
    newer["spec"]["faults"][0]["network"]["match"]["http"] = json!({ "path": "/" });
    newer["metadata"]["resourceVersion"] = "7".into();
    prepared[0] = serde_json::from_value(newer).unwrap();
    let decision = decided(&experiment, &prepared, SystemTime::now());
    assert!(decision.injections.iter().all(|one| !one.spec.start && one.spec.stop == Some(Stop::Abort)));
    assert!(decision.status.conditions.iter().any(|one| one.message.contains("match.http: unknown field")));
}

#[test]
fn the_verdict_of_what_is_over_stays() {
    let mut experiment = unreadable();
    experiment.status = serde_json::from_value(json!({ "phase": "Finished", "verdict": "Pass" })).unwrap();
    assert_eq!(decided(&experiment, &[], SystemTime::now()).status.verdict, Some(Verdict::Pass));
    let dreaming = json!({ "phase": "Dreaming", "verdict": "Pass", "endedAt": "2026-01-01T00:00:00Z" });
    let mut whole = serde_json::to_value(all()).unwrap();
    whole["status"] = dreaming;
    let experiment = serde_json::from_value(whole).unwrap();
    let decision = decided(&experiment, &[], SystemTime::now());
    assert_eq!((decision.status.verdict, decision.injections.len()), (Some(Verdict::Pass), 0));
}

#[test]
fn a_node_speaks_of_its_own_targets_alone() {
    let mut experiment = all();
    let first = decided(&experiment, &[], SystemTime::now());
    let mut said = answered(&first, &mut experiment, |_| (InjectionPhase::Injected, 3));
    let foreign =
        json!({ "namespace": "kube-system", "pod": "coredns", "uid": "foreign", "node": "n9", "state": "Injected" });
    let status = said[0].status.as_mut().unwrap();
    status.targets.push(serde_json::from_value(foreign).unwrap());
    status.targets[0].node = "n9".to_owned();
    let status = decided(&experiment, &said, SystemTime::now()).status;
    assert_eq!((status.targets.len(), status.summary.injected, status.summary.selected), (2, 2, 3));
    let mut nodes: Vec<&str> = status.targets.iter().map(|one| one.node.as_str()).collect();
    nodes.sort_unstable();
    assert_eq!(nodes, ["n1", "n2"], "a node speaks of itself");
}

//! Nodes whose agent does not answer, and what is said where nothing is under the faults.

use super::*;
use chaos_spec::OnUnsupported;
use std::time::Duration;

/// Two nodes with targets: n1 is prepared, nobody answers for n2.
fn half(one: &mut Experiment, now: SystemTime) -> Vec<Injection> {
    let first = decide(one, &world(), &[], &Seen::default(), now);
    let mut some = answered(&first, one, |_| (InjectionPhase::Prepared, 0));
    assert_eq!((some.len(), some[1].spec.node_name.as_str()), (2, "n2"));
    some[1].status = None;
    some
}

fn condition(decision: &Decision, kind: &str) -> (String, String, String) {
    let found = decision.status.conditions.iter().find(|one| one.type_ == kind);
    found.map(|one| (one.status.clone(), one.reason.clone(), one.message.clone())).unwrap_or_default()
}

#[test]
fn where_a_node_with_a_target_is_silent_nothing_starts_anywhere() {
    let (mut one, now) = (all(), SystemTime::now());
    let some = half(&mut one, now);
    assert!(
        decide(&one, &world(), &some, &unanswered(&some, 5), now + Duration::from_secs(5)).status.started_at.is_none()
    );
    let late = decide(&one, &world(), &some, &unanswered(&some, 11), now + Duration::from_secs(11));
    assert!(late.status.started_at.is_none());
    assert!(late.injections.iter().all(|one| one.spec.stop == Some(Stop::Abort) && !one.spec.start));
    let mut ended = answered(&late, &mut one, |_| (InjectionPhase::Aborted, 0));
    ended[1].status = None;
    let over = decide(&one, &world(), &ended, &unanswered(&ended, 12), now + Duration::from_secs(12));
    assert_eq!((over.status.phase, over.status.verdict), (Phase::Failed, Some(Verdict::Unsupported)));
    assert!(over.status.reason.contains("no agent answered on: n2"), "{}", over.status.reason);
    assert_ne!(condition(&over, "Injected").0, "True");
    // It comes back meanwhile: the others have ended already.
    ended[1].status = Some(InjectionStatus { observed_generation: Some(1), ..InjectionStatus::default() });
    let back = decide(&one, &world(), &ended, &unanswered(&ended, 12), now + Duration::from_secs(12));
    assert!(back.status.started_at.is_none() && back.injections.iter().all(|one| one.spec.stop == Some(Stop::Abort)));
}

#[test]
fn one_that_skips_goes_on_without_it_and_says_so() {
    let (mut one, now) = (all(), SystemTime::now());
    one.spec.on_unsupported = OnUnsupported::Skip;
    let some = half(&mut one, now);
    let begins = now + Duration::from_secs(11);
    let late = decide(&one, &world(), &some, &unanswered(&some, 11), begins);
    assert!(late.status.started_at.is_some() && late.injections.iter().all(|one| one.spec.start));
    assert_eq!(condition(&late, "Degraded").1, "NoAgent");
    let silent_still = |mut all: Vec<Injection>| {
        all[1].status = None;
        all
    };
    let acting = silent_still(answered(&late, &mut one, |_| (InjectionPhase::Injected, 3)));
    let before = decide(&one, &world(), &acting, &unanswered(&acting, 40), begins + Duration::from_secs(29));
    assert_eq!(before.status.phase, Phase::Injected);
    let over = silent_still(answered(&late, &mut one, |_| (InjectionPhase::Reverted, 4)));
    let end = begins + Duration::from_secs(30);
    let over = decide(&one, &world(), &over, &unanswered(&over, 41), end + Duration::from_millis(900));
    assert_eq!((over.status.phase, over.status.verdict), (Phase::Finished, Some(Verdict::Pass)));
    assert!(over.status.reason.contains("n2"), "{}", over.status.reason);
    assert_eq!(over.status.ended_at, over.status.ends_at, "the deadline, and not when it was given up");
    let late = over.injections.iter().find(|one| one.spec.node_name == "n2").and_then(|one| one.spec.stop);
    assert_eq!(late, Some(Stop::Finish), "an agent that comes back hours later finds that it is over");
}

#[test]
fn what_nodes_were_told_to_stop_stays_stopped() {
    let (mut one, now) = (all(), SystemTime::now());
    let first = decide(&one, &world(), &[], &Seen::default(), now);
    let prepared = answered(&first, &mut one, |_| (InjectionPhase::Prepared, 0));
    let started = decide(&one, &world(), &prepared, &Seen::default(), now);
    let mut acting = answered(&started, &mut one, |_| (InjectionPhase::Injected, 3));
    acting[0].spec.stop = Some(Stop::Abort);
    // Neither the annotation nor the memory of a failed probe is there any more.
    let later = decide(&one, &world(), &acting, &Seen::default(), now + Duration::from_secs(1));
    assert!(!later.injections.is_empty() && later.injections.iter().all(|one| one.spec.stop == Some(Stop::Abort)));
}

#[test]
fn where_all_are_silent_nothing_is_waited_for_and_a_user_s_stop_counts() {
    for (skip, asked, verdict) in [
        (OnUnsupported::Fail, false, Verdict::Unsupported),
        (OnUnsupported::Skip, false, Verdict::Unsupported),
        (OnUnsupported::Skip, true, Verdict::Aborted),
    ] {
        let (mut one, now) = (all(), SystemTime::now());
        one.spec.on_unsupported = skip;
        let mut some = half(&mut one, now);
        some[0].status = None;
        if asked {
            one.metadata.annotations = Some([("chaos-ebpf.dev/stop".to_owned(), "abort".to_owned())].into());
            let over = InjectionStatus { phase: InjectionPhase::Aborted, ..InjectionStatus::default() };
            some[0].status = Some(InjectionStatus { observed_generation: Some(1), ..over });
        }
        let late = decide(&one, &world(), &some, &unanswered(&some, 11), now + Duration::from_secs(11));
        assert_eq!(late.status.verdict, Some(verdict), "{}", late.status.reason);
    }
}

#[test]
fn a_node_without_a_target_takes_no_part() {
    let (mut one, now) = (all(), SystemTime::now());
    let mut some = half(&mut one, now);
    some[1].spec.targets.clear();
    let mut only = world();
    only.pods.retain(|pod| pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()) == Some("n1"));
    one.status.as_mut().unwrap().summary.selected = 2;
    let started = decide(&one, &only, &some, &Seen::default(), now + Duration::from_secs(1));
    assert!(started.status.started_at.is_some(), "nobody waits for it");
    let mut over = answered(&started, &mut one, |_| (InjectionPhase::Reverted, 4));
    over[1].status = None;
    let over = decide(&one, &only, &over, &unanswered(&over, 33), now + Duration::from_secs(32));
    assert_eq!((over.status.verdict, over.status.reason.as_str()), (Some(Verdict::Pass), ""));
}

#[test]
fn nothing_counts_as_injected_before_a_target_is_under_the_faults() {
    let (mut one, now) = (all(), SystemTime::now());
    let first = decide(&one, &world(), &[], &Seen::default(), now);
    let ready = answered(&first, &mut one, |_| (InjectionPhase::Prepared, 0));
    let started = decide(&one, &world(), &ready, &Seen::default(), now);
    let mut none = answered(&started, &mut one, |_| (InjectionPhase::Injected, 1));
    let each = |all: &mut Vec<Injection>, state| {
        for target in all.iter_mut().filter_map(|one| one.status.as_mut()).flat_map(|status| &mut status.targets) {
            (target.state, target.message) = (state, "no process of the containers nope runs".to_owned());
        }
    };
    each(&mut none, crate::api::TargetState::Pending);
    let waits = decide(&one, &world(), &none, &Seen::default(), now);
    let (status, reason, message) = condition(&waits, "Injected");
    assert_eq!((status.as_str(), reason.as_str(), waits.status.phase), ("False", "NoTarget", Phase::Injecting));
    assert!(message.contains("nope"), "{message}");
    each(&mut none, crate::api::TargetState::Injected);
    let hit = decide(&one, &world(), &none, &Seen::default(), now);
    assert_eq!((condition(&hit, "Injected").0.as_str(), hit.status.phase), ("True", Phase::Injected));
    // An agent that has given up has no targets any more.
    one.status = Some(hit.status);
    none.iter_mut().filter_map(|one| one.status.as_mut()).for_each(|status| status.targets.clear());
    assert_eq!(decide(&one, &world(), &none, &Seen::default(), now).status.summary.injected, 2);
}

#[test]
fn gaps_degrade_it() {
    let (mut one, now) = (all(), SystemTime::now());
    let first = decide(&one, &world(), &[], &Seen::default(), now);
    let ready = answered(&first, &mut one, |_| (InjectionPhase::Prepared, 0));
    let started = decide(&one, &world(), &ready, &Seen::default(), now);
    let mut acting = answered(&started, &mut one, |_| (InjectionPhase::Injected, 1));
    let target = acting.iter_mut().find_map(|one| one.status.as_mut()?.targets.first_mut()).unwrap();
    target.gaps.push(chaos_outcome::Gap {
        from: "2026-01-01T00:00:00Z".to_owned(),
        to: "2026-01-01T00:00:01Z".to_owned(),
        reason: "the agent was restarted".to_owned(),
    });
    let degraded = decide(&one, &world(), &acting, &Seen::default(), now);
    let (status, reason, message) = condition(&degraded, "Degraded");
    assert_eq!((status.as_str(), reason.as_str()), ("True", "Gap"));
    assert!(message.contains("1 target") && message.contains("n1"), "{message}");
}

#[test]
fn peers_that_stand_for_nobody_are_warned_of_while_it_runs() {
    let warned = |peers: Value, direction: &str| {
        let mut one = experiment(json!({ "all": true }), json!({ "peers": peers }));
        one.spec.faults[0].network.as_mut().unwrap().direction = serde_json::from_value(direction.into()).unwrap();
        decide(&one, &world(), &[], &Seen::default(), SystemTime::now()).status.warnings.join("; ")
    };
    let nobody = json!([{ "pods": { "labelSelector": { "matchLabels": { "app": "db" } } } }]);
    assert!(warned(nobody, "egress").contains("cut: its peers stand for no address now"));
    assert_eq!(warned(json!([{ "service": { "name": "db" } }]), "egress"), "");
    let service = |direction| warned(json!([{ "service": { "name": "db" } }]), direction);
    assert!(service("ingress").contains("connections that its pods begin pass"));
    assert!(service("both").contains("connections that its pods begin to other ports pass"));
    assert_eq!(warned(json!([{ "pods": { "names": ["c"] } }]), "both"), "");
}

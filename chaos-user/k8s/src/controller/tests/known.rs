//! What is known between two looks.

use super::*;
use crate::{
    api::{ExperimentStatus, Written},
    controller::known::{Known, rest},
};
use kube::runtime::watcher::Event;

fn injection(name: &str, version: u64) -> Injection {
    let owner = json!({ "apiVersion": "chaos-ebpf.dev/v1alpha1", "kind": "Experiment", "name": "slow", "uid": "experiment-uid" });
    serde_json::from_value(json!({
        "metadata": { "namespace": "shop", "name": name, "resourceVersion": version.to_string(), "ownerReferences": [owner] },
        "spec": { "nodeName": name, "experiment": "slow", "remaining": "1s", "seed": 1, "faults": [] },
    }))
    .unwrap()
}

fn version(mut one: Experiment, version: u64) -> Arc<Experiment> {
    one.metadata.resource_version = Some(version.to_string());
    Arc::new(one)
}

fn known() -> Known {
    let known = Known::default();
    known.newest(version(all(), 1));
    known.learn(Event::Init);
    known.learn(Event::InitDone);
    known
}

fn names_of(known: &Known) -> Option<Vec<String>> {
    let all = known.injections("experiment-uid")?;
    Some(all.iter().map(|one| one.spec.node_name.clone()).collect())
}

/// A watch that began under older definitions drops a part of it, each time that it tells of it.
#[test]
fn what_was_read_by_itself_is_all_of_it() {
    let known = known();
    let seen = |generation: i64, matches: Value| {
        let mut one = experiment(json!({ "all": true }), matches);
        one.metadata.generation = Some(generation);
        one
    };
    let (whole, part) = (json!({ "all": true, "protocol": "icmp" }), json!({ "all": true }));
    let (newest, is_whole) = known.newest(version(seen(1, part.clone()), 5));
    assert!(!is_whole && newest.spec == seen(1, part.clone()).spec);
    known.read(Arc::new(seen(1, whole.clone())));
    let (newest, is_whole) = known.newest(version(seen(1, part.clone()), 6));
    assert!(is_whole && newest.spec == seen(1, whole.clone()).spec);
    assert_eq!(newest.metadata.resource_version.as_deref(), Some("6"));
    known.wrote_status(Arc::unwrap_or_clone(version(seen(1, part.clone()), 8)));
    assert_eq!(known.newest(version(seen(1, part.clone()), 7)).0.spec, seen(1, whole).spec);
    assert!(!known.newest(version(seen(2, part), 9)).1, "its user has changed it");
}

/// The same of the orders that the controller itself has written.
#[test]
fn an_order_that_was_written_whole_is_not_taken_for_what_a_watch_shows_of_it() {
    let known = known();
    let seen = |generation: i64, version: u64, seed: Option<u64>| {
        let mut one = injection("a", version);
        (one.metadata.uid, one.metadata.generation) = (Some("u".to_owned()), Some(generation));
        let mut value = serde_json::to_value(one.marked()).unwrap();
        match seed {
            Some(seed) => value["spec"]["seed"] = json!(seed),
            None => drop(value["spec"].as_object_mut().unwrap().remove("seed")),
        }
        serde_json::from_value::<Injection>(value).unwrap()
    };
    let seeds = || {
        let all = known.injections("experiment-uid").unwrap();
        all.iter().map(|one| (one.spec.seed, one.unread.is_some())).collect::<Vec<_>>()
    };
    known.wrote(&seen(1, 1, Some(1)));
    known.learn(Event::Apply(seen(1, 2, None)));
    assert_eq!(seeds(), [(1, false)]);
    known.learn(Event::Apply(seen(2, 3, None)));
    assert!(seeds()[0].1, "another order");
    known.wrote(&seen(3, 4, Some(1)));
    known.learn(Event::Apply(seen(3, 5, None)));
    assert_eq!(seeds(), [(1, false)], "written anew");
}

/// The watch is behind our own writes: until it has caught up the API server is asked.
#[test]
fn what_was_written_is_not_taken_for_absent() {
    let known = known();
    assert_eq!(names_of(&known), Some(vec![]));
    known.wrote(&injection("a", 7));
    assert_eq!(names_of(&known), None);
    known.learn(Event::Apply(injection("a", 6)));
    assert_eq!(names_of(&known), None, "an earlier one");
    let wanted = known.learn(Event::Apply(injection("a", 7)));
    assert_eq!(wanted.iter().map(|one| one.name.as_str()).collect::<Vec<_>>(), ["slow"]);
    assert_eq!(names_of(&known), Some(vec!["a".to_owned()]));
    // The answer to a write may come after the watch has told it.
    known.learn(Event::Apply(injection("b", 9)));
    known.wrote(&injection("b", 8));
    known.learn(Event::Delete(injection("a", 10)));
    assert_eq!(names_of(&known), Some(vec!["b".to_owned()]));
    known.learn(Event::Init);
    known.learn(Event::InitApply(injection("c", 11)));
    assert_eq!(names_of(&known), Some(vec!["b".to_owned()]), "a list is taken as a whole");
    known.learn(Event::InitDone);
    assert_eq!(names_of(&known), Some(vec!["c".to_owned()]));
    known.over("experiment-uid");
    assert_eq!(names_of(&known), None, "kept for nothing");
}

#[test]
fn our_own_write_of_a_status_is_known_before_it_comes_back() {
    let known = known();
    known.wrote_status(Arc::unwrap_or_clone(version(all(), 5)));
    let newest = |seen| known.newest(version(all(), seen)).0.metadata.resource_version.clone().unwrap_or_default();
    assert_eq!((newest(4).as_str(), newest(6).as_str()), ("5", "6"));
}

#[test]
fn which_nodes_are_ready_is_told_with_the_start() {
    let (mut one, now) = (all(), SystemTime::now());
    let first = decide(&one, &world(), &[], &Seen::default(), now);
    let known = known();
    let waits = |status: &ExperimentStatus| known.waits("experiment-uid", &first.status, status).is_some();
    let half = answered(&first, &mut one, |node| match node {
        "n1" => (InjectionPhase::Prepared, 0),
        _ => (InjectionPhase::Pending, 0),
    });
    let half = decide(&one, &world(), &half, &Seen::default(), now).status;
    assert!(half != first.status && !waits(&half), "nothing of it was ever written");
    known.wrote_status(Arc::unwrap_or_clone(version(one.clone(), 2)));
    assert!(waits(&half) && !waits(&first.status));
    let ready = answered(&first, &mut one, |_| (InjectionPhase::Prepared, 0));
    assert!(!waits(&decide(&one, &world(), &ready, &Seen::default(), now).status), "a start does not wait");
    let refused = answered(&first, &mut one, |_| (InjectionPhase::Refused, 0));
    assert!(!waits(&decide(&one, &world(), &refused, &Seen::default(), now).status), "nor does an end");
}

#[test]
fn an_experiment_of_many_nodes_rests_between_two_looks() {
    let ms = Duration::from_millis;
    assert_eq!((rest(2, ms(1)), rest(2, ms(2)), rest(0, ms(0))), (Some(ms(1)), None, None));
    assert_eq!(
        (rest(1000, ms(400)), rest(50_000, ms(0)), rest(50_000, ms(1000))),
        (Some(ms(600)), Some(ms(1000)), None)
    );
    let known = known();
    assert_eq!(known.rest("experiment-uid", 1), None, "never looked at");
    (0..500).for_each(|number| drop(known.learn(Event::Apply(injection(&format!("n{number}"), 2)))));
    known.looked("experiment-uid", 1);
    assert!(known.rest("experiment-uid", 1).is_none_or(|left| left <= ms(500)));
    assert_eq!(known.rest("experiment-uid", 2), None, "a stop does not wait");
}

#[test]
fn a_fan_out_hears_that_its_experiment_has_gone() {
    let known = known();
    let gone = known.gone("experiment-uid");
    known.retain(|uid| uid == "experiment-uid");
    assert!(!gone.load(std::sync::atomic::Ordering::Relaxed));
    known.forget("experiment-uid");
    assert!(gone.load(std::sync::atomic::Ordering::Relaxed));
}

/// A controller died when it had told one of two nodes.
#[test]
fn a_node_that_was_not_told_is_told_later_and_waited_for() {
    let (mut one, now) = (all(), SystemTime::now());
    let first = decide(&one, &world(), &[], &Seen::default(), now);
    let mut told = answered(&first, &mut one, |_| (InjectionPhase::Prepared, 0));
    told.truncate(1);
    let second = decide(&one, &world(), &told, &Seen::default(), now);
    assert_eq!(names(&second), names(&first));
    assert_eq!((second.status.started_at.is_none(), second.status.summary.selected), (true, 3));
    let both = answered(&second, &mut one, |_| (InjectionPhase::Prepared, 0));
    assert!(decide(&one, &world(), &both, &Seen::default(), now).status.started_at.is_some());
}

#[test]
fn a_target_behind_a_proxy_on_another_node_is_named_in_the_verdict() {
    let (mut one, now) = (all(), SystemTime::now());
    let first = decide(&one, &world(), &[], &Seen::default(), now);
    let ready = answered(&first, &mut one, |_| (InjectionPhase::Prepared, 0));
    let started = decide(&one, &world(), &ready, &Seen::default(), now);
    let mut over = answered(&started, &mut one, |_| (InjectionPhase::Reverted, 4));
    let mut verdict = |target: &str, injected: u64| {
        let n2 = over.iter_mut().find(|one| one.spec.node_name == "n2").unwrap();
        let fault = &mut n2.status.as_mut().unwrap().report.as_mut().unwrap().faults[0];
        let ends = json!({ "connection": "10.1.0.7:1 -> 10.1.2.9:2", "at": "127.0.0.1:3", "connections": 1 });
        let proxy =
            chaos_outcome::TakenOver { container: Some("envoy".into()), ..serde_json::from_value(ends).unwrap() };
        (fault.target, fault.injected, fault.taken_over) = (target.into(), injected, vec![proxy]);
        decide(&one, &world(), &over, &Seen::default(), now + Duration::from_secs(31)).status
    };
    let status = verdict("shop/c/app", 0);
    assert_eq!(status.verdict, Some(Verdict::Pass));
    let says = status.reason.starts_with("cut: no effect on shop/c/app; ");
    assert!(says && status.reason.contains("container envoy at 127.0.0.1:3"), "{}", status.reason);
    assert_eq!(verdict("shop/c/app", 1).reason, "");
}

/// An agent of another version: its report is not understood, its sums are.
#[test]
fn a_strange_report_spoils_nothing() {
    let (mut one, now) = (all(), SystemTime::now());
    let first = decide(&one, &world(), &[], &Seen::default(), now);
    let ready = answered(&first, &mut one, |_| (InjectionPhase::Prepared, 0));
    let started = decide(&one, &world(), &ready, &Seen::default(), now);
    let over = answered(&started, &mut one, |_| (InjectionPhase::Reverted, 4));
    let strange = |one: &Injection| {
        let mut value = serde_json::to_value(one).unwrap();
        value["status"]["report"] = json!({ "version": 9 });
        serde_json::from_value::<Injection>(value).unwrap()
    };
    let strange: Vec<Injection> = over.iter().map(strange).collect();
    assert!(strange.iter().all(|one| one.status.as_ref().is_some_and(|status| status.report.is_none())));
    let over = decide(&one, &world(), &strange, &Seen::default(), now + Duration::from_secs(31));
    assert_eq!((over.status.phase, over.status.verdict), (Phase::Finished, Some(Verdict::Pass)));
}

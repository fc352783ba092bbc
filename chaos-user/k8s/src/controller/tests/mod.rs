//! Decisions over made-up clusters.

mod aside;
mod awaiting;
mod deadline;
mod known;
mod probes;
mod silence;
mod unread;

use super::{
    decide::{Decision, decide},
    prober::Seen,
    world::World,
};
use crate::api::{Experiment, Injection, InjectionPhase, InjectionStatus, Phase, Stop};
use chaos_outcome::Verdict;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

fn objects<T: DeserializeOwned>(values: Vec<Value>) -> Vec<Arc<T>> {
    values.into_iter().map(|value| Arc::new(serde_json::from_value(value).unwrap())).collect()
}

fn pod(namespace: &str, name: &str, node: &str, number: u8) -> Value {
    json!({
        "metadata": {
            "namespace": namespace, "name": name, "uid": format!("uid-{namespace}-{name}"), "labels": { "app": "web" },
            "ownerReferences": [{ "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-1", "uid": "rs" }],
        },
        "spec": { "nodeName": node, "containers": [] },
        "status": { "phase": "Running", "podIP": format!("10.244.0.{number}"), "podIPs": [{ "ip": format!("10.244.0.{number}") }] },
    })
}

fn world() -> World {
    let endpoint = |name: &str, number: u8, ready: bool| {
        json!({
            "addresses": [format!("10.244.0.{number}")], "conditions": { "ready": ready },
            "targetRef": { "uid": format!("uid-shop-{name}") },
        })
    };
    World {
        only: None,
        pods: objects(vec![
            pod("shop", "a", "n1", 1),
            pod("shop", "b", "n1", 2),
            pod("shop", "c", "n2", 3),
            pod("other", "d", "n2", 4),
            pod("kube-system", "e", "n2", 5),
        ]),
        nodes: objects(vec![
            json!({ "metadata": { "name": "n1", "labels": { "zone": "east" } } }),
            json!({ "metadata": { "name": "n2", "labels": { "zone": "west" } } }),
        ]),
        services: objects(vec![json!({
            "metadata": { "namespace": "shop", "name": "db" },
            "spec": {
                "clusterIPs": ["10.96.0.7"], "selector": { "app": "web" },
                "ports": [{ "name": "sql", "port": 5432 }, { "name": "admin", "port": 80 }],
            },
        })]),
        slices: objects(vec![json!({
            "metadata": { "namespace": "shop", "name": "db-x", "labels": { "kubernetes.io/service-name": "db" } },
            "addressType": "IPv4",
            "ports": [{ "name": "sql", "port": 15432 }, { "name": "admin", "port": 8080 }],
            "endpoints": [endpoint("a", 1, true), endpoint("b", 2, true), endpoint("c", 3, false)],
        })]),
        replica_sets: objects(vec![json!({
            "metadata": {
                "namespace": "shop", "name": "web-1", "uid": "rs",
                "ownerReferences": [{ "apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": "dep" }],
            },
            "spec": { "selector": {} },
        })]),
    }
}

fn experiment(pods: Value, matches: Value) -> Experiment {
    serde_json::from_value(json!({
        "metadata": { "namespace": "shop", "name": "slow", "uid": "experiment-uid", "generation": 1 },
        "spec": {
            "duration": "30s", "seed": 7, "selector": { "pods": pods },
            "faults": [{ "name": "cut", "network": { "match": matches, "partition": true } }],
        },
    }))
    .unwrap()
}

fn all() -> Experiment {
    experiment(json!({ "all": true }), json!({ "all": true }))
}

/// What the API server would have after a decision, with what the agents say to it.
fn answered(
    decision: &Decision,
    experiment: &mut Experiment,
    say: impl Fn(&str) -> (InjectionPhase, u64),
) -> Vec<Injection> {
    experiment.status = Some(decision.status.clone());
    let answer = |mut one: Injection| {
        let node = one.spec.node_name.clone();
        let uid = one.spec.targets.first().map(|target| target.uid.clone()).unwrap_or_default();
        let (phase, injected) = say(&node);
        let fault = json!({ "name": "cut", "target": "t", "mechanism": "tcx", "seen": injected, "matched": injected,
            "injected": injected, "skipped": 0, "skbs": injected, "bytes": 0 });
        let status = json!({
            "observedGeneration": 1, "phase": phase, "message": "because",
            "startedAt": (injected > 0).then_some("2026-01-01T00:00:00Z"),
            "targets": [{ "namespace": "shop", "pod": node, "uid": uid, "state": if injected > 0 { "Injected" } else { "Reverted" } }],
            "faults": [{ "name": "cut", "seen": injected, "matched": injected, "injected": injected }],
        });
        let mut status: InjectionStatus = serde_json::from_value(status).unwrap();
        if phase.is_over() {
            let mut report = chaos_outcome::Report::default();
            report.faults.extend(serde_json::from_value::<chaos_outcome::FaultReport>(whole(fault)).ok());
            status.report = Some(report);
        }
        one.status = Some(status);
        one
    };
    decision.injections.iter().cloned().map(answer).collect()
}

/// The fields of a report that a test does not care for.
fn whole(fault: Value) -> Value {
    let mut value = serde_json::to_value(chaos_outcome::FaultReport::default()).unwrap();
    value.as_object_mut().unwrap().extend(fault.as_object().unwrap().clone());
    value
}

/// This controller has had these for so many seconds, and no agent has looked at them.
fn unanswered(existing: &[Injection], seconds: u64) -> Seen {
    let each = existing.iter().filter_map(|one| Some((one.metadata.name.clone()?, Duration::from_secs(seconds))));
    Seen { unanswered: each.collect(), ..Seen::default() }
}

fn names(decision: &Decision) -> Vec<(String, Vec<String>)> {
    // Nodes to which a pod may come yet have no target.
    let each = decision.injections.iter().filter(|one| !one.spec.targets.is_empty());
    each.map(|one| (one.spec.node_name.clone(), one.spec.targets.iter().map(|pod| pod.name.clone()).collect()))
        .collect()
}

fn chosen(pods: Value) -> Vec<(String, Vec<String>)> {
    names(&decide(&experiment(pods, json!({ "all": true })), &world(), &[], &Seen::default(), SystemTime::now()))
}

fn on(node: &str, pods: &[&str]) -> (String, Vec<String>) {
    (node.to_owned(), pods.iter().map(|pod| (*pod).to_owned()).collect())
}

#[test]
fn every_property_of_pods_selects() {
    assert_eq!(chosen(json!({ "all": true })), [on("n1", &["a", "b"]), on("n2", &["c"])]);
    assert_eq!(chosen(json!({ "namespaces": ["*"], "all": true })), [on("n1", &["a", "b"]), on("n2", &["d", "c"])]);
    assert_eq!(chosen(json!({ "namespaces": ["kube-system"], "all": true })), [on("n2", &["e"])]);
    assert_eq!(chosen(json!({ "nodeSelector": { "zone": "west" } })), [on("n2", &["c"])]);
    assert_eq!(chosen(json!({ "nodes": ["n1"], "nodeSelector": { "zone": "west" } })), []);
    assert_eq!(chosen(json!({ "names": ["b", "d"] })), [on("n1", &["b"])]);
    assert_eq!(chosen(json!({ "labelSelector": { "matchLabels": { "app": "db" } } })), []);
    assert_eq!(chosen(json!({ "service": "db" })), [on("n1", &["a", "b"]), on("n2", &["c"])]);
    assert_eq!(
        chosen(json!({ "workload": { "kind": "Deployment", "name": "web" }, "nodes": ["n2"] })),
        [on("n2", &["c"])]
    );
    assert_eq!(chosen(json!({ "workload": { "kind": "Deployment", "name": "db" } })), []);
    assert_eq!(chosen(json!({ "all": true, "phases": ["Pending"] })), []);
}

#[test]
fn a_mode_draws_by_the_seed() {
    let count = |pods: Value| -> usize { chosen(pods).iter().map(|(_, pods)| pods.len()).sum() };
    assert_eq!(count(json!({ "all": true, "mode": "one" })), 1);
    assert_eq!(count(json!({ "all": true, "mode": "fixed", "value": 2 })), 2);
    assert_eq!(count(json!({ "all": true, "mode": "percent", "value": 34 })), 2, "rounded up");
    assert_eq!(count(json!({ "all": true, "mode": "percent", "value": 1 })), 1, "at least one");
    assert!((1..=3).contains(&count(json!({ "all": true, "mode": "randomMaxPercent", "value": 100 }))));
    let one = || chosen(json!({ "all": true, "mode": "one" }));
    assert_eq!(one(), one());
}

#[test]
fn peers_are_what_they_stand_for_now() {
    let addresses = |matches: Value| -> Vec<String> {
        let decision =
            decide(&experiment(json!({ "names": ["c"] }), matches), &world(), &[], &Seen::default(), SystemTime::now());
        let sets = decision.sets.objects.iter().flat_map(|set| &set.spec.addresses);
        sets.map(|one| format!("{}{}", one.cidr, one.port.map(|port| format!(":{port}")).unwrap_or_default())).collect()
    };
    let service = |port: Value| addresses(json!({ "peers": [{ "service": { "name": "db", "port": port } }] }));
    assert_eq!(service(json!(5432)), ["10.96.0.7/32:5432", "10.244.0.1/32:15432", "10.244.0.2/32:15432"]);
    assert_eq!(service(Value::Null).len(), 5, "the cluster address, and two ports of two endpoints");
    let pods = |names: Value| addresses(json!({ "peers": [{ "pods": { "names": names } }] }));
    assert_eq!(pods(json!(["c"])), ["10.244.0.3/32"], "no Service leads there now");
    assert_eq!(pods(json!(["a", "b"])), ["10.96.0.7/32", "10.244.0.1/32", "10.244.0.2/32"]);
    assert_eq!(pods(json!(["nobody"])), Vec::<String>::new());
}

#[test]
fn all_are_prepared_before_one_starts() {
    let (mut one, now) = (all(), SystemTime::now());
    let first = decide(&one, &world(), &[], &Seen::default(), now);
    assert_eq!((first.status.phase, first.injections.iter().any(|one| one.spec.start)), (Phase::Injecting, false));
    let half = answered(&first, &mut one, |node| match node {
        "n1" => (InjectionPhase::Prepared, 0),
        _ => (InjectionPhase::Pending, 0),
    });
    assert!(decide(&one, &world(), &half, &Seen::default(), now).status.started_at.is_none());
    let ready = answered(&first, &mut one, |_| (InjectionPhase::Prepared, 0));
    let started = decide(&one, &world(), &ready, &Seen::default(), now);
    assert!(started.status.started_at.is_some() && started.injections.iter().all(|one| one.spec.start));
    let acting = answered(&started, &mut one, |_| (InjectionPhase::Injected, 3));
    let acting = decide(&one, &world(), &acting, &Seen::default(), now + Duration::from_secs(1));
    assert_eq!((acting.status.phase, acting.status.faults[0].injected), (Phase::Injected, 6));
    assert_eq!((acting.status.summary.selected, acting.status.summary.injected), (3, 2), "one record per node here");
    assert!(acting.status.conditions.iter().any(|one| one.type_ == "Injected" && one.status == "True"));
    let over = answered(&started, &mut one, |_| (InjectionPhase::Reverted, 4));
    let over = decide(&one, &world(), &over, &Seen::default(), now + Duration::from_secs(31));
    assert_eq!((over.status.phase, over.status.verdict), (Phase::Finished, Some(Verdict::Pass)));
    one.status = Some(over.status);
    assert!(
        decide(&one, &world(), &[], &Seen::default(), now).injections.is_empty(),
        "what is over does not begin again"
    );
}

#[test]
fn what_the_nodes_were_told_is_not_lost_with_the_status() {
    let (mut one, now) = (all(), SystemTime::now());
    let first = decide(&one, &world(), &[], &Seen::default(), now);
    let half = &answered(&first, &mut one, |_| (InjectionPhase::Pending, 0))[..1];
    one.status = None;
    let second = decide(&one, &world(), half, &Seen::default(), now);
    assert_eq!((names(&second), second.status.summary.selected), (names(&first), 3), "the second node is told, too");
    let ready = answered(&first, &mut one, |_| (InjectionPhase::Prepared, 0));
    let started = decide(&one, &world(), &ready, &Seen::default(), now);
    let told = answered(&started, &mut one, |_| (InjectionPhase::Injected, 0));
    one.status = Some(first.status);
    let later = decide(&one, &world(), &told, &Seen::default(), now + Duration::from_secs(3));
    assert_eq!(later.status.started_at, started.status.started_at, "it does not begin anew");
    assert_eq!(later.status.ends_at, started.status.ends_at);
}

#[test]
fn a_refusal_before_the_start_ends_it_everywhere() {
    let (mut one, now) = (all(), SystemTime::now());
    let first = decide(&one, &world(), &[], &Seen::default(), now);
    let say = |node: &str| if node == "n1" { (InjectionPhase::Refused, 0) } else { (InjectionPhase::Prepared, 0) };
    let refused = answered(&first, &mut one, say);
    let stopped = decide(&one, &world(), &refused, &Seen::default(), now);
    assert!(stopped.status.started_at.is_none());
    assert!(stopped.injections.iter().all(|one| one.spec.stop == Some(Stop::Abort) && !one.spec.start));
    let say = |node: &str| if node == "n1" { (InjectionPhase::Refused, 0) } else { (InjectionPhase::Aborted, 0) };
    let ended = answered(&stopped, &mut one, say);
    let ended = decide(&one, &world(), &ended, &Seen::default(), now);
    assert_eq!((ended.status.phase, ended.status.verdict), (Phase::Failed, Some(Verdict::Refused)));
    assert_eq!((ended.status.reason.as_str(), ended.status.summary.injected), ("node n1: because", 0));
    assert!(!ended.status.conditions.iter().any(|one| one.type_ == "Injected"), "nothing ever acted");
}

#[test]
fn pods_that_come_are_followed_and_nothing_is_chosen_twice() {
    let (mut one, now) = (all(), SystemTime::now());
    let first = decide(&one, &world(), &[], &Seen::default(), now);
    let ready = answered(&first, &mut one, |_| (InjectionPhase::Prepared, 0));
    let mut later = world();
    later.pods.extend(objects(vec![pod("shop", "late", "n3", 9)]));
    let started = decide(&one, &later, &ready, &Seen::default(), now);
    let acting = answered(&started, &mut one, |_| (InjectionPhase::Injected, 1));
    let grown = decide(&one, &later, &acting, &Seen::default(), now + Duration::from_secs(10));
    let on_third = grown.injections.iter().find(|one| one.spec.node_name == "n3").expect("an injection of its own");
    assert!(on_third.spec.start && on_third.spec.remaining.get() <= Duration::from_secs(20));
    assert_eq!(names(&grown)[0], on("n1", &["a", "b"]));
}

#[test]
fn a_stop_by_annotation_ends_it() {
    let (mut one, now) = (all(), SystemTime::now());
    let first = decide(&one, &world(), &[], &Seen::default(), now);
    let ready = answered(&first, &mut one, |_| (InjectionPhase::Prepared, 0));
    one.metadata.annotations = Some([("chaos-ebpf.dev/stop".to_owned(), "finish".to_owned())].into());
    let stopped = decide(&one, &world(), &ready, &Seen::default(), now);
    assert!(stopped.injections.iter().all(|one| one.spec.stop == Some(Stop::Finish)));
    assert_eq!(stopped.status.phase, Phase::Reverting);
    // Deleted, and held back by a finalizer.
    one.metadata.annotations = None;
    one.metadata.deletion_timestamp = crate::time::time(now);
    let deleted = decide(&one, &world(), &ready, &Seen::default(), now);
    assert!(!deleted.injections.is_empty() && deleted.injections.iter().all(|one| one.spec.stop == Some(Stop::Abort)));
}

#[test]
fn one_that_follows_new_pods_waits_for_the_first() {
    // One that agents cannot judge alone.
    let mut one = experiment(json!({ "workload": { "kind": "Deployment", "name": "db" } }), json!({ "all": true }));
    let now = SystemTime::now();
    one.metadata.creation_timestamp = crate::time::time(now);
    let waits = decide(&one, &world(), &[], &Seen::default(), now + Duration::from_secs(29));
    assert_eq!((waits.status.phase, waits.injections.len()), (Phase::Pending, 0));
    let over = decide(&one, &world(), &[], &Seen::default(), now + Duration::from_secs(31));
    assert_eq!(over.status.verdict, Some(Verdict::NoEffect));
    one.metadata.annotations = Some([("chaos-ebpf.dev/stop".to_owned(), "abort".to_owned())].into());
    assert_eq!(decide(&one, &world(), &[], &Seen::default(), now).status.verdict, Some(Verdict::Aborted));
}

#[test]
fn nobody_and_nonsense_are_said_at_once() {
    let verdict = |one: &Experiment| {
        let decision = decide(one, &world(), &[], &Seen::default(), SystemTime::now());
        assert!(
            decision.injections.is_empty() && decision.status.phase == Phase::Failed
                || decision.status.verdict == Some(Verdict::NoEffect)
        );
        decision.status.verdict.unwrap()
    };
    let nobody = json!({ "names": ["nobody"], "followNew": false });
    assert_eq!(verdict(&experiment(nobody, json!({ "all": true }))), Verdict::NoEffect);
    assert_eq!(verdict(&experiment(json!({ "all": true }), json!({}))), Verdict::Invalid);
    let unknown = json!({ "peers": [{ "service": { "name": "nowhere" } }] });
    assert_eq!(verdict(&experiment(json!({ "all": true }), unknown)), Verdict::Invalid);
}

#[test]
fn a_cluster_without_agents_is_said_and_not_waited_for() {
    let (mut one, now) = (all(), SystemTime::now());
    let first = decide(&one, &world(), &[], &Seen::default(), now);
    let mut silent = answered(&first, &mut one, |_| (InjectionPhase::Pending, 0));
    for one in &mut silent {
        one.status = None;
    }
    let given_up = decide(&one, &world(), &silent, &unanswered(&silent, 11), now);
    assert_eq!((given_up.status.phase, given_up.status.verdict), (Phase::Failed, Some(Verdict::Unsupported)));
    assert!(given_up.status.reason.contains("n1, n2"), "{}", given_up.status.reason);
    let stopped = given_up.injections.iter().all(|one| one.spec.stop == Some(Stop::Abort));
    assert!(stopped, "an agent that comes back begins nothing");
}

#[test]
fn a_stop_gets_through_where_peers_are_gone() {
    let peers = json!({ "peers": [{ "service": { "name": "db" } }] });
    let (mut one, now) = (experiment(json!({ "names": ["c"] }), peers), SystemTime::now());
    let first = decide(&one, &world(), &[], &Seen::default(), now);
    let ready = answered(&first, &mut one, |_| (InjectionPhase::Prepared, 0));
    let uses = ready[0].spec.peer_sets.clone();
    let gone = World { services: Vec::new(), ..world() };
    one.metadata.annotations = Some([("chaos-ebpf.dev/stop".to_owned(), "abort".to_owned())].into());
    let stopped = decide(&one, &gone, &ready, &Seen::default(), now);
    assert_eq!(stopped.injections[0].spec.stop, Some(Stop::Abort));
    assert_eq!((&stopped.injections[0].spec.peer_sets, &stopped.sets.uses), (&uses, &uses));
    let degraded = stopped.status.conditions.iter().find(|one| one.type_ == "Degraded").unwrap();
    assert_eq!(degraded.reason, "CannotFollow");
}

#[test]
fn an_earlier_end_holds_for_those_that_joined_late() {
    let (mut one, now) = (all(), SystemTime::now());
    let first = decide(&one, &world(), &[], &Seen::default(), now);
    let ready = answered(&first, &mut one, |_| (InjectionPhase::Prepared, 0));
    let started = decide(&one, &world(), &ready, &Seen::default(), now);
    let mut acting = answered(&started, &mut one, |_| (InjectionPhase::Injected, 1));
    let begin = SystemTime::from(started.status.started_at.clone().unwrap().0);
    acting[0].status.as_mut().unwrap().started_at = crate::time::time(begin);
    acting[1].status.as_mut().unwrap().started_at = crate::time::time(begin + Duration::from_secs(10));
    acting[1].spec.remaining = Duration::from_secs(20).into();
    one.spec.duration = Duration::from_secs(15).into();
    let shortened = decide(&one, &world(), &acting, &Seen::default(), now + Duration::from_secs(12));
    let left: Vec<Duration> = shortened.injections.iter().map(|one| one.spec.remaining.get()).collect();
    assert_eq!(left, [Duration::from_secs(15), Duration::from_secs(5)]);
}

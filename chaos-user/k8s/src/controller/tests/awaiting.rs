//! Nodes that are told before they have a pod that is meant, and pods whose first containers run.

use super::*;

fn nodes(decision: &Decision) -> Vec<&str> {
    decision.injections.iter().map(|one| one.spec.node_name.as_str()).collect()
}

/// With a node that has no pod.
fn wider() -> World {
    let mut world = world();
    world.nodes.extend(objects(vec![json!({ "metadata": { "name": "n3", "labels": { "zone": "west" } } })]));
    world
}

fn first(pods: Value) -> Decision {
    decide(&experiment(pods, json!({ "all": true })), &wider(), &[], &Seen::default(), SystemTime::now())
}

fn at(seconds: u64, one: &Experiment, world: &World, existing: &[Injection], now: SystemTime) -> Decision {
    decide(one, world, existing, &Seen::default(), now + Duration::from_secs(seconds))
}

#[test]
fn each_node_to_which_a_pod_may_come_is_told() {
    assert_eq!(nodes(&first(json!({ "all": true }))), ["n1", "n2", "n3"]);
    assert_eq!(nodes(&first(json!({ "names": ["b"] }))), ["n1", "n2", "n3"]);
    assert_eq!(nodes(&first(json!({ "all": true, "nodes": ["n1", "n3"] }))), ["n1", "n3"]);
    assert_eq!(nodes(&first(json!({ "nodeSelector": { "zone": "west" } }))), ["n2", "n3"]);
    // Nobody is followed, or the controller alone can say who.
    assert_eq!(nodes(&first(json!({ "all": true, "followNew": false }))), ["n1", "n2"]);
    assert_eq!(nodes(&first(json!({ "service": "db" }))), ["n1", "n2"]);
    assert_eq!(nodes(&first(json!({ "all": true, "mode": "percent", "value": 1 }))).len(), 1);
    assert_eq!(nodes(&first(json!({ "all": true, "phases": ["Running"] }))), ["n1", "n2"]);
}

#[test]
fn a_node_without_a_target_keeps_nobody_from_beginning_and_spoils_no_verdict() {
    let (mut one, now) = (all(), SystemTime::now());
    let first = at(0, &one, &wider(), &[], now);
    let say = |others: InjectionPhase, hits: u64| {
        move |node: &str| if node == "n3" { (InjectionPhase::Refused, 0) } else { (others, hits) }
    };
    let without = |mut all: Vec<Injection>| {
        let third = all.iter_mut().find(|one| one.spec.node_name == "n3").and_then(|one| one.status.as_mut());
        third.expect("a status").targets.clear();
        all
    };
    let ready = without(answered(&first, &mut one, say(InjectionPhase::Prepared, 0)));
    let started = at(0, &one, &wider(), &ready, now);
    assert!(started.status.started_at.is_some() && started.injections.iter().all(|one| one.spec.stop.is_none()));
    let over = without(answered(&started, &mut one, say(InjectionPhase::Reverted, 4)));
    let over = at(31, &one, &wider(), &over, now);
    assert_eq!((over.status.phase, over.status.verdict), (Phase::Finished, Some(Verdict::Pass)));
}

/// Nodes that say this, and have no target.
fn empty(decision: &Decision, one: &mut Experiment, phase: InjectionPhase) -> Vec<Injection> {
    let mut all = answered(decision, one, |_| (phase, 0));
    all.iter_mut().filter_map(|one| one.status.as_mut()).for_each(|status| status.targets.clear());
    all
}

#[test]
fn where_nobody_is_yet_the_faults_wait_for_the_first_until_their_end() {
    let (mut one, now) = (experiment(json!({ "names": ["late"] }), json!({ "all": true })), SystemTime::now());
    one.metadata.creation_timestamp = crate::time::time(now);
    let first = at(0, &one, &world(), &[], now);
    assert_eq!(nodes(&first), ["n1", "n2"]);
    let ready = empty(&first, &mut one, InjectionPhase::Prepared);
    let started = at(1, &one, &world(), &ready, now);
    assert!(started.status.started_at.is_some() && started.injections.iter().all(|one| one.spec.start));
    let acting = empty(&started, &mut one, InjectionPhase::Injected);
    let waits = at(20, &one, &world(), &acting, now);
    assert_eq!((waits.status.phase, waits.status.verdict), (Phase::Injecting, None));
    let over = empty(&started, &mut one, InjectionPhase::Reverted);
    let over = at(32, &one, &world(), &over, now);
    assert_eq!(over.status.verdict, Some(Verdict::NoEffect));
    assert_eq!(over.status.reason, "spec.selector.pods: no pod agrees with it");
    one.metadata.annotations = Some([("chaos-ebpf.dev/stop".to_owned(), "abort".to_owned())].into());
    let stopped = at(20, &one, &world(), &acting, now);
    assert!(
        stopped.status.verdict.is_none() && stopped.injections.iter().all(|one| one.spec.stop == Some(Stop::Abort))
    );
    let aborted = empty(&started, &mut one, InjectionPhase::Aborted);
    assert_eq!(at(21, &one, &world(), &aborted, now).status.verdict, Some(Verdict::Aborted));
    // Where no node can, that is why.
    one.metadata.annotations = None;
    let cannot = empty(&first, &mut one, InjectionPhase::Unsupported);
    assert_eq!(at(1, &one, &world(), &cannot, now).status.verdict, Some(Verdict::Unsupported));
}

#[test]
fn a_pod_whose_first_containers_run_is_meant() {
    let mut world = world();
    let mut late = pod("shop", "late", "n2", 9);
    late["status"]["phase"] = "Pending".into();
    world.pods.extend(objects(vec![late]));
    let decided = |pods: Value, existing: &[Injection], now: SystemTime| {
        decide(&experiment(pods, json!({ "all": true })), &world, existing, &Seen::default(), now)
    };
    let now = SystemTime::now();
    assert_eq!(names(&decided(json!({ "names": ["late"] }), &[], now)), [on("n2", &["late"])]);
    let nobody = [
        json!({ "names": ["late"], "followNew": false }),
        json!({ "names": ["late"], "phases": ["Running"] }),
        json!({ "names": ["late"], "mode": "one" }),
    ];
    nobody.into_iter().for_each(|pods| assert_eq!(names(&decided(pods, &[], now)), []));
    // As one that comes later.
    let mut one = experiment(json!({ "names": ["late"] }), json!({ "all": true }));
    let first = at(0, &one, &super::world(), &[], now);
    let ready = empty(&first, &mut one, InjectionPhase::Prepared);
    let started = at(0, &one, &super::world(), &ready, now);
    let acting = empty(&started, &mut one, InjectionPhase::Injected);
    assert_eq!(names(&at(5, &one, &world, &acting, now)), [on("n2", &["late"])]);
}

/// An image that cannot be pulled would otherwise be all that is hit.
#[test]
fn a_share_is_drawn_of_pods_that_run() {
    let mut world = world();
    let mut stuck = pod("shop", "b", "n1", 2);
    stuck["status"]["phase"] = "Pending".into();
    world.pods.retain(|pod| pod.metadata.name.as_deref() != Some("b"));
    world.pods.extend(objects(vec![stuck]));
    let targets = |text: Value| -> chaos_spec::PodTargets { serde_json::from_value(text).unwrap() };
    let names = |targets: &chaos_spec::PodTargets, seed| -> Vec<String> {
        let chosen = super::super::select::choose(targets, "shop", seed, &world).unwrap();
        chosen.into_iter().map(|one| one.target.name).collect()
    };
    let share = targets(json!({ "all": true, "mode": "percent", "value": 1 }));
    assert!((0..64).all(|seed| ["a", "c"].contains(&names(&share, seed).join(",").as_str())));
    assert_eq!(names(&targets(json!({ "all": true })), 1).len(), 3, "all are all");
}

#[test]
fn a_stop_does_not_wait_for_a_dead_agent_whose_node_has_no_target() {
    let (mut one, now) = (experiment(json!({ "names": ["late"] }), json!({ "all": true })), SystemTime::now());
    one.metadata.creation_timestamp = crate::time::time(now);
    let first = at(0, &one, &world(), &[], now);
    let ready = empty(&first, &mut one, InjectionPhase::Prepared);
    let started = at(1, &one, &world(), &ready, now);
    // One of them says no more.
    let mut acting = empty(&started, &mut one, InjectionPhase::Aborted);
    acting[0].status.as_mut().unwrap().phase = InjectionPhase::Injected;
    one.metadata.annotations = Some([("chaos-ebpf.dev/stop".to_owned(), "abort".to_owned())].into());
    let stopping = |seconds: u64, existing: &[Injection]| {
        let seen = Seen { stopping: Some(Duration::from_secs(seconds)), ..Seen::default() };
        decide(&one, &world(), existing, &seen, now + Duration::from_secs(9))
    };
    let waits = stopping(1, &acting);
    assert!(waits.status.verdict.is_none() && waits.again <= Some(Duration::from_secs(1)), "a living one answers");
    let over = stopping(3, &acting);
    assert_eq!(over.status.verdict, Some(Verdict::Aborted), "{}", over.status.reason);
    acting[1].status.as_mut().unwrap().phase = InjectionPhase::Injected;
    let over = stopping(3, &acting);
    let expected = "stopped; spec.selector.pods: no pod agrees with it";
    assert_eq!((over.status.verdict, over.status.reason.as_str()), (Some(Verdict::Aborted), expected));
    // What has a target is to be seen to be off.
    acting[0].spec.targets.push(all_of_first().remove(0));
    assert_eq!(stopping(3, &acting).status.verdict, None);
}

fn all_of_first() -> Vec<crate::api::PodTarget> {
    first(json!({ "all": true })).injections.remove(0).spec.targets
}

/// Of those that are there at the start a share is drawn once; the dice that newcomers are judged by would take more of them.
#[test]
fn under_a_share_nobody_is_taken_in_later_who_was_there_and_was_not_drawn() {
    let mut crowd = world();
    crowd.pods.extend(objects((0..40).map(|n| pod("shop", &format!("p{n}"), "n1", 100)).collect()));
    let now = SystemTime::now();
    let mut would = 0;
    for seed in 0..40 {
        let mut one = experiment(json!({ "all": true, "mode": "percent", "value": 20 }), json!({ "all": true }));
        one.spec.seed = Some(seed);
        let first = at(0, &one, &crowd, &[], now);
        let ready = answered(&first, &mut one, |_| (InjectionPhase::Prepared, 0));
        let started = at(0, &one, &crowd, &ready, now);
        let acting = answered(&started, &mut one, |_| (InjectionPhase::Injected, 1));
        assert_eq!(names(&at(5, &one, &crowd, &acting, now)), names(&first), "seed {seed}");
        let percent = first.injections[0].spec.follow.as_ref().and_then(|follow| follow.percent).unwrap();
        let chosen: Vec<_> = first.injections.iter().flat_map(|one| &one.spec.targets).map(|pod| &pod.uid).collect();
        let uids = crowd.pods.iter().filter(|pod| pod.metadata.namespace.as_deref() == Some("shop"));
        let left_out = uids.filter_map(|pod| pod.metadata.uid.as_ref()).filter(|uid| !chosen.contains(uid));
        let draws: Vec<f64> = left_out.map(|uid| crate::draw::drawn(seed, uid)).collect();
        assert!(draws.iter().all(|draw| *draw >= percent) && percent <= 20.0, "what agents go by: {percent}");
        would += draws.iter().filter(|draw| **draw < 20.0).count();
        // The status is lost: the nodes were told.
        one.status.as_mut().unwrap().drawn_below = None;
        assert_eq!(names(&at(5, &one, &crowd, &acting, now)), names(&first), "seed {seed}");
    }
    assert!(would > 0, "by the share alone some would be taken");
}

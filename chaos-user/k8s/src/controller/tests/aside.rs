//! What is placed at the peers' own side.

use super::*;
use crate::api::{PeerSet, PeerSetUse};
use chaos_spec::Direction;

/// `c` on `n2` is the target, and the Service `db` leads to `a` and `b` on `n1`.
fn cut_from(pods: &[&str], more: Value) -> Experiment {
    let mut matches = json!({ "peers": [{ "pods": { "names": pods } }] });
    matches.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    experiment(json!({ "names": ["c"], "followNew": false }), matches)
}

fn look(one: &Experiment, world: &World, existing: &[Injection]) -> Decision {
    decide(one, world, existing, &Seen::default(), SystemTime::now())
}

fn sides(decision: &Decision) -> Vec<(bool, String, Vec<String>)> {
    let each = decision.injections.iter().map(|one| {
        let names = one.spec.targets.iter().map(|pod| pod.name.clone()).collect();
        (one.spec.peers_side, one.spec.node_name.clone(), names)
    });
    each.collect()
}

fn addresses(decision: &Decision, used: &[PeerSetUse]) -> Vec<String> {
    let named = |set: &&PeerSet| used.iter().any(|one| one.sets.contains(set.metadata.name.as_ref().unwrap()));
    let sets = decision.sets.objects.iter().filter(named);
    sets.flat_map(|set| &set.spec.addresses).map(|one| one.cidr.to_string()).collect()
}

fn entry(peers_side: bool, node: &str, pods: &[&str]) -> (bool, String, Vec<String>) {
    (peers_side, node.to_owned(), pods.iter().map(|pod| (*pod).to_owned()).collect())
}

#[test]
fn a_part_of_a_service_is_placed_at_that_parts_own_side() {
    let decision = look(&cut_from(&["a"], json!({ "ports": [5432] })), &world(), &[]);
    assert_eq!(sides(&decision), [entry(false, "n2", &["c"]), entry(true, "n1", &["a"])]);
    let [target, peer] = decision.injections.as_slice() else { panic!("{decision:?}") };
    assert_eq!(addresses(&decision, &target.spec.peer_sets), Vec::<String>::new(), "nothing is hit twice");
    assert_eq!(addresses(&decision, &peer.spec.peer_sets), ["10.244.0.3/32"]);
    let fault = &peer.spec.faults[0];
    let network = fault.network.as_ref().unwrap();
    assert_eq!((fault.name.as_deref(), network.direction), (Some("cut"), Direction::Ingress));
    let ports: Vec<String> = network.matches.packet.local_ports.iter().map(ToString::to_string).collect();
    assert_eq!((ports, network.matches.packet.ports.len()), (vec!["5432".to_owned(), "15432".to_owned()], 0));
    assert!(!network.matches.packet.peers.is_empty(), "never all packets of a peer");
    assert_eq!(decision.status.summary.selected, 1, "a peer is no target");
}

#[test]
fn what_no_service_hides_stays_with_the_targets() {
    let alone = |decision: Decision| assert_eq!(sides(&decision), [entry(false, "n2", &["c"])]);
    alone(look(&cut_from(&["a", "b"], json!({})), &world(), &[]));
    let mut headless = world();
    let mut service = headless.services[0].as_ref().clone();
    service.spec.as_mut().unwrap().cluster_ips = Some(vec!["None".to_owned()]);
    headless.services = vec![Arc::new(service)];
    let decision = look(&cut_from(&["a"], json!({})), &headless, &[]);
    assert_eq!(addresses(&decision, &decision.sets.uses), ["10.244.0.1/32"]);
    alone(decision);
}

#[test]
fn what_was_placed_stays_there_while_endpoints_come_and_go() {
    let mut one = cut_from(&["a"], json!({}));
    let first = look(&one, &world(), &[]);
    let there = answered(&first, &mut one, |_| (InjectionPhase::Injected, 3));
    let mut alone = world();
    let mut slice = alone.slices[0].as_ref().clone();
    slice.endpoints.truncate(1);
    alone.slices = vec![Arc::new(slice)];
    let second = look(&one, &alone, &there);
    assert_eq!(sides(&second), sides(&first));
    assert_eq!(addresses(&second, &second.injections[0].spec.peer_sets), Vec::<String>::new(), "nor is the Service");
    assert_eq!(second.status.faults[0].injected, 6, "both sides count");
    assert_eq!((second.status.summary.selected, second.status.summary.injected), (1, 1));
    let mut without = world();
    without.pods.retain(|pod| pod.metadata.name.as_deref() != Some("a"));
    assert_eq!(sides(&look(&one, &without, &there)), [entry(false, "n2", &["c"]), entry(true, "n1", &[])]);
}

/// Nodes forbid faults on pods of these namespaces, and an experiment that is to act on another one is not to fail for that.
#[test]
fn nothing_is_placed_at_pods_of_the_cluster_itself() {
    let mut world = world();
    let mut service = world.services[0].as_ref().clone();
    service.metadata.namespace = Some("kube-system".to_owned());
    let mut slice = world.slices[0].as_ref().clone();
    slice.metadata.namespace = Some("kube-system".to_owned());
    slice.endpoints[0].target_ref.as_mut().unwrap().uid = Some("uid-kube-system-e".to_owned());
    slice.endpoints[0].addresses = vec!["10.244.0.5".to_owned()];
    (world.services, world.slices) = (vec![Arc::new(service)], vec![Arc::new(slice)]);
    let peers = json!({ "peers": [{ "pods": { "names": ["e"], "namespaces": ["kube-system"] } }] });
    let decision = look(&experiment(json!({ "names": ["c"], "followNew": false }), peers), &world, &[]);
    assert_eq!(sides(&decision), [entry(false, "n2", &["c"])]);
    assert_eq!(addresses(&decision, &decision.sets.uses), ["10.244.0.5/32"]);
    assert!(decision.status.warnings[0].contains("a cluster's own namespaces"), "{:?}", decision.status.warnings);
}

#[test]
fn what_cannot_be_placed_there_is_said() {
    let said = |one: Experiment| {
        let decision = look(&one, &world(), &[]);
        assert_eq!(sides(&decision), [entry(false, "n2", &["c"])]);
        assert_eq!(addresses(&decision, &decision.sets.uses), ["10.244.0.1/32"], "what can be hit is");
        decision.status.warnings.join(";")
    };
    let containers = experiment(
        json!({ "names": ["c"], "followNew": false, "containers": ["main"] }),
        json!({ "peers": [{ "pods": { "names": ["a"] } }] }),
    );
    assert!(said(containers).contains("fault cut: what goes to these peers through Service db passes"));
    assert!(said(cut_from(&["a"], json!({ "interfaces": ["eth0"] }))).contains("match.interfaces"));
    let many: Vec<Value> = (5432..5495).map(|port| json!(port)).chain([json!(80)]).collect();
    assert!(said(cut_from(&["a"], json!({ "ports": many }))).contains("too many with match.ports"));
    let except = json!({ "except": [{ "peers": [{ "cidr": "10.0.0.0/8" }] }] });
    assert!(said(cut_from(&["a"], except)).contains("except with peers"));
}

/// A Service of the namespace and the name, and the one slice of it; both are made by hand.
fn by_hand(world: &mut World, namespace: &str, name: &str, endpoints: &[(&str, &str)]) {
    let endpoint = |(ip, uid): &(&str, &str)| json!({ "addresses": [ip], "targetRef": { "uid": uid } });
    world.services.extend(objects(vec![json!({
        "metadata": { "namespace": namespace, "name": name },
        "spec": { "clusterIPs": ["10.96.9.9"], "externalIPs": ["203.0.113.9"], "ports": [{ "port": 80 }] },
    })]));
    let labels = json!({ "kubernetes.io/service-name": name });
    world.slices.extend(objects(vec![json!({
        "metadata": { "namespace": namespace, "name": name, "labels": labels },
        "addressType": "IPv4", "ports": [{ "port": 80 }],
        "endpoints": endpoints.iter().map(endpoint).collect::<Vec<_>>(),
    })]));
}

/// Who may write Services and slices in a namespace widens and moves no fault between pods of another.
#[test]
fn services_of_other_namespaces_change_nothing() {
    let cut =
        experiment(json!({ "names": ["a"], "followNew": false }), json!({ "peers": [{ "pods": { "names": ["c"] } }] }));
    let of = |world: &World| {
        let decision = look(&cut, world, &[]);
        (sides(&decision), addresses(&decision, &decision.sets.uses))
    };
    let without = of(&world());
    assert_eq!(without, (vec![entry(false, "n1", &["a"])], vec!["10.244.0.3/32".to_owned()]));
    let lies: [&[(&str, &str)]; 4] = [
        &[("192.0.2.1", "uid-shop-c")],
        &[("192.0.2.1", "uid-shop-c"), ("192.0.2.2", "uid-other-d")],
        &[("10.244.0.3", "uid-shop-c"), ("10.244.0.4", "uid-other-d")],
        &[("10.244.0.3", "uid-shop-c")],
    ];
    for endpoints in lies {
        let mut world = world();
        by_hand(&mut world, "other", "evil", endpoints);
        assert_eq!(of(&world), without, "{endpoints:?}");
    }
}

/// In the peers' own namespace an endpoint is a pod where it has that pod's address.
#[test]
fn an_endpoint_is_a_pod_by_its_address() {
    let cut =
        experiment(json!({ "names": ["a"], "followNew": false }), json!({ "peers": [{ "pods": { "names": ["c"] } }] }));
    let of = |endpoints: &[(&str, &str)]| {
        let mut world = world();
        by_hand(&mut world, "shop", "front", endpoints);
        let decision = look(&cut, &world, &[]);
        let addresses = addresses(&decision, &decision.sets.uses);
        (sides(&decision), addresses)
    };
    let here = vec![entry(false, "n1", &["a"])];
    let own = ["10.96.9.9/32", "10.244.0.3/32", "203.0.113.9/32"].map(str::to_owned).to_vec();
    let (placed, mut found) = of(&[("10.244.0.3", "uid-shop-c")]);
    found.sort();
    let mut expected = own;
    expected.sort();
    assert_eq!((placed, found), (here.clone(), expected), "the Service leads to c alone");
    assert_eq!(of(&[("192.0.2.1", "uid-shop-c")]), (here.clone(), vec!["10.244.0.3/32".to_owned()]), "to no pod");
    // The UID of a pod of another namespace, which is selected, too.
    let both = json!({ "peers": [{ "pods": { "names": ["c", "d"], "namespaces": ["shop", "other"] } }] });
    let mut world = world();
    by_hand(&mut world, "other", "evil", &[("10.244.0.3", "uid-shop-c")]);
    let decision = look(&experiment(json!({ "names": ["a"], "followNew": false }), both), &world, &[]);
    assert_eq!(sides(&decision), here);
    assert_eq!(addresses(&decision, &decision.sets.uses), ["10.244.0.3/32", "10.244.0.4/32"]);
}

#[test]
fn peers_of_calls_are_resolved_and_never_of_a_namespace_that_is_not_watched() {
    let call = |peer: Value| {
        let mut one = cut_from(&["a"], json!({}));
        let fault =
            json!({ "syscall": { "calls": ["connect"], "match": { "peers": [peer] }, "errno": "ECONNREFUSED" } });
        one.spec.faults = vec![serde_json::from_value(fault).unwrap()];
        one
    };
    let decision = look(&call(json!({ "pods": { "names": ["a"] } })), &world(), &[]);
    let [target] = decision.injections.as_slice() else { panic!("{decision:?}") };
    assert_eq!(addresses(&decision, &target.spec.peer_sets), ["10.244.0.1/32"]);
    let narrow = World { only: Some("shop".to_owned()), ..world() };
    for peer in [
        json!({ "pods": { "all": true, "namespaces": ["other"] } }),
        json!({ "service": { "name": "db", "namespace": "other" } }),
    ] {
        let decision = look(&call(peer), &narrow, &[]);
        assert!(
            decision.injections.is_empty() && decision.status.reason.contains("namespace shop alone"),
            "{decision:?}"
        );
    }
}

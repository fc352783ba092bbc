use super::*;
use crate::api::{Experiment, Halt, Injection, InjectionPhase, NodeAgent, PeerSet, Phase, Stop};
use k8s_openapi::api::core::v1::Pod;
use kube::{ResourceExt, api::ObjectList, core::WatchEvent};
use serde_json::json;

fn experiment(changed: impl FnOnce(&mut Value)) -> Value {
    let mut whole = json!({
        "apiVersion": "chaos-ebpf.dev/v1alpha1", "kind": "Experiment", "metadata": { "namespace": "shop", "name": "cut" },
        "spec": {
            "duration": "10s", "selector": { "pods": { "all": true } },
            "faults": [{ "network": { "match": { "peers": [{ "cidr": "10.0.0.0/8" }] }, "partition": true } }],
        },
    });
    changed(&mut whole["spec"]);
    whole
}

fn list<K: DeserializeOwned + Clone>(items: &[Value]) -> Vec<K> {
    let list = json!({ "apiVersion": "v1", "kind": "List", "metadata": { "resourceVersion": "7" }, "items": items });
    // As text: what the client reads is one.
    serde_json::from_str::<ObjectList<K>>(&list.to_string()).unwrap().items
}

fn why(spec: impl FnOnce(&mut Value)) -> String {
    let all = list::<Experiment>(&[experiment(|_| {}), experiment(spec), experiment(|_| {})]);
    assert_eq!((all.len(), &all[0].unread, &all[2].unread), (3, &None, &None));
    assert!(all[1].spec.faults.is_empty() || all[1].unread.is_none());
    all[1].unread.as_ref().map(ToString::to_string).unwrap_or_default()
}

#[test]
fn a_mistyped_value_harms_its_experiment_alone() {
    let peer = |name: &str, value: &str| {
        let peer = json!([{ name: value }]);
        why(move |spec| spec["faults"][0]["network"]["match"]["peers"] = peer)
    };
    let path = "spec.faults[0].network.match.peers[0]";
    assert!(peer("cidr", "10.0.0.7/8").starts_with(&format!("{path}.cidr: \"10.0.0.7/8\" has bits set")));
    assert!(peer("cidr", "10.0.0.0/33").starts_with(&format!("{path}.cidr")));
    assert!(peer("host", "a..b").starts_with(&format!("{path}.host")));
    assert!(why(|spec| spec["duration"] = "123456789012345678901234s".into()).starts_with("spec.duration"));
    let ports = why(|spec| spec["faults"][0]["network"]["match"] = json!({ "ports": ["9-1"] }));
    assert!(ports.starts_with("spec.faults[0].network.match.ports[0]"), "{ports}");
    let rate =
        why(|spec| spec["faults"][0]["network"] = json!({ "match": { "all": true }, "bandwidth": { "rate": ".bit" } }));
    assert!(rate.starts_with("spec.faults[0].network.bandwidth.rate"), "{rate}");
    let errno = |spec: &mut Value| {
        spec["faults"][0] = json!({ "syscall": { "calls": ["open"], "match": { "all": true }, "errno": "ENOPE" } });
    };
    assert!(why(errno).starts_with("spec.faults[0].syscall.errno"));
    assert!(why(|spec| *spec = json!("nothing")).starts_with("spec"));
    assert_eq!(why(|_| {}), "");
}

#[test]
fn a_field_that_is_not_known_is_not_passed_over() {
    let http = why(|spec| spec["faults"][0]["network"]["match"]["http"] = json!({ "path": "/" }));
    assert!(http.starts_with("spec.faults[0].network.match.http: unknown field"), "{http}");
    assert!(why(|spec| spec["faults"][0]["when"] = json!({ "moon": 1 })).starts_with("spec.faults[0].when.moon"));
    assert!(why(|spec| spec["selector"]["pods"]["zone"] = "a".into()).starts_with("spec.selector.pods.zone"));
}

/// Every text of an experiment with every fault, each with every odd value.
#[test]
fn no_value_whatsoever_hides_its_neighbours() {
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden/every-fault.json");
    let whole: Value = serde_json::from_str(&std::fs::read_to_string(golden).unwrap()).unwrap();
    let whole = if whole.is_array() { whole[0].clone() } else { whole };
    let mut pointers = Vec::new();
    leaves(&whole["spec"], "/spec", &mut pointers);
    assert!(pointers.len() > 30, "{}", pointers.len());
    let odd = [
        json!("10.0.0.7/8"),
        json!("9-1"),
        json!(".bit"),
        json!("a..b"),
        json!("-1s"),
        json!("\u{0}"),
        json!(""),
        json!("9".repeat(40)),
        json!(-1),
        json!(1e300),
        json!(u64::MAX),
        json!(true),
        json!(null),
        json!([]),
        json!({ "x": 1 }),
    ];
    for pointer in &pointers {
        let bad = odd.iter().map(|value| {
            let mut one = whole.clone();
            *one.pointer_mut(pointer).unwrap() = value.clone();
            one
        });
        let items: Vec<Value> = std::iter::once(whole.clone()).chain(bad).collect();
        let all = list::<Experiment>(&items);
        assert_eq!(all.len(), items.len(), "{pointer}");
        assert_eq!(all[0].unread, None);
        assert!(all.iter().all(|one| one.unread.is_none() || one.spec.faults.is_empty()), "{pointer}");
    }
}

fn leaves(value: &Value, at: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => fields.iter().for_each(|(name, one)| leaves(one, &format!("{at}/{name}"), found)),
        Value::Array(items) => items.iter().enumerate().for_each(|(i, one)| leaves(one, &format!("{at}/{i}"), found)),
        _ => found.push(at.to_owned()),
    }
}

#[test]
fn a_watch_goes_on() {
    let event = json!({ "type": "ADDED", "object": experiment(|spec| spec["faults"] = json!(7)) });
    let event: WatchEvent<Experiment> = serde_json::from_str(&event.to_string()).unwrap();
    assert!(matches!(event, WatchEvent::Added(one) if one.unread.is_some() && one.name_any() == "cut"));
}

#[test]
fn what_is_harmless_of_an_order_is_kept() {
    let order = json!({
        "metadata": { "name": "cut-1", "managedFields": [{ "time": "10000-01-01T00:00:00Z" }] },
        "spec": {
            "nodeName": "n", "experiment": "cut", "remaining": "30s", "seed": 7, "stop": "abort", "start": true,
            "faults": [{ "network": { "match": { "http": {} }, "partition": true } }],
        },
        "status": { "phase": "Injected", "message": "so", "targets": [{ "state": "Elsewhere" }] },
    });
    let read = list::<Injection>(&[order]).remove(0);
    let spec = &read.spec;
    assert_eq!(read.name_any(), "cut-1");
    assert!(read.unread.unwrap().to_string().starts_with("spec.faults[0].network.match.http"));
    assert_eq!((spec.node_name.as_str(), spec.start, spec.stop, spec.faults.len()), ("n", true, Some(Stop::Abort), 0));
    let status = read.status.unwrap();
    assert_eq!((status.phase, status.message.as_str(), status.targets.len()), (InjectionPhase::Injected, "so", 0));
}

#[test]
fn a_phase_of_another_version_is_said() {
    let mut whole = experiment(|_| {});
    whole["status"] = json!({ "phase": "Dreaming", "endedAt": "2026-01-01T00:00:00Z" });
    let read = list::<Experiment>(&[whole]).remove(0);
    assert!(read.unread.unwrap().to_string().starts_with("status.phase"));
    let status = read.status.unwrap();
    assert_eq!((status.phase, status.ended_at.is_some()), (Phase::Pending, true));
}

#[test]
fn every_kind_is_read_leniently() {
    let odd = json!({ "metadata": { "name": "odd" }, "spec": { "addresses": [{ "cidr": "10.0.0.7/8" }], "reason": 7 }, "status": 7 });
    assert!(list::<PeerSet>(std::slice::from_ref(&odd))[0].unread.is_some());
    let wider = json!({ "metadata": {}, "spec": { "addresses": [{ "cidr": "10.0.0.7/32", "protocol": "tcp" }] } });
    assert!(list::<PeerSet>(&[wider])[0].unread.is_some());
    assert_eq!(list::<Halt>(std::slice::from_ref(&odd))[0].name_any(), "odd");
    assert_eq!(list::<NodeAgent>(std::slice::from_ref(&odd))[0].name_any(), "odd");
    let pod = json!({ "metadata": { "name": "web" }, "spec": { "nodeName": "n", "containers": 7 } });
    let pods = list::<Lenient<Pod>>(&[pod, json!({ "metadata": { "name": "db" } })]);
    assert_eq!(
        (pods[0].0.name_any(), pods[0].0.spec.is_none(), pods[1].0.name_any()),
        ("web".into(), true, "db".into())
    );
}

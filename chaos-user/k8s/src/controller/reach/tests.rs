//! Whom probes of a namespace reach.

use super::*;
use serde_json::{Value, json};

fn of<T: serde::de::DeserializeOwned>(json: Value) -> Arc<T> {
    Arc::new(serde_json::from_value(json).unwrap())
}

fn pod(namespace: &str, ip: &str, host_network: bool) -> Arc<Pod> {
    of(json!({
        "metadata": { "name": "p", "namespace": namespace }, "spec": { "hostNetwork": host_network, "containers": [] },
        "status": { "podIPs": [{ "ip": ip }], "hostIPs": [{ "ip": "10.0.0.1" }], "phase": "Running" },
    }))
}

fn service(namespace: &str, name: &str, ip: &str) -> Arc<Service> {
    of(json!({ "metadata": { "name": name, "namespace": namespace }, "spec": { "clusterIPs": [ip] } }))
}

fn slice(namespace: &str, name: &str, ip: &str) -> Arc<EndpointSlice> {
    let labels = json!({ "kubernetes.io/service-name": name });
    of(json!({
        "metadata": { "name": name, "namespace": namespace, "labels": labels }, "addressType": "IPv4",
        "endpoints": [{ "addresses": [ip] }],
    }))
}

fn world() -> World {
    World {
        pods: vec![
            pod("shop", "10.244.0.5", false),
            pod("shop", "fd00::5", false),
            pod("shop", "10.0.0.2", true),
            pod("other", "10.244.0.6", false),
        ],
        nodes: vec![of(json!({
            "metadata": { "name": "n" }, "spec": { "podCIDRs": ["10.244.0.0/24"] },
            "status": { "addresses": [{ "type": "InternalIP", "address": "10.0.0.3" }, { "type": "Hostname", "address": "n" }] },
        }))],
        services: vec![
            service("shop", "web", "10.96.0.5"),
            service("shop", "empty", "10.96.0.6"),
            service("shop", "forged", "10.96.0.7"),
            service("shop", "host", "10.96.0.8"),
            service("other", "db", "10.96.0.9"),
            service("default", "kubernetes", "10.96.0.1"),
        ],
        slices: vec![
            slice("shop", "web", "10.244.0.5"),
            slice("shop", "forged", "10.244.0.6"),
            slice("shop", "host", "10.0.0.2"),
            slice("other", "db", "10.244.0.6"),
            slice("default", "kubernetes", "172.16.0.1"),
        ],
        ..World::default()
    }
}

fn within(annotations: &Value, host: &str, allow: &[&str], only: Option<&str>) -> Within {
    let experiment = json!({
        "metadata": { "name": "e", "namespace": "shop", "annotations": annotations },
        "spec": { "duration": "1s", "selector": {}, "faults": [] },
    });
    let experiment: Experiment = serde_json::from_value(experiment).unwrap();
    let allow = allow.iter().map(|text| text.parse().unwrap()).collect();
    Within::new(&experiment, only, host, &Arc::new(Maps::new(world, allow)))
}

/// Nobody's probes go there: nodes, the API server, a bridge, and what is of every machine, in every way to write it.
const NEVER: &[&str] = &[
    "127.0.0.1",
    "127.9.9.9",
    "0.0.0.0",
    "0.1.2.3",
    "169.254.169.254",
    "224.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "fe80::1",
    "ff02::1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.3",
    "::127.0.0.1",
    "64:ff9b::a9fe:a9fe",
    "10.0.0.1",
    "10.0.0.2",
    "10.0.0.3",
    "10.96.0.1",
    "172.16.0.1",
    "10.244.0.1",
];
const ELSEWHERE: &[&str] = &["10.244.0.6", "10.96.0.7", "10.96.0.8", "10.96.0.9", "192.0.2.1", "2001:db8::1"];
const OWN: &[&str] = &["10.244.0.5", "::ffff:10.244.0.5", "fd00::5", "10.96.0.5", "10.96.0.6"];

fn reached(within: &Within, of: &[&str]) -> Vec<String> {
    let all = of.iter().map(|text| text.parse::<IpAddr>().unwrap());
    all.filter(|ip| within.allows(*ip)).map(|ip| ip.to_string()).collect()
}

#[test]
fn an_author_of_one_namespace_reaches_its_pods_and_services_alone() {
    let everywhere = json!({ REACH: REACH_CLUSTER, STARTED_BY: "root" });
    let authors = [
        within(&json!({}), "web", &[], None),
        within(&json!({ STARTED_BY: "alice" }), "web", &[], None),
        // Without a name nobody is an author of all namespaces; in an installation for one there are none.
        within(&json!({ REACH: REACH_CLUSTER }), "web", &[], None),
        within(&everywhere, "web", &[], Some("shop")),
    ];
    for author in &authors {
        assert!(reached(author, NEVER).is_empty() && reached(author, ELSEWHERE).is_empty());
        assert_eq!(reached(author, OWN).len(), OWN.len(), "{:?}", reached(author, OWN));
        assert_eq!(author.cause(), Cause::Forbidden);
    }
}

#[test]
fn an_author_of_all_namespaces_does_not_reach_the_cluster_itself() {
    let author = within(&json!({ REACH: REACH_CLUSTER, STARTED_BY: "root" }), "x", &[], None);
    assert!(reached(&author, NEVER).is_empty(), "{:?}", reached(&author, NEVER));
    assert_eq!(reached(&author, ELSEWHERE), ELSEWHERE);
}

#[test]
fn the_operator_allows_networks_and_hosts_but_never_the_cluster_itself() {
    let author = within(&json!({}), "web", &["192.0.2.0/24", "0.0.0.0/0", "127.0.0.1"], None);
    assert!(reached(&author, NEVER).is_empty());
    assert!(reached(&author, ELSEWHERE).contains(&"192.0.2.1".to_owned()));
    let author = within(&json!({}), "DB.other.", &["db.other"], None);
    assert!(author.named && author.allows("10.96.0.9".parse().unwrap()) && reached(&author, NEVER).is_empty());
    assert!(!within(&json!({}), "db.other2", &["db.other"], None).named);
    for wrong in ["", "10.0.0.0/33", "10.0.0.7/8", "a..b", "http://x", "a b"] {
        assert!(wrong.parse::<Allowed>().is_err(), "{wrong}");
    }
}

#[test]
fn what_is_not_there_and_what_is_forbidden_read_alike() {
    let author = within(&json!({}), "x", &[], None);
    assert_eq!(author.why("db.other").replace("db.other", "no.such"), author.why("no.such"));
}

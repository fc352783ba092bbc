//! On a Kubernetes cluster: parts of the product that are of different versions. What one of them does not have is named, and never passed
//! over: half of a fault is another fault.

use std::{collections::BTreeSet, fmt::Debug};

use chaos_tests::cluster::{Asked, Cluster, Shop};
use serde_json::{Value, json};

/// A definition that is of another version, until it is dropped.
struct Definition {
    cluster: Cluster,
    original: String,
    plural: String,
    /// The watches that began under the other version: what it does not have they drop.
    before: BTreeSet<String>,
}

impl Definition {
    /// Changes the schema of a kind.
    #[track_caller]
    fn change(cluster: &Cluster, plural: &str, edit: impl FnOnce(&mut Value)) -> Self {
        let name = format!("{plural}.chaos-ebpf.dev");
        let mut whole = cluster.get("customresourcedefinition", "default", &name).expect("a definition");
        // Whatever stands there is replaced.
        for key in ["resourceVersion", "uid", "creationTimestamp", "generation", "managedFields"] {
            whole["metadata"].as_object_mut().expect("metadata").remove(key);
        }
        let (original, before) = (whole.to_string(), watches(cluster, plural));
        let changed = Self { cluster: cluster.clone(), original, plural: plural.to_owned(), before };
        edit(&mut whole["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]);
        let put = cluster.ask(&["replace", "-f", "-"], &whole.to_string());
        put.unwrap_or_else(|error| panic!("{name}: {error}"));
        changed
    }

    /// Until nobody sees objects as the other version has them.
    #[track_caller]
    fn await_watches(&self) {
        let again = || watches(&self.cluster, &self.plural).is_disjoint(&self.before);
        self.cluster.wait("all watches begin anew", again);
    }

    /// Without one property, as an older version has it.
    #[track_caller]
    fn without(cluster: &Cluster, plural: &str, of: &str, property: &str) -> Self {
        Self::change(cluster, plural, |schema| {
            let all = schema.pointer_mut(of).unwrap_or_else(|| panic!("{of} is in no schema"));
            all["properties"].as_object_mut().expect("properties").remove(property).expect("the property");
            if let Some(required) = all["required"].as_array_mut() {
                required.retain(|one| one != property);
            }
        })
    }

    /// With one property more, as a later version will have it.
    #[track_caller]
    fn with(cluster: &Cluster, plural: &str, of: &[&str], property: &str) -> Self {
        Self::change(cluster, plural, |schema| {
            for of in of {
                let all = schema.pointer_mut(of).unwrap_or_else(|| panic!("{of} is in no schema"));
                all["properties"][property] = json!({ "type": "string", "maxLength": 64 });
            }
        })
    }
}

impl Drop for Definition {
    fn drop(&mut self) {
        let put = self.cluster.ask(&["replace", "-f", "-"], &self.original);
        // Should this fail, too, the next suite applies the manifests.
        if let Err(error) = put {
            eprintln!("the definition is not put back: {error}");
        }
    }
}

const FAULT: &str = "/spec/properties/faults/items";
const MATCH: &str = "/spec/properties/faults/items/properties/network/properties/match";
const PODS: &str = "/spec/properties/selector/properties/pods";

fn web() -> Value {
    json!({ "labelSelector": { "matchLabels": { "app": "web" } } })
}

/// Cuts off the database, with more properties of the match.
fn fault(more: &Value) -> Value {
    let mut fault = json!({ "name": "fault", "network": Shop::cut() });
    for (key, value) in more.as_object().into_iter().flatten() {
        fault["network"]["match"][key] = value.clone();
    }
    fault
}

fn asked(shop: &Shop, name: &str, pods: &Value, fault: &Value) -> Asked {
    Asked::apply_spec(
        &shop.scene,
        name,
        &json!({ "duration": "60s", "startDeadline": "30s", "selector": { "pods": pods }, "faults": [fault] }),
    )
}

/// Until the API server goes by the definition as it is now: this document is taken, or it is not.
#[track_caller]
fn await_definition(
    cluster: &Cluster,
    document: &Value,
    user: &[&str],
    holds: impl Fn(&Result<Value, String>) -> bool,
) {
    let words: Vec<&str> = user
        .iter()
        .copied()
        .chain(["create", "--dry-run=server", "--validate=false", "-f", "-", "-o", "json"])
        .collect();
    let look = || cluster.ask(&words, &document.to_string()).map(|text| serde_json::from_str(&text).expect("JSON"));
    cluster.wait("the definition is in force", || holds(&look()));
}

/// The watches of a kind that are open, by the numbers of their requests.
fn watches(cluster: &Cluster, plural: &str) -> BTreeSet<String> {
    let mut open = BTreeSet::new();
    for line in cluster.audit() {
        let id = line["auditID"].as_str().unwrap_or_default().to_owned();
        match line["stage"].as_str() {
            Some("ResponseStarted") if line["verb"] == "watch" && line["objectRef"]["resource"] == plural => {
                open.insert(id);
            }
            Some("ResponseComplete" | "Panic") => {
                open.remove(&id);
            }
            _ => {}
        }
    }
    open
}

/// What was asked for the orders of an experiment by their names: an agent does so where a part of one was lost.
fn read_again(cluster: &Cluster, asked: &Asked) -> Vec<String> {
    let orders = asked.injections();
    let names: Vec<&str> = orders.iter().filter_map(|one| one["metadata"]["name"].as_str()).collect();
    assert!(!names.is_empty());
    let asks = |line: &Value| {
        let (verb, uri) = (line["verb"].as_str()?, line["requestURI"].as_str()?.to_owned());
        (verb == "list" && names.iter().any(|name| uri.contains(name))).then_some(uri)
    };
    cluster.audit().iter().filter_map(asks).collect()
}

fn document(kind: &str, namespace: &str, name: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": "chaos-ebpf.dev/v1alpha1", "kind": kind, "metadata": { "name": name, "namespace": namespace },
        "spec": spec,
    })
}

/// Nothing has begun, and the remedy stands in the condition.
#[track_caller]
fn never_began(shop: &Shop, asked: &Asked, field: &impl Debug, names: &str) {
    let over = asked.await_over();
    assert!(shop.all_is_well(), "{field:?}: something was injected: {over:?}");
    assert_eq!(over.verdict(), "Error", "{field:?}: {over:?}");
    let said = |text: &str| {
        text.contains(names) && text.contains("the definitions are older than the controller: apply the CRDs")
    };
    assert!(said(over.reason()), "{field:?}: {over:?}");
    let conditions = over.0["conditions"].as_array().expect("conditions");
    let injected = conditions.iter().find(|one| one["type"] == "Injected").expect("a condition");
    assert!(injected["status"] == "False" && said(injected["message"].as_str().unwrap_or_default()), "{over:?}");
    assert!(over.0["startedAt"].is_null(), "{over:?}");
}

#[test]
fn what_older_definitions_drop_keeps_the_faults_from_beginning() {
    let Some(shop) = Shop::open() else { return };
    let cluster = &shop.scene.cluster;
    let cases = [
        ("injections", MATCH, "protocol"),
        ("injections", "/spec", "seed"),
        ("peersets", "/spec/properties/addresses/items", "cidr"),
        ("experiments", "/status", "summary"),
    ];
    for (index, case) in cases.iter().enumerate() {
        let (plural, of, property) = *case;
        let older = Definition::without(cluster, plural, of, property);
        let name = format!("older-{index}");
        let one = asked(shop, &name, &web(), &fault(&json!({ "protocol": "icmp" })));
        never_began(shop, &one, case, property);
        one.delete();
        drop(older);
    }
    let one = asked(shop, "same", &web(), &fault(&json!({ "protocol": "icmp" })));
    one.await_injected();
    shop.only_the_database_is_cut_off();
    one.delete();
}

#[test]
fn an_older_controller_names_what_newer_definitions_have() {
    let Some(shop) = Shop::open() else { return };
    let (cluster, own) = (&shop.scene.cluster, shop.scene.namespace.as_str());
    let newer = Definition::with(
        cluster,
        "experiments",
        &["/spec", PODS, FAULT, MATCH, "/spec/properties/faults/items/properties/when"],
        "later",
    );
    let with = |at: &str| {
        let mut spec = json!({
            "duration": "60s", "selector": { "pods": web() }, "faults": [fault(&json!({}))],
        });
        spec["faults"][0]["when"] = json!({ "percent": 100 });
        spec.pointer_mut(at).expect("a place")["later"] = json!("x");
        spec
    };
    let keeps = |answer: &Result<Value, String>| answer.as_ref().is_ok_and(|one| one["spec"]["later"] == "x");
    await_definition(cluster, &document("Experiment", own, "probe", &with("")), &[], keeps);
    let places = [
        ("", "spec.later"),
        ("/selector/pods", "spec.selector.pods.later"),
        ("/faults/0", "spec.faults[0].later"),
        ("/faults/0/network/match", "spec.faults[0].network.match.later"),
        ("/faults/0/when", "spec.faults[0].when.later"),
    ];
    let all: Vec<_> = places
        .iter()
        .enumerate()
        .map(|(index, (at, path))| (path, Asked::apply_spec(&shop.scene, &format!("newer-{index}"), &with(at))))
        .collect();
    for (path, one) in &all {
        let over = one.await_over();
        assert_eq!(over.verdict(), "Invalid", "{path}: {over:?}");
        assert!(over.reason().starts_with(&format!("{path}: unknown field")), "{path}: {over:?}");
        assert!(one.injections().is_empty(), "{path}: nodes were told");
    }
    assert!(shop.all_is_well());
    let beside = asked(shop, "beside", &web(), &fault(&json!({})));
    beside.await_injected();
    shop.only_the_database_is_cut_off();
    assert_eq!(
        read_again(cluster, &beside),
        Vec::<String>::new(),
        "nothing was lost on its way, and it was read once more"
    );
    beside.delete();
    // What holds the new field is deleted under the old definition as well.
    drop(newer);
    all.iter().for_each(|(_, one)| one.delete());
}

#[test]
fn an_older_agent_names_what_newer_orders_have() {
    let Some(shop) = Shop::open() else { return };
    let (cluster, own) = (&shop.scene.cluster, shop.scene.namespace.as_str());
    let controller = "--as=system:serviceaccount:chaos-system:chaos-controller";
    let newer = Definition::with(cluster, "injections", &["/spec", FAULT, MATCH], "later");
    let sets = Definition::with(cluster, "peersets", &["/spec/properties/addresses/items"], "later");
    let order = |name: &str, at: &str| {
        let cut = json!({ "name": "fault", "network": { "match": { "protocol": "icmp" }, "partition": true } });
        let target = json!({ "namespace": own, "name": shop.web[0].name, "uid": shop.web[0].uid });
        let mut spec = json!({
            "nodeName": "node1", "experiment": name, "remaining": "60s", "seed": 1, "start": true, "faults": [cut],
            "targets": [target],
        });
        if let Some(at) = spec.pointer_mut(at) {
            at["later"] = json!("x");
        }
        spec
    };
    let keeps = |answer: &Result<Value, String>| answer.as_ref().is_ok_and(|one| one["spec"]["later"] == "x");
    await_definition(cluster, &document("Injection", own, "probe", &order("probe", "")), &[controller], keeps);
    let set = json!({ "addresses": [{ "cidr": format!("{}/32", shop.db.ip), "later": "x" }] });
    let keeps =
        |answer: &Result<Value, String>| answer.as_ref().is_ok_and(|one| one["spec"]["addresses"][0]["later"] == "x");
    await_definition(cluster, &document("PeerSet", own, "probe", &set), &[controller], keeps);
    [&newer, &sets].into_iter().for_each(Definition::await_watches);
    let tell = |document: &Value| {
        cluster.ask(&[controller, "create", "-f", "-"], &document.to_string()).unwrap_or_else(|error| panic!("{error}"))
    };
    tell(&document("PeerSet", own, "newer-set", &set));
    let mut by_set = order("newer-3", "none");
    by_set["peerSets"] = json!([{ "fault": 0, "sets": ["newer-set"] }]);
    let places = [
        ("newer-0", order("newer-0", ""), "spec.later"),
        ("newer-1", order("newer-1", "/faults/0"), "spec.faults[0].later"),
        ("newer-2", order("newer-2", "/faults/0/network/match"), "spec.faults[0].network.match.later"),
        ("newer-3", by_set, "spec.addresses[0].later"),
    ];
    for (name, spec, _) in &places {
        tell(&document("Injection", own, name, spec));
    }
    for (name, _, path) in &places {
        let status = || cluster.get("injection", own, name).map(|one| one["status"].clone()).unwrap_or_default();
        cluster.wait("the agent has answered", || status()["phase"].is_string());
        let last = status();
        assert_eq!(last["phase"], "Unsupported", "{name}: {last:#}");
        let message = last["message"].as_str().unwrap_or_default();
        assert!(message.contains(&format!("{path}: unknown field")), "{name}: {message}");
        assert!(message.contains("bring it to the controller's version"), "{name}: {message}");
    }
    assert!(shop.all_is_well(), "half of an order was carried out");
    // The same without the field is one that it carries out: the refusals are of the field alone.
    tell(&document("Injection", own, "as-ever", &order("as-ever", "none")));
    let web = &shop.web[0];
    web.wait_reaches(&shop.db.ip, false, std::time::Duration::from_secs(20));
    for name in ["as-ever", "newer-0", "newer-1", "newer-2", "newer-3"] {
        cluster.kubectl(&format!("delete injection -n {own} {name}"));
    }
    cluster.kubectl(&format!("delete peerset -n {own} newer-set"));
    web.wait_reaches(&shop.db.ip, true, std::time::Duration::from_secs(20));
}

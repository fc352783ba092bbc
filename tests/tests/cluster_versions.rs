//! On a Kubernetes cluster: parts of the product that are of different versions. What one of them does not have is named, and never passed
//! over: half of a fault is another fault.

use std::fmt::Debug;

use chaos_tests::cluster::{Asked, Cluster, Shop};
use serde_json::{Value, json};

/// A definition that is of another version, until it is dropped.
struct Definition {
    cluster: Cluster,
    original: String,
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
        let changed = Self { cluster: cluster.clone(), original: whole.to_string() };
        edit(&mut whole["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]);
        let put = cluster.ask(&["replace", "-f", "-"], &whole.to_string());
        put.unwrap_or_else(|error| panic!("{name}: {error}"));
        changed
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

const MATCH: &str = "/spec/properties/faults/items/properties/network/properties/match";

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

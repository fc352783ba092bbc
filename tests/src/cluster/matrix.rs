//! Four pods, and all ways to choose some of them: their numbers are 0 to 3, and the partition of a pod is its number modulo 2.

use serde_json::{Value, json};

use super::{Asked, Scene};

/// How many.
pub const PODS: usize = 4;

/// The pod of a number on a node.
pub fn numbered(scene: &Scene, number: usize, node: &str) -> Value {
    let mut pod = scene.pod(&format!("pod-{number}"), "matrix", node);
    pod["metadata"]["labels"]["partition"] = (number % 2).to_string().into();
    pod["metadata"]["labels"]["number"] = number.to_string().into();
    pod
}

fn labelled(key: &str, value: usize) -> Value {
    json!({ "labelSelector": { "matchLabels": { key: value.to_string() } } })
}

/// Chooses one pod.
pub fn pod(number: usize) -> Value {
    labelled("number", number)
}

/// Chooses a partition.
pub fn partition(number: usize) -> Value {
    labelled("partition", number)
}

/// Chooses all of them.
pub fn all() -> Value {
    json!({ "labelSelector": { "matchLabels": { "app": "matrix" } } })
}

/// An action on what goes to these peers, comes from them, or both.
pub fn towards(direction: &str, peers: &Value, action: (&str, Value)) -> Value {
    json!({ "direction": direction, "match": { "peers": [{ "pods": peers }] }, action.0: action.1 })
}

/// What is lost, doubled and damaged beside a fault that is looked at: a quarter of all packets each.
pub fn noise() -> [(&'static str, Value); 3] {
    ["loss", "duplicate", "corrupt"].map(|action| (action, json!({ "percent": 25 })))
}

/// Applies one and waits until it acts: whom it hits, and what it does.
#[track_caller]
pub fn apply(scene: &Scene, name: &str, targets: &Value, network: &Value) -> Asked {
    let faults = json!([{ "name": "fault", "network": network }]);
    let spec = json!({ "duration": "120s", "selector": { "pods": targets }, "faults": faults });
    let asked = Asked::apply_spec(scene, name, &spec);
    asked.await_injected();
    asked
}

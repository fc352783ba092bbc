//! The custom resource definitions: one schema serves YAML files, the API server and the controller.

use super::{
    Experiment, Halt, Injection, NodeAgent, PeerSet, cel,
    experiment::ExperimentStatus,
    halt::HaltSpec,
    injection::{InjectionSpec, InjectionStatus},
    node_agent::{NodeAgentSpec, NodeAgentStatus},
    peer_set::PeerSetSpec,
    resource::{GROUP, VERSION},
};
use chaos_spec::{ExperimentSpec, schema_of};
use kube::Resource;
use serde_json::{Map, Value, json};

/// All definitions, as objects for the API server.
#[must_use]
pub fn definitions() -> Vec<Value> {
    vec![experiment(), injection(), peer_set(), node_agent(), halt()]
}

/// The same as YAML documents.
///
/// # Errors
/// None in practice: what [`definitions`] makes can be written.
pub fn yaml() -> Result<String, yaml_serde::Error> {
    let mut text = String::new();
    for definition in definitions() {
        text += "---\n";
        text += &yaml_serde::to_string(&definition)?;
    }
    Ok(text)
}

struct Definition<'a> {
    short_names: &'a [&'a str],
    scope: &'a str,
    description: &'a str,
    spec: Value,
    status: Option<Value>,
    columns: Value,
    selectable: &'a [&'a str],
}

impl Definition<'_> {
    fn of<K: Resource<DynamicType = ()>>(self) -> Value {
        let (kind, plural) = (K::kind(&()), K::plural(&()));
        let has_status = self.status.is_some();
        let mut properties = Map::new();
        properties.insert("spec".to_owned(), self.spec);
        properties.extend(self.status.map(|status| ("status".to_owned(), status)));
        let selectable: Vec<Value> = self.selectable.iter().map(|path| json!({ "jsonPath": path })).collect();
        let mut version = json!({
            "name": VERSION, "served": true, "storage": true,
            "additionalPrinterColumns": self.columns,
            "schema": { "openAPIV3Schema": {
                "type": "object", "description": self.description, "required": ["spec"], "properties": properties,
            } },
        });
        if has_status {
            version["subresources"] = json!({ "status": {} });
        }
        if !selectable.is_empty() {
            version["selectableFields"] = selectable.into();
        }
        json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": { "name": format!("{plural}.{GROUP}"), "labels": { "app.kubernetes.io/name": "chaos" } },
            "spec": {
                "group": GROUP, "scope": self.scope,
                "names": {
                    "kind": kind, "listKind": format!("{kind}List"), "plural": plural,
                    "singular": kind.to_lowercase(), "shortNames": self.short_names, "categories": ["chaos"],
                },
                "versions": [version],
            },
        })
    }
}

fn column(name: &str, kind: &str, path: &str, wide: bool) -> Value {
    let mut column = json!({ "name": name, "type": kind, "jsonPath": path });
    if wide {
        column["priority"] = 1.into();
    }
    column
}

fn age() -> Value {
    column("Age", "date", ".metadata.creationTimestamp", false)
}

fn experiment() -> Value {
    let mut spec = schema_of::<ExperimentSpec>();
    if let Some(node) = at(&mut spec, cel::ACTION) {
        let rules = cel::one_action();
        add_rules(node, &rules.each_ref().map(|(rule, message)| (rule.as_str(), message.as_str())));
    }
    for (places, rules) in cel::RULES {
        for place in *places {
            if let Some(node) = at(&mut spec, place) {
                add_rules(node, rules);
            }
        }
    }
    for place in cel::NETWORKS {
        if let Some(node) = at(&mut spec, place) {
            add_rules(node, &[(cel::IS_NETWORK, cel::NO_NETWORK)]);
            node.as_object_mut().map(|schema| schema.remove("pattern"));
        }
    }
    for (place, fields) in cel::ONE_OF {
        if let Some(node) = at(&mut spec, place) {
            node["oneOf"] = fields.iter().map(|field| json!({ "required": [field] })).collect();
        }
    }
    for place in cel::REQUIREMENTS_OF_PEERS {
        if let Some(node) = at(&mut spec, place) {
            node["oneOf"] = json!([
                { "properties": { "operator": { "enum": ["In", "NotIn"] } }, "required": ["values"] },
                { "properties": { "operator": { "enum": ["Exists", "DoesNotExist"] } }, "not": { "required": ["values"] } },
            ]);
        }
    }
    Definition {
        short_names: &["exp"],
        scope: "Namespaced",
        description: "Faults on chosen pods for a limited time.",
        spec,
        status: Some(schema_of::<ExperimentStatus>()),
        columns: json!([
            column("Phase", "string", ".status.phase", false),
            column("Targets", "integer", ".status.summary.selected", false),
            column("Injected", "integer", ".status.summary.injected", false),
            column("Verdict", "string", ".status.verdict", false),
            column("Started by", "string", ".status.startedBy", false),
            column("Ends", "string", ".status.endsAt", true),
            column("Reason", "string", ".status.reason", true),
            age(),
        ]),
        selectable: &[],
    }
    .of::<Experiment>()
}

fn injection() -> Value {
    Definition {
        short_names: &["inj"],
        scope: "Namespaced",
        description: "An experiment's part on one node; written by the controller alone.",
        spec: schema_of::<InjectionSpec>(),
        status: Some(schema_of::<InjectionStatus>()),
        columns: json!([
            column("Experiment", "string", ".spec.experiment", false),
            column("Node", "string", ".spec.nodeName", false),
            column("Phase", "string", ".status.phase", false),
            column("Message", "string", ".status.message", true),
            age(),
        ]),
        selectable: &[".spec.nodeName"],
    }
    .of::<Injection>()
}

fn peer_set() -> Value {
    Definition {
        short_names: &["peers"],
        scope: "Namespaced",
        description: "Addresses that peers of an experiment stand for; written by the controller alone.",
        spec: schema_of::<PeerSetSpec>(),
        status: None,
        columns: json!([age()]),
        selectable: &[],
    }
    .of::<PeerSet>()
}

fn node_agent() -> Value {
    Definition {
        short_names: &["na"],
        scope: "Cluster",
        description: "What a node's agent says of itself: its kernel, its policy, what is active.",
        spec: schema_of::<NodeAgentSpec>(),
        status: Some(schema_of::<NodeAgentStatus>()),
        columns: json!([
            column("Kernel", "string", ".status.kernel", false),
            column("Version", "string", ".status.version", false),
            column("Locked", "string", ".status.locked", false),
            column("Heartbeat", "date", ".status.heartbeat", false),
            age(),
        ]),
        selectable: &[],
    }
    .of::<NodeAgent>()
}

fn halt() -> Value {
    Definition {
        short_names: &[],
        scope: "Cluster",
        description: "While one exists, no fault acts in the cluster and none starts.",
        spec: schema_of::<HaltSpec>(),
        status: None,
        columns: json!([column("Reason", "string", ".spec.reason", false), age()]),
        selectable: &[],
    }
    .of::<Halt>()
}

/// The schema at a place such as `faults[].network.match`; None where there is none.
fn at<'a>(schema: &'a mut Value, place: &str) -> Option<&'a mut Value> {
    let mut node = schema;
    for word in place.split('.').filter(|word| !word.is_empty()) {
        let (field, is_list) = word.strip_suffix("[]").map_or((word, false), |field| (field, true));
        node = node.get_mut("properties")?.get_mut(field)?;
        if is_list {
            node = node.get_mut("items")?;
        }
    }
    Some(node)
}

fn add_rules(node: &mut Value, rules: &[(&str, &str)]) {
    let new = rules.iter().map(|(rule, message)| json!({ "rule": rule, "message": message }));
    match node.get_mut("x-kubernetes-validations").and_then(Value::as_array_mut) {
        Some(list) => list.extend(new),
        None => node["x-kubernetes-validations"] = new.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manifest_is_what_the_types_say() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../manifests/base/crds.yaml");
        let committed = std::fs::read_to_string(path).unwrap();
        assert!(committed == super::yaml().unwrap(), "run: cargo run -p chaos -- crd > manifests/base/crds.yaml");
    }

    #[test]
    fn every_rule_has_its_place() {
        let mut spec = schema_of::<ExperimentSpec>();
        let places =
            cel::RULES.iter().flat_map(|(places, _)| *places).chain(cel::ONE_OF.iter().map(|(place, _)| place));
        for place in places.chain(cel::REQUIREMENTS_OF_PEERS).chain(cel::NETWORKS) {
            assert!(at(&mut spec, place).is_some(), "the schema has no {place}");
        }
    }

    /// The API server refuses a definition that has one of these.
    #[test]
    fn schemas_are_structural() {
        fn walk(path: &str, value: &Value) {
            let Some(object) = value.as_object() else { return };
            for forbidden in ["$ref", "$defs", "const", "definitions"] {
                assert!(!object.contains_key(forbidden), "{path} has {forbidden}");
            }
            for (key, inner) in object {
                match inner {
                    Value::Array(list) => list.iter().for_each(|one| walk(&format!("{path}.{key}[]"), one)),
                    other => walk(&format!("{path}.{key}"), other),
                }
            }
        }
        for definition in definitions() {
            walk(
                definition["metadata"]["name"].as_str().unwrap_or_default(),
                &definition["spec"]["versions"][0]["schema"],
            );
        }
    }

    #[test]
    fn definitions_can_be_written() {
        assert!(yaml().unwrap().contains("name: experiments.chaos-ebpf.dev"));
    }
}

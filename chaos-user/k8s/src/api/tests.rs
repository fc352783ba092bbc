//! What 0.1.0 wrote stays readable, and what it took stays valid.

use super::{Experiment, Halt, Injection, NodeAgent, PeerSet, crd};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use std::{collections::BTreeSet, fs};

fn golden(name: &str) -> String {
    let path = format!("{}/../../tests/golden/0.1.0/{name}", env!("CARGO_MANIFEST_DIR"));
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Objects as `kubectl get -o json` gave them, read and written again.
fn both_ways<T: Serialize + DeserializeOwned>(name: &str, count: usize) {
    let list: Value = serde_json::from_str(&golden(name)).unwrap();
    let items = list["items"].as_array().unwrap();
    assert_eq!(items.len(), count, "{name}");
    for item in items {
        let object: T = serde_json::from_value(item.clone()).unwrap_or_else(|error| panic!("{name}: {error}"));
        let again = serde_json::to_value(&object).unwrap();
        assert_eq!(again["status"], item["status"], "{name}");
        // What people write is written back in one way of several: 60s as 1m.
        if item["kind"] != "Experiment" {
            assert_eq!(again["spec"], item["spec"], "{name}");
        }
        let once_more: T = serde_json::from_value(again.clone()).unwrap();
        assert_eq!(serde_json::to_value(&once_more).unwrap(), again, "{name}");
        assert_eq!(again["metadata"]["uid"], item["metadata"]["uid"], "{name}");
    }
}

#[test]
fn objects_of_0_1_0_are_read_and_written_back() {
    both_ways::<Experiment>("experiments.json", 2);
    both_ways::<Injection>("injections.json", 4);
    both_ways::<PeerSet>("peersets.json", 1);
    both_ways::<NodeAgent>("nodeagents.json", 2);
    both_ways::<Halt>("halts.json", 1);
}

/// Words of a list in a schema.
fn words<'a>(schema: &'a Value, key: &str) -> BTreeSet<&'a str> {
    schema[key].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

/// What the new schema refuses or drops and the old one took: paths, with why. Rules (CEL) may be added: a stored object that a new one
/// refuses stays readable.
fn narrowed(path: &str, old: &Value, new: &Value, found: &mut Vec<String>) {
    let old_type = (&old["type"], &old["x-kubernetes-int-or-string"], &old["x-kubernetes-preserve-unknown-fields"]);
    if old_type != (&new["type"], &new["x-kubernetes-int-or-string"], &new["x-kubernetes-preserve-unknown-fields"]) {
        found.push(format!("{path} has another type"));
    }
    let added: Vec<&str> = words(new, "required").difference(&words(old, "required")).copied().collect();
    if !added.is_empty() {
        found.push(format!("{path} now requires {added:?}"));
    }
    if new.get("enum").is_some() {
        let (before, now) = (words(old, "enum"), words(new, "enum"));
        if old.get("enum").is_none() || !before.is_subset(&now) {
            found.push(format!("{path} has fewer values"));
        }
    }
    for bound in ["maximum", "maxLength", "maxItems", "maxProperties"] {
        if let Some(now) = new[bound].as_f64()
            && old[bound].as_f64().is_none_or(|before| now < before)
        {
            found.push(format!("{path} has a lower {bound}"));
        }
    }
    for bound in ["minimum", "minLength", "minItems", "minProperties"] {
        if let Some(now) = new[bound].as_f64()
            && old[bound].as_f64().is_none_or(|before| now > before)
        {
            found.push(format!("{path} has a higher {bound}"));
        }
    }
    for key in ["pattern", "format", "oneOf", "anyOf", "allOf", "not"] {
        if new.get(key).is_some() && new.get(key) != old.get(key) {
            found.push(format!("{path} has another {key}"));
        }
    }
    for (name, old) in old["properties"].as_object().into_iter().flatten() {
        match new["properties"].get(name) {
            Some(new) => narrowed(&format!("{path}.{name}"), old, new, found),
            None => found.push(format!("{path}.{name} is gone")),
        }
    }
    for inner in ["items", "additionalProperties"] {
        if old[inner].is_object() {
            narrowed(&format!("{path}[]"), &old[inner], &new[inner], found);
        }
    }
}

fn schemas(definitions: &[Value]) -> Vec<(String, Value)> {
    let schema = |definition: &Value| {
        let kind = definition["spec"]["names"]["kind"].as_str().unwrap().to_owned();
        (kind, definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone())
    };
    definitions.iter().map(schema).collect()
}

fn definitions_of_0_1_0() -> Vec<Value> {
    let text = golden("crds.yaml");
    text.split("\n---\n").map(|text| yaml_serde::from_str(text).unwrap()).filter(|one: &Value| !one.is_null()).collect()
}

#[test]
fn the_definitions_only_grow() {
    let (old, new) = (schemas(&definitions_of_0_1_0()), schemas(&crd::definitions()));
    assert_eq!(old.len(), 5);
    let mut found = Vec::new();
    for (kind, old) in &old {
        let (_, new) = new.iter().find(|(name, _)| name == kind).unwrap_or_else(|| panic!("{kind} is gone"));
        narrowed(kind, old, new, &mut found);
    }
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn a_narrower_definition_is_found() {
    let (_, old) = schemas(&definitions_of_0_1_0()).into_iter().find(|(kind, _)| kind == "Halt").unwrap();
    let narrower = |change: &dyn Fn(&mut Value)| {
        let mut new = old.clone();
        change(&mut new["properties"]["spec"]);
        let mut found = Vec::new();
        narrowed("Halt", &old, &new, &mut found);
        found
    };
    assert_eq!(narrower(&|_| {}), Vec::<String>::new());
    assert_eq!(
        narrower(&|spec| spec["required"] = serde_json::json!(["reason"])),
        [r#"Halt.spec now requires ["reason"]"#]
    );
    assert_eq!(
        narrower(&|spec| spec["properties"]["reason"]["maxLength"] = 8.into()),
        ["Halt.spec.reason has a lower maxLength"]
    );
    assert_eq!(
        narrower(&|spec| spec["properties"]["reason"]["type"] = "integer".into()),
        ["Halt.spec.reason has another type"]
    );
    assert_eq!(
        narrower(&|spec| spec["properties"]["reason"]["minLength"] = 1.into()),
        ["Halt.spec.reason has a higher minLength"]
    );
    assert_eq!(
        narrower(&|spec| spec["properties"]["reason"]["pattern"] = "a".into()),
        ["Halt.spec.reason has another pattern"]
    );
    assert_eq!(narrower(&|spec| spec["properties"] = serde_json::json!({})), ["Halt.spec.reason is gone"]);
}

//! Fields that a schema does not have. A reader that passes over one does something else than was asked: without its `match.http` a
//! fault would hit all of a port.

use super::{
    Finding, Path,
    walk::{unknown_field, walk_at},
};
use serde_json::{Map, Value};

/// Where a field stands; made a [`Path`] only for what is found.
#[derive(Clone, Copy)]
enum At<'a> {
    Top(&'a str),
    Field(&'a At<'a>, &'a str),
    Entry(&'a At<'a>, usize),
}

impl At<'_> {
    fn path(self) -> Path {
        match self {
            Self::Top(name) => Path::root().key(name),
            Self::Field(above, name) => above.path().key(name),
            Self::Entry(above, index) => above.path().index(index),
        }
    }
}

/// Each field of `part` that its schema does not have; `part` is the field `name` of its document. What has another type than the schema
/// says is not looked into.
#[must_use]
pub fn unknown(schema: &Value, part: &Value, name: &str) -> Vec<Finding> {
    let mut found = Vec::new();
    look(schema, part, At::Top(name), &mut found);
    found
}

/// All that the schema does not allow in `part`, each with its remedy.
#[must_use]
pub fn findings(schema: &Value, part: &Value, name: &str) -> Vec<Finding> {
    walk_at(schema, part, &Path::root().key(name))
}

fn look(schema: &Value, part: &Value, at: At, found: &mut Vec<Finding>) {
    if schema["x-kubernetes-preserve-unknown-fields"] == true {
        return;
    }
    match part {
        Value::Object(fields) => object(schema, fields, at, found),
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                look(&schema["items"], item, At::Entry(&at, index), found);
            }
        }
        _ => {}
    }
}

fn object(schema: &Value, fields: &Map<String, Value>, at: At, found: &mut Vec<Finding>) {
    let properties = schema["properties"].as_object();
    for (name, value) in fields {
        let at = At::Field(&at, name);
        match (properties, properties.and_then(|known| known.get(name))) {
            (_, Some(schema)) => look(schema, value, at, found),
            (Some(known), None) => found.push(Finding::new(at.path(), unknown_field(name, known, fields))),
            (None, None) => look(&schema["additionalProperties"], value, at, found),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{ExperimentSpec, schema_of};
    use super::*;
    use serde_json::json;

    #[test]
    fn unknown_fields_are_named_wherever_they_stand() {
        let spec = json!({
            "duration": "5s", "later": 1,
            "selector": { "pods": { "labelSelector": { "matchLabels": { "any": "label" } }, "zone": "a" } },
            "faults": [
                { "network": { "match": { "ports": ["80"], "http": { "path": "/" } }, "partition": true } },
                { "when": { "moon": "full" }, "syscall": { "calls": ["open"], "errno": "EIO", "match": { "all": true } } },
            ],
            "probes": [{ "name": "p", "tcp": { "address": "a:1" }, "grpc": {} }],
        });
        let found = unknown(&schema_of::<ExperimentSpec>(), &spec, "spec");
        let paths: Vec<String> = found.iter().map(|one| one.path.to_string()).collect();
        let expected = [
            "spec.faults[0].network.match.http",
            "spec.faults[1].when.moon",
            "spec.later",
            "spec.probes[0].grpc",
            "spec.selector.pods.zone",
        ];
        assert_eq!(paths, expected);
    }
}

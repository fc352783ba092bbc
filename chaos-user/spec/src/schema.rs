//! The schema of an experiment, in the structural form that the API server takes.

use std::sync::LazyLock;

use schemars::generate::SchemaSettings;
use schemars::transform::{Transform, transform_subschemas};
use schemars::{JsonSchema, Schema};
use serde_json::{Map, Value};

use super::Experiment;

/// The JSON Schema of a whole [`Experiment`], in structural form
/// (<https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#specifying-a-structural-schema>):
/// no references, no null, no unions but `x-kubernetes-int-or-string`. An object with `properties` takes no other fields.
pub fn schema() -> Value {
    cached().clone()
}

/// The same, made once.
pub(super) fn cached() -> &'static Value {
    static SCHEMA: LazyLock<Value> = LazyLock::new(of::<Experiment>);
    &SCHEMA
}

/// The structural schema of any type of this module, or of one built from them.
pub fn of<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.inline_subschemas = true;
        settings.meta_schema = None;
    });
    settings.with_transform(Structural).into_generator().into_root_schema_for::<T>().into()
}

/// Brings what schemars makes into structural form.
#[derive(Debug, Clone)]
struct Structural;

impl Transform for Structural {
    fn transform(&mut self, schema: &mut Schema) {
        transform_subschemas(self, schema);
        let Some(object) = schema.as_object_mut() else { return };
        object.remove("title");
        drop_null(object);
        unwrap_option(object);
        flatten_enum(object);
        // Formats are notes for code generators, and unknown ones make the API server warn.
        if object.get("format").is_some_and(|format| format != "int64") {
            object.remove("format");
        }
        if let Some(Value::String(description)) = object.get_mut("description") {
            *description = description.replace('\n', " ");
        }
    }
}

/// `type: [X, "null"]` is `type: X`: an optional field is left out, not null.
fn drop_null(object: &mut Map<String, Value>) {
    if let Some(Value::Array(types)) = object.get_mut("type") {
        types.retain(|name| name != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            object.insert("type".to_owned(), only);
        }
    }
    if let Some(Value::Array(values)) = object.get_mut("enum") {
        values.retain(|value| !value.is_null());
    }
}

/// `anyOf: [X, {type: "null"}]` is X, with the description of the field.
fn unwrap_option(object: &mut Map<String, Value>) {
    let Some(Value::Array(alternatives)) = object.get("anyOf") else { return };
    let mut real = alternatives.iter().filter(|alternative| alternative["type"] != "null");
    if let (Some(Value::Object(only)), None) = (real.next(), real.next()) {
        let only = only.clone();
        object.remove("anyOf");
        for (key, value) in only {
            object.entry(key).or_insert(value);
        }
    }
}

/// `oneOf: [{const: a}, {const: b}]`, which schemars makes of variants with documentation, is `enum: [a, b]`.
fn flatten_enum(object: &mut Map<String, Value>) {
    let Some(Value::Array(variants)) = object.get("oneOf") else { return };
    let names: Option<Vec<Value>> = variants.iter().map(|variant| variant.get("const").cloned()).collect();
    if let Some(names) = names {
        object.remove("oneOf");
        object.insert("type".to_owned(), "string".into());
        object.insert("enum".to_owned(), Value::Array(names));
    }
}

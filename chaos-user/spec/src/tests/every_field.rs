//! Bad input for every field, made from the schema: a field that is added has its cases at once.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::{Path, parse, schema};

/// Where a value stands: its path, and how to make a whole document around it.
struct Place<'a> {
    path: Path,
    whole: &'a dyn Fn(Value) -> Value,
}

#[derive(Default)]
struct Coverage {
    fields: BTreeSet<String>,
    covered: BTreeSet<String>,
    cases: usize,
}

impl Coverage {
    /// Asserts that a document with `bad` at this place has a problem that names exactly `at`.
    fn case(&mut self, place: &Place<'_>, bad: Value, at: &Path, what: &str) {
        let text = serde_json::to_string_pretty(&(place.whole)(bad)).expect("JSON");
        let problems = parse("f", &text).err().unwrap_or_default();
        let named = problems.iter().find(|problem| problem.path == at.to_string());
        let Some(problem) = named else { panic!("{what} at {at}: not reported, but {problems:#?}") };
        let line = text.lines().nth(problem.line - 1).unwrap_or_default();
        let field = at.to_string().rsplit(['.', '[']).next().unwrap_or_default().trim_end_matches(']').to_owned();
        let missing = what == "missing" || field.parse::<usize>().is_ok();
        assert!(missing || line.contains(field.trim_matches('"')), "{what} at {at}: line {} is {line}", problem.line);
        assert!(!problem.message.is_empty());
        self.covered.insert(place.path.to_string());
        self.cases += 1;
    }

    fn visit(&mut self, schema: &Value, place: &Place<'_>) {
        self.fields.insert(place.path.to_string());
        let at = &place.path;
        self.case(place, Value::Null, at, "null");
        for bad in wrong_types(schema) {
            self.case(place, bad, at, "wrong type");
        }
        for (bad, what) in out_of_bounds(schema, at) {
            self.case(place, bad, at, what);
        }
        if schema["type"] == "object" {
            self.visit_object(schema, place);
        }
        if schema["type"] == "array" {
            let path = at.index(0);
            self.visit(&schema["items"], &Place { path, whole: &|value| (place.whole)(json!([value])) });
        }
    }

    fn visit_object(&mut self, schema: &Value, place: &Place<'_>) {
        let Some(properties) = schema["properties"].as_object() else {
            let path = place.path.key("key");
            let values = &schema["additionalProperties"];
            return self.visit(values, &Place { path, whole: &|value| (place.whole)(json!({ "key": value })) });
        };
        let base = required(schema);
        let mut unknown = base.clone();
        unknown.insert("zzzz".to_owned(), json!(1));
        self.case(place, unknown.into(), &place.path.key("zzzz"), "unknown field");
        for name in base.keys() {
            let mut lacking = base.clone();
            lacking.remove(name);
            self.case(place, lacking.into(), &place.path.key(name), "missing");
        }
        for (name, property) in properties {
            let with = |value| {
                let mut fields = base.clone();
                fields.insert(name.clone(), value);
                (place.whole)(fields.into())
            };
            self.visit(property, &Place { path: place.path.key(name), whole: &with });
        }
    }
}

/// The required fields of an object, each with a value that its schema allows.
fn required(schema: &Value) -> Map<String, Value> {
    let names = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
    names.map(|name| (name.to_owned(), sample(&schema["properties"][name]))).collect()
}

fn sample(schema: &Value) -> Value {
    match schema["type"].as_str() {
        Some("object") => required(schema).into(),
        Some("array") => json!([sample(&schema["items"])]),
        Some("integer" | "number") => schema["minimum"].clone(),
        Some("boolean") => json!(true),
        _ if schema["enum"].is_array() => schema["enum"][0].clone(),
        _ => json!("1s"),
    }
}

fn wrong_types(schema: &Value) -> Vec<Value> {
    let object = json!({ "k": "v" });
    if schema["x-kubernetes-int-or-string"] == true {
        return vec![json!(true), json!(1.5), json!([1]), object];
    }
    match schema["type"].as_str() {
        Some("object") => vec![json!("x"), json!(1), json!(["x"])],
        Some("array") => vec![json!("x"), json!(1), object],
        Some("string") => vec![json!(1), json!(true), json!(["x"]), object],
        Some("integer") => vec![json!("1"), json!(1.5), json!(true), json!([1]), object],
        Some("number") => vec![json!("1"), json!(true), json!([1]), object],
        Some("boolean") => vec![json!("true"), json!(1), json!([true]), object],
        other => panic!("a schema without a type: {other:?} in {schema}"),
    }
}

/// Values of the right type that break a bound. A field of `spec` without bounds would cost the API server's CEL too much.
fn out_of_bounds(schema: &Value, path: &Path) -> Vec<(Value, &'static str)> {
    let mut bad = Vec::new();
    let number = |key: &str| schema[key].as_i64();
    let items = |count: i64| (0..count).map(|_| sample(&schema["items"])).collect::<Value>();
    let fields = |count: i64| (0..count).map(|i| (format!("k{i}"), json!("v"))).collect::<Map<_, _>>().into();
    let add = |bad: &mut Vec<_>, value: Option<Value>, what| bad.extend(value.map(|value| (value, what)));
    add(&mut bad, number("minimum").map(|least| json!(least - 1)), "too small");
    add(&mut bad, number("maximum").map(|most| json!(most + 1)), "too large");
    add(&mut bad, number("minLength").map(|_| json!("")), "too short");
    add(
        &mut bad,
        number("maxLength").map(|most| json!("a".repeat(usize::try_from(most).expect("small") + 1))),
        "too long",
    );
    add(&mut bad, schema["pattern"].as_str().map(|_| json!("\u{1}")), "no match");
    add(&mut bad, schema["enum"].as_array().map(|_| json!("zzzz")), "none of");
    add(&mut bad, number("minItems").map(|_| json!([])), "too few");
    add(&mut bad, number("maxItems").map(|most| items(most + 1)), "too many");
    add(&mut bad, number("minProperties").map(|_| json!({})), "too few");
    add(&mut bad, number("maxProperties").map(|most| fields(most + 1)), "too many");
    let bounded = match schema["type"].as_str() {
        Some("string") => schema["enum"].is_array() || number("maxLength").is_some(),
        Some("integer" | "number") => number("minimum").is_some() && number("maximum").is_some(),
        Some("array") => number("maxItems").is_some() && number("minItems").is_some(),
        _ => true,
    };
    assert!(bounded || !path.to_string().starts_with("spec"), "{path} has no bounds: {schema}");
    bad
}

#[test]
fn every_field_refuses_bad_input_by_its_path() {
    let mut coverage = Coverage::default();
    coverage.visit(&schema(), &Place { path: Path::root(), whole: &|value| value });
    let uncovered: Vec<&String> = coverage.fields.difference(&coverage.covered).collect();
    assert!(uncovered.is_empty(), "fields without a case: {uncovered:?}");
    assert!(coverage.cases > 1500, "{} cases for {} fields", coverage.cases, coverage.fields.len());
}

#[test]
fn the_schema_is_structural() {
    fn visit(schema: &Value, path: &str) {
        for key in ["$ref", "$defs", "anyOf", "oneOf", "allOf", "not", "default", "const", "nullable"] {
            assert!(schema.get(key).is_none(), "{path} has {key}");
        }
        assert!(schema["type"].is_string() || schema["x-kubernetes-int-or-string"] == true, "{path} has no type");
        assert!(schema["properties"].is_null() || schema["additionalProperties"].is_null(), "{path} has both");
        assert!(schema["format"].is_null() || schema["format"] == "int64", "{path}: {}", schema["format"]);
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            assert!(property["description"].is_string(), "{path}.{name} has no description");
            visit(property, &format!("{path}.{name}"));
        }
        for below in ["items", "additionalProperties"] {
            if let Some(schema) = schema.get(below) {
                visit(schema, &format!("{path}.{below}"));
            }
        }
    }
    visit(&schema(), "");
}

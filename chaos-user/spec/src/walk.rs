//! A document against the schema: types, fields, bounds, patterns.

use std::cmp::Ordering;

use regex_lite::Regex;
use serde_json::{Map, Number, Value};

use super::suggest::closest;
use super::{Finding, Path, habit, name, value};

/// Everything in `document` that the schema does not allow, each with a remedy.
pub(super) fn walk(schema: &Value, document: &Value) -> Vec<Finding> {
    walk_at(schema, document, &Path::root())
}

/// The same of a part of a document, which stands at `path`.
pub(super) fn walk_at(schema: &Value, part: &Value, path: &Path) -> Vec<Finding> {
    let mut walk = Walk { findings: Vec::new() };
    walk.value(schema, part, path);
    walk.findings
}

struct Walk {
    findings: Vec<Finding>,
}

impl Walk {
    fn report(&mut self, path: &Path, message: impl Into<String>) {
        self.findings.push(Finding::new(path.clone(), message));
    }

    fn value(&mut self, schema: &Value, value: &Value, path: &Path) {
        if value.is_null() {
            return self.report(path, "has no value; give it one or remove it");
        }
        if schema["x-kubernetes-int-or-string"] == true {
            return self.int_or_text(schema, value, path);
        }
        match (schema["type"].as_str().unwrap_or_default(), value) {
            ("object", Value::Object(fields)) => self.object(schema, fields, path),
            ("array", Value::Array(items)) => self.array(schema, items, path),
            ("string", Value::String(text)) => self.text(schema, text, path),
            ("integer", Value::Number(number)) if number.is_f64() => {
                self.report(path, format!("needs a whole number, not {number}"));
            }
            ("integer" | "number", Value::Number(number)) => self.bounds(schema, number, path),
            ("boolean", Value::Bool(_)) => {}
            (wanted, _) => self.wrong_type(schema, wanted, value, path),
        }
    }

    fn object(&mut self, schema: &Value, fields: &Map<String, Value>, path: &Path) {
        self.count(schema, ["minProperties", "maxProperties"], fields.len(), path);
        if let Some(properties) = schema["properties"].as_object() {
            for (name, value) in fields {
                match properties.get(name) {
                    Some(schema) => self.value(schema, value, &path.key(name)),
                    None => {
                        let meant = habit::field(name, value, properties).filter(|_| properties.len() > 1);
                        let message = meant.map(|meant| format!("unknown field; write {meant}"));
                        let message = message.unwrap_or_else(|| unknown_field(name, properties, fields));
                        self.report(&path.key(name), message);
                    }
                }
            }
        } else {
            for (name, value) in fields {
                self.value(&schema["additionalProperties"], value, &path.key(name));
            }
        }
        for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            // What stands there under another name is reported with the remedy already.
            let by_habit = || {
                let known = schema["properties"].as_object();
                known.is_some_and(|known| {
                    let mut unknown = fields.iter().filter(|(field, _)| !known.contains_key(*field));
                    let meant = format!("{name}:");
                    unknown.any(|(field, value)| {
                        habit::field(field, value, known).is_some_and(|text| text.starts_with(&meant))
                    })
                })
            };
            if !fields.contains_key(name) && !by_habit() {
                let description = schema["properties"][name]["description"].as_str().unwrap_or_default();
                self.report(&path.key(name), format!("is missing; add it: {}", decapitalized(description)));
            }
        }
    }

    fn array(&mut self, schema: &Value, items: &[Value], path: &Path) {
        self.count(schema, ["minItems", "maxItems"], items.len(), path);
        // What is too much is not read: a list of a million entries would give a million findings.
        let most = schema["maxItems"].as_u64().map_or(usize::MAX, |most| usize::try_from(most).unwrap_or(usize::MAX));
        for (index, item) in items.iter().take(most).enumerate() {
            self.value(&schema["items"], item, &path.index(index));
        }
    }

    fn count(&mut self, schema: &Value, [least, most]: [&str; 2], count: usize, path: &Path) {
        let count = count as u64;
        if schema[least].as_u64().is_some_and(|least| count < least) {
            self.report(path, "is empty; give it at least one entry or remove it");
        }
        if let Some(most) = schema[most].as_u64().filter(|most| count > *most) {
            self.report(path, format!("has {count} entries; at most {most} are possible"));
        }
    }

    fn text(&mut self, schema: &Value, text: &str, path: &Path) {
        if let Some(allowed) = schema["enum"].as_array() {
            if !allowed.iter().any(|name| name == text) {
                self.report(path, not_one_of(text, allowed));
            }
            return;
        }
        let length = text.chars().count() as u64;
        if length == 0 && schema["minLength"].as_u64().is_some_and(|least| least > 0) {
            return self.report(path, "is an empty string; give it a value or remove it");
        }
        if let Some(most) = schema["maxLength"].as_u64().filter(|most| length > *most) {
            // Of a short word that means another the value's own parser has the remedy.
            let refused =
                schema["pattern"].as_str().filter(|_| length <= MOST_READ).and_then(|p| value::check(p, text));
            if let Some(Err(invalid)) = refused {
                return self.report(path, invalid.to_string());
            }
            return self.report(path, format!("has {length} characters; at most {most} are possible"));
        }
        let Some(pattern) = schema["pattern"].as_str() else { return };
        match value::check(pattern, text) {
            Some(Ok(())) => {}
            Some(Err(invalid)) => {
                self.report(path, without_unit(pattern, text, path).unwrap_or_else(|| invalid.to_string()))
            }
            None if Regex::new(pattern).is_ok_and(|pattern| pattern.is_match(text)) => {}
            None => self.report(path, format!("{text:?} is not possible here; {}", name::remedy(pattern))),
        }
    }

    fn int_or_text(&mut self, schema: &Value, value: &Value, path: &Path) {
        match value {
            Value::Number(number) => match number.is_f64() {
                true => self.report(path, format!("needs a whole number or a string, not {number}")),
                // The text's parser has the exact bounds and words.
                false => self.text(schema, &number.to_string(), path),
            },
            Value::String(text) => self.text(schema, text, path),
            _ => self.report(path, format!("needs a number or a string, not {}", described(value))),
        }
    }

    fn bounds(&mut self, schema: &Value, number: &Number, path: &Path) {
        let outside =
            |bound: &str, wrong: Ordering| schema[bound].as_number().is_some_and(|b| compare(number, b) == wrong);
        if outside("minimum", Ordering::Less) || outside("maximum", Ordering::Greater) {
            let (least, most) = (&schema["minimum"], &schema["maximum"]);
            self.report(path, format!("{number} is out of range; write {least} to {most}"));
        }
    }

    fn wrong_type(&mut self, schema: &Value, wanted: &str, value: &Value, path: &Path) {
        let needed = match wanted {
            "object" => "fields below it",
            "array" => "a list",
            "integer" => "a whole number",
            "number" => "a number",
            "boolean" => "true or false",
            _ => "a string",
        };
        let message = match (wanted, value) {
            // `delay: 100` is told the same as `delay: "100"`: its unit is missing.
            ("string", Value::Number(number)) => {
                let (pattern, text) = (schema["pattern"].as_str().unwrap_or_default(), number.to_string());
                match value::check(pattern, &text) {
                    Some(Err(invalid)) => without_unit(pattern, &text, path).unwrap_or_else(|| invalid.to_string()),
                    _ => format!("needs a string, not {}; put it in quotes", described(value)),
                }
            }
            ("string", Value::Bool(_)) => format!("needs a string, not {}; put it in quotes", described(value)),
            ("array", _) => format!("needs a list, not {}; write [ ... ] around it", described(value)),
            ("boolean" | "integer" | "number", Value::String(text)) => {
                let remedy = unquoted(wanted, text).map_or(String::new(), |text| format!("; write {text}"));
                format!("needs {needed}, not {}{remedy}", described(value))
            }
            ("object", _) => match path.last().and_then(|name| habit::within(name, value)) {
                Some(meant) => format!("needs fields below it, not {}; write {meant}", described(value)),
                None => format!("needs fields below it, not {}", described(value)),
            },
            _ => format!("needs {needed}, not {}", described(value)),
        };
        self.report(path, message);
    }
}

/// Longer texts are not read for a remedy.
const MOST_READ: u64 = 64;

/// Of a duration that is a number alone: packets and calls are delayed by milliseconds, all else lasts seconds.
fn without_unit(pattern: &str, text: &str, path: &Path) -> Option<String> {
    let number = text.parse::<f64>().ok().filter(|number| pattern == value::Duration::PATTERN && *number > 0.0)?;
    let of_packets = matches!(path.last(), Some("delay" | "jitter"));
    let unit = if of_packets || !(0.1..=86_400.0).contains(&number) { "ms" } else { "s" };
    Some(format!("{text:?} has no unit; write \"{text}{unit}\""))
}

/// A number or a truth that stands in a string.
fn unquoted(wanted: &str, text: &str) -> Option<String> {
    let text = text.trim();
    match wanted {
        "boolean" => match text.to_lowercase().as_str() {
            "true" | "yes" | "on" => Some("true".to_owned()),
            "false" | "no" | "off" => Some("false".to_owned()),
            _ => None,
        },
        "integer" => text.parse::<i64>().is_ok().then(|| text.to_owned()),
        _ => match text.strip_suffix('%') {
            Some(_) => habit::percent(text),
            None => text.parse::<f64>().is_ok_and(f64::is_finite).then(|| text.to_owned()),
        },
    }
}

/// Integers are compared as such: 2^53 + 1 is no f64.
fn compare(one: &Number, other: &Number) -> Ordering {
    match (one.as_i128(), other.as_i128()) {
        (Some(one), Some(other)) => one.cmp(&other),
        _ => one.as_f64().partial_cmp(&other.as_f64()).unwrap_or(Ordering::Equal),
    }
}

pub(super) fn unknown_field(name: &str, known: &Map<String, Value>, present: &Map<String, Value>) -> String {
    // A field that is there already cannot be what was meant.
    let open = known.keys().map(String::as_str).filter(|known| !present.contains_key(*known));
    match closest(name, open) {
        Some(close) => format!("unknown field; did you mean {close}?"),
        None => {
            format!("unknown field; known here: {}", known.keys().map(String::as_str).collect::<Vec<_>>().join(", "))
        }
    }
}

fn not_one_of(text: &str, allowed: &[Value]) -> String {
    let names: Vec<&str> = allowed.iter().filter_map(Value::as_str).collect();
    match (names.as_slice(), closest(text, names.iter().copied())) {
        ([_, _, ..], Some(close)) => {
            format!("{text:?} is not possible here; did you mean {close}? (one of {})", names.join(", "))
        }
        _ => format!("{text:?} is not possible here; write {}", names.join(", ")),
    }
}

fn described(value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_owned(),
        Value::Bool(value) => format!("{value}"),
        Value::Number(number) => format!("the number {number}"),
        Value::String(text) if text.chars().count() <= 64 => format!("the string {text:?}"),
        Value::String(_) => "a string".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "fields".to_owned(),
    }
}

fn decapitalized(text: &str) -> String {
    let mut chars = text.chars();
    let first = chars.next().map(|first| first.to_lowercase().collect::<String>()).unwrap_or_default();
    format!("{first}{}", chars.as_str().trim_end_matches('.'))
}

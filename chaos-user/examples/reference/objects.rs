//! JSON schemas as tables: a section for each object. An object that is used in several places is shown once.

use crate::text::{code, columns, plain, row};
use chaos_spec::{schema_of, value};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};

/// Named forms of text, by their patterns: what they are called, how they are written.
pub fn forms() -> Vec<(&'static str, Value, &'static str)> {
    let form = |name, schema, examples| (name, schema, examples);
    vec![
        form("duration", schema_of::<value::Duration>(), "`100ms`, `1.5s`, `2m`, `1h30m`; the unit is required"),
        form("rate", schema_of::<value::Rate>(), "`10mbit`, `512kbit`, `1gbit` (bits), `10mbps` (bytes), as in tc"),
        form("size", schema_of::<value::Size>(), "`32kb`, `1mb`, as in tc; 1 kb is 1024 bytes"),
        form("percentage", schema_of::<value::Percent>(), "a number from 0 to 100; fractions are possible"),
        form("port or range", schema_of::<value::PortRange>(), "`443`, or `\"8000-8100\"`; both ends belong to it"),
        form("network", schema_of::<value::Cidr>(), "`10.0.0.0/8`, `192.0.2.7/32`, `2001:db8::/32`"),
        form(
            "host name",
            schema_of::<value::HostPattern>(),
            "`db.example.com`, or `*.example.com` for all names below it",
        ),
        form(
            "protocol",
            schema_of::<value::Protocol>(),
            "a name such as `tcp`, `udp`, `icmp`, or a number of the IP header",
        ),
        form("errno", schema_of::<value::Errno>(), "a name such as `EIO`, or its number"),
    ]
}

/// Writes sections of one schema.
pub struct Sections {
    /// Sections by the schema that they show.
    shown: BTreeMap<String, String>,
    titles: BTreeSet<String>,
    level: usize,
    text: String,
}

impl Sections {
    /// With headings of this level.
    pub fn new(level: usize) -> Self {
        Self { shown: BTreeMap::new(), titles: BTreeSet::new(), level, text: String::new() }
    }

    /// All sections.
    pub fn finish(self) -> String {
        self.text.trim_end().to_owned() + "\n"
    }

    /// A section for an object, and one for each object below it.
    pub fn add(&mut self, title: &str, schema: &Value) {
        let Some(properties) = schema["properties"].as_object() else { return };
        self.titles.insert(title.to_owned());
        self.shown.insert(shape(schema), title.to_owned());
        let heading = "#".repeat(self.level);
        let about = schema["description"].as_str().map(|about| plain(about) + "\n\n").unwrap_or_default();
        let required = names(schema);
        let mut below: Vec<(String, &Value)> = Vec::new();
        let mut table = columns(&["field", "type", "required", "meaning"]);
        for (name, property) in properties {
            let (object, suffix) = inner(property);
            let link = object.map(|object| {
                let own = if title.is_empty() { name.clone() } else { format!("{title}.{name}") } + suffix;
                let known = self.shown.get(&shape(object)).cloned();
                if known.is_none() {
                    self.shown.insert(shape(object), own.clone());
                    below.push((own.clone(), object));
                }
                known.unwrap_or(own)
            });
            let meaning = plain(property["description"].as_str().unwrap_or_default());
            let is_required = if required.contains(name) { "yes" } else { "" };
            table += &row(&[code(name), kind(property, link.as_deref()), is_required.to_owned(), meaning]);
        }
        self.text += &format!("{heading} {}\n\n{about}{table}\n", code(title));
        for (title, object) in below {
            self.add(&title, object);
        }
    }
}

/// The anchor that mdBook gives a heading of this text: letters, digits, `-` and `_`, in lower case.
pub fn anchor(title: &str) -> String {
    let kept = |c: char| match c {
        ' ' => Some('-'),
        c if c.is_alphanumeric() || c == '-' || c == '_' => Some(c.to_ascii_lowercase()),
        _ => None,
    };
    title.chars().filter_map(kept).collect()
}

/// What makes two objects the same: their fields, not what is said of the place where they stand.
fn shape(schema: &Value) -> String {
    let mut schema = schema.clone();
    if let Some(object) = schema.as_object_mut() {
        for note in ["description", "x-kubernetes-validations", "maxItems", "minProperties", "default"] {
            object.remove(note);
        }
    }
    schema.to_string()
}

/// The object in a property, a list or a map, and how its path goes on.
fn inner(property: &Value) -> (Option<&Value>, &'static str) {
    let has_fields = |value: &&Value| value["properties"].as_object().is_some_and(|fields| !fields.is_empty());
    let direct = Some(property).filter(has_fields).map(|value| (value, ""));
    let item = Some(&property["items"]).filter(has_fields).map(|value| (value, "[]"));
    let entry = Some(&property["additionalProperties"]).filter(has_fields).map(|value| (value, ".KEY"));
    match direct.or(item).or(entry) {
        Some((value, suffix)) => (Some(value), suffix),
        None => (None, ""),
    }
}

fn names(schema: &Value) -> Vec<String> {
    let list = schema["required"].as_array().into_iter().flatten();
    list.filter_map(|name| name.as_str().map(str::to_owned)).collect()
}

/// What a field holds, with a link to the section of its object.
fn kind(property: &Value, link: Option<&str>) -> String {
    if let Some(item) = property.get("items").filter(|item| item.is_object()) {
        return format!("list of {}{}", kind(item, link), bounds(property, "minItems", "maxItems", " entries"));
    }
    if let Some(title) = link {
        return format!("[object](#{})", anchor(title));
    }
    if let Some(entry) = property.get("additionalProperties").filter(|entry| entry.is_object()) {
        return format!("map of {}", kind(entry, None));
    }
    if let Some(values) = property["enum"].as_array() {
        let values: Vec<String> = values.iter().filter_map(Value::as_str).map(code).collect();
        return values.join(", ");
    }
    if let Some((name, ..)) = forms().iter().find(|(_, form, _)| same(form, property)) {
        return format!("[{name}](fields.md#values)");
    }
    let name = match property["type"].as_str() {
        Some(name) => name.to_owned(),
        None => "any".to_owned(),
    };
    let length = bounds(property, "minLength", "maxLength", " characters");
    name + &bounds(property, "minimum", "maximum", "") + &length
}

/// Do they demand the same of a text or a number?
fn same(form: &Value, property: &Value) -> bool {
    let keys = ["type", "pattern", "minimum", "maximum", "x-kubernetes-int-or-string"];
    let told: Map<String, Value> =
        keys.iter().filter_map(|key| Some(((*key).to_owned(), form.get(*key)?.clone()))).collect();
    !told.is_empty() && keys.iter().all(|key| told.get(*key) == property.get(*key))
}

fn bounds(property: &Value, least: &str, most: &str, what: &str) -> String {
    match (property[least].as_f64(), property[most].as_f64()) {
        (Some(least), Some(most)) => format!(", {least} to {most}{what}"),
        (Some(least), None) => format!(", at least {least}{what}"),
        (None, Some(most)) => format!(", at most {most}{what}"),
        (None, None) => String::new(),
    }
}

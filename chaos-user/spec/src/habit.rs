//! What people write out of habit, from other tools or from a neighbouring field: the words that are meant here.

use serde_json::{Map, Value};

use super::value::{Duration, Rate};

/// Of an unknown field: what it is called elsewhere, what to write here, and which field that is.
const FIELDS: [(&str, &str, Take); 31] = [
    ("delay", "latency", Take::Delay),
    ("lag", "latency", Take::Delay),
    ("netem", "latency", Take::Delay),
    ("drop", "loss", Take::Percent),
    ("packetloss", "loss", Take::Percent),
    ("lose", "loss", Take::Percent),
    ("blackhole", "partition", Take::Flag),
    ("block", "partition", Take::Flag),
    ("deny", "partition", Take::Flag),
    ("reject", "reset", Take::Percent),
    ("rst", "reset", Take::Percent),
    ("dup", "duplicate", Take::Percent),
    ("corruption", "corrupt", Take::Percent),
    ("rate", "bandwidth", Take::Rate),
    ("throttle", "bandwidth", Take::Rate),
    ("bw", "bandwidth", Take::Rate),
    // Beside them `delay` itself has another meaning.
    ("latency", "delay", Take::Same),
    ("time", "delay", Take::Same),
    ("ms", "delay", Take::Same),
    ("probability", "percent", Take::Same),
    ("percentage", "percent", Take::Same),
    ("ip", "peers", Take::Words("peers: [ { cidr: 10.0.0.1/32 } ]")),
    ("cidr", "peers", Take::Words("peers: [ { cidr: 10.0.0.0/8 } ]")),
    ("host", "peers", Take::Words("peers: [ { host: db.example.com } ]")),
    ("interface", "interfaces", Take::Words("interfaces: [eth0]")),
    ("call", "calls", Take::Words("calls: [openat]")),
    ("syscalls", "calls", Take::Words("calls: [openat]")),
    ("error", "errno", Take::Same),
    ("labelselector", "pods", Take::Pods),
    ("matchlabels", "pods", Take::Words("pods: { labelSelector: { matchLabels: { app: web } } }")),
    ("namespaces", "pods", Take::Pods),
];
/// Kinds of local targets, which stand one level deeper.
const LOCAL: [&str; 5] = ["cgroup", "netns", "pid", "unit", "container"];

/// What becomes of the value.
#[derive(Clone, Copy)]
enum Take {
    Delay,
    Percent,
    Rate,
    Flag,
    Same,
    Pods,
    Words(&'static str),
}

/// What to write instead of an unknown field with this value, where one of the `known` ones is meant.
pub(super) fn field(name: &str, value: &Value, known: &Map<String, Value>) -> Option<String> {
    if LOCAL.contains(&name) && known.contains_key("local") {
        let text = scalar(value).unwrap_or_else(|| "...".to_owned());
        return Some(format!("local: [ {{ {name}: {text} }} ]"));
    }
    let name = name.to_lowercase();
    let (_, meant, take) = FIELDS.iter().find(|(habit, meant, _)| *habit == name && known.contains_key(*meant))?;
    Some(match take {
        Take::Flag => format!("{meant}: true"),
        Take::Words(words) => (*words).to_owned(),
        Take::Pods => format!("pods: {{ {}: ... }}", if name == "namespaces" { "namespaces" } else { "labelSelector" }),
        Take::Same => format!("{meant}: {}", scalar(value).unwrap_or_else(|| "...".to_owned())),
        Take::Delay | Take::Percent | Take::Rate => within(meant, value)?,
    })
}

/// What to write where the action `name` has a value alone instead of fields: `latency: 10ms`.
pub(super) fn within(name: &str, value: &Value) -> Option<String> {
    let (field, example) = match name {
        "latency" => ("delay", "100ms"),
        "loss" | "duplicate" | "corrupt" | "reset" | "reorder" => ("percent", "10"),
        "bandwidth" => ("rate", "10mbit"),
        _ => return None,
    };
    let given = scalar(value).filter(|text| match field {
        "delay" => text.parse::<Duration>().is_ok(),
        "rate" => text.parse::<Rate>().is_ok(),
        _ => percent(text).is_some(),
    });
    let text = match given {
        Some(text) if field == "percent" => percent(&text).unwrap_or(text),
        Some(text) => text,
        None => example.to_owned(),
    };
    Some(format!("{name}: {{ {field}: {text} }}"))
}

/// A number where a percentage was written as one, `10%`.
pub(super) fn percent(text: &str) -> Option<String> {
    let number = text.trim().trim_end_matches('%').trim_end();
    let fits = number.parse::<f64>().is_ok_and(|number| (0.0..=100.0).contains(&number));
    fits.then(|| number.to_owned())
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(value) => Some(value.to_string()),
        Value::String(text) if text.chars().count() <= 64 && !text.contains(['{', '}', '\n', ':', '#']) => {
            Some(text.clone())
        }
        _ => None,
    }
}

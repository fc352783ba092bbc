//! What a fault asks, as it was read: the form that plans and reports print.

use crate::Fault;
use serde::Serialize;
use serde_json::Value;

/// What a fault asks, each part in YAML's flow form with units as they were understood.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Asked {
    /// Which packets or calls.
    #[serde(rename = "match")]
    pub matches: String,
    /// Which way, seen from the target; none of calls.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub direction: String,
    /// What is done to them.
    pub action: String,
    /// Which of them; empty: all.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub when: String,
}

impl Asked {
    /// Of a fault.
    #[must_use]
    pub fn of(fault: &Fault) -> Self {
        let value = serde_json::to_value(fault).unwrap_or_default();
        let body = if value["network"].is_object() { &value["network"] } else { &value["syscall"] };
        let action = body.as_object().into_iter().flatten();
        let action = action.filter(|(name, _)| !matches!(name.as_str(), "match" | "direction"));
        let parts: Vec<String> = action.map(|(name, value)| part(name, value)).collect();
        let network = fault.network.as_ref();
        let direction = network.and_then(|network| serde_json::to_value(network.direction).ok());
        Self {
            matches: flow(&body["match"]),
            direction: direction.as_ref().and_then(Value::as_str).unwrap_or_default().to_owned(),
            action: parts.join(", "),
            when: value["when"]
                .as_object()
                .filter(|when| !when.is_empty())
                .map_or(String::new(), |_| flow(&value["when"])),
        }
    }

    /// In one line.
    #[must_use]
    pub fn line(&self) -> String {
        let way = if self.direction.is_empty() { String::new() } else { format!(", {}", self.direction) };
        let when = if self.when.is_empty() { String::new() } else { format!(", when {}", self.when) };
        format!("{}{way}, match {}{when}", self.action, self.matches)
    }
}

fn part(name: &str, value: &Value) -> String {
    if value.is_object() { format!("{name} {}", flow(value)) } else { format!("{name}: {}", flow(value)) }
}

fn flow(value: &Value) -> String {
    match value {
        Value::Object(fields) => {
            let each: Vec<String> = fields.iter().map(|(name, value)| format!("{name}: {}", flow(value))).collect();
            format!("{{ {} }}", each.join(", "))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(flow).collect::<Vec<_>>().join(", ")),
        Value::String(text) if is_plain(text) => text.clone(),
        other => other.to_string(),
    }
}

/// May stand without quotes.
fn is_plain(text: &str) -> bool {
    let harmless = text.chars().all(|c| c.is_ascii_alphanumeric() || "-_./".contains(c));
    let begins = text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '/');
    harmless && begins && !matches!(text, "true" | "false" | "null") && text.parse::<f64>().is_err()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> String {
        let fault: Fault = yaml_serde::from_str(text).unwrap();
        Asked::of(&fault).line()
    }

    #[test]
    fn units_are_as_they_were_read() {
        let rate = |rate: &str| line(&format!("network: {{ match: {{ all: true }}, bandwidth: {{ rate: {rate} }} }}"));
        assert_eq!(rate("1MBps"), "bandwidth { rate: 8mbit }, egress, match { all: true }");
        assert_eq!(rate("1500kbit"), rate("1.5mbit"));
        let slow = "when: { percent: 10 }\nnetwork: { direction: both, match: { ports: ['80-90', 443], peers: [ { host: '*.a.b' } ] }, latency: \
                    { delay: 1500us, jitter: 1ms } }";
        let said = line(slow);
        for part in ["latency { delay: 1.5ms, jitter: 1ms }", ", both,", "443", "\"*.a.b\"", "when { percent: 10 }"] {
            assert!(said.contains(part), "{part}: {said}");
        }
        let call = line("syscall: { calls: [fsync], errno: EIO, match: { paths: ['/a/**'] } }");
        assert_eq!(call, "calls: [fsync], errno: EIO, match { paths: [\"/a/**\"] }");
    }
}

//! What is said of experiments that cannot run: asked of the parser itself, and read from the definitions.

use crate::text::{code, columns, head, plain, row};
use chaos_k8s::api::crd;
use chaos_spec as spec;
use serde_json::Value;
use std::collections::BTreeSet;

/// A valid file, in which each mistake changes one line.
const BASE: &str = "apiVersion: chaos-ebpf.dev/v1alpha1
kind: Experiment
metadata: { name: t }
spec:
  duration: 30s
  selector: { local: [ { netns: web } ] }
  faults:
    - network:
        match: { protocol: tcp }
        loss: { percent: 1 }
";
const LOSS: &str = "loss: { percent: 1 }";
const MATCH: &str = "match: { protocol: tcp }";
const DURATION: &str = "duration: 30s";
const SELECTOR: &str = "selector: { local: [ { netns: web } ] }";

/// What is written instead of a part of the file.
const MISTAKES: [(&str, &str); 24] = [
    (DURATION, "duration: 30"),
    (DURATION, "duration: 48h"),
    (DURATION, "duration: 30s\n  durations: 1"),
    (SELECTOR, ""),
    (SELECTOR, "selector: { local: [ {} ] }"),
    (SELECTOR, "selector: { netns: web }"),
    (SELECTOR, "selector: { local: [ { netns: web, pid: 1 } ] }"),
    (MATCH, "match: {}"),
    (MATCH, "match: { protocol: tpc }"),
    (MATCH, "match: { ip: 10.0.0.1 }"),
    (MATCH, "match: { peers: [ { cidr: 10.0.0.1 } ] }"),
    (MATCH, "match: { ports: [70000] }"),
    (LOSS, "loss: 10%"),
    (LOSS, "loss: { percent: 101 }"),
    (LOSS, "drop: 10"),
    (LOSS, "latency: 100ms"),
    (LOSS, "latency: { delay: 100 }"),
    (LOSS, "latency: { delay: 10ms, jitter: 1s }"),
    (LOSS, "reorder: { percent: 10 }"),
    (LOSS, "bandwidth: { rate: 10 }"),
    (LOSS, "loss: { percent: 1 }\n        partition: true"),
    (LOSS, ""),
    ("faults:", "fault:"),
    ("kind: Experiment", "kind: NetworkChaos"),
];

/// The page.
pub fn page() -> String {
    let mut page = head("Messages", "the parser and the custom resource definitions");
    page += "A message names the field, the cause and what to write instead.\n\n";
    page += "## Of a file\n\n`chaos validate FILE` prints `FILE:LINE (Experiment/NAME): PATH: MESSAGE` and exits with 2.\n\n";
    page += &columns(&["written", "path", "message"]);
    for (old, new) in MISTAKES {
        let text = BASE.replacen(old, new, 1);
        let Err(problems) = spec::parse("FILE", &text) else { continue };
        for problem in problems {
            let written = if new.is_empty() {
                format!("no {}", code(old.split(':').next().unwrap_or_default()))
            } else {
                code(new)
            };
            page += &row(&[written, code(&problem.path), plain(&problem.message)]);
        }
    }
    page += "\n## Of the API server\n\n`kubectl apply` prints `spec.PATH: Invalid value: ...: MESSAGE`.\n\n";
    page += &columns(&["path", "message"]);
    let mut rules = BTreeSet::new();
    for definition in crd::definitions() {
        if definition["spec"]["names"]["kind"] == "Experiment" {
            let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
            walk("", schema, &mut rules);
        }
    }
    page.extend(rules.into_iter().map(|(path, message)| row(&[code(&path), plain(&message)])));
    page
}

fn walk(path: &str, schema: &Value, rules: &mut BTreeSet<(String, String)>) {
    for rule in schema["x-kubernetes-validations"].as_array().into_iter().flatten() {
        if let Some(message) = rule["message"].as_str() {
            rules.insert((path.to_owned(), message.to_owned()));
        }
    }
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        walk(&path, property, rules);
    }
    if schema["items"].is_object() {
        walk(&format!("{path}[]"), &schema["items"], rules);
    }
}

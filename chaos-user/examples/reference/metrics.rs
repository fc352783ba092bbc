//! Metrics, as an agent and a controller answer them.

use crate::text::{code, columns, head, plain, row};
use chaos_agent as agent;
use chaos_k8s::controller;
use std::collections::{BTreeMap, BTreeSet};

/// The page.
pub fn page() -> String {
    let mut page = head("Metrics", "what /metrics answers");
    page += "Agents and controllers serve `/metrics` in the OpenMetrics text format on the port of `--port`.\n\n";
    page += &format!("## Agent\n\n{}", table(&agent::example_of_metrics()));
    page += &format!("\n## Controller\n\n{}", table(&controller::example_of_metrics()));
    page
}

fn table(exposition: &str) -> String {
    let mut order = Vec::new();
    let (mut kinds, mut helps) = (BTreeMap::new(), BTreeMap::new());
    let mut labels: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for line in exposition.lines() {
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some("HELP"), Some(name), Some(help)) => {
                order.push(name);
                helps.insert(name, help);
            }
            (Some("#"), Some("TYPE"), Some(name), Some(kind)) => {
                kinds.insert(name, kind);
            }
            _ => {
                let Some((sample, rest)) = line.split_once('{') else { continue };
                let Some(name) = order.iter().rfind(|name| sample.starts_with(**name)) else { continue };
                let inner = rest.split('}').next().unwrap_or_default();
                let names = inner.split(',').filter_map(|label| label.split('=').next()).filter(|label| *label != "le");
                labels.entry(name).or_default().extend(names);
            }
        }
    }
    let mut text = columns(&["metric", "type", "labels", "meaning"]);
    for name in order {
        let kind = kinds.get(name).copied().unwrap_or_default();
        // OpenMetrics names the sample of a counter with this ending.
        let sample = if kind == "counter" { format!("{name}_total") } else { name.to_owned() };
        let labels: Vec<String> = labels.get(name).into_iter().flatten().map(|label| code(label)).collect();
        let help = helps.get(name).copied().unwrap_or_default();
        text += &row(&[code(&sample), kind.to_owned(), labels.join(", "), plain(help)]);
    }
    text
}

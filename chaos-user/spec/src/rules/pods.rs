//! Rules of selectors of pods.

use super::Found;
use super::node::{Node, enumerated, pod_selectors};

/// Without one of these every pod of the namespaces would be selected.
const SELECTING: [&str; 7] =
    ["labelSelector", "annotationSelector", "names", "nodes", "nodeSelector", "service", "workload"];

/// A selector names pods by a property, or says `all: true`.
pub(super) fn selected_by_something(spec: &Node<'_>, found: &mut Found) {
    for pods in pod_selectors(spec).iter().filter(|pods| pods.is_object()) {
        if pods.present(&SELECTING).is_empty() && pods.narrowing(&["all"]).is_empty() {
            let message = "selects by nothing; add labelSelector, annotationSelector, names, nodes, nodeSelector, service or \
                           workload, or write all: true for every pod of the namespaces";
            found.error(pods, message);
        }
    }
}

/// `all: true` beside what says which pods is a contradiction; nodes only narrow where.
pub(super) fn all_stands_alone(spec: &Node<'_>, found: &mut Found) {
    for pods in pod_selectors(spec).iter().filter(|pods| pods.is_true("all")) {
        let others = pods.present(&["labelSelector", "annotationSelector", "names", "service", "workload"]);
        if !others.is_empty() {
            let message = format!("contradicts {}; remove all: true, or remove the rest", enumerated(&others));
            found.error_at(pods, "all", message);
        }
    }
}

/// `value` is there where `mode` needs it, and only there.
pub(super) fn value_fits_mode(spec: &Node<'_>, found: &mut Found) {
    let Some(pods) = spec.get("selector").and_then(|selector| selector.get("pods")) else { return };
    let mode = pods.text("mode").unwrap_or("all");
    let value = pods.number("value");
    match (mode, value) {
        ("fixed", None) if !pods.has("value") => {
            found.error_at(&pods, "value", "mode: fixed needs a count; add value: 1");
        }
        ("percent" | "randomMaxPercent", None) if !pods.has("value") => {
            found.error_at(&pods, "value", format!("mode: {mode} needs a percentage; add value: 30"));
        }
        ("fixed", Some(value)) if value.fract() != 0.0 || value < 1.0 => {
            found.error_at(&pods, "value", format!("{value} is no count; write a whole number of at least 1"));
        }
        ("percent" | "randomMaxPercent", Some(value)) if value > 100.0 => {
            found.error_at(&pods, "value", format!("{value} is no percentage; write a number from 0 to 100"));
        }
        ("all" | "one", Some(_)) => {
            let message = format!("mode: {mode} takes no value; remove it, or write mode: percent or mode: fixed");
            found.error_at(&pods, "value", message);
        }
        _ => {}
    }
}

/// `"*"` beside names would say both all and some.
pub(super) fn every_namespace_alone(spec: &Node<'_>, found: &mut Found) {
    for pods in pod_selectors(spec) {
        let namespaces = pods.items("namespaces");
        let every = namespaces.iter().find(|name| name.as_text() == Some("*"));
        if let Some(every) = every.filter(|_| namespaces.len() > 1) {
            found.error(every, "\"*\" is all namespaces already; write it alone, or remove it");
        }
    }
}

/// In and NotIn have values, Exists and DoesNotExist have none.
pub(super) fn values_fit_operator(spec: &Node<'_>, found: &mut Found) {
    let selectors = pod_selectors(spec);
    let labels =
        selectors.iter().flat_map(|pods| [pods.get("labelSelector"), pods.get("annotationSelector")]).flatten();
    for requirement in labels.flat_map(|labels| labels.items("matchExpressions")) {
        match (requirement.text("operator"), requirement.has("values")) {
            (Some(operator @ ("In" | "NotIn")), false) => {
                found.error_at(&requirement, "values", format!("operator: {operator} needs values; add values: [...]"));
            }
            (Some(operator @ ("Exists" | "DoesNotExist")), true) => {
                let message = format!("operator: {operator} takes no values; remove them, or write operator: In");
                found.error_at(&requirement, "values", message);
            }
            _ => {}
        }
    }
}

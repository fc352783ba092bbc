//! What the schema cannot say: one small function per rule.
//!
//! The rules look at the document and not at the typed experiment, so that they speak even where another field is wrong,
//! and each finding has its path from where it was found. What is absent or of the wrong type the schema walk has reported;
//! a rule then says nothing.

pub mod action;
mod duration;
mod fault;
mod never;
mod node;
mod packet;
mod pods;
mod probe;
mod selector;
mod syscall;

use serde_json::Value;

use super::Finding;
use node::Node;

/// What the rules found.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) errors: Vec<Finding>,
    pub(super) warnings: Vec<Finding>,
}

impl Found {
    fn error(&mut self, node: &Node<'_>, message: impl Into<String>) {
        self.errors.push(Finding::new(node.path().clone(), message));
    }

    fn error_at(&mut self, node: &Node<'_>, field: &str, message: impl Into<String>) {
        self.errors.push(Finding::new(node.path().key(field), message));
    }

    fn warn(&mut self, node: &Node<'_>, message: impl Into<String>) {
        self.warnings.push(Finding::new(node.path().clone(), message));
    }

    fn warn_at(&mut self, node: &Node<'_>, field: &str, message: impl Into<String>) {
        self.warnings.push(Finding::new(node.path().key(field), message));
    }
}

/// A rule: looks at `spec`, reports what is wrong.
type Rule = fn(&Node<'_>, &mut Found);

/// All rules, in the order in which their fields stand in a document.
const RULES: &[Rule] = &[
    duration::of_experiment,
    duration::of_start,
    selector::one_of_pods_and_local,
    selector::one_property_of_local,
    pods::selected_by_something,
    pods::all_stands_alone,
    pods::value_fits_mode,
    pods::every_namespace_alone,
    pods::values_fit_operator,
    fault::one_of_network_and_syscall,
    fault::unique_names,
    fault::per_needs_percent,
    duration::window_within_experiment,
    packet::selects_something,
    packet::all_stands_alone,
    packet::except_leaves_something,
    packet::connections_need_tcp,
    packet::ports_need_protocol_with_ports,
    packet::ports_of_ingress,
    packet::one_property_of_peer,
    action::one_action,
    action::reorder_needs_latency,
    action::zero_hits_nothing,
    action::loss_by_one_model,
    action::reset_needs_tcp,
    duration::delay_in_range,
    duration::jitter_within_delay,
    duration::jitter_for_its_options,
    syscall::errno_or_latency,
    syscall::known_groups,
    syscall::deadly,
    syscall::selects_something,
    syscall::all_stands_alone,
    never::names_of_threads,
    never::paths_of_files,
    never::zero_bytes,
    never::tiny_shares,
    never::wide_hosts,
    probe::one_of_http_and_tcp,
    probe::unique_names,
    probe::readable_address,
    duration::of_probes,
];

/// Applies every rule to a document.
pub(super) fn apply(document: &Value) -> Found {
    let mut found = Found::default();
    if let Some(spec) = Node::root(document).get("spec") {
        for rule in RULES {
            rule(&spec, &mut found);
        }
    }
    found
}

/// Which of the rules find something in at least one of the documents.
#[cfg(test)]
pub(super) fn fired(documents: &[Value]) -> Vec<bool> {
    let finds = |rule: &Rule, document: &Value| {
        let mut found = Found::default();
        rule(&Node::root(document).get("spec").expect("a spec"), &mut found);
        !(found.errors.is_empty() && found.warnings.is_empty())
    };
    RULES.iter().map(|rule| documents.iter().any(|document| finds(rule, document))).collect()
}

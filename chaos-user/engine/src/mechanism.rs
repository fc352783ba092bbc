//! By what means a fault acts, in one word for each.

use super::arrivals;
use chaos_spec::plan::{RulePlan, call::Candidate};
use std::collections::BTreeSet;

/// `tcx+fq`, `tcx+cgroup_skb`, `entry+lsm`. `chosen` are the means for the calls of the rule, if it is about calls; `scoped`: the
/// target is one cgroup of a network namespace; `interfaces` says how programs are attached to those.
#[must_use]
pub fn mechanism(rule: &RulePlan, chosen: &[Candidate], scoped: bool, interfaces: &str) -> String {
    if rule.call.is_some() {
        let words: BTreeSet<&str> = chosen.iter().map(Candidate::mechanism).collect();
        return words.into_iter().collect::<Vec<_>>().join("+");
    }
    let mechanism = if scoped { arrivals::mechanism(rule.direction, interfaces) } else { interfaces.to_owned() };
    if rule.queue.is_some() { format!("{mechanism}+fq") } else { mechanism }
}

//! What to do. An experiment becomes rules that do not know their targets yet; pure.

mod asked;
pub mod call;
mod condition;
pub mod glob;
mod rule;
#[cfg(test)]
mod tests;

pub use asked::Asked;
pub use condition::{Condition, PeerAddress};
pub use rule::{RulePlan, compile};

use crate::{Experiment, OnUnsupported};

/// What an experiment asks of each of its targets.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The experiment's name.
    pub name: String,
    /// Its namespace, where it has one.
    pub namespace: Option<String>,
    /// From the first injection on.
    pub duration: std::time::Duration,
    /// Seed of all dice.
    pub seed: u64,
    /// Match, decide and count, but harm nothing.
    pub dry_run: bool,
    /// What to do where a node cannot serve a fault.
    pub on_unsupported: OnUnsupported,
    /// The faults, in the order in which they act.
    pub rules: Vec<RulePlan>,
    /// Names of all faults, in the order of the file.
    pub faults: Vec<FaultName>,
}

impl Plan {
    /// Does any fault act in a network namespace? One of calls does not, unless answers of the DNS are to be seen there.
    #[must_use]
    pub fn needs_network(&self) -> bool {
        self.rules.iter().any(|rule| rule.call.is_none() || rule.names_hosts())
    }
}

/// A fault's place in the report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaultName {
    /// Its name, `fault-<index>` where it has none.
    pub name: String,
    /// No effect of this one does not spoil the verdict.
    pub optional: bool,
    /// It counts calls, not packets.
    pub calls: bool,
    /// What it asks.
    pub asked: Asked,
}

/// What cannot be planned, with the field that says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The field.
    pub path: String,
    /// Why, and what to do.
    pub message: String,
    /// The input is wrong on every machine of this kind; otherwise this build cannot do it.
    pub invalid: bool,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.path, self.message)
    }
}

/// Plans a validated experiment. `seed` is used where the experiment has none.
///
/// # Errors
/// Every part that this build cannot do at all.
pub fn plan(experiment: &Experiment, seed: u64) -> Result<Plan, Vec<Refusal>> {
    let spec = &experiment.spec;
    let seed = spec.seed.unwrap_or(seed);
    let (mut rules, mut refusals) = (Vec::new(), Vec::new());
    for (index, fault) in spec.faults.iter().enumerate() {
        match compile(index, fault, seed, spec.dry_run) {
            Ok(rule) => rules.push(rule),
            Err(refusal) => refusals.push(refusal),
        }
    }
    if !refusals.is_empty() {
        return Err(refusals);
    }
    // Stable: faults of the same kind act in the order of the file.
    rules.sort_by_key(|rule| rule.phase);
    let faults = spec.faults.iter().enumerate();
    Ok(Plan {
        name: experiment.metadata.name.clone(),
        namespace: experiment.metadata.namespace.clone(),
        duration: spec.duration.get(),
        seed,
        dry_run: spec.dry_run,
        on_unsupported: spec.on_unsupported,
        rules,
        faults: faults
            .map(|(index, fault)| FaultName {
                name: fault.display_name(index),
                optional: fault.optional,
                calls: fault.syscall.is_some(),
                asked: Asked::of(fault),
            })
            .collect(),
    })
}

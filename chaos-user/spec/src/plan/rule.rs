//! A fault becomes a rule.

use super::{
    Condition, Refusal,
    call::{self, CallPlan},
};
use crate::{
    Direction, Fault, Per, When,
    faults::{self, Queue},
};
use chaos_abi::{
    ACTION_CALL, ALWAYS, ARGS, PER_CONNECTION, PER_EVENT, PER_PEER, RULE_DRY_RUN, RULE_SPARE_NODE, RULE_TRIGGER,
    RULE_WINDOW, Rule, State, mix,
};

/// Most `except` entries that differ in more than their peers: each takes a place in the walk.
const MOST_EXCEPTS: usize = 8;

/// One fault, for any target.
#[derive(Clone, Debug)]
pub struct RulePlan {
    /// Index of the fault in the file.
    pub fault: usize,
    /// The fault's kind: `latency`.
    pub kind: &'static str,
    /// Place in the fixed order.
    pub phase: u32,
    /// Which way.
    pub direction: Direction,
    /// What it means.
    pub condition: Condition,
    /// What it does not mean. Entries of the file that differ in their peers alone are one.
    pub excepts: Vec<Condition>,
    /// For each entry of the file, which of `excepts` it is part of.
    pub except_of: Vec<usize>,
    /// What it needs of a queue.
    pub queue: Option<Queue>,
    /// New connections are limited to one segment per buffer.
    pub per_packet: bool,
    /// The mean delay asked for, ns; for the report.
    pub requested_delay: Option<u64>,
    /// What it asks of system calls; None: it is a network fault.
    pub call: Option<CallPlan>,
    rule: Rule,
}

impl RulePlan {
    /// `ACTION_*`.
    #[must_use]
    pub const fn action(&self) -> u32 {
        self.rule.action
    }

    /// The rule on the target with these dice. Sets, scope and lease are still to be filled in.
    #[must_use]
    pub fn rule(&self, dice: u64) -> Rule {
        Rule { seed: mix(self.rule.seed ^ mix(dice)), ..self.rule }
    }

    /// What it does not mean, then what it means: as its rules stand in the walk.
    pub fn conditions(&self) -> impl Iterator<Item = &Condition> {
        self.excepts.iter().chain([&self.condition])
    }

    /// Spares packets from and to the node's own addresses: a kubelet's probes.
    pub fn spare_node(&mut self) {
        self.rule.flags |= RULE_SPARE_NODE;
    }

    /// Are these spared?
    #[must_use]
    pub fn spares_node(&self) -> bool {
        self.rule.flags & RULE_SPARE_NODE != 0
    }

    /// Is any peer given by name?
    #[must_use]
    pub fn names_hosts(&self) -> bool {
        self.conditions().any(|condition| !condition.hosts.is_empty())
    }

    /// What the rule remembers at its start: correlated draws begin at random, as netem's do.
    #[must_use]
    pub fn state(&self, dice: u64) -> State {
        let seed = mix(self.rule(dice).seed);
        State { last_draw: seed as u32, last_jitter: (seed >> 32) as u32, ..State::zeroed() }
    }
}

/// Compiles one fault.
///
/// # Errors
/// What this build cannot do.
pub fn compile(index: usize, fault: &Fault, seed: u64, dry_run: bool) -> Result<RulePlan, Refusal> {
    let path = format!("spec.faults[{index}]");
    let Some(network) = &fault.network else { return syscall(index, fault, seed, dry_run) };
    let Some(compiled) = faults::compile(network) else {
        return Err(Refusal { path: format!("{path}.network"), message: "has no action".to_owned(), invalid: true });
    };
    let (excepts, except_of) = merged(network.matches.except.iter().map(Condition::of));
    if excepts.len() > MOST_EXCEPTS {
        let message = format!(
            "{} entries differ in protocol, ports, connections or interfaces; at most {MOST_EXCEPTS} may (entries that \
             differ in their peers alone count as one)",
            excepts.len()
        );
        return Err(Refusal { path: format!("{path}.network.match.except"), message, invalid: false });
    }
    let mut rule = Rule { action: compiled.action, args: compiled.args, ..Rule::zeroed() };
    rule.seed = mix(seed ^ mix(index as u64));
    when(&mut rule, &fault.when);
    rule.flags |= if dry_run { RULE_DRY_RUN } else { 0 };
    let delay = network.latency.as_ref().map(|latency| latency.delay.as_nanos());
    Ok(RulePlan {
        fault: index,
        kind: compiled.name,
        phase: faults::phase(compiled.action),
        direction: network.direction,
        condition: Condition::of(&network.matches.packet),
        excepts,
        except_of,
        queue: compiled.queue,
        per_packet: network.per_packet,
        requested_delay: delay,
        call: None,
        rule,
    })
}

/// A fault of system calls.
fn syscall(index: usize, fault: &Fault, seed: u64, dry_run: bool) -> Result<RulePlan, Refusal> {
    let path = format!("spec.faults[{index}]");
    let Some(syscall) = &fault.syscall else {
        return Err(Refusal { path, message: "has neither network nor syscall".to_owned(), invalid: true });
    };
    if fault.when.per != Per::Event {
        let message = "calls have no connection or peer of their own; leave it out".to_owned();
        return Err(Refusal { path: format!("{path}.when.per"), message, invalid: true });
    }
    let call = call::plan(syscall, &format!("{path}.syscall"))?;
    let mut rule = Rule { action: ACTION_CALL, args: call.args.encode(), ..Rule::zeroed() };
    rule.seed = mix(seed ^ mix(index as u64));
    when(&mut rule, &fault.when);
    rule.flags |= if dry_run { RULE_DRY_RUN } else { 0 };
    Ok(RulePlan {
        fault: index,
        kind: "syscall",
        phase: faults::phase(ACTION_CALL),
        direction: Direction::Egress,
        condition: Condition::of_call(&syscall.matches),
        excepts: Vec::new(),
        except_of: Vec::new(),
        queue: None,
        per_packet: false,
        requested_delay: (call.args.delay != 0).then_some(call.args.delay),
        call: Some(call),
        rule,
    })
}

/// Conditions that differ in their peers alone become one; where each went.
fn merged(conditions: impl Iterator<Item = Condition>) -> (Vec<Condition>, Vec<usize>) {
    let (mut all, mut places): (Vec<Condition>, Vec<usize>) = (Vec::new(), Vec::new());
    for condition in conditions {
        match all.iter().position(|one| one.merges_with(&condition)) {
            Some(place) => {
                all[place].absorb(condition);
                places.push(place);
            }
            None => {
                places.push(all.len());
                all.push(condition);
            }
        }
    }
    (all, places)
}

fn when(rule: &mut Rule, when: &When) {
    rule.percent = when.percent.map_or(ALWAYS, |percent| percent.scaled());
    rule.every = when.every.unwrap_or(0);
    rule.nth = when.nth.unwrap_or(0);
    rule.first = when.first.unwrap_or(0);
    rule.budget = when.budget.unwrap_or(0);
    rule.per = match when.per {
        Per::Event => PER_EVENT,
        Per::Connection => PER_CONNECTION,
        Per::Peer => PER_PEER,
    };
    if rule.percent != ALWAYS || rule.every != 0 || rule.nth != 0 || rule.first != 0 || rule.budget != 0 {
        rule.flags |= RULE_TRIGGER;
    }
    rule.after = when.after.map_or(0, |after| after.as_nanos());
    rule.until = when.lasting.map_or(0, |lasting| rule.after + lasting.as_nanos());
    if rule.after != 0 || rule.until != 0 {
        rule.flags |= RULE_WINDOW;
    }
    debug_assert!(rule.args.len() == ARGS, "the contract's size");
}

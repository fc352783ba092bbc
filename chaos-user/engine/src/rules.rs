//! From plans to entries of the maps: ids and rules.

use super::{EngineError, Locked, RunEntry, Session, sets::PlanSets};
use chaos_abi::{
    ACTION_EXCEPT, CallArgs, CallState, LEASE_ID_STEP, MAX_LEASES, MAX_PORT_SETS, MAX_RULES, RULE_ADDR_PORTS,
    RULE_ANY_PROBE, RULE_BOTH_ROLES, RULE_CGROUP, RULE_SPARE_NODE, Rule, SET_V6, State, maps,
};
use chaos_host::{Probed, Target};
use chaos_spec::{
    Direction,
    plan::{Condition, Plan, RulePlan},
};
use chaos_sys::{
    clock,
    datapath::{Datapath, map_error},
    error::KernelError,
    seam,
};
use nix::errno::Errno;
use std::collections::BTreeSet;

/// The rules of one fault on one target, in the maps.
#[derive(Clone, Debug)]
pub struct Placed {
    /// Index of the target.
    pub target: usize,
    /// Index into the plan's rules.
    pub plan: usize,
    /// Ids of its `except` entries, then its own: as they stand in the walk.
    pub ids: Vec<u32>,
}

impl Placed {
    /// Its ids as they stand at an attach point: those of the exceptions that are `wanted` there, then its own.
    pub fn ids_where(&self, rule: &RulePlan, wanted: impl Fn(&Condition) -> bool) -> Vec<u32> {
        let excepts = rule.excepts.iter().zip(&self.ids).filter(|(except, _)| wanted(except));
        excepts.map(|(_, id)| *id).chain([self.id()]).collect()
    }

    /// The rule that counts.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.ids.last().copied().unwrap_or(0)
    }
}

/// The lowest ids of `1..limit` that no run uses.
fn free(limit: u32, used: &BTreeSet<u32>, count: usize, what: &str) -> Result<Vec<u32>, EngineError> {
    let ids: Vec<u32> = (1..limit).filter(|id| !used.contains(id)).take(count).collect();
    if ids.len() == count {
        return Ok(ids);
    }
    let text = format!("{what}: {count} needed, {} of {} free; stop another experiment first", ids.len(), limit - 1);
    Err(EngineError::Unsupported(text))
}

fn used(locked: &Locked, pick: fn(&RunEntry) -> &[u32]) -> BTreeSet<u32> {
    locked.journal.runs.iter().flat_map(|run| pick(run).iter().copied()).collect()
}

/// Gives the run its lease and the ids of its sets of peers, so that the journal knows them before anything is written.
///
/// # Errors
/// Where a table is full.
pub fn reserve(locked: &mut Locked, run: &mut RunEntry, plan: &Plan) -> Result<(), EngineError> {
    let leases = locked.journal.runs.iter().map(|run| run.lease).collect();
    let lease = free(MAX_LEASES, &leases, 1, "experiments")?;
    run.lease = lease.first().copied().unwrap_or(0);
    // Whoever had this slot before had it at an earlier time.
    run.lease_id = clock::monotonic().saturating_add(1).saturating_mul(LEASE_ID_STEP);
    let conditions = || plan.rules.iter().flat_map(|rule| rule.conditions());
    let sets = conditions().filter(|condition| !condition.any_peer).count();
    run.sets = (0..sets).map(|_| next_set(locked)).collect();
    Ok(())
}

/// Ids for the sets of ports of a plan, which are few on a node: one that has no target yet takes none.
///
/// # Errors
/// Where the table is full.
pub fn reserve_ports(locked: &Locked, plan: &Plan) -> Result<Vec<u32>, EngineError> {
    let conditions = plan.rules.iter().flat_map(|rule| rule.conditions());
    let ports = conditions.flat_map(|c| [&c.ports, &c.local_ports]).filter(|ports| !ports.is_empty()).count();
    free(MAX_PORT_SETS, &used(locked, |run| &run.port_sets), ports, "sets of ports")
}

/// Ids of sets are used one after the other, so that none is soon another's again.
pub fn next_set(locked: &mut Locked) -> u32 {
    locked.journal.last_set = (locked.journal.last_set + 1) & !SET_V6;
    locked.journal.last_set
}

/// Ids for the rules of a plan on so many more targets.
///
/// # Errors
/// Where the table is full.
pub fn reserve_rules(locked: &Locked, plan: &Plan, targets: usize) -> Result<Vec<u32>, EngineError> {
    let needed = plan.rules.iter().map(|rule| 1 + rule.excepts.len()).sum::<usize>() * targets;
    free(MAX_RULES, &used(locked, |run| &run.rules), needed, "rules")
}

/// What a rule remembers from before a restart of its owner.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Remembered {
    /// Packets that matched within the time window.
    pub position: u64,
    /// Packets hit.
    pub hits: u64,
}

/// Where rules are to be written.
pub struct Slots<'a> {
    /// Their ids.
    pub ids: &'a [u32],
    /// The lease of their experiment.
    pub lease: u32,
    /// Index of the first of the targets.
    pub first: usize,
    /// Where the tables of patterns begin, for each rule of the plan.
    pub tables: &'a [(u32, u32)],
}

/// Writes rules and their memory; they do nothing before they stand at an attach point and their lease runs.
///
/// # Errors
/// What the kernel says; `release::clear` takes back what was written.
pub fn write(
    session: &mut Session,
    slots: &Slots,
    plan: &Plan,
    sets: &PlanSets,
    targets: &[Target],
    remembered: impl Fn(usize, &Target) -> Remembered,
) -> Result<Vec<Placed>, EngineError> {
    let mut ids = slots.ids.iter().copied();
    let mut placed = Vec::new();
    for (index, (rule_plan, sets)) in plan.rules.iter().zip(sets).enumerate() {
        for (offset, target) in targets.iter().enumerate() {
            let mut entry = Placed { target: slots.first + offset, plan: index, ids: Vec::new() };
            let last = sets.len().saturating_sub(1);
            for (place, (condition, sets)) in rule_plan.conditions().zip(sets).enumerate() {
                let (mut rule, state) = if place == last {
                    let before = remembered(index, target);
                    let state = rule_plan.state(target.dice);
                    (rule_plan.rule(target.dice), State { position: before.position, hits: before.hits, ..state })
                } else {
                    (Rule { action: ACTION_EXCEPT, ..Rule::zeroed() }, State::zeroed())
                };
                sets.apply(&mut rule, condition, target.netns.inode);
                // Members of a Service that talk to each other do so in both roles.
                if rule_plan.direction == Direction::Both && rule.flags & RULE_ADDR_PORTS != 0 {
                    rule.flags |= RULE_BOTH_ROLES;
                }
                rule.lease = slots.lease;
                if rule_plan.call.is_some() {
                    let before = remembered(index, target);
                    call(&mut rule, slots.tables.get(index).copied().unwrap_or_default(), target);
                    let id = ids.next().ok_or_else(|| EngineError::Failed("a rule was not reserved".into()))?;
                    let state = CallState { position: before.position, hits: before.hits };
                    session.calls()?.remember(id, state)?;
                    put(&mut session.datapath, id, rule, State::zeroed())?;
                    entry.ids.push(id);
                    continue;
                }
                if let Some(scope) = target.scope() {
                    (rule.cgroup, rule.level) = (scope.id, scope.level);
                    rule.flags |= RULE_CGROUP;
                }
                if rule.flags & RULE_SPARE_NODE != 0 {
                    probed(&mut rule, &target.probed);
                }
                let id = ids.next().ok_or_else(|| EngineError::Failed("a rule was not reserved".into()))?;
                put(&mut session.datapath, id, rule, state)?;
                entry.ids.push(id);
            }
            placed.push(entry);
        }
    }
    Ok(placed)
}

/// What a rule for system calls has that others have not.
fn call(rule: &mut Rule, (path, comm): (u32, u32), target: &Target) {
    rule.args = CallArgs { path, comm, ..CallArgs::decode(&rule.args) }.encode();
    if let Some(scope) = &target.cgroup {
        (rule.cgroup, rule.level) = (scope.id, scope.level);
    }
}

/// What the target's node begins, for a rule that spares it.
fn probed(rule: &mut Rule, probed: &Probed) {
    rule.node = probed.node.map_or(0, |id| id.saturating_add(1));
    rule.flags |= if probed.ports.len() > rule.probes.len() { RULE_ANY_PROBE } else { 0 };
    for (to, port) in rule.probes.iter_mut().zip(&probed.ports) {
        *to = *port;
    }
}

fn put(datapath: &mut Datapath, id: u32, rule: Rule, state: State) -> Result<(), KernelError> {
    seam::run("fill map", maps::RULES, || {
        datapath.reset(id)?;
        datapath.states.set(id, state, 0).map_err(|e| map_error("fill map", maps::STATES, &e))?;
        datapath.rules.set(id, rule, 0).map_err(|e| map_error("fill map", maps::RULES, &e))
    })
}

/// That an entry is gone already is as good.
///
/// # Errors
/// Any other.
pub fn gone(result: Result<(), aya::maps::MapError>, op: &'static str, name: &str) -> Result<(), KernelError> {
    let error = result.map_err(|e| map_error(op, name, &e));
    if error.as_ref().is_err_and(|e| e.errno == Errno::ENOENT) { Ok(()) } else { error }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ports_that_a_node_probes_stand_in_the_rule_and_more_than_fit_are_any() {
        let written = |ports: std::ops::Range<u16>, node| {
            let mut rule = Rule::zeroed();
            probed(&mut rule, &Probed { ports: ports.collect(), node });
            (rule.probes[0], rule.probes[15], rule.flags, rule.node)
        };
        assert_eq!(written(80..81, Some(0)), (80, 0, 0, 1));
        assert_eq!(written(80..96, Some(6)), (80, 95, 0, 7));
        assert_eq!(written(80..97, None), (80, 95, RULE_ANY_PROBE, 0));
        assert_eq!(written(0..0, None), (0, 0, 0, 0));
    }
}

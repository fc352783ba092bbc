//! What a queue can hold back, and how much: not on loopback, and not more than its limit.

use super::wants::{self, Around};
use chaos_abi::ACTION_LATENCY;
use chaos_host::{Interface, Target};
use chaos_outcome::FaultReport;
use chaos_spec::plan::{Plan, RulePlan};

/// Can packets of this rule be held back here? A packet that leaves the pair has lost its route, and without one no IPv4 address of the
/// host's own is a source on loopback (net/ipv4/route.c, `ip_route_input_slow`, "martian"): a delay would be a partition.
#[must_use]
pub fn can_be_on(rule: &RulePlan, interface: &Interface) -> bool {
    rule.queue.is_none() || !interface.loopback
}

/// Can what the plan asks to be held back be held back on this target?
///
/// # Errors
/// A sentence naming the field, the reason and what is possible.
pub fn possible(plan: &Plan, target: &Target) -> Result<(), String> {
    for rule in plan.rules.iter().filter(|rule| rule.queue.is_some()) {
        let named = |one: &&Interface| one.loopback && rule.condition.interfaces.contains(&one.name);
        let field = if target.interfaces.iter().any(|one| named(&one)) {
            "interfaces: lo"
        } else if rule.condition.peers.iter().any(|peer| peer.address().is_loopback()) {
            "peers: a loopback address"
        } else {
            continue;
        };
        return Err(format!(
            "spec.faults[{}].network.match.{field}: {} cannot hold packets of {} back on loopback, where they would be lost; leave it out, \
             or use loss, partition or reset there",
            rule.fault, rule.kind, target.name
        ));
    }
    Ok(())
}

/// Which faults do not hold back what a target sends to itself, though their peers cover its addresses.
#[must_use]
pub fn spared(plan: &Plan, target: &Target, around: Around) -> Vec<String> {
    let spares = |rule: &&RulePlan| {
        rule.queue.is_some()
            && target.interfaces.iter().any(|one| one.loopback && wants::means_loopback(rule, target, one, around))
    };
    let text = |rule: &RulePlan| {
        format!(
            "spec.faults[{}].network.match.peers: they cover addresses of {} itself; what it sends to those passes loopback, where {} cannot \
             act: it is not held back",
            rule.fault, target.name, rule.kind
        )
    };
    plan.rules.iter().filter(spares).map(text).collect()
}

/// How many packets per second fill the queue of a delay; None: the rule is no delay.
#[must_use]
pub fn rate(rule: &RulePlan) -> Option<u64> {
    let (queue, delay) = (rule.queue?, rule.requested_delay.filter(|delay| *delay > 0)?);
    (rule.phase == chaos_spec::faults::phase(ACTION_LATENCY))
        .then(|| u64::try_from(u128::from(queue.packets) * 1_000_000_000 / u128::from(delay)).unwrap_or(u64::MAX))
}

/// Packets that were lost because a queue was full, with the remedy.
#[must_use]
pub fn overflowed(plan: &Plan, faults: &[FaultReport]) -> Vec<String> {
    let text = |fault: &FaultReport| {
        let rule =
            plan.rules.iter().find(|rule| plan.faults.get(rule.fault).is_some_and(|one| one.name == fault.name))?;
        let (queue, lost) = (rule.queue?, fault.overflow.saturating_add(fault.dropped));
        (lost > 0).then(|| {
            format!(
                "fault {} on {}: {lost} packets found {} others waiting, and were lost; raise {}.limit, or match fewer packets",
                fault.name, fault.target, queue.packets, rule.kind
            )
        })
    };
    faults.iter().filter_map(text).collect()
}

#[cfg(test)]
pub(super) mod tests;

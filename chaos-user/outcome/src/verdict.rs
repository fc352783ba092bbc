//! How an experiment is judged.

use super::figure::count;
use chaos_spec::plan::Plan;

use super::report::{FaultReport, ProbeReport, RejectedBy, TakenOver, Verdict};

/// Local proxies that a reason names.
const MOST_PROXIES: usize = 4;
/// Targets that a reason names.
const MOST_NAMED: usize = 8;

/// How an experiment came to its end, as the engine saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// Its duration was over, or `stop --finish` ended it as if.
    Finished,
    /// A signal, a stop or a lost lease; the sentence says which.
    Aborted(String),
    /// A policy, a lock or a protected target forbade it; nothing was attached.
    Refused(String),
    /// The kernel, the user or the machine cannot; nothing was attached.
    Unsupported(String),
    /// The input was not valid; nothing was attached.
    Invalid(String),
    /// We failed; all was reverted.
    Error(String),
}

/// What of a fault's spec the verdict depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FaultPlanned {
    /// Its name; `fault-<index>` of an unnamed one.
    pub name: String,
    /// Whether no effect of it is allowed.
    pub optional: bool,
    /// What it counts.
    pub unit: Unit,
}

/// What a fault counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Unit {
    /// Packets, of a network fault.
    #[default]
    Packets,
    /// Calls, of a syscall fault.
    Calls,
}

impl Unit {
    const fn one(self) -> &'static str {
        match self {
            Self::Packets => "packet",
            Self::Calls => "call",
        }
    }

    fn counted(self, number: u64) -> String {
        format!("{} {}{}", count(number), self.one(), if number == 1 { "" } else { "s" })
    }
}

/// What the verdict depends on of each fault of a plan.
pub fn planned(plan: &Plan) -> Vec<FaultPlanned> {
    let each = plan.faults.iter().map(|fault| FaultPlanned {
        name: fault.name.clone(),
        optional: fault.optional,
        unit: if fault.calls { Unit::Calls } else { Unit::Packets },
    });
    each.collect()
}

/// The verdict and its reason, a sentence that is empty with a plain Pass.
///
/// How it ended comes first: what was refused, invalid, impossible or our error injected nothing that could be judged. A
/// failed probe outweighs an abort, because it is what stopped the experiment. With `dry_run` a fault counts as effective
/// if it would have injected. A fault that no target reports had no effect.
pub fn judge(
    ending: &Ending,
    dry_run: bool,
    planned: &[FaultPlanned],
    faults: &[FaultReport],
    probes: &[ProbeReport],
) -> (Verdict, String) {
    match ending {
        Ending::Error(reason) => return (Verdict::Error, reason.clone()),
        Ending::Unsupported(reason) => return (Verdict::Unsupported, reason.clone()),
        Ending::Refused(reason) => return (Verdict::Refused, reason.clone()),
        Ending::Invalid(reason) => return (Verdict::Invalid, reason.clone()),
        Ending::Finished | Ending::Aborted(_) => {}
    }
    if let Some(reason) = failed_probe(probes) {
        return (Verdict::Fail, reason);
    }
    if let Ending::Aborted(reason) = ending {
        return (Verdict::Aborted, reason.clone());
    }
    let idle = planned.iter().filter(|fault| !fault.optional).filter_map(|fault| no_effect(fault, dry_run, faults));
    let idle: Vec<String> = idle.collect();
    if !idle.is_empty() {
        return (Verdict::NoEffect, idle.join("; "));
    }
    let missed = planned.iter().filter(|fault| !fault.optional).flat_map(|fault| missed(fault, dry_run, faults));
    (Verdict::Pass, unsure(faults).into_iter().chain(missed).collect::<Vec<_>>().join("; "))
}

/// What keeps a Pass from being a plain one: packets that were spared on a guess.
fn unsure(faults: &[FaultReport]) -> Vec<String> {
    let mut by_fault: Vec<(&str, u64, Vec<&str>)> = Vec::new();
    for fault in faults.iter().filter(|fault| fault.spared_by_address > 0) {
        let (count, target) = (fault.spared_by_address, fault.target.as_str());
        match by_fault.iter_mut().find(|(name, ..)| *name == fault.name) {
            Some((_, sum, targets)) => {
                *sum = sum.saturating_add(count);
                targets.push(target);
            }
            None => by_fault.push((&fault.name, count, vec![target])),
        }
    }
    let each = by_fault.into_iter().map(|(name, sum, targets)| {
        format!(
            "{name}: {} spared by address alone, on {}: it is not known whether the node began these connections; \
             match.node: true hits them",
            Unit::Packets.counted(sum),
            listed(&targets)
        )
    });
    each.collect()
}

/// "shop/a, shop/b and 12 more"
fn listed(targets: &[&str]) -> String {
    let more = targets.len().saturating_sub(MOST_NAMED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{more}", targets.iter().take(MOST_NAMED).copied().collect::<Vec<_>>().join(", "))
}

/// The other: where a fault hit some targets, those that it did not hit since a local proxy takes their connections over.
fn missed(planned: &FaultPlanned, dry_run: bool, faults: &[FaultReport]) -> Vec<String> {
    let is_behind = |fault: &&FaultReport| {
        fault.name == planned.name && effect(fault, dry_run) == 0 && !fault.taken_over.is_empty()
    };
    let mut by_proxy: Vec<(String, Vec<&FaultReport>)> = Vec::new();
    for fault in faults.iter().filter(is_behind) {
        let proxies = named(&fault.taken_over.iter().collect::<Vec<_>>());
        match by_proxy.iter_mut().find(|(other, _)| *other == proxies) {
            Some((_, behind)) => behind.push(fault),
            None => by_proxy.push((proxies, vec![fault])),
        }
    }
    let rest = by_proxy.split_off(by_proxy.len().min(MOST_PROXIES));
    let each = by_proxy.iter().map(|(_, behind)| {
        let targets: Vec<&str> = behind.iter().map(|fault| fault.target.as_str()).collect();
        format!("{}: no effect on {}{}", planned.name, listed(&targets), taken_over(behind))
    });
    let more: usize = rest.iter().map(|(_, behind)| behind.len()).sum();
    let more = (more > 0).then(|| format!("{}: no effect on {more} more, behind such proxies, too", planned.name));
    each.chain(more).collect()
}

const fn effect(fault: &FaultReport, dry_run: bool) -> u64 {
    if dry_run { fault.would_inject } else { fault.injected }
}

fn failed_probe(probes: &[ProbeReport]) -> Option<String> {
    probes.iter().find_map(|probe| {
        let phase = probe.phases.iter().find(|phase| phase.failed)?;
        let when = match phase.phase.as_str() {
            "before" => "before the faults: nothing was injected",
            "during" => "during the faults: they were stopped at once",
            _ => "after the faults: the service has not recovered",
        };
        let why = phase.last_error.as_ref().map(|error| format!(" ({error})")).unwrap_or_default();
        Some(format!("probe {} failed {when}{why}", probe.name))
    })
}

/// Why the fault had no effect; `None` if it had one.
fn no_effect(planned: &FaultPlanned, dry_run: bool, faults: &[FaultReport]) -> Option<String> {
    let mine: Vec<&FaultReport> = faults.iter().filter(|fault| fault.name == planned.name).collect();
    let total = |field: fn(&FaultReport) -> u64| mine.iter().fold(0_u64, |sum, fault| sum.saturating_add(field(fault)));
    // Of calls it is the effect that is counted there: errors that they returned.
    let refused = if planned.unit == Unit::Packets { total(|fault| fault.actions.errors) } else { 0 };
    if mine.iter().any(|fault| effect(fault, dry_run) > 0) {
        return None;
    }
    let (seen, matched, unit) = (total(|fault| fault.seen), total(|fault| fault.matched), planned.unit);
    let why = if mine.is_empty() {
        "there was no target to inject into".to_owned()
    } else if total(|fault| fault.skipped_by_lease) > 0 && matched == 0 {
        format!("{} passed because the lease had lapsed", unit.counted(total(|fault| fault.skipped_by_lease)))
    } else if seen == 0 {
        format!("no {} of the target was seen while the fault was active", unit.one())
    } else if matched == 0 {
        rejected(unit, seen, &mine)
    } else if refused > 0 && !dry_run {
        format!("{} chosen, but the kernel refused to act on any of them", unit.counted(refused))
    } else {
        let not = if dry_run { "none would have been injected" } else { "none was injected" };
        format!("{} matched, but percent or when let all pass: {not}", unit.counted(matched))
    };
    Some(format!("{}: {why}{}", planned.name, taken_over(&mine)))
}

/// "; connections such as 10.1.0.7:41822 -> 10.1.2.9:5432 are taken over by a local proxy: container proxy (haproxy) at 127.0.0.1:15001.
/// Select container proxy, or the whole pod"
fn taken_over(faults: &[&FaultReport]) -> String {
    let mut proxies: Vec<&TakenOver> = Vec::new();
    for one in faults.iter().flat_map(|fault| &fault.taken_over) {
        if !proxies
            .iter()
            .any(|other| (&other.container, &other.process, &other.at) == (&one.container, &one.process, &one.at))
        {
            proxies.push(one);
        }
    }
    let Some(first) = proxies.first() else { return String::new() };
    let mut containers: Vec<&str> = proxies.iter().filter_map(|one| one.container.as_deref()).collect();
    containers.dedup();
    let remedy = match containers.as_slice() {
        [] => "select that process, or the whole network namespace".to_owned(),
        [one, ..] => format!("select container {one}, or the whole pod"),
    };
    let connection = &first.connection;
    format!("; connections such as {connection} are taken over by a local proxy: {}; {remedy}", named(&proxies))
}

/// "container proxy (haproxy) at 127.0.0.1:15001"
fn named(proxies: &[&TakenOver]) -> String {
    let one = |one: &&TakenOver| match (&one.container, &one.process) {
        (Some(container), Some(process)) => format!("container {container} ({process}) at {}", one.at),
        (Some(container), None) => format!("container {container} at {}", one.at),
        (None, Some(process)) => {
            let pid = one.pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default();
            format!("process {process}{pid} at {}", one.at)
        }
        (None, None) => format!("a listener at {}", one.at),
    };
    proxies.iter().take(MOST_PROXIES).map(one).collect::<Vec<_>>().join(", ")
}

/// "12,034 packets seen, all rejected by peer; most went to 10.96.0.12:5432 (Service shop/db): did you mean service: db?"
fn rejected(unit: Unit, seen: u64, faults: &[&FaultReport]) -> String {
    let mut causes: Vec<(&str, u64)> = RejectedBy::default().entries().to_vec();
    for (name, sum) in &mut causes {
        let of_fault =
            |fault: &&FaultReport| fault.rejected_by.entries().iter().find(|e| e.0 == *name).map_or(0, |e| e.1);
        *sum = faults.iter().map(of_fault).fold(0, u64::saturating_add);
    }
    causes.retain(|(_, sum)| *sum > 0);
    // A stable sort: where two are equal, the earlier test is named first.
    causes.sort_by_key(|(_, sum)| std::cmp::Reverse(*sum));
    let why = match causes.as_slice() {
        [] => "none matched".to_owned(),
        [(name, _)] => format!("all rejected by {name}"),
        several => {
            let list: Vec<String> = several.iter().map(|(name, sum)| format!("{} by {name}", count(*sum))).collect();
            format!("rejected {}", list.join(", "))
        }
    };
    format!("{} seen, {why}{}", unit.counted(seen), most_missed(faults))
}

fn most_missed(faults: &[&FaultReport]) -> String {
    let missed = faults.iter().flat_map(|fault| &fault.samples.missed);
    let Some(peer) = missed.max_by_key(|peer| peer.count) else { return String::new() };
    let known = peer.known_as.as_ref().map(|name| format!(" ({name})")).unwrap_or_default();
    let question = peer.suggestion.as_ref().map(|s| format!(": did you mean {s}?")).unwrap_or_default();
    format!("; most went to {}{known}{question}", peer.peer)
}

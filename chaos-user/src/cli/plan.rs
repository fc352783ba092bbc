//! `chaos plan`.

use super::{before, code_of, input};
use chaos_engine::{
    Request, check,
    lookup::Known,
    mechanism::mechanism,
    possible::reduce,
    queue, run,
    trial::Trial,
    wants::{self, Around},
};
use chaos_host::Target;
use chaos_outcome::EngineError;
use chaos_outcome::{ExitCode, combined, count as figure};
use chaos_spec::{
    Direction,
    plan::{Asked, Plan, RulePlan},
};
use chaos_sys::netns::Netns;
use serde::Serialize;
use std::{cell::LazyCell, collections::BTreeSet, sync::Arc};

/// How programs are attached to interfaces, or why they cannot be.
type Interfaces = Result<&'static str, String>;

/// What would happen. Field names are a contract: they may be added to, never renamed.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Planned {
    experiment: String,
    /// Of the faults, in Go's syntax.
    duration: String,
    dry_run: bool,
    targets: Vec<PlannedTarget>,
    faults: Vec<PlannedFault>,
    warnings: Vec<String>,
    /// What would be left out by permission.
    left_out: Vec<String>,
    /// Why nothing would be injected; empty where all can be.
    refused: Vec<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PlannedTarget {
    kind: &'static str,
    name: String,
    /// By which its packets or calls are told from others; absent where it has a network namespace to itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    cgroup: Option<String>,
    interfaces: Vec<String>,
    processes: usize,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PlannedFault {
    name: String,
    kind: &'static str,
    #[serde(flatten)]
    asked: Asked,
    /// `tcx+fq`; several where targets differ; none where the fault cannot act.
    mechanisms: Vec<String>,
    /// Of a delay: how much its queue holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<Limit>,
    /// Where packets would be met: target, interface, direction.
    places: Vec<Place>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Limit {
    /// How many packets wait at once; those beyond are lost.
    packets: u32,
    /// How many packets per second fill it.
    met_at_per_second: u64,
}

#[derive(Serialize)]
struct Place {
    target: String,
    interface: String,
    direction: &'static str,
}

/// Says what would happen: on whom, what, how, by what means, and what this kernel cannot do. Attaches nothing to a target.
pub fn plan(files: &input::Files, yes: bool, json: bool) -> ExitCode {
    let mut requests = match input::requests(files, false, yes) {
        Ok(requests) => requests,
        Err(code) => return code,
    };
    let mut codes = Vec::new();
    // Takes loading the programs: once for all experiments, and for none of calls alone.
    let interfaces = LazyCell::new(check::interfaces as fn() -> Interfaces);
    let mut all: Vec<Planned> = Vec::new();
    for request in &mut requests {
        let (planned, error) = describe(request, &interfaces);
        codes.extend(error.as_ref().map(code_of));
        all.push(planned);
    }
    let late = run::allowed(&requests).and_then(|()| before::prepare(&mut requests).map(drop));
    if let Err(error) = late {
        codes.push(code_of(&error));
        all.iter_mut().for_each(|one| one.refused.push(error.to_string()));
    }
    for planned in &all {
        if json {
            match serde_json::to_string_pretty(planned) {
                Ok(text) => println!("{text}"),
                Err(error) => eprintln!("print the plan: {error}"),
            }
        } else {
            print!("{}", text(planned));
        }
    }
    combined(codes)
}

fn describe(request: &mut Request, interfaces: &LazyCell<Interfaces>) -> (Planned, Option<EngineError>) {
    let possible = reduce(&mut request.plan, &request.targets);
    let plan = &request.plan;
    let acts = possible.is_ok() && plan.rules.iter().any(|rule| rule.call.is_none());
    let interfaces = match acts {
        true => LazyCell::force(interfaces).clone().map_err(EngineError::Unsupported),
        false => Ok(""),
    };
    let faults = plan.rules.iter().map(|rule| PlannedFault {
        name: plan.faults[rule.fault].name.clone(),
        kind: rule.kind,
        asked: plan.faults[rule.fault].asked.clone(),
        mechanisms: match (&possible, &interfaces) {
            (Ok(_), Ok(interfaces)) => means(rule, request, interfaces),
            _ => Vec::new(),
        },
        limit: queue::rate(rule)
            .zip(rule.queue)
            .map(|(rate, queue)| Limit { packets: queue.packets, met_at_per_second: rate }),
        places: request.targets.iter().flat_map(|target| places(request, rule, target)).collect(),
    });
    // What cannot be looked at now is met with its reason by the run.
    let own = request.targets.iter().flat_map(|target| own_addresses(plan, target).unwrap_or_default());
    let mut planned = Planned {
        experiment: plan.name.clone(),
        duration: humantime::format_duration(plan.duration).to_string(),
        dry_run: plan.dry_run,
        targets: request.targets.iter().map(target).collect(),
        faults: faults.collect(),
        warnings: own.chain(request.warnings.iter().cloned()).collect(),
        left_out: possible.as_ref().map_or_else(|_| Vec::new(), Clone::clone),
        refused: Vec::new(),
    };
    let error = possible.map(drop).and(interfaces.map(drop)).err();
    planned.refused.extend(error.as_ref().map(ToString::to_string));
    (planned, error)
}

fn target(target: &Target) -> PlannedTarget {
    let names = target.interfaces.iter().filter(|i| !i.loopback).map(|i| i.name.clone());
    PlannedTarget {
        kind: target.kind.as_str(),
        name: target.name.clone(),
        cgroup: target.scope().map(|scope| scope.path.clone()),
        interfaces: names.collect(),
        processes: target.pids.len(),
    }
}

/// Faults that do not hold back what a target sends to itself, by its addresses as they are now.
fn own_addresses(plan: &Plan, target: &Target) -> Result<Vec<String>, EngineError> {
    if plan.rules.iter().all(|rule| rule.queue.is_none()) {
        return Ok(Vec::new());
    }
    let netns = Netns::from_fd(Arc::clone(&target.netns.fd), target.name.clone())?;
    let local = wants::local_addresses(plan, &netns)?;
    Ok(queue::spared(plan, target, Around { local: &local, known: &Known::default() }))
}

/// `tcx+fq`; several where targets differ.
fn means(rule: &RulePlan, request: &Request, interfaces: &str) -> Vec<String> {
    let chosen = rule.call.as_ref().and_then(|call| Trial::get().choose(call).ok()).unwrap_or_default();
    let each = request.targets.iter().map(|target| mechanism(rule, &chosen, target.scope().is_some(), interfaces));
    each.collect::<BTreeSet<_>>().into_iter().collect()
}

/// Where a rule of packets meets those of a target.
fn places(request: &Request, rule: &RulePlan, target: &Target) -> Vec<Place> {
    if rule.call.is_some() {
        return Vec::new();
    }
    let netns = Netns::from_fd(Arc::clone(&target.netns.fd), target.name.clone());
    let local = netns.and_then(|netns| wants::local_addresses(&request.plan, &netns)).unwrap_or_default();
    let around = Around { local: &local, known: &Known::default() };
    let on = target.interfaces.iter().filter(|interface| wants::goes_on(rule, target, interface, around));
    let way = direction(rule.direction);
    on.map(|interface| Place { target: target.name.clone(), interface: interface.name.clone(), direction: way })
        .collect()
}

fn direction(direction: Direction) -> &'static str {
    match direction {
        Direction::Egress => "egress",
        Direction::Ingress => "ingress",
        Direction::Both => "both",
    }
}

/// For people.
fn text(planned: &Planned) -> String {
    let dry = if planned.dry_run { ", a dry run" } else { "" };
    let targets = count(planned.targets.len(), "target");
    let mut lines = vec![format!("{}: {targets} for {}{dry}", planned.experiment, planned.duration)];
    for target in &planned.targets {
        let scope = target.cgroup.as_ref().map_or(String::new(), |path| format!(", scoped by cgroup {path}"));
        let (names, held) = (target.interfaces.join(", "), count(target.processes, "process"));
        lines.push(format!("  target {} {} ({names}){scope}, {held}", target.kind, target.name));
    }
    for fault in &planned.faults {
        let by =
            if fault.mechanisms.is_empty() { String::new() } else { format!(" by {}", fault.mechanisms.join(", ")) };
        lines.push(format!("  fault {}: {}{by}", fault.name, fault.kind));
        lines.push(format!("    asks {}", fault.asked.line()));
        let on: Vec<String> =
            fault.places.iter().map(|one| format!("{} of {} ({})", one.interface, one.target, one.direction)).collect();
        if !on.is_empty() {
            lines.push(format!("    on {}", on.join(", ")));
        }
        if let Some(limit) = &fault.limit {
            let (packets, rate) = (figure(limit.packets.into()), figure(limit.met_at_per_second));
            lines.push(format!("    limit {packets} packets that wait at once, met at {rate} per second"));
        }
    }
    lines.extend(planned.warnings.iter().map(|warning| format!("  warning: {warning}")));
    lines.extend(planned.left_out.iter().map(|fault| format!("  {fault}")));
    lines.extend(planned.refused.iter().map(|why| format!("  refused: {why}")));
    lines.iter().map(|line| format!("{line}\n")).collect()
}

fn count(number: usize, noun: &str) -> String {
    let plural = if noun.ends_with('s') { "es" } else { "s" };
    format!("{number} {noun}{}", if number == 1 { "" } else { plural })
}

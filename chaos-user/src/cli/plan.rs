//! `chaos plan`.

use super::{before, code_of, input};
use crate::{
    engine::{EngineError, Request, check, mechanism::mechanism, possible::reduce, trial::Trial},
    observe::{ExitCode, combined},
    plan::RulePlan,
};
use std::{cell::LazyCell, collections::BTreeSet, path::PathBuf};

/// How programs are attached to interfaces, or why they cannot be.
type Interfaces = Result<&'static str, String>;

/// Says what would happen: on whom, by what means, and what this kernel cannot do. Attaches nothing to a target.
pub fn plan(files: &[PathBuf], yes: bool) -> ExitCode {
    let mut requests = match input::requests(files, false, yes) {
        Ok(requests) => requests,
        Err(code) => return code,
    };
    let mut codes = Vec::new();
    // Takes loading the programs: once for all experiments, and for none of calls alone.
    let interfaces = LazyCell::new(check::interfaces as fn() -> Interfaces);
    for request in &mut requests {
        if let Err(error) = describe(request, &interfaces) {
            println!("  refused: {error}");
            codes.push(code_of(&error));
        }
    }
    if let Err(error) = before::prepare(&mut requests) {
        println!("  refused: {error}");
        codes.push(code_of(&error));
    }
    combined(codes)
}

fn describe(request: &mut Request, interfaces: &LazyCell<Interfaces>) -> Result<(), EngineError> {
    let possible = reduce(&mut request.plan, &request.targets);
    let plan = &request.plan;
    let (targets, duration) = (count(request.targets.len(), "target"), humantime::format_duration(plan.duration));
    println!("{}: {targets} for {duration}", plan.name);
    for target in &request.targets {
        let names: Vec<_> = target.interfaces.iter().filter(|i| !i.loopback).map(|i| i.name.as_str()).collect();
        let scope = target.scope().map_or(String::new(), |scope| format!(", scoped by cgroup {}", scope.path));
        println!("  target {} {} ({}){scope}", target.kind.as_str(), target.name, names.join(", "));
    }
    let interfaces = match &possible {
        Ok(_) if plan.rules.iter().any(|rule| rule.call.is_none()) => {
            LazyCell::force(interfaces).clone().map_err(EngineError::Unsupported)
        }
        _ => Ok(""),
    };
    for rule in &plan.rules {
        let by = match (&possible, &interfaces) {
            (Ok(_), Ok(interfaces)) => format!(" by {}", means(rule, request, interfaces)),
            _ => String::new(),
        };
        println!("  fault {}: {}{by}", plan.faults[rule.fault].name, rule.kind);
    }
    request.warnings.iter().for_each(|warning| println!("  warning: {warning}"));
    possible?.iter().for_each(|fault| println!("  {fault}"));
    interfaces.map(drop)
}

/// `tcx+fq`; `tcx, tcx+cgroup_skb` where targets differ.
fn means(rule: &RulePlan, request: &Request, interfaces: &str) -> String {
    let chosen = rule.call.as_ref().and_then(|call| Trial::get().choose(call).ok()).unwrap_or_default();
    let each = request.targets.iter().map(|target| mechanism(rule, &chosen, target.scope().is_some(), interfaces));
    each.collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>().join(", ")
}

fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

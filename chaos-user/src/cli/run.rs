//! `chaos run` and `chaos plan`.

use super::{before, code_of, fail, input, watch};
use crate::{
    engine::{self, EngineError, possible::reduce},
    observe::{self, ExitCode, Format, Report, combined},
};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::{
    path::PathBuf,
    sync::{Arc, atomic::AtomicUsize},
};

/// `chaos plan`.
pub fn plan(files: &[PathBuf], yes: bool) -> ExitCode {
    let mut requests = match input::requests(files, false, yes) {
        Ok(requests) => requests,
        Err(code) => return code,
    };
    let mut codes = Vec::new();
    for request in &mut requests {
        println!(
            "{}: {} for {}",
            request.plan.name,
            count(request.targets.len(), "target"),
            humantime::format_duration(request.plan.duration)
        );
        for target in &request.targets {
            let names: Vec<_> = target.interfaces.iter().filter(|i| !i.loopback).map(|i| i.name.as_str()).collect();
            let scope = target.scope().map_or(String::new(), |scope| format!(", scoped by cgroup {}", scope.path));
            println!("  target {} {} ({}){scope}", target.kind.as_str(), target.name, names.join(", "));
        }
        for rule in &request.plan.rules {
            println!("  fault {}: {}", request.plan.faults[rule.fault].name, rule.kind);
        }
        request.warnings.iter().for_each(|warning| println!("  warning: {warning}"));
        match reduce(&mut request.plan, &request.targets) {
            Ok(left_out) => left_out.iter().for_each(|fault| println!("  {fault}")),
            Err(error) => {
                println!("  refused: {error}");
                codes.push(code_of(&error));
            }
        }
    }
    if let Err(error) = before::prepare(&mut requests) {
        println!("  refused: {error}");
        codes.push(code_of(&error));
    }
    combined(codes)
}

fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// `chaos run`.
pub fn run(files: &[PathBuf], output: Format, dry_run: bool, yes: bool) -> ExitCode {
    let mut requests = match input::requests(files, dry_run, yes) {
        Ok(requests) => requests,
        Err(code) => return code,
    };
    let signal = match catch_signals() {
        Ok(signal) => signal,
        Err(error) => return fail(&EngineError::Failed(format!("catch signals: {error}"))),
    };
    for request in &mut requests {
        match reduce(&mut request.plan, &request.targets) {
            Ok(left_out) => request.warnings.extend(left_out),
            Err(error) => return fail(&error),
        }
    }
    for request in &requests {
        request.warnings.iter().for_each(|warning| eprintln!("warning: {}: {warning}", request.plan.name));
    }
    let said: Vec<usize> = requests.iter().map(|request| request.warnings.len()).collect();
    let mut probes = match before::prepare(&mut requests) {
        Ok(probes) => probes,
        Err(error) => return fail(&error),
    };
    match before::before(&requests, &mut probes, &signal) {
        Ok(None) => {}
        Ok(Some(reports)) => return print(&reports, output, Vec::new()),
        Err(error) => return fail(&error),
    }
    let (engine, mut active) = match engine::prepare(requests) {
        Ok(prepared) => prepared,
        Err(error) => return fail(&error),
    };
    for (one, said) in active.iter().zip(said) {
        one.warnings.iter().skip(said).for_each(|warning| eprintln!("warning: {}: {warning}", one.plan.name));
    }
    let started = engine.start(&mut active);
    print(&watch::watch(&engine, active, probes, started, &signal), output, Vec::new())
}

/// The reports on stdout; the gravest of their verdicts and of what else went wrong.
pub fn print(reports: &[Report], output: Format, mut codes: Vec<ExitCode>) -> ExitCode {
    codes.extend(reports.iter().map(|report| ExitCode::from(report.verdict)));
    match observe::render(reports, output) {
        Ok(text) => print!("{text}"),
        Err(error) => {
            eprintln!("print the report: {error:#}");
            codes.push(ExitCode::Error);
        }
    }
    combined(codes)
}

/// Holds the number of a signal that came.
fn catch_signals() -> std::io::Result<Arc<AtomicUsize>> {
    let signal = Arc::new(AtomicUsize::new(0));
    for number in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register_usize(number, Arc::clone(&signal), number as usize)?;
    }
    Ok(signal)
}

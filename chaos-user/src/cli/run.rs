//! `chaos run` and `chaos plan`.

use super::{code_of, fail, input, progress::Progress};
use crate::{
    engine::{self, Active, Engine, EngineError, arrivals, lease::Fate, limit},
    kernel::{error::KernelError, probe},
    observe::{self, Ending, ExitCode, FaultPlanned, Format, Report, TargetReport, Unit, combined},
};
use chaos_abi::LEASE_FINISH;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::{
    path::PathBuf,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

/// How often the end is looked for. The faults end by themselves, in the kernel, on time.
const TICK: Duration = Duration::from_millis(20);

/// `chaos plan`.
pub fn plan(files: &[PathBuf], yes: bool) -> ExitCode {
    let requests = match input::requests(files, false, yes) {
        Ok(requests) => requests,
        Err(code) => return code,
    };
    let mut codes = Vec::new();
    for request in &requests {
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
        if let Err(error) = possible(request) {
            println!("  refused: {error}");
            codes.push(code_of(&error));
        }
    }
    combined(codes)
}

fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// What this kernel lacks is refused before anything is attached.
fn possible(request: &engine::Request) -> Result<(), EngineError> {
    probe::realtime()?;
    if let Some(rule) = request.plan.rules.iter().find(|rule| rule.queue.is_some()) {
        // Once for all experiments of this command.
        static QUEUE: OnceLock<Result<(), KernelError>> = OnceLock::new();
        if let Err(error) = QUEUE.get_or_init(probe::queue) {
            let text = format!("spec.faults[{}].network.{}: {error}", rule.fault, rule.kind);
            return Err(match EngineError::from(error.clone()) {
                EngineError::Unsupported(_) => EngineError::Unsupported(text),
                _ => EngineError::Failed(text),
            });
        }
    }
    for target in &request.targets {
        arrivals::possible(&request.plan, target)
            .and_then(|()| limit::possible(&request.plan, target))
            .map_err(EngineError::Unsupported)?;
    }
    for rule in &request.plan.rules {
        if rule.excepts.iter().chain([&rule.condition]).any(|condition| !condition.hosts.is_empty()) {
            let text = format!("spec.faults[{}].network.match.peers.host: not part of this release", rule.fault);
            return Err(EngineError::Unsupported(text));
        }
    }
    Ok(())
}

/// `chaos run`.
pub fn run(files: &[PathBuf], output: Format, dry_run: bool, yes: bool) -> ExitCode {
    let requests = match input::requests(files, dry_run, yes) {
        Ok(requests) => requests,
        Err(code) => return code,
    };
    let signal = match catch_signals() {
        Ok(signal) => signal,
        Err(error) => return fail(&EngineError::Failed(format!("catch signals: {error}"))),
    };
    if let Some(error) = requests.iter().find_map(|request| possible(request).err()) {
        return fail(&error);
    }
    for request in &requests {
        request.warnings.iter().for_each(|warning| eprintln!("warning: {}: {warning}", request.plan.name));
    }
    let (engine, mut active) = match engine::prepare(requests) {
        Ok(prepared) => prepared,
        Err(error) => return fail(&error),
    };
    let mut reports = Vec::new();
    let mut codes = Vec::new();
    if let Err(error) = engine.start(&mut active) {
        codes.push(fail(&error));
    }
    watch(&engine, active, &signal, &mut reports);
    codes.extend(reports.iter().map(|report: &Report| ExitCode::from(report.verdict)));
    match observe::render(&reports, output) {
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

/// Until all have ended; each is reverted and reported when it has.
fn watch(engine: &Engine, mut active: Vec<Active>, signal: &AtomicUsize, reports: &mut Vec<Report>) {
    let mut progress = Progress::new();
    while !active.is_empty() {
        let mut index = 0;
        while index < active.len() {
            match ending(engine, &active[index], signal.load(Ordering::Relaxed)) {
                None => index += 1,
                Some(ending) => {
                    progress.clear();
                    reports.push(finish(engine, &active.remove(index), ending));
                }
            }
        }
        progress.show(engine, &active);
        if !active.is_empty() {
            // The clock of the deadline is the kernel's; a signal ends the sleep early.
            std::thread::sleep(TICK);
        }
    }
}

fn ending(engine: &Engine, active: &Active, signal: usize) -> Option<Ending> {
    let leases = engine.leases();
    match leases.fate(active.run.lease) {
        Ok(Fate::Lost) => {
            let text = "LeaseLost: this process could not renew its lease in time (stopped or starved); the faults have been off since";
            return Some(Ending::Aborted(text.to_owned()));
        }
        Ok(Fate::Ended(LEASE_FINISH)) => return Some(Ending::Finished),
        Ok(Fate::Ended(_)) => return Some(Ending::Aborted("stopped by chaos stop".to_owned())),
        Ok(Fate::Held) => {}
        Err(error) => return Some(Ending::Error(error.to_string())),
    }
    if signal != 0 {
        let name = nix::sys::signal::Signal::try_from(signal as i32).map_or("a signal", |signal| signal.as_str());
        return Some(Ending::Aborted(format!("stopped by {name}")));
    }
    match leases.remaining(active.run.lease) {
        Ok(left) if left.is_zero() => Some(Ending::Finished),
        Ok(_) => None,
        Err(error) => Some(Ending::Error(error.to_string())),
    }
}

fn finish(engine: &Engine, active: &Active, ending: Ending) -> Report {
    let reverted = engine.revert(active);
    let ended = SystemTime::now();
    let (faults, ending, state) = match reverted {
        Ok(faults) => (faults, ending, "Reverted"),
        Err(error) => {
            let text = format!("{error}; the faults are off, `chaos cleanup` removes what is left");
            (engine.counts(active).unwrap_or_default(), Ending::Error(text), "Failed")
        }
    };
    let planned: Vec<FaultPlanned> = active
        .plan
        .faults
        .iter()
        .map(|fault| FaultPlanned { name: fault.name.clone(), optional: fault.optional, unit: Unit::Packets })
        .collect();
    let (verdict, reason) = observe::judge(&ending, active.plan.dry_run, &planned, &faults, &[]);
    let time = |time: SystemTime| humantime::format_rfc3339_millis(time).to_string();
    Report {
        experiment: active.plan.name.clone(),
        verdict,
        reason,
        seed: active.plan.seed,
        warnings: active.warnings.clone(),
        started_at: time(active.started),
        ended_at: time(ended),
        targets: active
            .targets
            .iter()
            .map(|target| TargetReport {
                kind: target.kind.as_str().to_owned(),
                name: target.name.clone(),
                cgroup_id: target.cgroup.as_ref().map(|cgroup| cgroup.id),
                state: state.to_owned(),
                gaps: Vec::new(),
            })
            .collect(),
        faults,
        probes: Vec::new(),
    }
}

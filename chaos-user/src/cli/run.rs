//! `chaos run` and `chaos plan`.

use super::{code_of, fail, input, progress::Progress};
use crate::{
    engine::{self, Active, Engine, EngineError, lease::Fate},
    kernel::probe,
    observe::{self, Ending, ExitCode, FaultPlanned, FaultReport, Format, Report, TargetReport, Unit, combined},
};
use chaos_abi::LEASE_FINISH;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::{
    path::PathBuf,
    sync::{
        Arc,
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
    if request.plan.rules.iter().any(|rule| rule.queue.is_some()) {
        probe::queue()?;
    }
    for target in request.targets.iter().filter(|target| target.scope().is_some()) {
        if let Some(rule) = request.plan.rules.iter().find(|rule| rule.direction.ingress()) {
            return Err(EngineError::Unsupported(format!(
                "spec.faults[{}].network.direction: {} shares its network namespace, and what arrives there has no cgroup yet; \
                 use egress, or place the fault at the peer",
                rule.fault, target.name
            )));
        }
    }
    for rule in &request.plan.rules {
        if rule.per_packet {
            let text = format!("spec.faults[{}].network.perPacket: not part of this release", rule.fault);
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
    let said: Vec<usize> = requests.iter().map(|request| request.warnings.len()).collect();
    let (engine, mut active) = match engine::prepare(requests) {
        Ok(prepared) => prepared,
        Err(error) => return fail(&error),
    };
    for (one, said) in active.iter().zip(said) {
        one.warnings.iter().skip(said).for_each(|warning| eprintln!("warning: {}: {warning}", one.plan.name));
    }
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

/// Host names that stood for nothing, or for less than they should.
fn unlearned(faults: &[FaultReport]) -> Vec<String> {
    let mut warnings = Vec::new();
    for (fault, host) in faults.iter().flat_map(|fault| fault.hosts.iter().map(move |host| (fault, host))) {
        let place = format!("fault {} on {}: host {}", fault.name, fault.target, host.host);
        if host.addresses.is_empty() {
            warnings.push(format!(
                "{place} stood for no address: none was known and none was learned, so it matched nothing"
            ));
        }
        if host.unlearned > 0 {
            warnings.push(format!("{place}: {} times addresses were not learned, for want of room", host.unlearned));
        }
    }
    warnings
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
        warnings: [active.warnings.clone(), unlearned(&faults)].concat(),
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

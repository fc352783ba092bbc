//! `chaos run`.

use super::{
    before,
    command::Command,
    fail, follow,
    input::{self, Files},
    watch,
};
use crate::say;
use chaos_engine::{self as engine, possible::reduce};
use chaos_outcome::EngineError;
use chaos_outcome::{self as observe, ExitCode, Format, Report, combined};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::sync::{Arc, atomic::AtomicUsize};

/// `chaos run`.
pub fn run(files: &Files, output: Format, dry_run: bool, yes: bool) -> ExitCode {
    engine::made::sweep_dead();
    let mut requests = match input::requests(files, dry_run, yes) {
        Ok(requests) => requests,
        Err(code) => return code,
    };
    let signal = match catch_signals() {
        Ok(signal) => signal,
        Err(error) => return fail(&EngineError::Failed(format!("catch signals: {error}"))),
    };
    let made = match engine::made::for_targets(&mut requests) {
        Ok(made) => made,
        Err(error) => return fail(&error),
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
        Ok(Some(reports)) => {
            reports.iter().for_each(watch::keep);
            return print(&reports, output, Vec::new());
        }
        Err(error) => return fail(&error),
    }
    let mut command = match Command::of(&files.command) {
        Ok(command) => command,
        Err(text) => return fail(&EngineError::Invalid(vec![text])),
    };
    let (engine, mut active) = match engine::prepare(requests) {
        Ok(prepared) => prepared,
        Err(error) => return fail(&error),
    };
    for (one, said) in active.iter().zip(said) {
        one.warnings.iter().skip(said).for_each(|warning| eprintln!("warning: {}: {warning}", one.plan.name));
    }
    let started = follow::start(&engine, &mut active);
    let place = made.iter().find(|made| made.is_of_command());
    if let (Ok(()), Some(command), Some(place)) = (&started, &mut command, place) {
        command.start(&place.directory);
    }
    let mut reports = watch::watch(&engine, active, probes, started, command.as_mut(), &signal);
    if let Some(command) = command.map(|command| command.finish(&signal)) {
        for report in &mut reports {
            report.command = Some(command.clone());
            watch::keep(report);
        }
    }
    // With what the command has started and left.
    drop(made);
    print(&reports, output, Vec::new())
}

/// The reports on stdout; the gravest of their verdicts and of what else went wrong.
pub fn print(reports: &[Report], output: Format, mut codes: Vec<ExitCode>) -> ExitCode {
    codes.extend(reports.iter().map(|report| ExitCode::from(report.verdict)));
    match observe::render(reports, output) {
        Ok(text) => {
            print!("{text}");
            if say::failed() {
                reports.iter().for_each(|one| eprintln!("{}: {:?} {}", one.experiment, one.verdict, one.reason));
            }
        }
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

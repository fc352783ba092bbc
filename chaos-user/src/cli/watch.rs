//! From the first injection to the reports: each experiment is watched, reverted when it has ended, and asked about afterwards.

use super::{
    command::Command,
    follow::{Follow, Followed},
    progress::Progress,
};
use chaos_abi::STOP_FINISH;
use chaos_engine::{Active, Engine, Request, kept, lease::Fate, queue, taken};
use chaos_host::Target;
use chaos_outcome::EngineError;
use chaos_outcome::{self as observe, Ending, FaultPlanned, FaultReport, Report, TargetReport, Verdict, planned};
use chaos_probe::{Phase, Probes};
use chaos_spec::{ProbePhase, plan::Plan};
use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant, SystemTime},
};

/// How often the end is looked for. The faults end by themselves, in the kernel, on time.
pub const TICK: Duration = Duration::from_millis(20);
/// The kernel's tick at its slowest (HZ=100): so much earlier than asked may a fault end.
const JIFFY: Duration = Duration::from_millis(10);

/// The name of a signal that came; None for 0.
pub fn signal_name(signal: usize) -> Option<&'static str> {
    let name = |number| nix::sys::signal::Signal::try_from(number).map_or("a signal", nix::sys::signal::Signal::as_str);
    (signal != 0).then(|| i32::try_from(signal).map_or("a signal", name))
}

/// Where an experiment stands.
enum Stage {
    /// The faults act.
    During { active: Box<Active>, follow: Box<Follow>, phase: Option<Phase> },
    /// All is reverted; how it ended is known, but not yet judged.
    After { ended: Box<Ended>, phase: Phase },
}

/// An experiment that is reverted.
struct Ended {
    report: Report,
    ending: Ending,
    dry_run: bool,
    planned: Vec<FaultPlanned>,
}

struct Watched {
    stage: Option<Stage>,
    probes: Probes,
    /// What ends it at once.
    failed: Option<Ending>,
}

/// Until all have ended; each is reverted and reported when it has. `started` says whether the start failed, which ends all.
pub fn watch(
    engine: &Engine,
    active: Vec<Active>,
    probes: Vec<Probes>,
    started: Result<(), EngineError>,
    mut command: Option<&mut Command>,
    signal: &AtomicUsize,
) -> Vec<Report> {
    let failed = started.err().map(|error| Ending::Error(error.to_string()));
    let mut all: Vec<Watched> = active
        .into_iter()
        .zip(probes)
        .map(|(active, probes)| Watched::new(engine, active, probes, failed.clone()))
        .collect();
    let mut progress = if command.is_some() { Progress::beside_a_command() } else { Progress::new() };
    let mut reports = Vec::new();
    while !all.is_empty() {
        let mut index = 0;
        let over = command.as_deref_mut().is_some_and(Command::is_over);
        while index < all.len() {
            match all[index].step(engine, signal, over, &mut progress) {
                None => index += 1,
                Some(report) => {
                    keep(&report);
                    reports.push(report);
                    drop(all.remove(index));
                }
            }
        }
        progress.show(engine, &all.iter().filter_map(Watched::active).collect::<Vec<_>>());
        if !all.is_empty() {
            // The clock of the deadline is the kernel's; a target that comes again ends the sleep early.
            std::thread::park_timeout(TICK);
        }
    }
    reports
}

/// Lets `chaos report` find it. That it cannot be kept is no reason for another verdict.
pub fn keep(report: &Report) {
    if let Err(error) = kept::keep(None, report) {
        eprintln!("warning: {}: {error}", report.experiment);
    }
}

impl Watched {
    fn new(engine: &Engine, active: Active, probes: Probes, mut failed: Option<Ending>) -> Self {
        // The kernel ends the faults by itself, a little before this process sees it.
        let left = engine.leases().remaining(active.run.lease).ok();
        let until = left.map(|left| Instant::now() + left.saturating_sub(JIFFY));
        let phase = match probes.start(ProbePhase::During, until) {
            Ok(phase) => Some(phase),
            Err(error) => {
                failed = failed.or_else(|| Some(no_thread(&error)));
                None
            }
        };
        let follow = Box::new(Follow::new(&active));
        Self { stage: Some(Stage::During { active: Box::new(active), follow, phase }), probes, failed }
    }

    fn active(&self) -> Option<&Active> {
        match &self.stage {
            Some(Stage::During { active, .. }) => Some(active),
            _ => None,
        }
    }

    /// Looks once; the report when all is over.
    fn step(&mut self, engine: &Engine, signals: &AtomicUsize, over: bool, progress: &mut Progress) -> Option<Report> {
        let signal = signals.load(Ordering::Relaxed);
        match self.stage.take()? {
            Stage::During { mut active, mut follow, phase } => {
                let ending = self.failed.take().or_else(|| ending(engine, &active, signal)).or_else(|| {
                    let index = phase.as_ref()?.failed()?;
                    Some(Ending::Aborted(format!("stopped because probe {} failed", self.probes.name(index))))
                });
                // It ends with its command.
                let ending = ending.or(over.then_some(Ending::Finished));
                let Some(ending) = ending else {
                    follow.look(engine, &mut active, signals);
                    self.stage = Some(Stage::During { active, follow, phase });
                    return None;
                };
                progress.clear();
                if let Some(phase) = phase {
                    self.probes.keep(phase);
                }
                let ended = revert(engine, &active, follow.finish(&active), ending);
                self.after(ended, signal)
            }
            Stage::After { mut ended, phase } => {
                if let Some(name) = signal_name(signal).filter(|_| !phase.decided()) {
                    ended.ending =
                        Ending::Aborted(format!("stopped by {name} before the probes after the faults were done"));
                } else if !phase.decided() {
                    self.stage = Some(Stage::After { ended, phase });
                    return None;
                }
                self.probes.keep(phase);
                Some(judged(*ended, &self.probes))
            }
        }
    }

    /// The faults are gone; whoever pressed Ctrl-C, and whoever has an error of ours, does not wait for the last probes.
    fn after(&mut self, mut ended: Ended, signal: usize) -> Option<Report> {
        if signal != 0 || matches!(ended.ending, Ending::Error(_)) {
            return Some(judged(ended, &self.probes));
        }
        match self.probes.start(ProbePhase::After, None) {
            Ok(phase) => {
                self.stage = Some(Stage::After { ended: Box::new(ended), phase });
                None
            }
            Err(error) => {
                ended.ending = no_thread(&error);
                Some(judged(ended, &self.probes))
            }
        }
    }
}

fn no_thread(error: &std::io::Error) -> Ending {
    Ending::Error(format!("start a thread for a probe: {error}; all was reverted"))
}

fn ending(engine: &Engine, active: &Active, signal: usize) -> Option<Ending> {
    let leases = engine.leases();
    match leases.fate(active.run.lease) {
        Ok(Fate::Lost) => {
            let text = "LeaseLost: this process could not renew its lease in time (stopped or starved); the faults have been off since";
            return Some(Ending::Aborted(text.to_owned()));
        }
        Ok(Fate::Ended(STOP_FINISH)) => return Some(Ending::Finished),
        Ok(Fate::Ended(_)) => return Some(Ending::Aborted("stopped by chaos stop".to_owned())),
        Ok(Fate::Held) => {}
        Err(error) => return Some(Ending::Error(error.to_string())),
    }
    if let Some(name) = signal_name(signal) {
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
            warnings.push(format!(
                "{place}: {} times an address was not learned, so packets to it passed. A fault learns 256 addresses of a name on a target, a node 16384. \
                 Addresses of the node, of loopback and of the API server are never learned. Name what is meant by cidr",
                host.unlearned
            ));
        }
    }
    warnings
}

fn revert(engine: &Engine, active: &Active, mut followed: Followed, ending: Ending) -> Ended {
    let reverted = engine.revert(active);
    let counted = std::mem::take(&mut followed.counted);
    let (mut faults, mut ending, state) = match reverted {
        Ok(faults) if counted.is_empty() => (faults, ending, "Reverted"),
        Ok(faults) => (observe::merged(counted.into_iter().chain(faults)), ending, "Reverted"),
        Err(error) => {
            let text = format!("{error}; the faults are off, `chaos cleanup` removes what is left");
            (engine.counts(active).unwrap_or_default(), Ending::Error(text), "Failed")
        }
    };
    if let (Ending::Finished, Some(why)) = (&ending, followed.failed.take()) {
        ending = Ending::Error(why);
    }
    if matches!(ending, Ending::Finished) {
        taken::enter(active, &mut faults, |_, _| None);
    }
    let full = queue::overflowed(&active.plan, &faults);
    let warnings = [active.warnings.clone(), unlearned(&faults), full, followed.warnings.clone()].concat();
    let mut report = report(&active.plan, &active.targets, &warnings, state, faults);
    followed.fill(&mut report.targets);
    report.reason = followed.warnings.join("; ");
    report.started_at = text(active.started);
    report.ended_at = text(SystemTime::now());
    Ended { report, ending, dry_run: active.plan.dry_run, planned: planned(&active.plan) }
}

/// The report of an experiment of which nothing was injected.
pub fn not_injected(request: &Request, probes: &Probes, ending: Ending) -> Report {
    let mut report = report(&request.plan, &request.targets, &request.warnings, "Pending", Vec::new());
    report.ended_at = text(SystemTime::now());
    judged(Ended { report, ending, dry_run: request.plan.dry_run, planned: planned(&request.plan) }, probes)
}

fn judged(ended: Ended, probes: &Probes) -> Report {
    let mut report = ended.report;
    report.probes = probes.reports();
    let (verdict, reason) =
        observe::judge(&ended.ending, ended.dry_run, &ended.planned, &report.faults, &report.probes);
    // A Pass of which a target missed a part says so.
    report.reason = match (verdict, report.reason.is_empty(), reason.is_empty()) {
        (Verdict::Pass, false, true) => report.reason,
        (Verdict::Pass, false, false) => format!("{}; {reason}", report.reason),
        _ => reason,
    };
    report.verdict = verdict;
    report
}

fn text(time: SystemTime) -> String {
    humantime::format_rfc3339_millis(time).to_string()
}

/// Without verdict, times and probes.
fn report(plan: &Plan, targets: &[Target], warnings: &[String], state: &str, faults: Vec<FaultReport>) -> Report {
    let target = |target: &Target| TargetReport {
        kind: target.kind.as_str().to_owned(),
        name: target.name.clone(),
        cgroup_id: target.cgroup.as_ref().map(|cgroup| cgroup.id),
        state: state.to_owned(),
        gaps: Vec::new(),
    };
    Report {
        experiment: plan.name.clone(),
        seed: plan.seed,
        warnings: warnings.to_vec(),
        asked: plan.faults.iter().map(|fault| (fault.name.clone(), fault.asked.line())).collect(),
        targets: targets.iter().map(target).collect(),
        faults,
        ..Report::default()
    }
}

//! `chaos check`: what this kernel can do, per fault and direction, proven by effect. Experiments as any user's are run by
//! the engine on a scratch namespace, and packets sent through tell whether they did what they promise. Loading and attaching
//! alone proves little: an ifb on Linux 6.1 attaches and loses everything.

mod act;
mod calls;
mod case;
mod judge;
mod scope;
mod scratch_cgroup;

use super::{Active, Asker, Engine, Request, Session, attach};
pub use calls::{Bypass, CallRow};
use case::{Case, cases};
use chaos_host::{CgroupScope, NetnsRef, Probed, ScopedBy, Target, TargetKind};
use chaos_outcome::FaultReport;
use chaos_sys::{
    error::KernelError,
    netlink::Rtnl,
    probe::{self, Stage},
};
use serde::Serialize;
use std::{
    collections::{BTreeSet, HashMap},
    os::fd::AsFd,
    path::PathBuf,
    sync::Arc,
};

/// How often a fault that needs a queue is tried at most.
const TRIES: usize = 4;

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Check {
    /// `uname -r`.
    pub kernel: String,
    /// `uname -m`.
    pub arch: String,
    /// How programs are attached to interfaces: `tcx` or `clsact`; none where neither works.
    pub mechanism: Option<&'static str>,
    /// What that means.
    pub note: Option<String>,
    /// By fault, variant and direction.
    pub faults: Vec<Row>,
    /// System calls, by name.
    pub calls: Vec<CallRow>,
}

/// One fault in one direction.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Row {
    /// `latency`.
    pub fault: String,
    /// What kind of it: `detected`, `IPv6`, `cgroup`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// `egress` or `ingress`, seen from the target.
    pub direction: String,
    /// It was seen to act.
    pub supported: bool,
    /// What makes it: `tcx+fq`.
    pub mechanism: Option<String>,
    /// Why not.
    pub why: Option<String>,
    /// What would help.
    pub remedy: Option<String>,
}

/// Why a fault is not there, and what would help.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Lack {
    why: String,
    remedy: Option<String>,
}

impl From<KernelError> for Lack {
    fn from(mut error: KernelError) -> Self {
        let remedy = error.hint.take();
        Self { why: error.to_string(), remedy }
    }
}

impl From<super::EngineError> for Lack {
    fn from(error: super::EngineError) -> Self {
        Self { why: error.to_string(), remedy: None }
    }
}

impl Lack {
    fn no_effect(seen: &str, report: Option<&FaultReport>) -> Self {
        let counts = report.map_or(String::new(), |report| {
            let (matched, injected, errors) = (report.matched, report.injected, report.actions.errors);
            format!("; counted: matched {matched}, injected {injected}, errors {errors}")
        });
        Self {
            why: format!("attached, but without the promised effect: {seen}{counts}"),
            remedy: Some(
                "do not use it on this kernel; please report this line with the output of `chaos check -o json`".into(),
            ),
        }
    }
}

impl Row {
    fn of(case: &Case) -> Self {
        let (fault, variant) = case.kind.names();
        let variant = if case.family == 1 { Some("IPv6") } else { variant };
        let direction = case.direction().to_owned();
        Self { fault: fault.to_owned(), variant: variant.map(str::to_owned), direction, ..Self::default() }
    }

    fn with(mut self, outcome: Result<String, Lack>) -> Self {
        self.supported = outcome.is_ok();
        match outcome {
            Ok(mechanism) => self.mechanism = Some(mechanism),
            Err(lack) => (self.why, self.remedy) = (Some(lack.why), lack.remedy),
        }
        self
    }
}

/// Tries everything, in about half a second. Other experiments on this machine are neither seen nor disturbed.
///
/// # Errors
/// EPERM, naming the capabilities, where nothing can be tried.
pub fn check() -> Result<Check, KernelError> {
    probe::capabilities()?;
    Ok(run(false))
}

fn run(dry_run: bool) -> Check {
    let name = nix::sys::utsname::uname();
    let text = |name: Result<&std::ffi::OsStr, _>| {
        name.map(|name: &std::ffi::OsStr| name.to_string_lossy().into_owned()).unwrap_or_default()
    };
    let mut check = Check {
        kernel: text(name.as_ref().map(|name| name.release())),
        arch: text(name.as_ref().map(|name| name.machine())),
        mechanism: None,
        note: None,
        faults: Vec::new(),
        calls: calls::rows(),
    };
    match open() {
        Ok((engine, mechanism)) => {
            check.mechanism = Some(mechanism);
            check.note = (mechanism == "clsact").then(|| {
                "this kernel has no tcx (Linux 6.6 and newer have it): filters below clsact do the same, but outlive a \
                 killed process, without effect, until the next run or `chaos cleanup`"
                    .to_owned()
            });
            check.faults.extend(group(&engine, false, dry_run));
            for ingress in [false, true] {
                check.faults.push(scope::row(ingress).with(scope::attempt(&engine, ingress, dry_run)));
            }
            check.faults.extend(queued(&engine, dry_run));
        }
        Err(lack) => {
            let rows = |queues| cases(queues, true).into_iter().map(|case| Row::of(&case));
            let all = rows(false).chain([false, true].map(scope::row)).chain(rows(true));
            check.faults.extend(all.map(|row| row.with(Err(lack.clone()))));
        }
    }
    check
}

/// How programs are attached to interfaces here: `tcx` or `clsact`, tried in a scratch namespace.
///
/// # Errors
/// Why neither works.
pub fn interfaces() -> Result<&'static str, String> {
    open().map(|(_, mechanism)| mechanism).map_err(|lack| lack.why)
}

/// What all faults need: no real-time kernel, the programs, a way to attach them.
fn open() -> Result<(Engine, &'static str), Lack> {
    probe::realtime()?;
    let session = Session::private().map_err(refused)?;
    let stage = Stage::new()?;
    let interface = stage.near.index;
    let mechanism = stage.netns.enter(|| attach::mechanism(&session, &mut Rtnl::open()?, interface))??;
    Ok((Engine::private(session)?, mechanism))
}

/// A kernel that does not take the programs: nothing to install would help.
fn refused(error: KernelError) -> Lack {
    let mut lack = Lack::from(error);
    lack.remedy.get_or_insert_with(|| {
        "this kernel refuses the network programs: use a newer one; please report this with the output of `chaos check -o json`"
            .to_owned()
    });
    lack
}

/// Where there is no queue, that is known before anything is attached.
fn queued(engine: &Engine, dry_run: bool) -> Vec<Row> {
    match probe::queue() {
        Ok(()) => group(engine, true, dry_run),
        Err(error) => {
            let lack = Lack::from(error);
            cases(true, true).iter().map(|case| Row::of(case).with(Err(lack.clone()))).collect()
        }
    }
}

/// Tries the faults that need a queue, or those that do not, as one experiment on a stage of its own.
fn group(engine: &Engine, queues: bool, dry_run: bool) -> Vec<Row> {
    let all = cases(queues, true);
    let stage = match Stage::new() {
        Ok(stage) => stage,
        Err(error) => return all.iter().map(|case| Row::of(case).with(Err(Lack::from(error.clone())))).collect(),
    };
    let possible = cases(queues, stage.no_ipv6.is_none());
    let outcomes = perform(engine, &stage, &possible, dry_run);
    let lack_of_ipv6 = stage.no_ipv6.map(Lack::from);
    let outcome = |case: &Case| {
        let same = |other: &&(Case, _)| {
            let other: &Case = &other.0;
            (other.kind, other.family, other.ingress) == (case.kind, case.family, case.ingress)
        };
        match &outcomes {
            Err(lack) => Err(lack.clone()),
            Ok(outcomes) => match (outcomes.iter().find(same), &lack_of_ipv6) {
                (Some((_, outcome)), _) => outcome.clone(),
                (None, Some(lack)) => Err(lack.clone()),
                (None, None) => Err(Lack { why: "it was not tried".to_owned(), remedy: None }),
            },
        }
    };
    all.iter().map(|case| Row::of(case).with(outcome(case))).collect()
}

type Outcomes = Vec<(Case, Result<String, Lack>)>;

fn perform(engine: &Engine, stage: &Stage, cases: &[Case], dry_run: bool) -> Result<Outcomes, Lack> {
    let active = start(engine, stage, cases, None, dry_run)?;
    let seen = watch(stage, cases);
    let reports = engine.revert(&active)?;
    let mut outcomes = Vec::new();
    for (index, (case, seen)) in cases.iter().zip(seen?).enumerate() {
        let report = active.report_of(index, &reports);
        let mechanism = report.map(|report| report.mechanism.clone()).unwrap_or_default();
        outcomes.push((*case, seen.map(|()| mechanism).map_err(|seen| Lack::no_effect(&seen, report))));
    }
    Ok(outcomes)
}

/// Sends the packets of all cases and judges. On a machine that is busy elsewhere a delay may go unseen among many packets, so
/// that a fault that needs a queue is tried again alone; what is asked of it cannot come about by chance.
fn watch(stage: &Stage, cases: &[Case]) -> Result<Vec<Result<(), String>>, KernelError> {
    let judged = |cases: &[Case]| -> Result<Vec<_>, KernelError> {
        let traces = act::act(stage, cases)?;
        Ok(cases.iter().zip(traces).map(|(case, trace)| judge::judge(case.kind, case.ingress, &trace)).collect())
    };
    let mut all: Vec<Result<(), String>> = judged(cases)?;
    for (case, seen) in cases.iter().zip(&mut all).filter(|(case, _)| case.kind.queues()) {
        for _ in 1..TRIES {
            if seen.is_err()
                && let Some(again) = judged(&[*case])?.pop()
            {
                *seen = again;
            }
        }
    }
    Ok(all)
}

/// Applies the cases as an experiment to the stage, or to a cgroup's sockets there.
fn start(
    engine: &Engine,
    stage: &Stage,
    cases: &[Case],
    scope: Option<CgroupScope>,
    dry_run: bool,
) -> Result<Active, Lack> {
    let plan = case::plan("chaos-check", cases, dry_run).map_err(|why| Lack { why, remedy: None })?;
    let fd = stage.netns.as_fd().try_clone_to_owned();
    let fd = fd.map_err(|e| KernelError::from_io("duplicate", "scratch network namespace", &e))?;
    let target = Target {
        kind: if scope.is_some() { TargetKind::Cgroup } else { TargetKind::Netns },
        name: "scratch".to_owned(),
        netns: NetnsRef { inode: stage.netns.inode(), fd: Arc::new(fd), path: PathBuf::from("scratch") },
        shares_host_netns: false,
        scoped_by: if scope.is_some() { ScopedBy::Cgroup } else { ScopedBy::Netns },
        cgroup: scope,
        // The far end is no part of the target.
        interfaces: vec![stage.near.clone()],
        pids: Vec::new(),
        wanted: None,
        probed: Probed::default(),
        dice: 0,
    };
    let command = "chaos check".to_owned();
    let request = Request {
        plan,
        targets: vec![target],
        warnings: Vec::new(),
        asker: Asker::Command(command),
        probes: Vec::new(),
        node: BTreeSet::new(),
        remembered: HashMap::new(),
    };
    let mut active = engine.add(vec![request])?;
    engine.start(&mut active)?;
    active.pop().ok_or_else(|| Lack { why: "nothing was prepared".to_owned(), remedy: None })
}

#[cfg(test)]
mod tests;

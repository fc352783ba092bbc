//! An experiment that is applied: on whom, with which rules, and what they have counted.

use super::{
    Engine, EngineError, RunEntry, collect,
    lookup::Known,
    mechanism::mechanism,
    rules::{Placed, Remembered},
    sets::PlanSets,
};
use chaos_abi::{ACTION_LATENCY, State};
use chaos_host::Target;
use chaos_outcome::FaultReport;
use chaos_spec::{
    faults,
    plan::{Plan, call::Candidate},
};
use chaos_sys::netns::Netns;
use std::{
    collections::HashMap,
    time::{Duration, SystemTime},
};

/// An experiment that is applied.
pub struct Active {
    /// What was asked.
    pub plan: Plan,
    /// Its targets; those that were released stay in their places.
    pub targets: Vec<Target>,
    /// What to tell the user.
    pub warnings: Vec<String>,
    /// Its entry in the journal.
    pub run: RunEntry,
    /// When it started.
    pub started: SystemTime,
    /// When an earlier process started it, CLOCK_BOOTTIME in ns; 0: none did.
    pub began: u64,
    pub(super) placed: Vec<Placed>,
    pub(super) sets: PlanSets,
    pub(super) known: Known,
    pub(super) netns: HashMap<u64, Netns>,
    pub(super) mechanism: &'static str,
    /// By which means calls are hit, for each rule of the plan.
    pub(super) chosen: Vec<Vec<Candidate>>,
    /// Where the tables of their patterns begin, for each rule of the plan.
    pub(super) tables: Vec<(u32, u32)>,
    /// Sending ends of veth pairs by netns, with what their queues had dropped before.
    pub(super) queues: HashMap<u64, (Vec<u32>, u64)>,
    /// How long proxies of targets that were released have been looked for.
    pub(super) looked: Duration,
}

impl Active {
    /// One without targets.
    pub(super) fn new(plan: Plan, warnings: Vec<String>, run: RunEntry, sets: PlanSets, known: Known) -> Self {
        Self {
            plan,
            targets: Vec::new(),
            warnings: [warnings, known.warnings.clone()].concat(),
            run,
            started: SystemTime::now(),
            began: 0,
            placed: Vec::new(),
            sets,
            known,
            netns: HashMap::new(),
            mechanism: "tcx",
            chosen: Vec::new(),
            tables: Vec::new(),
            queues: HashMap::new(),
            looked: Duration::ZERO,
        }
    }

    /// Do rules stand for this target? Not after it was released.
    #[must_use]
    pub fn holds(&self, target: usize) -> bool {
        self.placed.iter().any(|placed| placed.target == target)
    }

    fn target_name(&self, placed: &Placed) -> &str {
        self.targets.get(placed.target).map_or("", |target| target.name.as_str())
    }

    fn mechanism_of(&self, placed: &Placed) -> String {
        let chosen = self.chosen.get(placed.plan).map(Vec::as_slice).unwrap_or_default();
        let scoped = self.targets.get(placed.target).is_some_and(|target| target.scope().is_some());
        mechanism(&self.plan.rules[placed.plan], chosen, scoped, self.mechanism)
    }

    /// What of a report no counter says. Here, for no later one has the target that is let go, or of which an earlier process counted.
    fn complete(&self, placed: &Placed, report: &mut FaultReport) {
        report.mechanism = self.mechanism_of(placed);
        if self.targets.get(placed.target).is_some_and(Target::spares_by_address) {
            report.spared_by_address = report.rejected_by.node;
        }
    }
}

impl Engine {
    /// What each fault has done so far on the targets that are left.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn counts(&self, active: &Active) -> Result<Vec<FaultReport>, EngineError> {
        let session = self.session();
        let each = active.placed.iter().map(|placed| {
            let mut report = collect::counts(&session, &active.plan, placed, active.target_name(placed))?;
            active.complete(placed, &mut report);
            Ok(report)
        });
        each.collect()
    }

    /// What the rules of each fault and target remember: (index of the fault, target, memory).
    ///
    /// # Errors
    /// What the kernel says.
    pub fn memory(&self, active: &Active) -> Result<Vec<(usize, String, Remembered)>, EngineError> {
        let session = self.session();
        let each = active.placed.iter().map(|placed| {
            let rule = &active.plan.rules[placed.plan];
            let memory = match session.seen_calls().filter(|_| rule.call.is_some()) {
                Some(calls) => {
                    let state = calls.memory(placed.id())?;
                    Remembered { position: state.position, hits: state.hits }
                }
                None => {
                    let state: State = session.datapath.state(placed.id())?;
                    Remembered { position: state.position, hits: state.hits }
                }
            };
            Ok((rule.fault, active.target_name(placed).to_owned(), memory))
        });
        each.collect()
    }

    /// The whole reports of the faults on some targets, or all.
    pub(super) fn reports(&self, active: &Active, target: Option<usize>) -> Result<Vec<FaultReport>, EngineError> {
        let session = self.session();
        let wanted = |placed: &&Placed| target.is_none_or(|target| placed.target == target);
        let placed: Vec<&Placed> = active.placed.iter().filter(wanted).collect();
        let mut reports = Vec::new();
        for one in &placed {
            let mut report = collect::report(&session, &active.plan, one, active.target_name(one))?;
            active.complete(one, &mut report);
            if active.plan.rules[one.plan].call.is_some() {
                report.recursion_misses = session.seen_calls().map_or(0, |calls| calls.misses(one.id()));
            }
            reports.push(report);
        }
        drop(session);
        add_drops(active, &placed, &mut reports);
        Ok(reports)
    }
}

/// What the queues lost unseen by the programs, booked on the first fault of the target that queues. What did not fit when it was
/// delayed is `overflow` already, and the qdisc counts it too.
fn add_drops(active: &Active, placed: &[&Placed], reports: &mut [FaultReport]) {
    let inode_of = |placed: &Placed| active.targets.get(placed.target).map(|target| target.netns.inode);
    for (inode, (pairs, before)) in &active.queues {
        let Some((drops, _)) = active.netns.get(inode).and_then(|netns| collect::queues(netns, pairs).ok()) else {
            continue;
        };
        let known: u64 = placed
            .iter()
            .zip(reports.iter())
            .filter(|(placed, _)| inode_of(placed) == Some(*inode))
            .map(|(placed, report)| {
                // A rate drops what is over its limit before the queue.
                let queues = active.plan.rules[placed.plan].phase == faults::phase(ACTION_LATENCY);
                if queues { report.overflow } else { 0 }
            })
            .sum();
        let booked = placed
            .iter()
            .zip(reports.iter_mut())
            .find(|(placed, _)| active.plan.rules[placed.plan].queue.is_some() && inode_of(placed) == Some(*inode));
        if let Some((_, report)) = booked {
            report.dropped = drops.saturating_sub(*before).saturating_sub(known);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::tests::{planned, web};
    use chaos_host::Probed;
    use chaos_outcome::RejectedBy;

    /// What of 7 packets at ports of probes was spared by address alone, of a target that was found first and of one that came later.
    fn spared(first: Probed, later: Probed) -> [u64; 2] {
        let plan = planned("all: true", "partition: true");
        let mut active = Active::new(plan, Vec::new(), RunEntry::default(), PlanSets::new(), Known::default());
        active.targets = [first, later].map(|probed| Target { probed, ..web() }).into();
        [0, 1].map(|target| {
            let rejected_by = RejectedBy { node: 7, ..RejectedBy::default() };
            let mut report = FaultReport { rejected_by, ..FaultReport::default() };
            active.complete(&Placed { target, plan: 0, ids: Vec::new() }, &mut report);
            report.spared_by_address
        })
    }

    #[test]
    fn each_report_says_itself_what_was_spared_on_a_guess() {
        let probed = |node| Probed { ports: [80].into(), node };
        assert_eq!(spared(probed(None), probed(Some(4))), [7, 0], "one of the same name that came again");
        assert_eq!(spared(probed(Some(4)), probed(None)), [0, 7]);
        assert_eq!(spared(Probed::default(), Probed::default()), [0, 0], "nothing is probed there");
    }
}

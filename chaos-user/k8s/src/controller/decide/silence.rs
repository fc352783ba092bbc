//! Nodes whose agent does not answer. Only those count that have a target: nothing starts anywhere while one of them is silent, unless the
//! experiment goes on without what is not possible.

use super::{
    ANSWER, Decider, NOBODY,
    outcome::{self, takes_part},
};
use crate::{
    api::{DEGRADED, Injection, Stop},
    time::time,
};
use chaos_outcome::Verdict;
use chaos_spec::{OnUnsupported, ProbePhase};
use kube::ResourceExt;

impl Decider<'_> {
    /// Nodes with a target whose agent has not looked at its Injection in time.
    pub(super) fn silent(&self) -> Vec<String> {
        let silent = self.existing.iter().filter(|one| takes_part(one)).filter(|one| {
            let looked = one.status.as_ref().is_some_and(|status| status.observed_generation.is_some());
            !looked && self.seen.unanswered.get(&one.name_any()).is_some_and(|since| *since > ANSWER)
        });
        let mut nodes: Vec<String> = silent.map(|one| one.spec.node_name.clone()).collect();
        nodes.sort_unstable();
        nodes.dedup();
        nodes
    }

    /// Whether it is to end early although nobody has asked for that.
    pub(super) fn stop(&self) -> Option<Stop> {
        // What nodes were told once is not taken back: an agent that comes back in between finds the end of the others.
        if let Some(told) = self.existing.iter().find_map(|one| one.spec.stop) {
            return Some(told);
        }
        if self.seen.failed.is_some() && !self.seen.done.contains(&ProbePhase::After) {
            return Some(Stop::Abort);
        }
        if self.status.started_at.is_some() {
            return None;
        }
        // What one node refuses before the start is begun on none: half an experiment is another experiment.
        let refused = !outcome::troubles(self.existing).is_empty();
        let silent = self.silent();
        let skips = self.experiment.spec.on_unsupported == OnUnsupported::Skip;
        // Nor does it wait for agents of which none is there: one that comes back finds that it is over.
        let waits = |one: &&Injection| takes_part(one) && !silent.contains(&one.spec.node_name);
        let nobody = !skips || !self.existing.iter().any(|one| waits(&one));
        (refused || (!silent.is_empty() && nobody)).then_some(Stop::Abort)
    }

    pub(super) fn degraded(&mut self, silent: &[String]) {
        let lapsed = self.status.faults.iter().any(|fault| fault.skipped_by_lease > 0);
        if !silent.is_empty() {
            let text = format!("no agent answers on: {}", silent.join(", "));
            self.set(DEGRADED, true, "NoAgent", &text);
        } else if lapsed {
            self.set(DEGRADED, true, "LeaseLapsed", "packets passed because a lease had lapsed");
        } else if !self.status.warnings.is_empty() && self.status.started_at.is_some() {
            let text = self.status.warnings.join("; ");
            self.set(DEGRADED, true, "NodeFailed", &text);
        } else if let Some(text) = outcome::gaps(self.existing) {
            self.set(DEGRADED, true, "Gap", &text);
        } else {
            self.set(DEGRADED, false, "AsAsked", "");
        }
    }

    /// Ends it. Where a node does not say that it is over, the end is the deadline: no node acts beyond it.
    pub(super) fn end(&mut self) {
        let is_over = |one: &&Injection| one.status.as_ref().is_some_and(|status| status.phase.is_over());
        let open = self.existing.iter().filter(|one| takes_part(one) && !is_over(one));
        let mut open: Vec<String> = open.map(|one| one.spec.node_name.clone()).collect();
        open.sort_unstable();
        open.dedup();
        if !open.is_empty() {
            self.set(DEGRADED, true, "NoAgent", &format!("did not say that it is over: {}", open.join(", ")));
        }
        // Before the start these are why nothing was; later they spoil the verdict only where nobody else answered.
        let others = self.existing.iter().filter(|one| takes_part(one)).any(|one| is_over(&one));
        let blame = if self.status.started_at.is_none() { self.asked_to_stop().is_none() } else { !others };
        let silent: &[String] = if blame { &open } else { &[] };
        let (verdict, mut reason) = outcome::verdict(self.experiment, self.existing, silent, &self.status.probes);
        if verdict == Verdict::NoEffect && !self.existing.iter().any(takes_part) {
            NOBODY.clone_into(&mut reason);
            // No node says any more that it was stopped.
            if self.asked_to_stop() == Some(Stop::Abort) {
                return self.over(Verdict::Aborted, format!("stopped; {NOBODY}"));
            }
        }
        if verdict == Verdict::Pass && !open.is_empty() {
            let silent = format!("not on: {}; no agent answered there", open.join(", "));
            reason = if reason.is_empty() { silent } else { format!("{reason}; {silent}") };
        }
        self.over(verdict, reason);
        if !open.is_empty()
            && let Some(end) = self.ends_at()
        {
            self.status.ended_at = time(end.min(self.now));
        }
    }
}

//! An experiment that this version cannot read, or of which it cannot read an order to a node: it never begins; where it has begun, it
//! ends on time, because each node has its own end, and it can be stopped.

use super::{Decider, Decision, LATE, outcome};
use crate::api::{DEGRADED, Injection, STOP, Stop, Unread};
use chaos_outcome::Verdict;
use kube::ResourceExt;
use std::time::{Duration, SystemTime};

impl Decider<'_> {
    /// Why it cannot be read, it or what the nodes have of it.
    pub(super) fn unread(&self) -> Option<String> {
        let of_node = |one: &Injection| {
            let why = one.unread.as_ref()?;
            Some(format!("Injection {}: {why}", one.name_any()))
        };
        let own = self.experiment.unread.as_ref().map(Unread::to_string);
        own.or_else(|| self.existing.iter().find_map(of_node))
    }

    pub(super) fn without_reading(&mut self, why: &str) -> Decision {
        let reason = format!("{why}; chaos {} cannot read it", env!("CARGO_PKG_VERSION"));
        if self.status.ended_at.is_some() {
            return self.nothing(None);
        }
        if self.existing.is_empty() {
            return self.give_up(Verdict::Invalid, reason);
        }
        let started = self.existing.iter().any(|one| one.spec.start);
        let stop = self.asked_to_stop().or((!started).then_some(Stop::Abort));
        let mut orders = self.existing.to_vec();
        for one in orders.iter_mut().filter(|one| one.spec.stop.is_none()) {
            one.spec.stop = stop;
        }
        (self.status.targets, self.status.summary) = outcome::targets(self.existing);
        if self.is_off(stop.is_some()) {
            self.over(Verdict::Invalid, reason);
            // An end for those that never said anything.
            orders.iter_mut().for_each(|one| one.spec.stop = one.spec.stop.or(Some(Stop::Abort)));
        } else {
            self.set(DEGRADED, true, "Unreadable", &reason);
        }
        let mut decision = self.nothing(Some(Duration::from_secs(1)));
        decision.injections = orders;
        decision
    }

    /// How its user wants it ended early: who deletes it does.
    pub(super) fn asked_to_stop(&self) -> Option<Stop> {
        if self.experiment.metadata.deletion_timestamp.is_some() {
            return Some(Stop::Abort);
        }
        let word = self.experiment.annotations().get(STOP)?;
        Some(if word == "finish" { Stop::Finish } else { Stop::Abort })
    }

    /// Every node says that it is over, or can say nothing any more.
    fn is_off(&self, stopped: bool) -> bool {
        let said = |one: &&Injection| one.status.as_ref().is_some_and(|status| status.phase.is_over());
        let silent = self.silent();
        let waits = |one: &&Injection| !(said(one) || stopped && silent.contains(&one.spec.node_name));
        let end = self.existing.iter().filter_map(|one| one.spec.ends_at.as_ref()).max_by_key(|time| time.0);
        let end = end.or(self.status.ends_at.as_ref()).map(|time| SystemTime::from(time.0));
        !self.existing.iter().any(|one| waits(&one)) || end.is_some_and(|end| self.now > end + LATE)
    }
}

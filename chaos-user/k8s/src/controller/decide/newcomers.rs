//! Pods that may come later: where they are awaited, and which of them are hit.

use super::Decider;
use crate::controller::{fan_out, select::awaiting};
use std::collections::BTreeSet;

impl Decider<'_> {
    /// Below which draw newcomers are hit, as the first look said that reached the nodes: the status is written beside, and may be of an earlier one.
    pub(super) fn drawn_below(&self) -> Option<f64> {
        let mut told = self.existing.iter().filter_map(|one| one.spec.follow.as_ref()?.percent);
        told.next().or(self.status.drawn_below)
    }

    /// Nodes that are told although they have no target yet, so that a pod's first packet is hit there.
    pub(super) fn awaiting(&self, own: &str) -> BTreeSet<String> {
        let pods = self.experiment.spec.selector.pods.clone().unwrap_or_default();
        let ends = self.asked_to_stop().is_some() || self.stop().is_some() || self.left().get().is_zero();
        if ends || !fan_out::judged_by_agents(&pods, own) {
            return BTreeSet::new();
        }
        awaiting(&pods, self.world)
    }
}

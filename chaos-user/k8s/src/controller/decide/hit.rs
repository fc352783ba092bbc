//! Whether anything is under the faults, and why not.

use super::{Decider, INJECTED, outcome};
use crate::{
    api::TargetState,
    controller::{aside::Asides, fan_out::Sets},
};
use chaos_spec::{Direction, Fault};

impl Decider<'_> {
    /// Sums over the nodes. What was under the faults once stays counted, whatever becomes of its agent.
    pub(super) fn count(&mut self) {
        let before = self.status.summary.injected;
        (self.status.targets, self.status.summary) = outcome::targets(self.existing);
        self.status.summary.injected = self.status.summary.injected.max(before);
    }

    /// Some target is or was under the faults. The condition says so, or why none is.
    pub(super) fn hit(&mut self) -> bool {
        let was = self.status.conditions.iter().any(|one| one.type_ == INJECTED && one.status == "True");
        if was || (self.began() && self.status.summary.injected > 0) {
            self.set(INJECTED, true, "Injected", "");
            return true;
        }
        if self.began() {
            let waits = |state| matches!(state, TargetState::Pending | TargetState::Failed);
            let of_nodes = self.existing.iter().filter_map(|one| one.status.as_ref()).flat_map(|one| &one.targets);
            let mut why: Vec<String> = of_nodes
                .filter(|one| waits(one.state) && !one.message.is_empty())
                .map(|one| one.message.clone())
                .take(8)
                .collect();
            why.dedup();
            let why = if why.is_empty() { "no target is under the faults".to_owned() } else { why.join("; ") };
            self.set(INJECTED, false, "NoTarget", &why);
        }
        false
    }
}

/// Peers that stand for nobody now, and connections that peers by Service leave out.
pub(super) fn warnings(faults: &[Fault], sets: &Sets, asides: &Asides) -> Vec<String> {
    let mut found = Vec::new();
    for (index, fault) in faults.iter().enumerate() {
        let Some(network) = &fault.network else { continue };
        let name = fault.display_name(index);
        let peers = &network.matches.packet.peers;
        let by_object = peers.iter().all(|peer| peer.pods.is_some() || peer.service.is_some());
        let placed = asides.placed.iter().any(|aside| aside.fault == index);
        if !placed && by_object && sets.is_empty(index) {
            found.push(format!("{name}: its peers stand for no address now: no packet matches; see match.peers"));
        }
        let passes = match network.direction {
            Direction::Egress => None,
            Direction::Ingress => Some("connections that its pods begin"),
            Direction::Both => Some("connections that its pods begin to other ports"),
        };
        if let Some(what) = passes.filter(|_| peers.iter().any(|peer| peer.service.is_some())) {
            found.push(format!(
                "{name}: peers by service match the Service's ports alone: {what} pass; name the pods as peers to hit these, too"
            ));
        }
    }
    found
}

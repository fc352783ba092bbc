//! What the worker says of its parts and of the node.

use super::{
    input::{NodeState, Output},
    worker::Worker,
};

impl Worker {
    pub(super) fn tell(&mut self, uid: &str) {
        let Some(part) = self.parts.get(uid) else { return };
        let now = part.active.as_ref().map_or(Ok(Vec::new()), |active| self.engine.counts(active));
        let now = now.unwrap_or_else(|error| {
            tracing::warn!("count {}: {error}", part.title());
            Vec::new()
        });
        let (namespace, name) = part.place();
        let status = part.status(now);
        let Some(status) = self.parts.get_mut(uid).and_then(|part| part.news(status)) else { return };
        // The other end goes only with the process.
        let _ending = self.output.send(Output::Status { namespace, name, status: Box::new(status) });
    }

    pub(super) fn tell_node(&self) {
        let mut state = NodeState {
            listed: self.has_listed(),
            owns: self.owns,
            locked: self.locked(),
            errors: self.errors.clone(),
            ..NodeState::default()
        };
        // What is over is told until its Injection is gone, so that no scrape misses the last counts.
        for part in self.parts.values() {
            if let Some(active) = &part.active {
                state.active.push(part.title());
                state.faults += active.plan.faults.len();
                state.targets += active.targets.len();
            }
            let now = part.active.as_ref().map_or(Ok(Vec::new()), |active| self.engine.counts(active));
            for fault in part.status(now.unwrap_or_default()).faults {
                // What is placed at peers counts for the same fault.
                let sum = state.counts.entry((part.title(), fault.name)).or_default();
                *sum = (sum.0 + fault.matched, sum.1 + fault.injected, sum.2 + fault.skipped);
            }
        }
        let _ending = self.output.send(Output::Node(state));
    }
}

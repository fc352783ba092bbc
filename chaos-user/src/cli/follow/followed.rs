//! What following targets came to, for the report.

use chaos_outcome::{FaultReport, Gap, TargetReport};
use std::collections::HashMap;

/// What following came to.
#[derive(Default)]
pub struct Followed {
    /// Counts of targets that were let go.
    pub counted: Vec<FaultReport>,
    /// For people.
    pub warnings: Vec<String>,
    /// Why the experiment is no success.
    pub failed: Option<String>,
    pub(super) targets: HashMap<String, (Option<&'static str>, Vec<Gap>)>,
}

impl Followed {
    /// Each target once, as it stands at the end, with its gaps.
    pub fn fill(&mut self, targets: &mut Vec<TargetReport>) {
        let mut all: Vec<TargetReport> = Vec::new();
        for target in targets.drain(..) {
            match all.iter_mut().find(|one| (&one.kind, &one.name) == (&target.kind, &target.name)) {
                Some(one) => *one = target,
                None => all.push(target),
            }
        }
        for target in &mut all {
            let Some((state, gaps)) = self.targets.get_mut(&target.name) else { continue };
            target.gaps = std::mem::take(gaps);
            if let Some(state) = state {
                target.state = (*state).to_owned();
            }
        }
        *targets = all;
    }
}

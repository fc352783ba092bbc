//! Reports of one fault on one target that were taken one after the other: before and after a restart, or a target's return.

use super::report::{Actions, FaultReport, RejectedBy};
use std::collections::HashMap;

/// Sums entries of the same fault and target; samples and delays are the last one's that has some.
#[must_use]
pub fn merged(reports: impl IntoIterator<Item = FaultReport>) -> Vec<FaultReport> {
    let mut all: Vec<FaultReport> = Vec::new();
    // Of a thousand nodes there are ten thousand: each is found, and not searched for.
    let mut places: HashMap<(String, String), usize> = HashMap::new();
    for report in reports {
        let place = places.entry((report.name.clone(), report.target.clone())).or_insert(all.len());
        match all.get_mut(*place) {
            Some(one) => add(one, report),
            None => all.push(report),
        }
    }
    all
}

fn add(to: &mut FaultReport, later: FaultReport) {
    let pairs = [
        (&mut to.seen, later.seen),
        (&mut to.matched, later.matched),
        (&mut to.injected, later.injected),
        (&mut to.skipped, later.skipped),
        (&mut to.would_inject, later.would_inject),
        (&mut to.skbs, later.skbs),
        (&mut to.bytes, later.bytes),
        (&mut to.dropped, later.dropped),
        (&mut to.overflow, later.overflow),
        (&mut to.skipped_by_lease, later.skipped_by_lease),
        (&mut to.recursion_misses, later.recursion_misses),
        (&mut to.spared_by_address, later.spared_by_address),
    ];
    for (sum, more) in pairs {
        *sum = sum.saturating_add(more);
    }
    add_actions(&mut to.actions, later.actions);
    add_rejected(&mut to.rejected_by, later.rejected_by);
    if !later.mechanism.is_empty() {
        to.mechanism = later.mechanism;
    }
    if !later.samples.hits.is_empty() || !later.samples.missed.is_empty() {
        to.samples = later.samples;
    }
    if !later.taken_over.is_empty() {
        to.taken_over = later.taken_over;
    }
    if !later.hosts.is_empty() {
        to.hosts = later.hosts;
    }
    to.latency = later.latency.or(to.latency.take());
}

fn add_actions(to: &mut Actions, later: Actions) {
    let pairs = [
        (&mut to.delayed, later.delayed),
        (&mut to.lost, later.lost),
        (&mut to.duplicated, later.duplicated),
        (&mut to.corrupted, later.corrupted),
        (&mut to.detected_by_drop, later.detected_by_drop),
        (&mut to.reordered, later.reordered),
        (&mut to.reset, later.reset),
        (&mut to.errors, later.errors),
    ];
    for (sum, more) in pairs {
        *sum = sum.saturating_add(more);
    }
}

fn add_rejected(to: &mut RejectedBy, later: RejectedBy) {
    let pairs = [
        (&mut to.direction, later.direction),
        (&mut to.peer, later.peer),
        (&mut to.protocol, later.protocol),
        (&mut to.port, later.port),
        (&mut to.connection, later.connection),
        (&mut to.scope, later.scope),
        (&mut to.time, later.time),
        (&mut to.except, later.except),
        (&mut to.node, later.node),
        (&mut to.path, later.path),
        (&mut to.fd, later.fd),
        (&mut to.caller, later.caller),
    ];
    for (sum, more) in pairs {
        *sum = sum.saturating_add(more);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TakenOver;

    #[test]
    fn counts_of_one_fault_and_target_are_summed() {
        let one = |target: &str, seen| FaultReport {
            name: "f".into(),
            target: target.into(),
            seen,
            actions: Actions { lost: seen, ..Actions::default() },
            rejected_by: RejectedBy { peer: 1, ..RejectedBy::default() },
            spared_by_address: seen,
            ..FaultReport::default()
        };
        let all = merged([one("a", 3), one("b", 1), one("a", 4)]);
        let figures: Vec<_> =
            all.iter().map(|r| (r.target.as_str(), r.seen, r.actions.lost, r.rejected_by.peer)).collect();
        assert_eq!(figures, [("a", 7, 7, 2), ("b", 1, 1, 1)]);
        assert_eq!(all[0].spared_by_address, 7, "each is of the process, and of the target, that counted");
    }

    #[test]
    fn the_proxies_of_a_target_that_was_let_go_stay() {
        let proxy = |at: &str| vec![TakenOver { at: at.into(), ..TakenOver::default() }];
        let one = |taken_over| FaultReport { taken_over, ..FaultReport::default() };
        assert_eq!(merged([one(proxy("a")), one(Vec::new())])[0].taken_over, proxy("a"));
        assert_eq!(merged([one(proxy("a")), one(proxy("b"))])[0].taken_over, proxy("b"));
    }
}

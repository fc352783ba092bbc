//! A report that has to find room in an object of a cluster: etcd takes no more than 1.5 MiB at once.

use super::{
    merge::merged,
    report::{FaultReport, Report, Samples},
};
use std::collections::BTreeMap;

/// Targets of one fault that stay by themselves since a local proxy hid them.
const MOST_HIDDEN: usize = 16;

/// A report of at most so many bytes of JSON, if that can be: what is left out is what is worth least, first the examples, then what
/// each target has counted, whose sums stay. A warning says so.
#[must_use]
pub fn condensed(report: Report, most: usize) -> Report {
    let fits = |report: &Report| serde_json::to_vec(report).is_ok_and(|text| text.len() <= most);
    if fits(&report) {
        return report;
    }
    let mut report = report;
    for fault in &mut report.faults {
        (fault.samples, fault.hosts) = (Samples::default(), Vec::new());
    }
    report.warnings.push("examples are left out: the report is too large for one object".to_owned());
    if fits(&report) {
        return report;
    }
    report.faults = of_all(std::mem::take(&mut report.faults), report.targets.len());
    report.warnings.push("what single targets counted is left out: the report is too large for one object".to_owned());
    if !fits(&report) {
        report.targets.clear();
    }
    report
}

/// One entry for all targets of a fault, and one for each that the verdict names.
fn of_all(faults: Vec<FaultReport>, targets: usize) -> Vec<FaultReport> {
    let mut hidden: BTreeMap<String, usize> = BTreeMap::new();
    let mut stays = |fault: &FaultReport| {
        let is_hidden = !fault.taken_over.is_empty() && fault.matched == 0;
        let count = hidden.entry(fault.name.clone()).or_default();
        *count += usize::from(is_hidden);
        is_hidden && *count <= MOST_HIDDEN
    };
    let (single, others): (Vec<FaultReport>, Vec<FaultReport>) = faults.into_iter().partition(|fault| stays(fault));
    let alone = |name: &str| hidden.get(name).map_or(0, |count| MOST_HIDDEN.min(*count));
    let of_others = others.into_iter().map(|fault| {
        let target = format!("{} targets", targets.saturating_sub(alone(&fault.name)));
        FaultReport { target, taken_over: Vec::new(), ..fault }
    });
    merged(of_others.chain(single))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{MissedPeer, TakenOver, TargetReport};

    fn report(targets: usize) -> Report {
        let names = || (0..targets).map(|number| format!("shop/pod-{number}"));
        let missed = vec![MissedPeer { peer: "10.0.0.7:80".repeat(40), count: 1, ..MissedPeer::default() }];
        let samples = Samples { hits: Vec::new(), missed };
        let fault = |target| FaultReport {
            name: "cut".into(),
            target,
            injected: 1,
            samples: samples.clone(),
            ..FaultReport::default()
        };
        let target = |name| TargetReport { name, ..TargetReport::default() };
        Report { faults: names().map(fault).collect(), targets: names().map(target).collect(), ..Report::default() }
    }

    #[test]
    fn what_fits_stays_as_it_is() {
        assert_eq!(condensed(report(10), 1 << 20), report(10));
    }

    #[test]
    fn the_examples_go_first_and_the_sums_stay() {
        let size = |report: &Report| serde_json::to_vec(report).unwrap().len();
        let whole = report(1000);
        let without_examples = condensed(whole.clone(), size(&whole) - 1);
        assert_eq!((without_examples.faults.len(), without_examples.warnings.len()), (1000, 1));
        let small = condensed(whole, 200_000);
        assert!(size(&small) <= 200_000);
        let faults: Vec<_> = small.faults.iter().map(|one| (one.target.as_str(), one.injected)).collect();
        assert_eq!((faults, small.targets.len()), (vec![("1000 targets", 1000)], 1000));
        assert!(condensed(report(1000), 2000).targets.is_empty());
    }
    #[test]
    fn targets_behind_a_proxy_stay_by_themselves() {
        let mut whole = report(1000);
        for fault in whole.faults.iter_mut().skip(900) {
            (fault.injected, fault.taken_over) = (0, vec![TakenOver::default()]);
        }
        // It was hit later.
        (whole.faults[1].matched, whole.faults[1].taken_over) = (1, vec![TakenOver::default()]);
        let small = condensed(whole, 200_000);
        let faults: Vec<_> = small.faults.iter().map(|one| (one.target.as_str(), one.taken_over.len())).collect();
        let (first, behind) = faults.split_first().unwrap();
        assert_eq!((*first, behind.len(), behind[0]), (("984 targets", 0), 16, ("shop/pod-900", 1)));
    }
}

//! Progress of a running experiment, one line per fault.

use std::time::Duration;

use super::FaultReport;
use super::figure::{clock, count, printable};

/// Where one fault stands.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FaultProgress {
    /// Its name.
    pub name: String,
    /// Events that matched so far, over all targets.
    pub matched: u64,
    /// Events that were hit so far.
    pub injected: u64,
    /// Events that the trigger let pass so far.
    pub skipped: u64,
    /// With dryRun, events that would have been hit so far.
    pub would_inject: u64,
}

impl FaultProgress {
    /// The sums of each fault over its targets, in the order of their first entries.
    pub fn sums(faults: &[FaultReport]) -> Vec<Self> {
        let mut sums: Vec<Self> = Vec::new();
        for fault in faults {
            let place = sums.iter().position(|sum| sum.name == fault.name).unwrap_or_else(|| {
                sums.push(Self { name: fault.name.clone(), ..Self::default() });
                sums.len() - 1
            });
            if let Some(sum) = sums.get_mut(place) {
                sum.matched = sum.matched.saturating_add(fault.matched);
                sum.injected = sum.injected.saturating_add(fault.injected);
                sum.skipped = sum.skipped.saturating_add(fault.skipped);
                sum.would_inject = sum.would_inject.saturating_add(fault.would_inject);
            }
        }
        sums
    }
}

/// One line, without an end of line: `1m58s left  slow  matched 1,310  injected 1,310  skipped 0`.
pub fn line(fault: &FaultProgress, left: Duration, dry_run: bool) -> String {
    padded(fault, left, dry_run, 0)
}

/// One line per fault, with the names aligned.
pub fn lines(faults: &[FaultProgress], left: Duration, dry_run: bool) -> Vec<String> {
    let width = faults.iter().map(|fault| fault.name.chars().count()).max().unwrap_or(0);
    faults.iter().map(|fault| padded(fault, left, dry_run, width)).collect()
}

fn padded(fault: &FaultProgress, left: Duration, dry_run: bool, width: usize) -> String {
    let (hit, hits) = if dry_run { ("would inject", fault.would_inject) } else { ("injected", fault.injected) };
    format!(
        "{} left  {:width$}  matched {}  {hit} {}  skipped {}",
        clock(left),
        printable(&fault.name),
        count(fault.matched),
        count(hits),
        count(fault.skipped)
    )
}

//! What one probe saw in one phase.

use chaos_outcome::{LatencyReport, PhaseReport};
use std::time::Duration;

/// Latencies that are kept: a 24 h experiment with 10 runs per second has 864,000; percentiles of the last ones say as much. They
/// take 16 KiB, because a controller may have ten thousand probes.
const MOST_LATENCIES: usize = 2048;

/// Counts and latencies.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    runs: u64,
    successes: u64,
    failures_in_a_row: u32,
    failed: bool,
    last_error: Option<String>,
    nanos: Vec<u64>,
}

impl Tally {
    /// Books one run; `limit` failures in a row are a failure of the probe.
    pub fn book(&mut self, result: Result<Duration, String>, limit: u32) {
        self.runs += 1;
        match result {
            Ok(took) => {
                let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
                if self.nanos.len() < MOST_LATENCIES {
                    self.nanos.push(nanos);
                } else {
                    self.nanos[self.successes as usize % MOST_LATENCIES] = nanos;
                }
                self.successes += 1;
                self.failures_in_a_row = 0;
            }
            Err(error) => {
                self.failures_in_a_row += 1;
                self.failed |= self.failures_in_a_row >= limit;
                self.last_error = Some(error);
            }
        }
    }

    /// So many failures in a row that it counts.
    #[must_use]
    pub fn failed(&self) -> bool {
        self.failed
    }

    /// It has failed, or succeeded once: before and after the faults more is not needed.
    #[must_use]
    pub fn decided(&self) -> bool {
        self.failed || self.successes > 0
    }

    /// For the report; `None` where no run came to an end.
    #[must_use]
    pub fn report(mut self, phase: &str) -> Option<PhaseReport> {
        (self.runs > 0).then(|| PhaseReport {
            phase: phase.to_owned(),
            runs: self.runs,
            uptime_percent: (self.successes as f64 / self.runs as f64 * 100_000.0).round() / 1000.0,
            failed: self.failed,
            latency: LatencyReport::from_nanos(None, &mut self.nanos),
            last_error: self.last_error,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn failures_count_in_a_row_only() {
        let mut tally = Tally::default();
        for ok in [false, false, true, false, false] {
            tally.book(if ok { Ok(MS) } else { Err("refused".into()) }, 3);
        }
        assert!(!tally.failed() && tally.decided());
        tally.book(Err("late".into()), 3);
        assert!(tally.failed());
        // A success later takes nothing back.
        tally.book(Ok(3 * MS), 3);
        let report = tally.report("during").unwrap();
        assert_eq!((report.runs, report.failed, report.last_error.as_deref()), (7, true, Some("late")));
        assert_eq!(report.uptime_percent, 28.571);
        let latency = report.latency.unwrap();
        assert_eq!((latency.p50_ms, latency.p99_ms), (1.0, 3.0));
    }

    #[test]
    fn nothing_seen_is_nothing_said() {
        assert!(!Tally::default().decided() && Tally::default().report("before").is_none());
    }
}

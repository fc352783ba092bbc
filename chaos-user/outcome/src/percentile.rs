//! Percentiles of measured delays.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A measured delay, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LatencyReport {
    /// What was asked for; absent where nothing was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requested_ms: Option<f64>,
    /// Half of the measured ones are at most this.
    pub p50_ms: f64,
    /// 99 of 100 of the measured ones are at most this.
    pub p99_ms: f64,
}

impl LatencyReport {
    /// From single measurements in nanoseconds; `None` without any. They are sorted in place.
    pub fn from_nanos(requested: Option<u64>, samples: &mut [u64]) -> Option<Self> {
        samples.sort_unstable();
        Some(Self {
            requested_ms: requested.map(millis),
            p50_ms: millis(percentile(samples, 50.0)?),
            p99_ms: millis(percentile(samples, 99.0)?),
        })
    }
}

/// The smallest of the sorted samples that at least `percent` of them do not exceed (nearest rank); `None` without any.
/// `percent` is taken into 0 to 100.
pub fn percentile(sorted: &[u64], percent: f64) -> Option<u64> {
    let share = percent.clamp(0.0, 100.0) / 100.0;
    // `as` saturates, and the rank is at most the length.
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied()
}

/// Nanoseconds as milliseconds, to the microsecond: more digits are noise.
fn millis(nanos: u64) -> f64 {
    (nanos as f64 / 1_000.0).round() / 1_000.0
}

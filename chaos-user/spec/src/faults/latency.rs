//! Latency, with jitter, and with it reordering: some packets leave at once, ahead of those that wait (tc-netem(8)).

use super::{Compiled, Queue, scaled};
use crate::{Distribution, Latency, Reorder};
use chaos_abi::{ACTION_LATENCY, DIST_NORMAL, DIST_PARETO, DIST_PARETONORMAL, DIST_UNIFORM};

/// A distribution's tail reaches 4 standard deviations, where its table is clipped.
const TAIL: u64 = 4;

/// As netem's `delay` and `reorder`.
#[must_use]
pub fn compile(latency: &Latency, reorder: Option<&Reorder>) -> Compiled {
    let delay = latency.delay.as_nanos();
    let jitter = latency.jitter.map_or(0, |jitter| jitter.as_nanos());
    let distribution = match latency.distribution.unwrap_or_default() {
        Distribution::Uniform => DIST_UNIFORM,
        Distribution::Normal => DIST_NORMAL,
        Distribution::Pareto => DIST_PARETO,
        Distribution::ParetoNormal => DIST_PARETONORMAL,
    };
    let args = chaos_abi::Latency {
        delay,
        jitter,
        correlation: scaled(latency.correlation),
        distribution,
        keep_order: u32::from(latency.keep_order),
        reorder: reorder.map_or(0, |reorder| reorder.percent.scaled()),
        reorder_correlation: reorder.map_or(0, |reorder| scaled(reorder.correlation)),
        gap: reorder.and_then(|reorder| reorder.gap).unwrap_or(1),
    }
    .encode();
    let queue = Queue { longest: delay + TAIL * jitter, packets: latency.limit.unwrap_or(Latency::DEFAULT_LIMIT) };
    Compiled { name: "latency", action: ACTION_LATENCY, args, queue: Some(queue) }
}

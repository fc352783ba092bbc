//! Rules of times.

use super::Found;
use super::node::{Node, faults, latencies};
use crate::value::Duration;

const SHORTEST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);
const LONGEST_DELAY: Duration = Duration::from_secs(60);

/// Reports the field where it is a duration outside the bounds, which belong to it.
fn within(node: &Node<'_>, field: &str, [least, most]: [Duration; 2], found: &mut Found) {
    if let Some(duration) = node.parse::<Duration>(field)
        && !(least..=most).contains(&duration)
    {
        found.error_at(node, field, format!("{duration} is out of range; write {least} to {most}"));
    }
}

/// An experiment lasts 100ms to 24h.
pub(super) fn of_experiment(spec: &Node<'_>, found: &mut Found) {
    within(spec, "duration", [SHORTEST, LONGEST], found);
}

/// A start is awaited for 1s to 24h.
pub(super) fn of_start(spec: &Node<'_>, found: &mut Found) {
    within(spec, "startDeadline", [Duration::from_secs(1), LONGEST], found);
}

/// A fault begins and ends within the experiment.
pub(super) fn window_within_experiment(spec: &Node<'_>, found: &mut Found) {
    let Some(whole) = spec.parse::<Duration>("duration") else { return };
    for when in faults(spec).iter().filter_map(|fault| fault.get("when")) {
        let after = when.parse::<Duration>("after").unwrap_or_default();
        let lasting = when.parse::<Duration>("for");
        if after >= whole {
            let message =
                format!("{after} is not before the experiment's end; write less than its duration of {whole}");
            found.error_at(&when, "after", message);
        } else if lasting == Some(Duration::default()) {
            found.error_at(&when, "for", "0s would hit nothing; write a time above 0, or remove it");
        } else if lasting.is_some_and(|lasting| after.get().saturating_add(lasting.get()) > whole.get()) {
            let most = Duration::from(whole.get().saturating_sub(after.get()));
            let message =
                format!("ends behind the experiment, which lasts {whole}; write at most {most}, or remove it");
            found.error_at(&when, "for", message);
        }
    }
}

/// A delay is above 0 and at most 60s.
pub(super) fn delay_in_range(spec: &Node<'_>, found: &mut Found) {
    for latency in latencies(spec) {
        let delay = latency.parse::<Duration>("delay");
        if delay.is_some_and(|delay| delay == Duration::default() || delay > LONGEST_DELAY) {
            let delay = delay.unwrap_or_default();
            found.error_at(&latency, "delay", format!("{delay} is out of range; write more than 0s and at most 60s"));
        }
    }
}

/// A delay cannot become negative.
pub(super) fn jitter_within_delay(spec: &Node<'_>, found: &mut Found) {
    for latency in latencies(spec) {
        let (delay, jitter) = (latency.parse::<Duration>("delay"), latency.parse::<Duration>("jitter"));
        if let (Some(delay), Some(jitter)) = (delay, jitter)
            && jitter > delay
        {
            let message = format!("{jitter} is more than the delay; write at most {delay}, or a longer delay");
            found.error_at(&latency, "jitter", message);
        }
    }
}

/// A distribution is one of jitter, and correlation is between jittered delays.
pub(super) fn jitter_for_its_options(spec: &Node<'_>, found: &mut Found) {
    for latency in latencies(spec).iter().filter(|latency| !latency.has("jitter")) {
        if latency.has("distribution") {
            found.error_at(latency, "distribution", "is a distribution of the jitter; add jitter, or remove it");
        }
        if latency.number("correlation").is_some_and(|correlation| correlation > 0.0) {
            found.warn_at(latency, "correlation", "has no effect without jitter");
        }
    }
}

/// How often a probe runs and how long it waits.
pub(super) fn of_probes(spec: &Node<'_>, found: &mut Found) {
    for probe in spec.items("probes") {
        within(&probe, "every", [SHORTEST, Duration::from_secs(3600)], found);
        within(&probe, "timeout", [Duration::from_millis(10), Duration::from_secs(60)], found);
    }
}

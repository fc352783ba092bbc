//! Times, ages, counts and names, as they are printed.

use crate::api::{Experiment, Phase};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;
use std::time::{Duration, SystemTime};

/// `2 pods`.
#[must_use]
pub fn counted(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// `namespace/name`.
#[must_use]
pub fn title(experiment: &Experiment) -> String {
    format!("{}/{}", experiment.namespace().unwrap_or_default(), experiment.name_any())
}

/// What is said of one that this version cannot read; it can be stopped and deleted all the same.
#[must_use]
pub fn unreadable(experiment: &Experiment) -> Option<String> {
    let why = experiment.unread.as_ref()?;
    Some(format!("{} cannot be read by kubectl-chaos {}: {why}", title(experiment), env!("CARGO_PKG_VERSION")))
}

/// How long ago, from the clock of this machine; nothing where that clock is behind.
#[must_use]
pub fn since(time: &Time, now: SystemTime) -> Duration {
    now.duration_since(SystemTime::from(time.0)).unwrap_or_default()
}

/// In its largest unit: `45s`, `5m`, `3h`, `2d`.
#[must_use]
pub fn age(age: Duration) -> String {
    let seconds = age.as_secs();
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7200 => format!("{}m", seconds / 60),
        7200..172_800 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// RFC 3339 in UTC, with as many digits as the API server keeps; empty for none.
#[must_use]
pub fn moment(time: Option<&Time>) -> String {
    time.map(|time| humantime::format_rfc3339(SystemTime::from(time.0)).to_string()).unwrap_or_default()
}

/// Where an experiment stands; Pending where nobody has looked at it.
#[must_use]
pub fn phase(experiment: &Experiment) -> Phase {
    experiment.status.as_ref().map(|status| status.phase).unwrap_or_default()
}

/// The text, or a dash.
#[must_use]
pub fn or_dash(text: &str) -> String {
    if text.is_empty() { "-".to_owned() } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_in_their_largest_unit() {
        let of = |seconds| age(Duration::from_secs(seconds));
        assert_eq!([0, 119, 120, 7199, 7200, 172_800].map(of), ["0s", "119s", "2m", "119m", "2h", "2d"]);
    }
}

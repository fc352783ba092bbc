//! `wait`: for scripts.

use super::{
    Show,
    cluster::Cluster,
    follow::Follower,
    words::{phase, title},
};
use crate::api::{Experiment, INJECTED};
use chaos_outcome::EngineError;
use std::time::Duration;

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Awaited {
    /// The faults act.
    Injected,
    /// Some fault has hit something.
    Hit,
    /// It is over.
    Ended,
}

/// Is it so? None: not yet.
fn is_so(experiment: &Experiment, awaited: Awaited) -> Option<bool> {
    let status = experiment.status.as_ref();
    let over = phase(experiment).is_over();
    let holds = match awaited {
        Awaited::Ended => over,
        Awaited::Injected => status.is_some_and(|status| {
            status.conditions.iter().any(|condition| condition.type_ == INJECTED && condition.status == "True")
        }),
        Awaited::Hit => {
            status.is_some_and(|status| status.faults.iter().any(|fault| fault.injected > 0 || fault.would_inject > 0))
        }
    };
    // What is over changes no more.
    if holds || over { Some(holds) } else { None }
}

/// Returns as soon as it is so; an experiment that does not exist is waited for, and has ended.
///
/// # Errors
/// `Failed` where it is not so in time, or can be so no more.
pub async fn wait(
    cluster: &Cluster,
    name: &str,
    awaited: Awaited,
    timeout: Duration,
    show: &mut dyn Show,
) -> Result<(), EngineError> {
    let what = match awaited {
        Awaited::Injected => "was not injected",
        Awaited::Hit => "has hit nothing",
        Awaited::Ended => "has not ended",
    };
    let place = (cluster.namespace.clone(), name.to_owned(), None);
    let mut follower = Follower::new(cluster, &[place]);
    let met = async {
        loop {
            match follower.next(show).await?.1 {
                None if awaited == Awaited::Ended => {
                    show.say(&format!("there is no experiment {name:?} in namespace {}", cluster.namespace));
                    return Ok(());
                }
                None => {}
                Some(experiment) => match is_so(&experiment, awaited) {
                    Some(true) => return Ok(()),
                    Some(false) => {
                        let reason = experiment.status.as_ref().map(|one| one.reason.clone()).unwrap_or_default();
                        let text = format!("{} {what} and is over: {reason}", title(&experiment));
                        return Err(EngineError::Failed(text));
                    }
                    None => {}
                },
            }
        }
    };
    let late = || {
        let limit = humantime::format_duration(timeout);
        Err(EngineError::Failed(format!("{}/{name} {what} within {limit}", cluster.namespace)))
    };
    tokio::time::timeout(timeout, met).await.unwrap_or_else(|_| late())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn what_is_over_is_waited_for_no_longer() {
        let of = |status: Value| -> Experiment {
            let spec = json!({ "duration": "5s", "selector": { "pods": { "all": true } }, "faults": [] });
            serde_json::from_value(json!({ "metadata": { "name": "cut" }, "spec": spec, "status": status })).unwrap()
        };
        let condition = json!({
            "type": "Injected", "status": "True", "reason": "Injected", "message": "",
            "lastTransitionTime": "2026-01-01T00:00:00Z"
        });
        let running =
            json!({ "phase": "Injected", "conditions": [condition], "faults": [{ "name": "f", "matched": 3 }] });
        assert_eq!(is_so(&of(json!(null)), Awaited::Injected), None);
        assert_eq!(is_so(&of(running.clone()), Awaited::Injected), Some(true));
        assert_eq!(is_so(&of(running), Awaited::Hit), None);
        let over = json!({ "phase": "Failed" });
        assert_eq!(is_so(&of(over.clone()), Awaited::Hit), Some(false));
        assert_eq!(is_so(&of(over), Awaited::Ended), Some(true));
    }
}

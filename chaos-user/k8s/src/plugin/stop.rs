//! `stop`: ends experiments early.

use super::{
    Answer, Show,
    cluster::Cluster,
    follow::Follower,
    halt,
    words::{phase, title, unreadable},
};
use crate::api::{Experiment, STOP};
use chaos_outcome::EngineError;
use chaos_outcome::ExitCode;
use std::time::Duration;

/// How experiments are ended.
#[derive(Clone, Copy, Debug)]
pub struct How {
    /// As if the duration were over, not as aborted.
    pub finish: bool,
    /// How long the end, and the agents' locks, are waited for.
    pub timeout: Duration,
}

impl How {
    /// The value of [`STOP`].
    const fn word(self) -> &'static str {
        if self.finish { "finish" } else { "abort" }
    }
}

/// Ends one experiment of the namespace.
///
/// # Errors
/// The API server's.
pub async fn stop(cluster: &Cluster, name: &str, how: How, show: &mut dyn Show) -> Result<Answer, EngineError> {
    let experiment = cluster.experiment(name).await?;
    if phase(&experiment).is_over() {
        return Ok(Answer { text: format!("{} was over already\n", title(&experiment)), code: ExitCode::Pass });
    }
    end(cluster, vec![experiment], how, false, show).await
}

/// Ends all experiments of the namespace, or of all. With `lock`, a Halt comes first: it needs no controller, and is for the whole cluster.
///
/// # Errors
/// The API server's. What can be stopped is, though there be no right to lock.
pub async fn stop_all(
    cluster: &Cluster,
    everywhere: bool,
    how: How,
    lock: Option<&str>,
    show: &mut dyn Show,
) -> Result<Answer, EngineError> {
    let namespace = (!everywhere).then_some(cluster.namespace.as_str());
    // What is active is asked for at once with the lock, which ends it: nothing is to delay that.
    let (locked, before) = match lock {
        Some(reason) => {
            let (locked, before) = futures::join!(halt::lock(cluster, reason, how.timeout), active(cluster, namespace));
            (Some(locked), before.unwrap_or_default())
        }
        None => (None, Vec::new()),
    };
    // Then the faults are off, whether the controller says so or not.
    let off = locked.as_ref().is_some_and(|locked| locked.as_ref().is_ok_and(|one| one.code == ExitCode::Pass));
    let stopped = all(cluster, namespace, (how, off), &before, show).await;
    let (locked, mut stopped) = match (locked.transpose(), stopped) {
        (Ok(locked), Ok(stopped)) => (locked, stopped),
        (Err(lock), stopped) => {
            let text = stopped.map_or_else(|error| error.to_string(), |answer| answer.text);
            show.say(text.trim_end());
            return Err(lock);
        }
        (Ok(locked), Err(error)) => {
            locked.iter().for_each(|answer| show.say(answer.text.trim_end()));
            return Err(error);
        }
    };
    if let Some(locked) = locked {
        stopped.text.insert_str(0, &locked.text);
        stopped.code = stopped.code.max(locked.code);
    }
    Ok(stopped)
}

/// The experiments that are not over.
async fn active(cluster: &Cluster, namespace: Option<&str>) -> Result<Vec<Experiment>, EngineError> {
    let all = cluster.list::<Experiment>(&cluster.api(namespace), namespace).await?;
    Ok(all.into_iter().filter(|one| !phase(one).is_over()).collect())
}

/// `before`: those that were active before the lock; it may have ended some of them.
async fn all(
    cluster: &Cluster,
    namespace: Option<&str>,
    (how, off): (How, bool),
    before: &[Experiment],
    show: &mut dyn Show,
) -> Result<Answer, EngineError> {
    let open = active(cluster, namespace).await?;
    open.iter().filter_map(unreadable).for_each(|line| show.say(&line));
    let mut text = by_lock(before, &open);
    if open.is_empty() {
        if text.is_empty() {
            "no experiment was active\n".clone_into(&mut text);
        }
        return Ok(Answer { text, code: ExitCode::Pass });
    }
    let mut answer = end(cluster, open, how, off, show).await?;
    answer.text.insert_str(0, &text);
    Ok(answer)
}

/// A line for each that is active no longer.
fn by_lock(before: &[Experiment], open: &[Experiment]) -> String {
    let ended = before.iter().filter(|one| !open.iter().any(|other| other.metadata.uid == one.metadata.uid));
    ended.map(|one| format!("{}: stopped by the lock\n", title(one))).collect()
}

/// Asks for the end of all, then waits for it. `off`: no fault of the cluster acts any more.
async fn end(
    cluster: &Cluster,
    experiments: Vec<Experiment>,
    how: How,
    off: bool,
    show: &mut dyn Show,
) -> Result<Answer, EngineError> {
    let asked = experiments.iter().map(|one| cluster.annotate(one, STOP, how.word()));
    // One that cannot be stopped keeps no other from it.
    let errors: Vec<EngineError> = futures::future::join_all(asked).await.into_iter().filter_map(Result::err).collect();
    if let Some(error) = errors.into_iter().next() {
        return Err(error);
    }
    let mut open: Vec<bool> = vec![true; experiments.len()];
    let mut text = String::new();
    let mut follower = Follower::of(cluster, &experiments);
    let waited = async {
        while open.contains(&true) {
            let (index, found) = follower.next(show).await?;
            let verdict = match &found {
                Some(one) if !phase(one).is_over() => continue,
                Some(one) => one.status.as_ref().and_then(|status| status.verdict).map(|v| format!("{v:?}")),
                None => None,
            };
            if std::mem::take(&mut open[index]) {
                let verdict = verdict.unwrap_or_else(|| "it was deleted".to_owned());
                text += &format!("{}: stopped ({verdict})\n", title(&experiments[index]));
            }
        }
        Ok::<(), EngineError>(())
    };
    if let Ok(result) = tokio::time::timeout(how.timeout, waited).await {
        result?;
    }
    for (_, one) in open.iter().zip(&experiments).filter(|(open, _)| **open) {
        text += &format!("{}: {}\n", title(one), not_over(how.timeout, off));
    }
    Ok(Answer { text, code: if open.contains(&true) && !off { ExitCode::Error } else { ExitCode::Pass } })
}

fn not_over(timeout: Duration, off: bool) -> String {
    let timeout = humantime::format_duration(timeout);
    if off {
        return format!("its faults are off; its status did not say so within {timeout}: see that the controller runs");
    }
    format!(
        "asked to stop, and not over within {timeout}; see that the controller runs, or use kubectl chaos stop --all --lock \
         REASON, which does not need it"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_the_lock_has_ended_is_named() {
        let experiment = |name: &str| -> Experiment {
            let spec = json!({ "duration": "5s", "selector": { "pods": { "all": true } }, "faults": [] });
            let metadata = json!({ "namespace": "shop", "name": name, "uid": name });
            serde_json::from_value(json!({ "metadata": metadata, "spec": spec })).unwrap()
        };
        let before = [experiment("a"), experiment("b")];
        assert_eq!(by_lock(&before, &before[1..]), "shop/a: stopped by the lock\n");
        assert_eq!(by_lock(&[], &before), "");
    }
}

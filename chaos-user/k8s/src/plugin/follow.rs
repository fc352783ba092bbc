//! Experiments as they change.

use super::{cluster::Cluster, error::Asked};
use crate::api::Experiment;
use chaos_outcome::EngineError;
use futures::{StreamExt, stream};
use kube::{
    ResourceExt,
    runtime::{
        WatchStreamExt,
        watcher::{self, watch_object},
    },
};
use std::pin::Pin;

/// Where a verb says what happens while it happens.
pub trait Show {
    /// Lines that take the place of those of before; none: takes those off.
    fn live(&mut self, lines: &[String]);
    /// A line that stays.
    fn say(&mut self, line: &str);
}

type Event = (usize, watcher::Result<Option<Experiment>>);

/// Follows experiments.
pub struct Follower<'a> {
    cluster: &'a Cluster,
    stream: stream::SelectAll<Pin<Box<dyn stream::Stream<Item = Event> + Send>>>,
    /// By index: its UID, once it is known.
    uids: Vec<Option<String>>,
    lost: bool,
}

impl<'a> Follower<'a> {
    /// Begins with what is so now. `places`: namespace, name, and the UID where another experiment of this name is not meant.
    #[must_use]
    pub fn new(cluster: &'a Cluster, places: &[(String, String, Option<String>)]) -> Self {
        let mut all = stream::SelectAll::new();
        for (index, (namespace, name, _)) in places.iter().enumerate() {
            let one = watch_object::<Experiment>(cluster.api(Some(namespace)), name).default_backoff();
            let one: Pin<Box<dyn stream::Stream<Item = Event> + Send>> = Box::pin(one.map(move |event| (index, event)));
            all.push(one);
        }
        let uids = places.iter().map(|(_, _, uid)| uid.clone()).collect();
        Self { cluster, stream: all, uids, lost: false }
    }

    /// These experiments.
    #[must_use]
    pub fn of(cluster: &'a Cluster, experiments: &[Experiment]) -> Self {
        let place = |one: &Experiment| (one.namespace().unwrap_or_default(), one.name_any(), one.uid());
        Self::new(cluster, &experiments.iter().map(place).collect::<Vec<_>>())
    }

    /// The next change: which one, and the experiment; None: it does not exist. An API server that cannot be reached is tried again.
    /// May be dropped and called again at any time.
    ///
    /// # Errors
    /// What trying again would not help: missing rights, missing definitions.
    pub async fn next(&mut self, show: &mut dyn Show) -> Result<(usize, Option<Experiment>), EngineError> {
        let asked = Asked { verb: "watch", resource: "experiments", namespace: None };
        while let Some((index, event)) = self.stream.next().await {
            match event {
                Ok(found) => {
                    if std::mem::take(&mut self.lost) {
                        show.say("the API server answers again");
                    }
                    let Some(uid) = self.uids.get_mut(index) else { continue };
                    let found = found.filter(|one| uid.is_none() || one.uid() == *uid);
                    if let Some(one) = &found {
                        *uid = one.uid();
                    }
                    return Ok((index, found));
                }
                Err(error) => {
                    let text = match cause(&error) {
                        Some(error) => {
                            let translated = self.cluster.translate(error, asked);
                            if !matches!(translated, EngineError::Failed(_)) {
                                return Err(translated);
                            }
                            translated.to_string()
                        }
                        None => error.to_string(),
                    };
                    if !std::mem::replace(&mut self.lost, true) {
                        show.say(&format!("{text}; trying again"));
                    }
                }
            }
        }
        Err(EngineError::Failed("the watch of experiments ended".to_owned()))
    }
}

fn cause(error: &watcher::Error) -> Option<&kube::Error> {
    use watcher::Error::{InitialListFailed, WatchFailed, WatchStartFailed};
    match error {
        InitialListFailed(error) | WatchStartFailed(error) | WatchFailed(error) => Some(error),
        _ => None,
    }
}

//! Lists and watches of the API server: which of them fail, and why.

use crate::text::cut;
use kube::{Api, Resource, ResourceExt, api::ListParams, core::Status, runtime::watcher};
use serde::de::DeserializeOwned;
use std::{
    collections::BTreeMap,
    fmt::Debug,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Bytes of a reason: an answer of the API server may hold whole lists.
const LONGEST: usize = 512;

/// A failure that has not come again for so long is over: a watch that goes on says nothing until an object changes, and one that fails is
/// tried again sooner (kube-runtime's back-off is at most 30 s).
const RECENT: Duration = Duration::from_secs(90);

/// The kinds whose list or watch fails now, each with the reason. All clones are of the same.
#[derive(Clone, Debug, Default)]
pub struct Lists(Arc<Mutex<BTreeMap<String, (Instant, String)>>>);

impl Lists {
    /// One has failed; it is logged.
    pub fn failed(&self, kind: &str, error: &watcher::Error) {
        let why = of_watch(error);
        tracing::warn!("watch {kind}: {why}");
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(kind.to_owned(), (Instant::now(), why));
    }

    /// It is served (again).
    pub fn served(&self, kind: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(kind);
    }

    /// Are all served?
    ///
    /// # Errors
    /// Those that are not, each with the reason.
    pub fn all_served(&self) -> Result<(), String> {
        let failing = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let recent = failing.iter().filter(|(_, (since, _))| since.elapsed() < RECENT);
        let each: Vec<String> = recent.map(|(kind, (_, why))| format!("watch {kind}: {why}")).collect();
        if each.is_empty() { Ok(()) } else { Err(each.join("; ")) }
    }
}

/// Does this event say that the kind is served? The begin of a list does not.
#[must_use]
pub fn serves<K>(event: &watcher::Event<K>) -> bool {
    !matches!(event, watcher::Event::Init | watcher::Event::InitApply(_))
}

/// The object with this one's name as it is now: a list goes by the definitions of now, and needs no right that a watch does not need.
///
/// # Errors
/// The API server's.
pub async fn again<K>(api: &Api<K>, one: &K) -> Result<Option<K>, kube::Error>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
{
    let place = format!("metadata.name={},metadata.namespace={}", one.name_any(), one.namespace().unwrap_or_default());
    let found = api.list(&ListParams::default().fields(&place)).await?.items.into_iter().next();
    Ok(found.filter(|found| found.uid() == one.uid()))
}

/// Why a watch failed, in one line.
#[must_use]
pub fn of_watch(error: &watcher::Error) -> String {
    match error {
        watcher::Error::InitialListFailed(error) => format!("list: {}", of_request(error)),
        watcher::Error::WatchStartFailed(error) | watcher::Error::WatchFailed(error) => of_request(error),
        watcher::Error::WatchError(status) => of_status(status),
        other @ watcher::Error::NoResourceVersion => other.to_string(),
    }
}

/// Why a request failed: the API server's words, where there are any.
#[must_use]
pub fn of_request(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => of_status(status),
        other => {
            // The outermost says hardly more than that a request failed.
            let mut text = other.to_string();
            let mut inner = std::error::Error::source(other);
            while let Some(cause) = inner {
                let cause_text = cause.to_string();
                if !text.contains(&cause_text) {
                    text = format!("{text}: {cause_text}");
                }
                inner = cause.source();
            }
            cut(&text, LONGEST)
        }
    }
}

fn of_status(status: &Status) -> String {
    let text = match (status.message.as_str(), status.reason.as_str()) {
        ("", "") => "the API server ended it and gave no reason".to_owned(),
        ("", reason) => reason.to_owned(),
        (message, _) => message.to_owned(),
    };
    let text = if status.code == 0 { text } else { format!("{text} ({})", status.code) };
    cut(&text, LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn status(value: serde_json::Value) -> Box<Status> {
        Box::new(serde_json::from_value(value).unwrap())
    }

    #[test]
    fn the_reason_is_the_api_servers() {
        let expired = status(json!({ "code": 410, "reason": "Expired", "message": "too old resource version: 7 (9)" }));
        assert_eq!(of_watch(&watcher::Error::WatchError(expired)), "too old resource version: 7 (9) (410)");
        let silent = watcher::Error::WatchFailed(kube::Error::Api(status(json!({}))));
        assert_eq!(of_watch(&silent), "the API server ended it and gave no reason");
        let long = status(json!({ "message": "x".repeat(100_000) }));
        assert!(of_watch(&watcher::Error::WatchError(long)).len() <= LONGEST);
        let unreadable = serde_json::from_str::<u8>("[]").unwrap_err();
        let text = of_watch(&watcher::Error::InitialListFailed(kube::Error::SerdeError(unreadable)));
        assert!(text.starts_with("list: ") && text.contains("expected u8"), "{text}");
    }

    #[test]
    fn one_that_fails_is_named_until_it_is_served() {
        let lists = Lists::default();
        lists.failed("Pod", &watcher::Error::NoResourceVersion);
        assert!(lists.clone().all_served().unwrap_err().starts_with("watch Pod: "));
        lists.served("Pod");
        assert_eq!(lists.all_served(), Ok(()));
    }
}

//! Orders that came without a part are read once more: a watch that began under older definitions goes on dropping what these do not have,
//! while a list goes by the definitions as they are now.

use chaos_k8s::{
    api::{Unread, Written},
    lists::{again, of_request},
};
use kube::{Api, ResourceExt};
use serde::de::DeserializeOwned;
use std::{
    collections::BTreeMap,
    fmt::Debug,
    time::{Duration, Instant},
};

/// For the answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// So long after a read that failed no other one is tried: others wait behind it.
const PAUSE: Duration = Duration::from_secs(30);
/// Those that are kept, so that each status that is written of one is no reason to read it again.
const MOST: usize = 256;

/// What was read again, by UID.
#[derive(Debug)]
pub struct Again<K> {
    read: BTreeMap<String, K>,
    /// The generation that could not be read, and when that was tried.
    failed: BTreeMap<String, (Option<i64>, Instant)>,
}

impl<K> Default for Again<K> {
    fn default() -> Self {
        Self { read: BTreeMap::new(), failed: BTreeMap::new() }
    }
}

/// Without a part it may mean more than was asked for: nothing of it begins, and what acts stays as it is.
fn refused<K: Written>(mut one: K, why: &str) -> K {
    one.set_unread(Unread::new(format_args!("it came without a part, and {why}")));
    one
}

impl<K: Written> Again<K> {
    /// The object as it is now, if a part of this one was dropped; marked as unread where that cannot be found out. `read` asks the API server.
    pub async fn whole(&mut self, one: K, read: impl AsyncFnOnce(&K) -> Result<Option<K>, String>) -> K {
        let uid = one.uid().unwrap_or_default();
        if one.is_whole() {
            self.read.remove(&uid);
            self.failed.remove(&uid);
            return one;
        }
        if one.ends() {
            return refused(one, "it ends");
        }
        if let Some(known) = self.read.get(&uid).filter(|known| is_same(*known, &one)) {
            let mut known = known.clone();
            known.meta_mut().clone_from(one.meta());
            return known;
        }
        let generation = one.meta().generation;
        let lately = |(of, at): &(Option<i64>, Instant)| *of == generation && at.elapsed() < PAUSE;
        if self.failed.get(&uid).is_some_and(lately) {
            return refused(one, "could not be read again");
        }
        match read(&one).await {
            Ok(Some(again)) => {
                keep(&mut self.read, uid, again.clone());
                again
            }
            // Its end follows.
            Ok(_) => refused(one, "is gone"),
            Err(error) => {
                tracing::warn!(
                    "{} {} came without a part, and was not read again: {error}",
                    K::kind(&()),
                    one.name_any()
                );
                keep(&mut self.failed, uid, (generation, Instant::now()));
                refused(one, &format!("could not be read again: {error}"))
            }
        }
    }
}

fn keep<T>(all: &mut BTreeMap<String, T>, uid: String, one: T) {
    if all.len() >= MOST {
        all.pop_first();
    }
    all.insert(uid, one);
}

/// Of one generation the spec is the same.
fn is_same<K: Written>(known: &K, one: &K) -> bool {
    known.meta().generation.is_some() && known.meta().generation == one.meta().generation
}

/// As [`again`].
///
/// # Errors
/// Why it cannot be read: the API server's words, or that it did not answer in time.
pub async fn read<K>(api: &Api<K>, one: &K) -> Result<Option<K>, String>
where
    K: Written + DeserializeOwned + Debug,
{
    match tokio::time::timeout(PATIENCE, again(api, one)).await {
        Ok(answer) => answer.map_err(|error| of_request(&error)),
        Err(_) => Err(format!("no answer in {} s", PATIENCE.as_secs())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chaos_k8s::api::Injection;
    use serde_json::json;
    use std::cell::Cell;

    /// As it was written, and as a watch under older definitions shows it.
    fn both(generation: i64) -> (Injection, Injection) {
        let fault = json!({ "network": { "match": { "all": true, "protocol": "icmp" }, "partition": true } });
        let spec = json!({ "nodeName": "n1", "experiment": "cut", "remaining": "60s", "seed": 1, "faults": [fault] });
        let metadata = json!({ "name": "one", "namespace": "shop", "uid": "u", "generation": generation });
        let order: Injection = serde_json::from_value(json!({ "metadata": metadata, "spec": spec })).unwrap();
        let whole = order.marked();
        let mut value = serde_json::to_value(&whole).unwrap();
        drop(value["spec"]["faults"][0]["network"]["match"].as_object_mut().unwrap().remove("protocol"));
        (whole, serde_json::from_value(value).unwrap())
    }

    #[tokio::test]
    async fn what_came_without_a_part_is_read_once() {
        let (whole, part) = both(1);
        let (mut again, asked) = (Again::default(), Cell::new(0));
        let answer = async |_: &Injection| {
            asked.set(asked.get() + 1);
            Ok(Some(whole.clone()))
        };
        assert_eq!(again.whole(whole.clone(), answer).await.spec, whole.spec);
        assert_eq!(asked.get(), 0, "nothing was lost");
        // Each status that is written of it brings it anew.
        for _ in 0..3 {
            assert_eq!(again.whole(part.clone(), answer).await.spec, whole.spec);
        }
        assert_eq!(asked.get(), 1);
        let (_, later) = both(2);
        assert_eq!(again.whole(later, answer).await.metadata.generation, Some(1));
        assert_eq!(asked.get(), 2, "another order");
    }

    /// Without the part it is a fault on more than was asked for.
    #[tokio::test]
    async fn where_it_cannot_be_read_nothing_of_it_begins() {
        let (whole, part) = both(1);
        let (mut again, asked) = (Again::default(), Cell::new(0));
        let nobody = async |_: &Injection| {
            asked.set(asked.get() + 1);
            Err("no".to_owned())
        };
        for _ in 0..3 {
            assert!(again.whole(part.clone(), nobody).await.unread.is_some());
        }
        assert_eq!(asked.get(), 1, "others wait behind it");
        let mut again = Again::default();
        assert!(again.whole(part.clone(), async |_| Ok(None)).await.unread.is_some());
        let found = again.whole(part.clone(), async |_| Ok(Some(whole.clone()))).await;
        assert!(found.spec == whole.spec && found.unread.is_none());
        let mut stopped = part;
        stopped.spec.stop = serde_json::from_value(json!("abort")).unwrap();
        let stopped = Again::default().whole(stopped, async |_| panic!("it waits for nothing")).await;
        assert!(stopped.spec.stop.is_some() && stopped.unread.is_some());
    }
}

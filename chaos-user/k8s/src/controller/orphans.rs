//! Injections whose Experiment is gone. The garbage collector deletes them, too, but does not know a new kind for its first half
//! minute, and may be slow when it has much to do: a fault is not to wait for that.

use super::{
    reconcile::{Context, WRITERS, owned},
    world::api,
};
use crate::{
    api::{Experiment, Injection},
    lists::serves,
};
use futures::{StreamExt, stream};
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, ListParams},
    runtime::watcher::{self, Event, watcher},
};
use std::{collections::BTreeSet, sync::Arc, time::Duration};

/// After an error of the watch.
const PAUSE: Duration = Duration::from_secs(1);

/// Deletes them as their Experiments go, and those that are found at the begin. Probes of these experiments end, too.
pub async fn delete(context: Arc<Context>, namespace: Option<String>) {
    let client = &context.client;
    let mut events = Box::pin(watcher(api::<Experiment>(client, namespace.as_deref()), watcher::Config::default()));
    let (mut listed, mut before) = (BTreeSet::new(), BTreeSet::new());
    while let Some(event) = events.next().await {
        if event.as_ref().is_ok_and(serves) {
            context.lists.served("Experiment");
        }
        let result = match event {
            Ok(Event::Init) => {
                listed.clear();
                before = context.known.uids();
                Ok(())
            }
            Ok(Event::InitApply(one)) => {
                listed.extend(one.uid());
                Ok(())
            }
            Ok(Event::InitDone) => {
                // One that is younger than the list does not stand in it and is there.
                let lives = |uid: &str| listed.contains(uid) || !before.contains(uid);
                context.prober.retain(lives);
                context.known.retain(lives);
                strays(client, namespace.as_deref()).await
            }
            Ok(Event::Apply(_)) => Ok(()),
            Ok(Event::Delete(one)) => {
                let uid = one.uid().unwrap_or_default();
                context.prober.forget(&uid);
                context.known.forget(&uid);
                of_one(client, &one).await
            }
            Err(error) => {
                context.lists.failed("Experiment", &error);
                tokio::time::sleep(PAUSE).await;
                Ok(())
            }
        };
        if let Err(error) = result {
            tracing::warn!("delete injections without an experiment: {error}; the garbage collector does");
        }
    }
}

/// Deletes those of an Experiment.
///
/// # Errors
/// The API server's.
pub async fn of_one(client: &Client, experiment: &Experiment) -> Result<(), kube::Error> {
    remove(client, owned::<Injection>(client, experiment).await?).await
}

/// Those of no experiment. The experiments are listed after them: an Injection is never older than its Experiment.
async fn strays(client: &Client, namespace: Option<&str>) -> Result<(), kube::Error> {
    let all = api::<Injection>(client, namespace).list(&ListParams::default()).await?;
    let known = api::<Experiment>(client, namespace).list(&ListParams::default()).await?;
    let known: BTreeSet<String> = known.items.iter().filter_map(ResourceExt::uid).collect();
    let is_stray = |one: &Injection| one.owner_references().iter().all(|owner| !known.contains(&owner.uid));
    remove(client, all.items.into_iter().filter(is_stray).collect()).await
}

async fn remove(client: &Client, injections: Vec<Injection>) -> Result<(), kube::Error> {
    let each = injections.into_iter().map(|one| async move {
        let api: Api<Injection> = Api::namespaced(client.clone(), &one.namespace().unwrap_or_default());
        match api.delete(&one.name_any(), &DeleteParams::default()).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(error)) if error.code == 404 => Ok(()),
            Err(error) => Err(error),
        }
    });
    let each: Vec<_> = each.collect();
    let results: Vec<_> = stream::iter(each).buffer_unordered(WRITERS).collect().await;
    results.into_iter().collect()
}

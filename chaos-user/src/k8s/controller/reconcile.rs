//! Brings the cluster to what was decided.

use super::{
    decide::{Decision, decide},
    fan_out::label,
    world::Watched,
};
use crate::{
    k8s::api::{EXPERIMENT, Experiment, Injection, PeerSet},
    spec::KIND,
};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams},
    runtime::{
        controller::Action,
        events::{Event, EventType, Recorder},
    },
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::json;
use std::{
    collections::BTreeSet,
    fmt::Debug,
    sync::Arc,
    time::{Duration, SystemTime},
};

/// Who writes, for server-side apply.
pub const MANAGER: &str = "chaos-controller";

/// What reconciling needs.
pub struct Context {
    /// The API server.
    pub client: Client,
    /// The cluster.
    pub watched: Watched,
    /// Tells users.
    pub recorder: Recorder,
}

/// Looks at one experiment.
///
/// # Errors
/// The API server's; it is tried again.
pub async fn reconcile(experiment: Arc<Experiment>, context: Arc<Context>) -> Result<Action, kube::Error> {
    let namespace = experiment.namespace().unwrap_or_default();
    let old = experiment.status.clone().unwrap_or_default();
    if old.phase.is_over() {
        return expire(&experiment, &context, old.ended_at.map(|time| SystemTime::from(time.0))).await;
    }
    if experiment.metadata.deletion_timestamp.is_some() {
        return Ok(Action::await_change());
    }
    let injections = owned::<Injection>(&context.client, &experiment).await?;
    let decision = decide(&experiment, &context.watched.now(), &injections, SystemTime::now());
    // A start: the status first, so that a controller that dies in between starts nothing twice, because the times stand in it. The end:
    // the status last, because nobody looks at the Injections of an experiment that is over.
    let over = decision.status.phase.is_over();
    if over {
        apply(&context.client, &experiment, &injections, &decision).await?;
    }
    if decision.status != old {
        let api: Api<Experiment> = Api::namespaced(context.client.clone(), &namespace);
        let body = json!({ "apiVersion": crate::spec::API_VERSION, "kind": KIND, "status": decision.status });
        api.patch_status(&experiment.name_any(), &parameters(), &Patch::Apply(&body)).await?;
    }
    if !over {
        apply(&context.client, &experiment, &injections, &decision).await?;
    }
    if decision.status.phase != old.phase {
        tell(&experiment, &context, &decision).await;
    }
    Ok(decision.again.map_or_else(Action::await_change, Action::requeue))
}

fn parameters() -> PatchParams {
    PatchParams::apply(MANAGER).force()
}

/// The experiment's objects of a kind: by its label, and by its UID, since a label may be cut and a name may be used again.
pub(crate) async fn owned<K>(client: &Client, experiment: &Experiment) -> Result<Vec<K>, kube::Error>
where
    K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
{
    let api: Api<K> = Api::namespaced(client.clone(), &experiment.namespace().unwrap_or_default());
    let list = api.list(&ListParams::default().labels(&format!("{EXPERIMENT}={}", label(experiment)))).await?;
    let uid = experiment.uid().unwrap_or_default();
    Ok(list.items.into_iter().filter(|one| one.owner_references().iter().any(|owner| owner.uid == uid)).collect())
}

async fn apply(
    client: &Client,
    experiment: &Experiment,
    existing: &[Injection],
    decision: &Decision,
) -> Result<(), kube::Error> {
    if decision.injections.is_empty() {
        return Ok(());
    }
    let old_sets = owned::<PeerSet>(client, experiment).await?;
    for set in &decision.sets.objects {
        if !old_sets.iter().any(|old| old.name_any() == set.name_any() && old.spec == set.spec) {
            write(client, set).await?;
        }
    }
    let changed = decision.injections.iter().filter(|new| {
        let is_same = |old: &Injection| old.name_any() == new.name_any() && old.spec == new.spec;
        let is_over = |old: &Injection| {
            old.name_any() == new.name_any() && old.status.as_ref().is_some_and(|status| status.phase.is_over())
        };
        !existing.iter().any(|old| is_same(old) || is_over(old))
    });
    let writes = changed.map(|one| write(client, one));
    for result in futures::future::join_all(writes).await {
        result?;
    }
    let wanted: BTreeSet<&String> = decision.sets.uses.iter().flat_map(|place| &place.sets).collect();
    for old in old_sets.iter().filter(|old| !wanted.contains(&old.name_any())) {
        let api: Api<PeerSet> = Api::namespaced(client.clone(), &old.namespace().unwrap_or_default());
        api.delete(&old.name_any(), &DeleteParams::default()).await?;
    }
    Ok(())
}

async fn write<K>(client: &Client, one: &K) -> Result<(), kube::Error>
where
    K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
        + Clone
        + Debug
        + DeserializeOwned
        + Serialize
        + Sync,
{
    let api: Api<K> = Api::namespaced(client.clone(), &one.namespace().unwrap_or_default());
    api.patch(&one.name_any(), &parameters(), &Patch::Apply(one)).await.map(drop)
}

/// Deletes what its user wanted gone some time after the end.
async fn expire(experiment: &Experiment, context: &Context, ended: Option<SystemTime>) -> Result<Action, kube::Error> {
    let (Some(seconds), Some(ended)) = (experiment.spec.ttl_seconds_after_finished, ended) else {
        return Ok(Action::await_change());
    };
    let end = ended + Duration::from_secs(seconds.into());
    match end.duration_since(SystemTime::now()) {
        Ok(left) if !left.is_zero() => Ok(Action::requeue(left)),
        _ => {
            let api: Api<Experiment> =
                Api::namespaced(context.client.clone(), &experiment.namespace().unwrap_or_default());
            match api.delete(&experiment.name_any(), &DeleteParams::default()).await {
                Ok(_) => Ok(Action::await_change()),
                Err(kube::Error::Api(error)) if error.code == 404 => Ok(Action::await_change()),
                Err(error) => Err(error),
            }
        }
    }
}

async fn tell(experiment: &Experiment, context: &Context, decision: &Decision) {
    let status = &decision.status;
    let note = match status.verdict {
        Some(verdict) if status.reason.is_empty() => format!("{verdict:?}"),
        Some(verdict) => format!("{verdict:?}: {}", status.reason),
        None => format!("{} pods selected", status.summary.selected),
    };
    tracing::info!(
        experiment = %format!("{}/{}", experiment.namespace().unwrap_or_default(), experiment.name_any()),
        phase = ?status.phase, faults = %json!(status.faults), "{note}"
    );
    let event = Event {
        type_: if status.phase == crate::k8s::api::Phase::Failed { EventType::Warning } else { EventType::Normal },
        reason: format!("{:?}", status.phase),
        note: Some(crate::k8s::text::cut(&note, 1024)),
        action: "Reconcile".to_owned(),
        secondary: None,
    };
    if let Err(error) = context.recorder.publish(&event, &experiment.object_ref(&())).await {
        tracing::warn!("event: {error}");
    }
}

//! Brings the cluster to what was decided.

use super::{
    decide::{Decision, decide},
    fan_out::label,
    health::Counts,
    prober::Prober,
    tell::tell,
    world::Watched,
};
use crate::{
    k8s::api::{EXPERIMENT, Experiment, Injection, PeerSet, Phase, Stop},
    observe::Verdict,
    probe::Refused,
    spec::KIND,
};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams},
    runtime::{controller::Action, events::Recorder},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::json;
use std::{
    fmt::Debug,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
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
    /// Runs probes.
    pub prober: Prober,
    /// What it has done.
    pub counts: Arc<Counts>,
}

/// Looks at one experiment.
///
/// # Errors
/// The API server's; it is tried again.
pub async fn reconcile(experiment: Arc<Experiment>, context: Arc<Context>) -> Result<Action, kube::Error> {
    let begun = Instant::now();
    let result = look(experiment, &context).await;
    context.counts.reconciled(begun.elapsed(), result.is_ok());
    result
}

async fn look(experiment: Arc<Experiment>, context: &Context) -> Result<Action, kube::Error> {
    let namespace = experiment.namespace().unwrap_or_default();
    let old = experiment.status.clone().unwrap_or_default();
    if old.phase.is_over() {
        return expire(&experiment, context, old.ended_at.map(|time| SystemTime::from(time.0))).await;
    }
    if experiment.metadata.deletion_timestamp.is_some() {
        return Ok(Action::await_change());
    }
    let injections = owned::<Injection>(&context.client, &experiment).await?;
    let (world, seen) = (context.watched.now(), context.prober.seen(&experiment));
    let mut decision = decide(&experiment, &world, &injections, &seen, SystemTime::now());
    let until = decision.status.ends_at.as_ref().map(|time| SystemTime::from(time.0));
    if let Err(refused) = context.prober.run(&experiment, decision.probe, until, &world) {
        decision = refuse(&decision, &refused);
    }
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
    if over {
        context.prober.forget(&experiment.uid().unwrap_or_default());
    }
    if decision.status.phase != old.phase {
        tell(&experiment, &context.recorder, &decision.status).await;
    }
    Ok(decision.again.map_or_else(Action::await_change, Action::requeue))
}

/// A probe that cannot be run ends the experiment where it stands: what was injected has a deadline, and nothing else is done.
fn refuse(decision: &Decision, refused: &Refused) -> Decision {
    let verdict = if refused.invalid { Verdict::Invalid } else { Verdict::Unsupported };
    let mut refusal = decision.clone();
    (refusal.status.phase, refusal.status.verdict) = (Phase::Failed, Some(verdict));
    refusal.status.reason.clone_from(&refused.text);
    refusal.status.ended_at = crate::k8s::time::time(SystemTime::now());
    refusal.injections.iter_mut().for_each(|one| one.spec.stop = Some(Stop::Abort));
    refusal
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
    // A set that nobody names any more goes with the experiment, its owner.
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

//! Brings the cluster to what was decided.

use super::{
    deadline::{self, Hindrance, pruned},
    decide::{Decision, decide},
    events::Events,
    fan_out::label,
    health::Counts,
    known::Known,
    orphans,
    prober::{Prober, Seen},
    tell::{tell, warn},
    world::Watched,
};
use crate::{
    api::{EXPERIMENT, Experiment, Injection, PeerSet, Phase, STOP, Stop, Written},
    lists::{Lists, again},
    undeclared::apply_status,
};
use chaos_outcome::Verdict;
use chaos_probe::{Cause, Refused};
use chaos_spec::KIND;
use futures::{StreamExt, stream};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams},
    runtime::controller::Action,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::json;
use std::{
    collections::HashMap,
    fmt::Debug,
    hash::{DefaultHasher, Hash, Hasher},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

/// Who writes, for server-side apply.
pub const MANAGER: &str = "chaos-controller";

/// Requests that write beside each other: each has a connection, and the API server serves others, too.
pub const WRITERS: usize = 32;
/// How soon an experiment is looked at again that has changed under a look, and how often one whose probes run.
const SOON: Duration = Duration::from_millis(200);
/// How soon one is, of whose status the API server keeps only a part.
const LATER: Duration = Duration::from_secs(2);

/// What reconciling needs.
pub struct Context {
    /// The API server.
    pub client: Client,
    /// The cluster.
    pub watched: Watched,
    /// The Injections, and what was written to them.
    pub known: Known,
    /// Tells users.
    pub events: Events,
    /// Runs probes.
    pub prober: Prober,
    /// What it has done.
    pub counts: Arc<Counts>,
    /// What the API server serves.
    pub lists: Lists,
}

/// Looks at one experiment, unless it was looked at a moment ago.
///
/// # Errors
/// The API server's; it is tried again.
pub async fn reconcile(experiment: Arc<Experiment>, context: Arc<Context>) -> Result<Action, kube::Error> {
    let uid = experiment.uid().unwrap_or_default();
    let seen = context.prober.seen(&experiment);
    let wanted = wanted(&experiment, &seen);
    if let Some(left) = context.known.rest(&uid, wanted) {
        let soon = if seen.running.is_some() { SOON } else { left };
        return Ok(Action::requeue(left.min(soon)));
    }
    let begun = Instant::now();
    let result = look(experiment, seen, &context).await;
    context.known.looked(&uid, wanted);
    context.counts.reconciled(begun.elapsed(), result.is_ok());
    result
}

/// A fingerprint of what does not wait: a changed spec, a stop, what the probes have found.
fn wanted(experiment: &Experiment, seen: &Seen) -> u64 {
    let stop = experiment.annotations().get(STOP);
    let probes = (seen.failed.is_some(), seen.done.len(), seen.running.is_some());
    let mut hasher = DefaultHasher::new();
    (experiment.metadata.generation, stop, probes).hash(&mut hasher);
    hasher.finish()
}

/// The newest that is known of it, of which nothing was dropped on its way. None: it is gone.
async fn whole(experiment: Arc<Experiment>, context: &Context) -> Result<Option<Arc<Experiment>>, kube::Error> {
    let (experiment, is_whole) = context.known.newest(experiment);
    if is_whole || experiment.status.as_ref().is_some_and(|status| status.phase.is_over()) {
        return Ok(Some(experiment));
    }
    let api = Api::namespaced(context.client.clone(), &experiment.namespace().unwrap_or_default());
    let read = again(&api, experiment.as_ref()).await?.map(Arc::new);
    read.iter().for_each(|read| context.known.read(Arc::clone(read)));
    Ok(read)
}

async fn look(experiment: Arc<Experiment>, mut seen: Seen, context: &Context) -> Result<Action, kube::Error> {
    let Some(experiment) = whole(experiment, context).await? else { return Ok(Action::await_change()) };
    let uid = experiment.uid().unwrap_or_default();
    let old = experiment.status.clone().unwrap_or_default();
    if old.phase.is_over() {
        context.known.over(&uid);
        return expire(&experiment, context, old.ended_at.map(|time| SystemTime::from(time.0))).await;
    }
    let injections = match context.known.injections(&uid) {
        Some(known) => known,
        None => Arc::new(owned::<Injection>(&context.client, &experiment).await?),
    };
    let is_deleted = experiment.metadata.deletion_timestamp.is_some();
    if is_deleted && injections.is_empty() {
        return Ok(Action::await_change());
    }
    seen.unanswered = context.known.unanswered(&uid);
    seen.stopping = context.known.stopping(&uid);
    let (world, now) = (context.watched.now(), SystemTime::now());
    let mut decision = decide(&experiment, &world, &injections, &seen, now);
    if is_deleted {
        decision = ending(decision, &injections);
    }
    if !decision.injections.is_empty() {
        let start = context.known.start(&uid, deadline::carried(&old, now));
        decision = deadline::within(&experiment, &injections, decision, &start, now);
    }
    let until = decision.status.ends_at.as_ref().map(|time| SystemTime::from(time.0));
    if (decision.probe.is_some() || !decision.status.phase.is_over())
        && let Err(refused) = context.prober.run(&experiment, decision.probe, until, &world)
    {
        decision = refuse(&decision, &refused);
    }
    // The end: the status last, because nobody looks at the Injections of an experiment that is over. Otherwise both beside each other,
    // because every write is waited for by those who wait for the faults: should we die in between, either says enough of the other.
    let over = decision.status.phase.is_over();
    if over && let Err(hindrance) = fan_out(context, &experiment, &injections, &decision).await {
        return hindered(context, &experiment, hindrance).await;
    }
    let waits = context.known.waits(&uid, &old, &decision.status);
    let is_as_before = decision.status == old || waits.is_some();
    let status = async { if is_as_before { Ok(true) } else { write_status(context, &experiment, &decision).await } };
    let nodes = async { if over { Ok(()) } else { fan_out(context, &experiment, &injections, &decision).await } };
    let (is_ours, told) = tokio::join!(status, nodes);
    match is_ours {
        Ok(true) => {}
        Ok(false) => return Ok(Action::requeue(SOON)),
        // It keeps no node from being told.
        Err(Hindrance::Api(error)) => return Err(error),
        Err(hindrance) => return hindered(context, &experiment, hindrance).await,
    }
    match told {
        Ok(()) => drop(context.known.hindered(&uid, None)),
        Err(hindrance) => return hindered(context, &experiment, hindrance).await,
    }
    if over {
        context.prober.forget(&uid);
    }
    if decision.status.phase != old.phase {
        tell(&experiment, &context.events, &decision.status, &decision.injections).await;
    }
    Ok(decision.again.into_iter().chain(waits).min().map_or_else(Action::await_change, Action::requeue))
}

/// Of one that is deleted: whoever holds it back by a finalizer holds back no end, and nothing is made for it any more.
fn ending(mut decision: Decision, existing: &[Injection]) -> Decision {
    decision.injections.retain(|one| existing.iter().any(|old| old.metadata.name == one.metadata.name));
    decision.sets.objects.clear();
    decision
}

/// Says what keeps the nodes from being told; it is tried again.
async fn hindered(context: &Context, experiment: &Experiment, hindrance: Hindrance) -> Result<Action, kube::Error> {
    let obstacle = hindrance.obstacle();
    if context.known.hindered(&experiment.uid().unwrap_or_default(), Some(obstacle.clone())) {
        warn(experiment, &context.events, obstacle.reason, &obstacle.text).await;
    }
    match hindrance {
        Hindrance::Api(error) => Err(error),
        // One that has not begun ends with the next look; another goes on, and there is no haste.
        Hindrance::Pruned(_) if experiment.status.as_ref().is_some_and(|status| status.started_at.is_some()) => {
            Ok(Action::requeue(LATER))
        }
        Hindrance::Pruned(_) => Ok(Action::requeue(SOON)),
    }
}

/// Writes the status over the one that was looked at, and over no other: false where somebody has written since, be it a user or a
/// controller that leads by now.
async fn write_status(context: &Context, experiment: &Experiment, decision: &Decision) -> Result<bool, Hindrance> {
    let (name, version) = (experiment.name_any(), experiment.resource_version());
    let api: Api<Experiment> = Api::namespaced(context.client.clone(), &experiment.namespace().unwrap_or_default());
    let metadata = json!({ "name": name, "resourceVersion": version });
    let body = json!({
        "apiVersion": chaos_spec::API_VERSION, "kind": KIND, "metadata": metadata, "status": decision.status,
    });
    match apply_status(&api, &name, &parameters(), &body).await {
        Ok((written, lost)) => {
            context.known.wrote_status(written);
            match lost {
                // What could be written of an end stands there, and nobody looks at it again.
                Some(field) if !decision.status.phase.is_over() => Err(Hindrance::Pruned(field)),
                _ => Ok(true),
            }
        }
        Err(kube::Error::Api(error)) if error.code == 409 => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// A probe that cannot be run ends the experiment where it stands: what was injected has a deadline, and nothing else is done.
fn refuse(decision: &Decision, refused: &Refused) -> Decision {
    let verdict = match refused.cause {
        Cause::Invalid => Verdict::Invalid,
        Cause::Impossible => Verdict::Unsupported,
        Cause::Forbidden => Verdict::Refused,
    };
    let mut refusal = decision.clone();
    (refusal.status.phase, refusal.status.verdict) = (Phase::Failed, Some(verdict));
    refusal.status.reason.clone_from(&refused.text);
    refusal.status.ended_at = crate::time::time(SystemTime::now());
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

/// Tells the nodes what has changed for them.
async fn fan_out(
    context: &Context,
    experiment: &Experiment,
    existing: &[Injection],
    decision: &Decision,
) -> Result<(), Hindrance> {
    if decision.injections.is_empty() {
        return Ok(());
    }
    apply_sets(context, experiment, existing, &decision.sets.objects).await?;
    let existing: HashMap<Option<&str>, &Injection> =
        existing.iter().map(|one| (one.metadata.name.as_deref(), one)).collect();
    let is_over =
        |one: &Injection| one.unread.is_none() && one.status.as_ref().is_some_and(|status| status.phase.is_over());
    let changed = decision.injections.iter().filter_map(|new| match existing.get(&new.metadata.name.as_deref()) {
        Some(old) => (old.spec != new.spec && !is_over(old)).then(|| (new, old.uid())),
        None => Some((new, None)),
    });
    let gone = context.known.gone(&experiment.uid().unwrap_or_default());
    let mut changed: Vec<_> = changed.collect();
    // Nodes with a target first: the others wait for pods that may come, and keep nobody from beginning.
    changed.sort_by_key(|(one, _)| one.spec.targets.is_empty());
    let told = async |(one, uid): (&Injection, Option<String>)| match order(context, one, uid, &gone).await {
        Err(Hindrance::Api(error)) if one.spec.targets.is_empty() && one.spec.stop.is_none() => {
            tracing::warn!("node {}, which has no target yet: {error}", one.spec.node_name);
            Ok(())
        }
        other => other,
    };
    let writes: Vec<_> = changed.into_iter().map(told).collect();
    // All are tried, whatever becomes of one of them.
    let results: Vec<_> = stream::iter(writes).buffer_unordered(WRITERS).collect().await;
    if gone.load(Ordering::Relaxed) {
        // What was on its way when it was deleted.
        orphans::of_one(&context.client, experiment).await?;
    }
    results.into_iter().collect()
}

/// A set that nobody names any more goes with the experiment, its owner.
async fn apply_sets(
    context: &Context,
    experiment: &Experiment,
    existing: &[Injection],
    sets: &[PeerSet],
) -> Result<(), Hindrance> {
    if sets.is_empty() {
        return Ok(());
    }
    let uid = experiment.uid().unwrap_or_default();
    let is_there = |known: &[PeerSet], set: &PeerSet| {
        known.iter().any(|old| old.metadata.name == set.metadata.name && old.spec == set.spec)
    };
    if context.known.sets(&uid).is_some_and(|known| sets.iter().all(|set| is_there(&known, set))) {
        return Ok(());
    }
    // Before the first Injection there are none, or the same.
    let old = if existing.is_empty() { Vec::new() } else { owned::<PeerSet>(&context.client, experiment).await? };
    let whole = async |set: &PeerSet| kept(&set.spec, &write(&context.client, set).await?.spec);
    let writes: Vec<_> = sets.iter().filter(|set| !is_there(&old, set)).map(whole).collect();
    let results: Vec<_> = stream::iter(writes).buffer_unordered(WRITERS).collect().await;
    results.into_iter().collect::<Result<Vec<_>, _>>()?;
    context.known.found_sets(&uid, sets.to_vec());
    Ok(())
}

/// Tells a node. One that is there is changed and never made anew: `uid` is of the one that was looked at.
async fn order(context: &Context, one: &Injection, uid: Option<String>, gone: &AtomicBool) -> Result<(), Hindrance> {
    if gone.load(Ordering::Relaxed) {
        return Ok(());
    }
    // As the API server has it: nothing but its end is said.
    if one.metadata.resource_version.is_some() {
        return Ok(stop(context, one).await?);
    }
    let mut one = one.clone();
    one.metadata.uid = uid;
    match write(&context.client, &one).await {
        Ok(written) => {
            context.known.wrote(&written);
            kept(&one.spec, &written.spec)?;
        }
        // It has been deleted, as the watch will say.
        Err(kube::Error::Api(error)) if error.code == 409 && one.metadata.uid.is_some() => {}
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

/// The API server keeps all that was sent: what it drops, an agent would pass over.
fn kept<S: Serialize + PartialEq>(sent: &S, back: &S) -> Result<(), Hindrance> {
    if sent == back {
        return Ok(());
    }
    let json = |spec: &S| serde_json::to_value(spec).unwrap_or_default();
    pruned(&json(sent), &json(back), "spec").map_or(Ok(()), |field| Err(Hindrance::Pruned(field)))
}

/// Ends one, and leaves the rest of it as it is.
async fn stop(context: &Context, one: &Injection) -> Result<(), kube::Error> {
    let api: Api<Injection> = Api::namespaced(context.client.clone(), &one.namespace().unwrap_or_default());
    let parameters = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
    let body = json!({ "metadata": { "uid": one.uid() }, "spec": { "stop": one.spec.stop } });
    match api.patch(&one.name_any(), &parameters, &Patch::Merge(&body)).await {
        Ok(written) => context.known.wrote(&written),
        Err(kube::Error::Api(error)) if matches!(error.code, 404 | 409) => {}
        Err(error) => return Err(error),
    }
    Ok(())
}

async fn write<K>(client: &Client, one: &K) -> Result<K, kube::Error>
where
    K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
        + Clone
        + Debug
        + DeserializeOwned
        + Serialize
        + Sync
        + Written,
{
    let api: Api<K> = Api::namespaced(client.clone(), &one.namespace().unwrap_or_default());
    api.patch(&one.name_any(), &parameters(), &Patch::Apply(one.marked())).await
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

//! Which pods an experiment means.

use super::world::World;
use crate::{api::PodTarget, draw::drawn};
use chaos_spec::{Phase, PodSelector, PodTargets, SelectMode, Workload};
use k8s_openapi::{
    api::core::v1::{Pod, Service},
    apimachinery::pkg::apis::meta::v1::OwnerReference,
};
use kube::ResourceExt;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// Never meant by `*`: a cluster's own namespace, and ours.
pub(super) const SPARED: [&str; 2] = ["kube-system", "chaos-system"];

/// A pod and its node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chosen {
    /// The pod.
    pub target: PodTarget,
    /// Where it runs.
    pub node: String,
}

impl Chosen {
    /// One that has a node.
    #[must_use]
    pub fn of(pod: &Pod) -> Option<Self> {
        let node = pod.spec.as_ref()?.node_name.clone()?;
        let target = PodTarget { namespace: pod.namespace()?, name: pod.name_any(), uid: pod.uid()? };
        Some(Self { target, node })
    }
}

/// The pods that agree with a selector and have a node. `own`: the experiment's namespace.
///
/// # Errors
/// A namespace that is not watched; a Service that does not exist or has no pods of its own to select; nodes by labels where nodes cannot be seen.
pub fn agreeing<'a>(selector: &PodSelector, own: &str, world: &'a World) -> Result<Vec<&'a Arc<Pod>>, String> {
    agreeing_from(selector, own, world, false)
}

/// The same; `pending`: where no phase is asked for, also those whose first containers are still being started, or run.
fn agreeing_from<'a>(
    selector: &PodSelector,
    own: &str,
    world: &'a World,
    pending: bool,
) -> Result<Vec<&'a Arc<Pod>>, String> {
    if let Some(only) = &world.only
        && let Some(other) = selector.namespaces.iter().find(|one| *one != only)
    {
        return Err(format!(
            "namespaces: {other}: this installation has rights over pods of namespace {only} alone (list and watch pods there); \
             manifests/overlays/cluster has them over all"
        ));
    }
    let everywhere = selector.namespaces.iter().any(|one| one == "*");
    let in_namespace = |namespace: &str| match (everywhere, selector.namespaces.is_empty()) {
        (true, _) => !SPARED.contains(&namespace),
        (false, true) => namespace == own,
        (false, false) => selector.namespaces.iter().any(|one| one == namespace),
    };
    let behind = behind_service(selector, in_namespace, world)?;
    let on_nodes = nodes(selector, world)?;
    let agrees = |pod: &&Arc<Pod>| {
        let empty = BTreeMap::new();
        let labels = pod.metadata.labels.as_ref().unwrap_or(&empty);
        let annotations = pod.metadata.annotations.as_ref().unwrap_or(&empty);
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).unwrap_or_default();
        in_namespace(pod.metadata.namespace.as_deref().unwrap_or_default())
            && !node.is_empty()
            && pod.metadata.deletion_timestamp.is_none()
            && in_phase(pod, &selector.phases, pending)
            && selector.label_selector.as_ref().is_none_or(|one| one.matches(labels))
            && selector.annotation_selector.as_ref().is_none_or(|one| one.matches(annotations))
            && (selector.names.is_empty() || selector.names.contains(&pod.name_any()))
            && on_nodes.as_ref().is_none_or(|nodes| nodes.contains(node))
            && behind.as_ref().is_none_or(|behind| {
                let service = pod.namespace().and_then(|namespace| behind.get(&namespace).copied());
                service.is_some_and(|wanted| wanted.iter().all(|(key, value)| labels.get(key) == Some(value)))
            })
            && selector.workload.as_ref().is_none_or(|workload| of_workload(pod, workload, world))
    };
    Ok(world.pods.iter().filter(agrees).collect())
}

fn in_phase(pod: &Pod, phases: &[Phase], pending: bool) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default();
    if phases.is_empty() {
        return phase == "Running" || pending && phase == "Pending";
    }
    phases.iter().any(|one| format!("{one:?}") == phase)
}

/// Labels that pods must have, by their namespace.
type ByNamespace<'a> = BTreeMap<String, &'a BTreeMap<String, String>>;

/// The labels by which the Services of this name select.
fn behind_service<'a>(
    selector: &PodSelector,
    in_namespace: impl Fn(&str) -> bool,
    world: &'a World,
) -> Result<Option<ByNamespace<'a>>, String> {
    let Some(name) = &selector.service else { return Ok(None) };
    let named = world.services.iter().filter(|one| one.name_any() == *name);
    let services: Vec<_> = named.filter(|one| in_namespace(&one.namespace().unwrap_or_default())).collect();
    if services.is_empty() {
        return Err(format!("there is no Service {name} in the selected namespaces"));
    }
    let of = |service: &'a Arc<Service>| {
        let labels = service.spec.as_ref()?.selector.as_ref().filter(|labels| !labels.is_empty())?;
        Some((service.namespace()?, labels))
    };
    let found: ByNamespace = services.into_iter().filter_map(of).collect();
    if found.is_empty() {
        return Err(format!("Service {name} selects no pods of its own; use labelSelector"));
    }
    Ok(Some(found))
}

/// The nodes that are meant; None: all.
fn nodes(selector: &PodSelector, world: &World) -> Result<Option<BTreeSet<String>>, String> {
    if selector.nodes.is_empty() && selector.node_selector.is_empty() {
        return Ok(None);
    }
    let named: BTreeSet<String> = selector.nodes.iter().cloned().collect();
    if selector.node_selector.is_empty() {
        return Ok(Some(named));
    }
    if world.nodes.is_empty() {
        return Err("nodeSelector: a controller of one namespace sees no nodes; use nodes, with their names".to_owned());
    }
    let labelled = world.nodes.iter().filter(|node| {
        let labels = node.metadata.labels.as_ref();
        selector.node_selector.iter().all(|(key, value)| labels.and_then(|labels| labels.get(key)) == Some(value))
    });
    let labelled = labelled.map(|node| node.name_any());
    Ok(Some(labelled.filter(|node| named.is_empty() || named.contains(node)).collect()))
}

/// Nodes that are told although they have no target yet. Each holds an Injection and says how it is every few seconds, so on more of them than
/// this one is told when it has its first pod, which is under the fault a little later then.
const MOST_AWAITING: usize = 64;

/// The nodes to which a pod may come that is to be hit from its first packet on. A share is drawn by the controller, of all nodes' pods together.
#[must_use]
pub fn awaiting(targets: &PodTargets, world: &World) -> BTreeSet<String> {
    let selector = &targets.pods;
    if !targets.follows_new() || targets.mode != SelectMode::All || !selector.phases.is_empty() {
        return BTreeSet::new();
    }
    // Nodes by labels that cannot be seen are none.
    let Ok(meant) = nodes(selector, world) else { return BTreeSet::new() };
    let lives = world.nodes.iter().filter(|node| node.metadata.deletion_timestamp.is_none());
    let mut all: BTreeSet<String> = lives.map(|node| node.name_any()).collect();
    if world.nodes.is_empty() {
        // Who sees one namespace alone has those where its pods are.
        all.extend(world.pods.iter().filter_map(|pod| pod.spec.as_ref()?.node_name.clone()));
    }
    all.retain(|node| meant.as_ref().is_none_or(|meant| meant.contains(node)));
    if all.len() > MOST_AWAITING { BTreeSet::new() } else { all }
}

fn of_workload(pod: &Pod, workload: &Workload, world: &World) -> bool {
    let is = |owner: &OwnerReference| owner.kind == workload.kind && owner.name == workload.name;
    let through = |owner: &OwnerReference| {
        owner.kind == "ReplicaSet"
            && world
                .replica_sets
                .iter()
                .filter(|set| set.metadata.uid.as_deref() == Some(&owner.uid))
                .any(|set| set.owner_references().iter().any(is))
    };
    pod.owner_references().iter().any(|owner| is(owner) || through(owner))
}

/// The pods that are hit, drawn by the seed where not all are.
///
/// # Errors
/// As [`agreeing`].
pub fn choose(targets: &PodTargets, own: &str, seed: u64, world: &World) -> Result<Vec<Chosen>, String> {
    // A share is one of pods that run: one that never does would be a share of nothing.
    let pending = targets.follows_new() && targets.mode == SelectMode::All;
    let mut pods: Vec<Chosen> =
        agreeing_from(&targets.pods, own, world, pending)?.into_iter().filter_map(|pod| Chosen::of(pod)).collect();
    pods.sort_by(|a, b| drawn(seed, &a.target.uid).total_cmp(&drawn(seed, &b.target.uid)));
    let share = |percent: f64| {
        // At most 10,000s of pods: exact in both ways.
        let count = (pods.len() as f64 * percent / 100.0).ceil() as usize;
        count.max(1)
    };
    let value = targets.value.unwrap_or(0.0);
    let count = match targets.mode {
        SelectMode::All => pods.len(),
        SelectMode::One => 1,
        SelectMode::Fixed => value as usize,
        SelectMode::Percent => share(value),
        SelectMode::RandomMaxPercent => share(value * drawn(seed, "share") / 100.0),
    };
    pods.truncate(count);
    Ok(pods)
}

/// Under `percent`: below which draw (0 to 100) pods that come later are hit. Not above that of any pod that was there and was left out,
/// so that none of these is taken in later. In millionths, which every JSON keeps.
#[must_use]
pub fn drawn_below(targets: &PodTargets, own: &str, seed: u64, chosen: &[Chosen], world: &World) -> Option<f64> {
    let share = targets.value.filter(|_| targets.mode == SelectMode::Percent)?;
    let there = agreeing_from(&targets.pods, own, world, false).unwrap_or_default().into_iter();
    let is_left_out = |uid: &String| !chosen.iter().any(|one| one.target.uid == *uid);
    let left_out = there.filter_map(|pod| pod.uid()).filter(is_left_out).map(|uid| drawn(seed, &uid));
    Some((left_out.fold(share, f64::min) * 1e6).floor() / 1e6)
}

/// Pods that were chosen and whose nodes were not told: a controller died in the middle of that, or a write failed.
#[must_use]
pub fn untold(
    targets: &PodTargets,
    own: &str,
    seed: u64,
    selected: usize,
    known: &BTreeSet<String>,
    world: &World,
) -> Vec<Chosen> {
    let Some(count) = selected.checked_sub(known.len()).filter(|count| *count > 0) else { return Vec::new() };
    // The same dice: the same pods, but for those that have gone. A selector that has lost its Service finds none.
    let again = choose(targets, own, seed, world).unwrap_or_default().into_iter();
    again.filter(|one| !known.contains(&one.target.uid)).take(count).collect()
}

/// Pods that have come since the experiment began and are to be hit as well; `below`: as [`drawn_below`] said then.
///
/// # Errors
/// As [`agreeing`].
pub fn newcomers(
    targets: &PodTargets,
    own: &str,
    (seed, below): (u64, Option<f64>),
    known: &BTreeSet<String>,
    world: &World,
) -> Result<Vec<Chosen>, String> {
    if !targets.follows_new() {
        return Ok(Vec::new());
    }
    let share = (targets.mode == SelectMode::Percent).then(|| below.or(targets.value).unwrap_or(0.0));
    let drawn_in = |one: &Chosen| share.is_none_or(|share| drawn(seed, &one.target.uid) < share);
    let pods = agreeing_from(&targets.pods, own, world, true)?;
    let new = pods.into_iter().filter_map(|pod| Chosen::of(pod));
    Ok(new.filter(|one| !known.contains(&one.target.uid) && drawn_in(one)).collect())
}

//! One experiment becomes an Injection per node, and the sets of addresses that these name.

use super::{peers::Place, select::Chosen};
use crate::{
    k8s::{
        api::{
            EXPERIMENT, Experiment, Follow, Injection, InjectionSpec, MOST_ADDRESSES, PeerAddress, PeerSet,
            PeerSetSpec, PeerSetUse, Stop,
        },
        text::cut,
    },
    spec::{PodTargets, SelectMode, value::Duration},
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, OwnerReference, Time};
use kube::{Resource, ResourceExt};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::SystemTime,
};

/// The schema's shortest duration.
const SHORTEST: std::time::Duration = std::time::Duration::from_millis(100);

/// What all Injections of an experiment have in common.
#[derive(Clone, Debug)]
pub struct Common {
    /// The dice.
    pub seed: u64,
    /// Who started it.
    pub started_by: Option<String>,
    /// It has been started.
    pub start: bool,
    /// When it ends at the latest.
    pub ends_at: Option<Time>,
    /// It is to end.
    pub stop: Option<Stop>,
    /// What is left for those that join now.
    pub left: Duration,
}

/// Sets of addresses, and where each is used.
#[derive(Clone, Debug, Default)]
pub struct Sets {
    /// The objects.
    pub objects: Vec<PeerSet>,
    /// Their uses.
    pub uses: Vec<PeerSetUse>,
}

/// A name that is its owner's as far as it fits, and the same for the same parts.
fn name(experiment: &Experiment, parts: &str) -> String {
    let uid = experiment.uid().unwrap_or_default();
    let hash = chaos_abi::mix(chaos_abi::name_hash(format!("{uid}/{parts}").as_bytes()));
    let own = cut(&experiment.name_any(), 200);
    format!("{}-{hash:016x}", own.trim_end_matches(['.', '-']))
}

/// The value of [`EXPERIMENT`].
#[must_use]
pub fn label(experiment: &Experiment) -> String {
    cut(&experiment.name_any(), 63).trim_end_matches(['.', '-', '_']).to_owned()
}

/// What is left for a node; one whose end was moved is told what that means from its own start on.
fn remaining(one: &Injection, common: &Common) -> Duration {
    let old = one.spec.remaining;
    let end = match (&one.spec.ends_at, &common.ends_at) {
        (Some(before), Some(now)) if now.0 < before.0 => SystemTime::from(now.0),
        _ => return old,
    };
    let started = one.status.as_ref().and_then(|status| status.started_at.as_ref());
    let left = started.map_or(common.left.get(), |time| end.duration_since(time.0.into()).unwrap_or_default());
    Duration::from(left.max(SHORTEST).min(old.get()))
}

fn metadata(experiment: &Experiment, name: String) -> ObjectMeta {
    let owner = OwnerReference {
        api_version: crate::spec::API_VERSION.to_owned(),
        kind: Experiment::kind(&()).into_owned(),
        name: experiment.name_any(),
        uid: experiment.uid().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: None,
    };
    ObjectMeta {
        name: Some(name),
        namespace: experiment.namespace(),
        labels: Some(BTreeMap::from([(EXPERIMENT.to_owned(), label(experiment))])),
        owner_references: Some(vec![owner]),
        ..ObjectMeta::default()
    }
}

/// The sets for these places.
#[must_use]
pub fn sets(experiment: &Experiment, peers: &BTreeMap<Place, BTreeSet<PeerAddress>>) -> Sets {
    let mut sets = Sets::default();
    for ((fault, except), addresses) in peers {
        let addresses: Vec<PeerAddress> = addresses.iter().copied().collect();
        // One that is empty is there as well: it says that the peers stand for nothing.
        let chunks: Vec<&[PeerAddress]> =
            if addresses.is_empty() { vec![&[]] } else { addresses.chunks(MOST_ADDRESSES).collect() };
        let mut names = Vec::new();
        for (number, chunk) in chunks.into_iter().enumerate() {
            let name = name(experiment, &format!("peers/{fault}/{except:?}/{number}"));
            let mut set = PeerSet::new(&name, PeerSetSpec { addresses: chunk.to_vec() });
            set.metadata = metadata(experiment, name.clone());
            sets.objects.push(set);
            names.push(name);
        }
        sets.uses.push(PeerSetUse { fault: *fault, except: *except, sets: names });
    }
    sets
}

/// The Injections for these pods. What stands in `existing` keeps its time.
#[must_use]
pub fn injections(
    experiment: &Experiment,
    common: &Common,
    uses: &[PeerSetUse],
    chosen: &[Chosen],
    existing: &BTreeMap<String, Injection>,
) -> Vec<Injection> {
    let spec = &experiment.spec;
    let own = experiment.namespace().unwrap_or_default();
    let pods = spec.selector.pods.clone().unwrap_or_default();
    let follow = pods.follows_new().then(|| follow(&pods, &own)).flatten();
    let mut of_nodes: BTreeMap<&str, Vec<_>> = existing.keys().map(|node| (node.as_str(), Vec::new())).collect();
    for one in chosen {
        of_nodes.entry(&one.node).or_default().push(one.target.clone());
    }
    let each = of_nodes.into_iter().map(|(node, mut targets)| {
        targets.sort_by(|a, b| a.uid.cmp(&b.uid));
        let remaining = existing.get(node).map_or(common.left, |one| remaining(one, common));
        let name = name(experiment, &format!("node/{node}"));
        let mut injection = Injection::new(
            &name,
            InjectionSpec {
                node_name: node.to_owned(),
                experiment: experiment.name_any(),
                started_by: common.started_by.clone(),
                remaining: if remaining.get() > spec.duration.get() { spec.duration } else { remaining },
                ends_at: common.ends_at.clone(),
                seed: common.seed,
                dry_run: spec.dry_run,
                paused: spec.paused,
                start: common.start,
                stop: common.stop,
                on_unsupported: spec.on_unsupported,
                faults: spec.faults.clone(),
                peer_sets: uses.to_vec(),
                targets,
                containers: pods.containers.clone(),
                follow: follow.clone(),
            },
        );
        injection.metadata = metadata(experiment, name);
        injection
    });
    each.collect()
}

/// What an agent can judge alone. What it cannot (a Service, a workload, nodes by their labels), the controller sees, a little later.
fn follow(pods: &PodTargets, own: &str) -> Option<Follow> {
    let selector = &pods.pods;
    let everywhere = selector.namespaces.iter().any(|one| one == "*");
    if everywhere || selector.service.is_some() || selector.workload.is_some() {
        return None;
    }
    let labels = |one: &crate::spec::LabelSelector| -> Option<LabelSelector> {
        serde_json::from_value(serde_json::to_value(one).ok()?).ok()
    };
    Some(Follow {
        namespaces: if selector.namespaces.is_empty() { vec![own.to_owned()] } else { selector.namespaces.clone() },
        labels: match &selector.label_selector {
            Some(selector) => vec![labels(selector)?],
            None => Vec::new(),
        },
        annotations: match &selector.annotation_selector {
            Some(selector) => Some(labels(selector)?),
            None => None,
        },
        names: selector.names.clone(),
        percent: (pods.mode == SelectMode::Percent).then(|| pods.value.unwrap_or(0.0)),
    })
}

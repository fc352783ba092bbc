//! One experiment becomes an Injection per node, and the sets of addresses that these name.

use super::{aside::Asides, peers::Place, select::Chosen};
use crate::{
    api::{
        EXPERIMENT, Experiment, Follow, Injection, InjectionSpec, MOST_ADDRESSES, PeerAddress, PeerSet, PeerSetSpec,
        PeerSetUse, PodTarget, Stop,
    },
    text::cut,
};
use chaos_spec::{Fault, PodTargets, SelectMode, value::Duration};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, OwnerReference, Time};
use kube::{Resource, ResourceExt};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
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
    /// Under `percent`: below which draw pods that come later are hit; None: below the share.
    pub drawn_below: Option<f64>,
}

/// Sets of addresses, and where each is used.
#[derive(Clone, Debug, Default)]
pub struct Sets {
    /// The objects.
    pub objects: Vec<PeerSet>,
    /// Their uses.
    pub uses: Vec<PeerSetUse>,
    /// Names of those that hold the targets' own addresses, where something is placed at peers.
    pub targets: Vec<String>,
}

impl Sets {
    /// Those that an Injection uses, for one who cannot find out what is so now.
    #[must_use]
    pub fn of_before(one: &Injection) -> Self {
        Self { uses: one.spec.peer_sets.clone(), ..Self::default() }
    }
}

impl Sets {
    /// The peers of this fault's match stand for pods and Services, and these have no address now.
    #[must_use]
    pub fn is_empty(&self, fault: usize) -> bool {
        let empty = |name: &String| {
            let named = |set: &&PeerSet| set.metadata.name.as_ref() == Some(name);
            self.objects.iter().find(named).is_some_and(|set| set.spec.addresses.is_empty())
        };
        let mine = self.uses.iter().find(|one| one.fault == fault && one.except.is_none());
        mine.is_some_and(|one| one.sets.iter().all(empty))
    }
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

/// What is left for a node from its own start on; shorter by as much as the end was moved, both times being the controller's own.
fn remaining(one: &Injection, common: &Common) -> Duration {
    let old = one.spec.remaining;
    let (Some(before), Some(now)) = (&one.spec.ends_at, &common.ends_at) else { return old };
    let cut = SystemTime::from(before.0).duration_since(now.0.into()).unwrap_or_default();
    Duration::from(old.get().saturating_sub(cut).max(SHORTEST).min(old.get()))
}

fn metadata(experiment: &Experiment, name: String) -> ObjectMeta {
    let owner = OwnerReference {
        api_version: chaos_spec::API_VERSION.to_owned(),
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

/// Makes the sets of the places of a fault.
struct Maker<'a> {
    experiment: &'a Experiment,
    objects: Vec<PeerSet>,
}

impl Maker<'_> {
    /// The names of the sets that hold these addresses; `place` tells them from those of other places.
    fn make(&mut self, place: &str, addresses: &BTreeSet<PeerAddress>) -> Vec<String> {
        let addresses: Vec<PeerAddress> = addresses.iter().copied().collect();
        // One that is empty is there as well: it says that the peers stand for nothing.
        let chunks: Vec<&[PeerAddress]> =
            if addresses.is_empty() { vec![&[]] } else { addresses.chunks(MOST_ADDRESSES).collect() };
        let mut names = Vec::new();
        for (number, chunk) in chunks.into_iter().enumerate() {
            let name = name(self.experiment, &format!("{place}/{number}"));
            let mut set = PeerSet::new(&name, PeerSetSpec { addresses: chunk.to_vec() });
            set.metadata = metadata(self.experiment, name.clone());
            self.objects.push(set);
            names.push(name);
        }
        names
    }
}

/// The sets for these places, and those for what is placed at peers.
#[must_use]
pub fn sets(experiment: &Experiment, peers: &BTreeMap<Place, BTreeSet<PeerAddress>>, asides: &Asides) -> Sets {
    let mut maker = Maker { experiment, objects: Vec::new() };
    let mut uses = Vec::new();
    for ((fault, except), addresses) in peers {
        let names = maker.make(&format!("peers/{fault}/{except:?}"), addresses);
        uses.push(PeerSetUse { fault: *fault, except: *except, sets: names });
    }
    let targets = if asides.placed.is_empty() { Vec::new() } else { maker.make("targets", &asides.targets) };
    Sets { objects: maker.objects, uses, targets }
}

/// One Injection: which pods on which node, and with which faults.
struct Piece<'a> {
    node: &'a str,
    peers_side: bool,
    faults: Vec<Fault>,
    peer_sets: Vec<PeerSetUse>,
    targets: Vec<PodTarget>,
}

/// The Injections for these pods, for the nodes of `awaiting`, and for what is placed at peers. What stands in `existing` keeps its time.
#[must_use]
pub fn injections(
    experiment: &Experiment,
    common: &Common,
    sets: &Sets,
    (chosen, awaiting): (&[Chosen], &BTreeSet<String>),
    asides: &Asides,
    existing: &[Injection],
) -> Vec<Injection> {
    let own = existing.iter().filter(|one| !one.spec.peers_side);
    let mut of_nodes: BTreeMap<&str, Vec<_>> = own.map(|one| (one.spec.node_name.as_str(), Vec::new())).collect();
    for node in awaiting {
        of_nodes.entry(node).or_default();
    }
    for one in chosen {
        of_nodes.entry(&one.node).or_default().push(one.target.clone());
    }
    let at_targets = of_nodes.into_iter().map(|(node, targets)| Piece {
        node,
        peers_side: false,
        faults: experiment.spec.faults.clone(),
        peer_sets: sets.uses.clone(),
        targets,
    });
    let pieces = at_targets.chain(at_peers(sets, asides, existing));
    // Of a thousand nodes each is found, and not searched for.
    let known: HashMap<Option<&str>, &Injection> =
        existing.iter().map(|one| (one.metadata.name.as_deref(), one)).collect();
    pieces.map(|piece| injection(experiment, common, piece, &known)).collect()
}

/// Whether the nodes have been told of all of these pods.
#[must_use]
pub fn is_told(existing: &[Injection], chosen: &[Chosen], asides: &Asides) -> bool {
    let told = |peers_side: bool| -> usize {
        existing.iter().filter(|one| one.spec.peers_side == peers_side).map(|one| one.spec.targets.len()).sum()
    };
    let placed: usize = asides.placed.iter().map(|aside| aside.pods.len()).sum();
    told(false) == chosen.len() && told(true) >= placed
}

/// By fault and node. One that is there and has no pod any more stays, without pods, for what it has counted.
fn at_peers<'a>(sets: &Sets, asides: &'a Asides, existing: &'a [Injection]) -> Vec<Piece<'a>> {
    let mut pieces: BTreeMap<(Option<String>, &str), Piece> = BTreeMap::new();
    for one in existing.iter().filter(|one| one.spec.peers_side) {
        let spec = &one.spec;
        let name = spec.faults.first().and_then(|fault| fault.name.clone());
        let (faults, peer_sets) = (spec.faults.clone(), spec.peer_sets.clone());
        let piece = Piece { node: &spec.node_name, peers_side: true, faults, peer_sets, targets: Vec::new() };
        pieces.insert((name, &spec.node_name), piece);
    }
    let uses = || vec![PeerSetUse { fault: 0, except: None, sets: sets.targets.clone() }];
    for aside in &asides.placed {
        for (pod, _) in &aside.pods {
            let faults = || vec![aside.turned.clone()];
            let piece = pieces.entry((aside.turned.name.clone(), &pod.node)).or_insert_with(|| Piece {
                node: &pod.node,
                peers_side: true,
                faults: faults(),
                peer_sets: uses(),
                targets: Vec::new(),
            });
            piece.targets.push(pod.target.clone());
        }
    }
    pieces.into_values().collect()
}

fn injection(
    experiment: &Experiment,
    common: &Common,
    piece: Piece,
    known: &HashMap<Option<&str>, &Injection>,
) -> Injection {
    let spec = &experiment.spec;
    let pods = spec.selector.pods.clone().unwrap_or_default();
    let own = experiment.namespace().unwrap_or_default();
    let fault = piece.faults.first().and_then(|fault| fault.name.as_deref()).unwrap_or_default();
    let place = if piece.peers_side { format!("peers/{fault}/{}", piece.node) } else { format!("node/{}", piece.node) };
    let name = name(experiment, &place);
    let remaining = known.get(&Some(name.as_str())).map_or(common.left, |one| remaining(one, common));
    let mut targets = piece.targets;
    targets.sort_by(|a, b| a.uid.cmp(&b.uid));
    let mut injection = Injection::new(
        &name,
        InjectionSpec {
            node_name: piece.node.to_owned(),
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
            faults: piece.faults,
            peer_sets: piece.peer_sets,
            peers_side: piece.peers_side,
            targets,
            containers: if piece.peers_side { Vec::new() } else { pods.containers.clone() },
            follow: (!piece.peers_side && pods.follows_new())
                .then(|| follow(&pods, &own, common.drawn_below))
                .flatten(),
        },
    );
    injection.metadata = metadata(experiment, name);
    injection
}

/// Whether agents can judge alone which new pods are meant.
#[must_use]
pub fn judged_by_agents(pods: &PodTargets, own: &str) -> bool {
    follow(pods, own, None).is_some()
}

/// What an agent can judge alone. What it cannot (a Service, a workload, nodes by their labels), the controller sees, a little later.
fn follow(pods: &PodTargets, own: &str, below: Option<f64>) -> Option<Follow> {
    let selector = &pods.pods;
    let everywhere = selector.namespaces.iter().any(|one| one == "*");
    // An agent does not ask for phases: it would take in what is not meant yet.
    let phases = !selector.phases.is_empty();
    if everywhere || phases || selector.service.is_some() || selector.workload.is_some() {
        return None;
    }
    let labels = |one: &chaos_spec::LabelSelector| -> Option<LabelSelector> {
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
        percent: (pods.mode == SelectMode::Percent).then(|| below.or(pods.value).unwrap_or(0.0)),
    })
}

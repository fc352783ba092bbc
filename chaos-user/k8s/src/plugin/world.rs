//! As much of the cluster as an experiment's selectors need: not everybody may see everything.

use super::cluster::Cluster;
use crate::{api::Experiment, controller::world::World};
use chaos_outcome::EngineError;
use chaos_spec::PodSelector;
use k8s_openapi::{
    NamespaceResourceScope,
    api::{
        apps::v1::ReplicaSet,
        core::v1::{Node, Pod, Service},
        discovery::v1::EndpointSlice,
    },
};
use kube::{Api, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use std::{collections::BTreeSet, fmt::Debug, sync::Arc};

/// For its targets.
///
/// # Errors
/// The API server's.
pub async fn of_targets(cluster: &Cluster, experiment: &Experiment) -> Result<World, EngineError> {
    let own = experiment.namespace().unwrap_or_default();
    let targets = experiment.spec.selector.pods.clone().unwrap_or_default().pods;
    of_selectors(cluster, &own, &[&targets]).await
}

/// For its targets and its peers, with the Services that lead to these; None where no pod is a peer.
pub async fn with_peers(cluster: &Cluster, experiment: &Experiment) -> Option<Result<World, EngineError>> {
    let own = experiment.namespace().unwrap_or_default();
    let networks = experiment.spec.faults.iter().filter_map(|fault| fault.network.as_ref());
    let peers = networks.flat_map(|network| &network.matches.packet.peers).filter_map(|peer| peer.pods.as_ref());
    let peers: Vec<&PodSelector> = peers.collect();
    if peers.is_empty() {
        return None;
    }
    let targets = experiment.spec.selector.pods.clone().unwrap_or_default().pods;
    let all: Vec<&PodSelector> = peers.iter().copied().chain([&targets]).collect();
    let ask = async {
        let mut world = of_selectors(cluster, &own, &all).await?;
        let namespaces = namespaces(&own, &all);
        world.services = of(cluster, &namespaces).await?;
        world.slices = of::<EndpointSlice>(cluster, &namespaces).await?;
        Ok(world)
    };
    Some(ask.await)
}

async fn of_selectors(cluster: &Cluster, own: &str, selectors: &[&PodSelector]) -> Result<World, EngineError> {
    let namespaces = namespaces(own, selectors);
    let mut world = World { pods: of::<Pod>(cluster, &namespaces).await?, ..World::default() };
    if selectors.iter().any(|one| one.service.is_some()) {
        world.services = of::<Service>(cluster, &namespaces).await?;
    }
    if selectors.iter().any(|one| one.workload.is_some()) {
        world.replica_sets = of::<ReplicaSet>(cluster, &namespaces).await?;
    }
    if selectors.iter().any(|one| !one.node_selector.is_empty()) {
        let all = cluster.list::<Node>(&Api::all(cluster.client.clone()), None).await?;
        world.nodes = all.into_iter().map(Arc::new).collect();
    }
    Ok(world)
}

/// Those that are selected in; None stands for all.
fn namespaces(own: &str, selectors: &[&PodSelector]) -> Vec<Option<String>> {
    let of = |one: &&PodSelector| if one.namespaces.is_empty() { vec![own.to_owned()] } else { one.namespaces.clone() };
    let all: BTreeSet<String> = selectors.iter().flat_map(of).collect();
    if all.contains("*") { vec![None] } else { all.into_iter().map(Some).collect() }
}

async fn of<K>(cluster: &Cluster, namespaces: &[Option<String>]) -> Result<Vec<Arc<K>>, EngineError>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
{
    let mut all = Vec::new();
    for namespace in namespaces {
        let found = cluster.list::<K>(&cluster.api(namespace.as_deref()), namespace.as_deref()).await?;
        all.extend(found.into_iter().map(Arc::new));
    }
    Ok(all)
}

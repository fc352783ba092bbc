//! As much of the cluster as tells which faults are placed at their peers' own side: the Services that lead to peers, and what is behind.

use super::{cluster::Cluster, plan::of};
use crate::{
    engine::EngineError,
    k8s::{api::Experiment, controller::world::World},
    spec::PodSelector,
};
use k8s_openapi::api::{
    core::v1::{Pod, Service},
    discovery::v1::EndpointSlice,
};
use kube::ResourceExt;
use std::collections::BTreeSet;

/// Asks for it, beside what is known for the targets; None where no pod is a peer. Not everybody may see all of it.
pub async fn world(
    cluster: &Cluster,
    experiment: &Experiment,
    of_targets: &World,
) -> Option<Result<World, EngineError>> {
    let namespaces = namespaces(experiment);
    if namespaces.is_empty() {
        return None;
    }
    Some(ask(cluster, &namespaces, of_targets).await)
}

/// Those in which peers are selected, or None among them: all.
fn namespaces(experiment: &Experiment) -> Vec<Option<String>> {
    let networks = experiment.spec.faults.iter().filter_map(|fault| fault.network.as_ref());
    let peers = networks.flat_map(|network| &network.matches.packet.peers).filter_map(|peer| peer.pods.as_ref());
    let own = experiment.namespace().unwrap_or_default();
    let of = |selector: &PodSelector| {
        if selector.namespaces.is_empty() { vec![own.clone()] } else { selector.namespaces.clone() }
    };
    let all: BTreeSet<String> = peers.flat_map(of).collect();
    if all.contains("*") { vec![None] } else { all.into_iter().map(Some).collect() }
}

async fn ask(cluster: &Cluster, namespaces: &[Option<String>], of_targets: &World) -> Result<World, EngineError> {
    let mut world = of_targets.clone();
    let known: BTreeSet<Option<String>> = world.pods.iter().map(|pod| pod.uid()).collect();
    let pods = of::<Pod>(cluster, namespaces).await?;
    world.pods.extend(pods.into_iter().filter(|pod| !known.contains(&pod.uid())));
    world.services = of::<Service>(cluster, namespaces).await?;
    world.slices = of::<EndpointSlice>(cluster, namespaces).await?;
    Ok(world)
}

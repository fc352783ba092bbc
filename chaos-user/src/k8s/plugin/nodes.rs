//! What the agents of the nodes say of themselves.

use super::{cluster::Cluster, words::since};
use crate::{
    engine::EngineError,
    k8s::api::{NodeAgent, NodeAgentStatus},
};
use kube::{Api, ResourceExt};
use std::time::{Duration, SystemTime};

/// An agent that has said nothing for so long counts as silent; one that lives says something every 10 s.
pub const SILENT: Duration = Duration::from_secs(30);

/// All agents, by the names of their nodes.
///
/// # Errors
/// The API server's.
pub async fn agents(cluster: &Cluster) -> Result<Vec<NodeAgent>, EngineError> {
    let mut all = cluster.list::<NodeAgent>(&Api::all(cluster.client.clone()), None).await?;
    all.sort_by_key(ResourceExt::name_any);
    Ok(all)
}

/// How long ago it said something; None: never.
#[must_use]
pub fn heard(agent: &NodeAgentStatus, now: SystemTime) -> Option<Duration> {
    agent.heartbeat.as_ref().map(|time| since(time, now))
}

/// Does it live, as far as can be told?
#[must_use]
pub fn lives(agent: &NodeAgentStatus, now: SystemTime) -> bool {
    heard(agent, now).is_some_and(|age| age <= SILENT)
}

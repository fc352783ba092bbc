//! What the agents of the nodes say of themselves.

use super::{cluster::Cluster, words::since};
use crate::api::{NodeAgent, NodeAgentStatus};
use chaos_outcome::EngineError;
use k8s_openapi::api::core::v1::Node;
use kube::{Api, ResourceExt};
use std::{
    collections::BTreeSet,
    time::{Duration, SystemTime},
};

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

/// The names of silent agents whose nodes have gone: nothing runs there, and an agent of an older version left its word for ever. Nobody
/// is named to who may not see nodes. `agents` were asked for before: a node is older than its agent's word.
pub async fn gone(cluster: &Cluster, agents: &[NodeAgent]) -> BTreeSet<String> {
    let now = SystemTime::now();
    let silent = |agent: &&NodeAgent| !agent.status.as_ref().is_some_and(|status| lives(status, now));
    let mut silent: BTreeSet<String> = agents.iter().filter(silent).map(ResourceExt::name_any).collect();
    if silent.is_empty() {
        return silent;
    }
    match cluster.list::<Node>(&Api::all(cluster.client.clone()), None).await {
        Ok(nodes) => silent.retain(|name| !nodes.iter().any(|node| node.name_any() == *name)),
        Err(_) => silent.clear(),
    }
    silent
}

/// What is said of one of [`gone`].
#[must_use]
pub fn forgotten(name: &str) -> String {
    format!("{name}: there is no such node any more; kubectl delete nodeagent {name}")
}

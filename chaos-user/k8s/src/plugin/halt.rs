//! The cluster's kill switch: `stop --all --lock` and `unlock`.

use super::{
    Answer,
    cluster::{Cluster, MANAGER},
    error::Asked,
    nodes::{agents, forgotten, gone, heard, lives},
    words::{age, counted},
};
use crate::api::{Halt, HaltSpec, NodeAgent};
use chaos_outcome::EngineError;
use chaos_outcome::ExitCode;
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, PostParams},
};
use std::{
    collections::BTreeSet,
    time::{Duration, Instant, SystemTime},
};

/// How often the agents are asked.
const TICK: Duration = Duration::from_millis(200);

/// Makes a Halt, and waits until every agent that lives holds it. `Error` where some do not in time; these are named.
///
/// # Errors
/// The API server's.
pub async fn lock(cluster: &Cluster, reason: &str, timeout: Duration) -> Result<Answer, EngineError> {
    let api: Api<Halt> = Api::all(cluster.client.clone());
    let mut halt = Halt::new("", HaltSpec { reason: crate::text::cut(reason, 1024) });
    halt.metadata.name = None;
    halt.metadata.generate_name = Some("kubectl-chaos-".to_owned());
    let asked = Asked { verb: "create", resource: "halts", namespace: None };
    let parameters = PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
    let made = cluster.call(asked, api.create(&parameters, &halt)).await?;
    let limit = Instant::now() + timeout;
    let all = loop {
        let all = agents(cluster).await?;
        // One that is silent may never answer: whether it holds is told by its next sign of life alone.
        let awaited = all.iter().any(|agent| !is_locked(agent) && is_alive(agent, SystemTime::now()));
        if !awaited || Instant::now() >= limit {
            break all;
        }
        tokio::time::sleep(TICK).await;
    };
    let gone = gone(cluster, &all).await;
    let (holding, not) = holding(&all, &gone, SystemTime::now());
    let mut text =
        format!("Halt/{}: {} locked; kubectl chaos unlock lifts it\n", made.name_any(), counted(holding, "node"));
    for line in &not {
        text += &format!("not locked: {line}\n");
    }
    gone.iter().for_each(|name| text += &format!("{}\n", forgotten(name)));
    Ok(Answer { text, code: if not.is_empty() { ExitCode::Pass } else { ExitCode::Error } })
}

fn is_locked(agent: &NodeAgent) -> bool {
    agent.status.as_ref().is_some_and(|status| status.locked.is_some())
}

fn is_alive(agent: &NodeAgent, now: SystemTime) -> bool {
    agent.status.as_ref().is_some_and(|status| lives(status, now))
}

/// How many hold, but for those whose nodes have `gone`; and the nodes of which that cannot be said. A word from before a silence counts for nothing.
fn holding(agents: &[NodeAgent], gone: &BTreeSet<String>, now: SystemTime) -> (usize, Vec<String>) {
    let (mut holding, mut not) = (0, Vec::new());
    for agent in agents.iter().filter(|agent| !gone.contains(&agent.name_any())) {
        let name = agent.name_any();
        match (is_locked(agent), is_alive(agent, now)) {
            (true, true) => holding += 1,
            (false, true) => not.push(format!("node {name}: its agent has not said so in time")),
            (_, false) => {
                let status = agent.status.clone().unwrap_or_default();
                let heard =
                    heard(&status, now).map_or_else(|| "ever".to_owned(), |heard| format!("for {}", age(heard)));
                not.push(format!("node {name}: its agent has not been heard of {heard}"));
            }
        }
    }
    (holding, not)
}

/// Deletes every Halt.
///
/// # Errors
/// The API server's.
pub async fn unlock(cluster: &Cluster) -> Result<Answer, EngineError> {
    let api: Api<Halt> = Api::all(cluster.client.clone());
    let all = cluster.list::<Halt>(&api, None).await?;
    let mut text = String::new();
    for halt in &all {
        let asked = Asked { verb: "delete", resource: "halts", namespace: None };
        cluster.call(asked, api.delete(&halt.name_any(), &DeleteParams::default())).await?;
        text += &format!("Halt/{} lifted: {}\n", halt.name_any(), chaos_outcome::printable(&halt.spec.reason));
    }
    if all.is_empty() {
        text = "the cluster was not locked\n".to_owned();
    }
    Ok(Answer { text, code: ExitCode::Pass })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_a_silent_agent_said_counts_for_nothing() {
        let agent = |name: &str, locked: Option<&str>, heartbeat: &str| -> NodeAgent {
            let status = json!({ "locked": locked, "heartbeat": heartbeat });
            serde_json::from_value(json!({ "metadata": { "name": name }, "spec": {}, "status": status })).unwrap()
        };
        let agents = [
            agent("a", Some("Halt"), "2026-01-01T00:05:00Z"),
            agent("b", None, "2026-01-01T00:05:00Z"),
            agent("c", Some("Halt"), "2026-01-01T00:00:00Z"),
        ];
        let now = SystemTime::from(agents[0].status.as_ref().unwrap().heartbeat.as_ref().unwrap().0);
        let (count, not) = holding(&agents, &BTreeSet::new(), now);
        assert_eq!(count, 1);
        assert_eq!(
            not,
            ["node b: its agent has not said so in time", "node c: its agent has not been heard of for 5m"]
        );
        let gone = BTreeSet::from(["c".to_owned()]);
        assert_eq!(holding(&agents, &gone, now), (1, vec!["node b: its agent has not said so in time".to_owned()]));
    }
}

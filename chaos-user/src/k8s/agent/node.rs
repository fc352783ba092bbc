//! The NodeAgent of this node: what its kernel can do, what its policy is, that it lives.

use super::{input::NodeState, publish::MANAGER};
use crate::{
    engine::check::{Check, Row, check},
    k8s::{
        api::{Capability, NodeAgent, NodeAgentStatus},
        time::time,
    },
};
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};
use serde_json::json;
use std::time::{Duration, SystemTime};
use tokio::sync::watch;

/// How often an agent that lives says so.
const HEARTBEAT: Duration = Duration::from_secs(10);

/// How long a change waits: what an experiment does to its pods is told first, and all of what can be done here is written again each time.
const PAUSE: Duration = Duration::from_millis(300);

/// What is known of the node from the begin on.
#[derive(Clone, Debug)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Fingerprint of its policy.
    pub policy: String,
}

impl Node {
    /// Publishes the node's state whenever it changes, and that the agent lives.
    pub async fn publish(self, client: Client, mut states: watch::Receiver<NodeState>) {
        let api: Api<NodeAgent> = Api::all(client);
        let kernel = nix::sys::utsname::uname()
            .map_or_else(|_| String::new(), |name| name.release().to_string_lossy().into_owned());
        let mut status = NodeAgentStatus {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            kernel,
            started_at: time(SystemTime::now()),
            policy: self.policy.clone(),
            ..NodeAgentStatus::default()
        };
        self.write(&api, &mut status).await;
        // By effect, in a scratch namespace: half a second, on a thread that may block.
        match tokio::task::spawn_blocking(check).await {
            Ok(Ok(check)) => status.capabilities = capabilities(&check),
            Ok(Err(error)) => tracing::error!("find out what this kernel can do: {error}"),
            Err(error) => tracing::error!("find out what this kernel can do: {error}"),
        }
        loop {
            let state = states.borrow_and_update().clone();
            (status.active, status.locked) = (state.active.clone(), state.locked.clone());
            status.active.truncate(256);
            self.write(&api, &mut status).await;
            let differs = |now: &NodeState| (&now.active, &now.locked) != (&state.active, &state.locked);
            let changed = tokio::time::timeout(HEARTBEAT, states.wait_for(differs)).await.map(|seen| seen.is_ok());
            match changed {
                Ok(false) => return, // The worker is gone.
                Ok(true) => tokio::time::sleep(PAUSE).await,
                Err(_heartbeat) => {}
            }
        }
    }

    async fn write(&self, api: &Api<NodeAgent>, status: &mut NodeAgentStatus) {
        status.heartbeat = time(SystemTime::now());
        let parameters = PatchParams::apply(MANAGER).force();
        let head = json!({
            "apiVersion": crate::spec::API_VERSION, "kind": "NodeAgent", "metadata": { "name": self.name }, "spec": {},
        });
        let mut body = head.clone();
        body["status"] = json!(status);
        let mut result = api.patch_status(&self.name, &parameters, &Patch::Apply(&body)).await;
        if matches!(&result, Err(kube::Error::Api(error)) if error.code == 404) {
            result = match api.patch(&self.name, &parameters, &Patch::Apply(&head)).await {
                Ok(_) => api.patch_status(&self.name, &parameters, &Patch::Apply(&body)).await,
                error => error,
            };
        }
        if let Err(error) = result {
            tracing::warn!("node agent {}: {error}", self.name);
        }
    }
}

fn capabilities(check: &Check) -> Vec<Capability> {
    check.faults.iter().map(capability).collect()
}

fn capability(row: &Row) -> Capability {
    let scope = match &row.variant {
        Some(variant) => format!("{variant} {}", row.direction),
        None => row.direction.clone(),
    };
    Capability {
        fault: row.fault.clone(),
        scope,
        supported: row.supported,
        mechanism: row.mechanism.clone().unwrap_or_default(),
        reason: row.why.clone().unwrap_or_default().chars().take(1000).collect(),
    }
}

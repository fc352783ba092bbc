//! The NodeAgent of this node: what its kernel can do, what its policy is, that it lives.

use super::{input::NodeState, publish::MANAGER};
use chaos_engine::check::{Check, Row, check};
use chaos_k8s::{
    api::{Capability, NodeAgent, NodeAgentStatus},
    time::time,
    undeclared::apply_status,
};
use chaos_sys::memory;
use k8s_openapi::api::core::v1;
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};
use serde_json::{Value, json};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};
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
    /// This process owns the node's experiments from the begin on: the NodeAgent is its own to write.
    pub owns: bool,
    /// To be set once all is known that takes long to find out.
    pub prepared: Arc<AtomicBool>,
}

impl Node {
    /// Publishes the node's state whenever it changes, and that the agent lives.
    pub async fn publish(self, client: Client, mut states: watch::Receiver<NodeState>) {
        let (api, nodes): (Api<NodeAgent>, Api<v1::Node>) = (Api::all(client.clone()), Api::all(client));
        let kernel = nix::sys::utsname::uname()
            .map_or_else(|_| String::new(), |name| name.release().to_string_lossy().into_owned());
        let mut status = NodeAgentStatus {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            kernel,
            started_at: time(SystemTime::now()),
            policy: self.policy.clone(),
            ..NodeAgentStatus::default()
        };
        if self.owns {
            self.appear((&api, &nodes), &mut status).await;
        }
        // By effect, in a scratch namespace: half a second, on a thread that may block.
        match tokio::task::spawn_blocking(check).await {
            Ok(Ok(check)) => status.capabilities = capabilities(&check),
            Ok(Err(error)) => tracing::error!("find out what this kernel can do: {error}"),
            Err(error) => tracing::error!("find out what this kernel can do: {error}"),
        }
        self.prepared.store(true, Ordering::Release);
        if !self.owns {
            memory::give_back();
            if states.wait_for(|state| state.owns).await.is_err() {
                return; // The worker is gone.
            }
            self.appear((&api, &nodes), &mut status).await;
        }
        loop {
            let state = states.borrow_and_update().clone();
            (status.active, status.locked) = (state.active.clone(), state.locked.clone());
            status.active.truncate(256);
            self.write((&api, &nodes), &mut status).await;
            memory::give_back();
            let differs = |now: &NodeState| (&now.active, &now.locked) != (&state.active, &state.locked);
            let changed = tokio::time::timeout(HEARTBEAT, states.wait_for(differs)).await.map(|seen| seen.is_ok());
            match changed {
                Ok(false) => return, // The worker is gone.
                Ok(true) => tokio::time::sleep(PAUSE).await,
                Err(_heartbeat) => {}
            }
        }
    }

    /// The first that is said of it.
    async fn appear(&self, apis: (&Api<NodeAgent>, &Api<v1::Node>), status: &mut NodeAgentStatus) {
        // One that an older version left has no owner yet.
        if let Err(error) = self.make(apis.0, apis.1).await {
            tracing::warn!("node agent {}: {error}", self.name);
        }
        self.write(apis, status).await;
    }

    fn head(&self) -> Value {
        json!({ "apiVersion": chaos_spec::API_VERSION, "kind": "NodeAgent", "metadata": { "name": self.name }, "spec": {} })
    }

    /// Makes it, or mends whose it is. The Node owns it, so that the garbage collector deletes it with its node.
    async fn make(&self, api: &Api<NodeAgent>, nodes: &Api<v1::Node>) -> Result<(), kube::Error> {
        let mut head = self.head();
        match nodes.get_metadata(&self.name).await {
            Ok(node) => head["metadata"]["ownerReferences"] = owners(&self.name, node.metadata.uid.as_deref()),
            Err(error) => tracing::warn!("node {}: {error}; its NodeAgent will outlive it", self.name),
        }
        api.patch(&self.name, &PatchParams::apply(MANAGER).force(), &Patch::Apply(&head)).await.map(drop)
    }

    async fn write(&self, (api, nodes): (&Api<NodeAgent>, &Api<v1::Node>), status: &mut NodeAgentStatus) {
        status.heartbeat = time(SystemTime::now());
        let parameters = PatchParams::apply(MANAGER).force();
        let mut body = self.head();
        body["status"] = json!(status);
        let mut result = apply_status(api, &self.name, &parameters, &body).await;
        if matches!(&result, Err(kube::Error::Api(error)) if error.code == 404) {
            result = match self.make(api, nodes).await {
                Ok(()) => apply_status(api, &self.name, &parameters, &body).await,
                Err(error) => Err(error),
            };
        }
        match result {
            Ok((_, None)) => {}
            Ok((_, Some(field))) => {
                tracing::warn!(
                    "node agent {}: {field}: the definitions are older than the agent: apply the CRDs",
                    self.name
                );
            }
            Err(error) => tracing::warn!("node agent {}: {error}", self.name),
        }
    }
}

/// The Node as an owner; nothing where the API server gave no UID.
fn owners(name: &str, uid: Option<&str>) -> Value {
    let owner = |uid: &str| json!({ "apiVersion": "v1", "kind": "Node", "name": name, "uid": uid });
    uid.map(owner).into_iter().collect()
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

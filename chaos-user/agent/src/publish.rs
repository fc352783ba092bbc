//! What the worker says becomes statuses at the API server: the newest of each Injection, as soon as may be.

use super::{
    input::{NodeState, Output},
    node::Node,
};
use chaos_k8s::{
    api::{Injection, InjectionStatus},
    undeclared::apply_status,
};
use kube::{Api, Client, api::PatchParams};
use serde_json::json;
use std::{collections::HashMap, time::Duration};
use tokio::sync::{mpsc::UnboundedReceiver, watch};

/// Who writes, for server-side apply.
pub const MANAGER: &str = "chaos-agent";
/// The first and the longest pause after an error.
const PAUSES: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));

/// Publishes until the worker is gone; what it said last is tried for a moment more.
pub async fn publish(client: Client, node: Node, state: watch::Sender<NodeState>, mut from: UnboundedReceiver<Output>) {
    let node = tokio::spawn(node.publish(client.clone(), state.subscribe()));
    let mut writers: HashMap<(String, String), watch::Sender<InjectionStatus>> = HashMap::new();
    let mut tasks = Vec::new();
    while let Some(output) = from.recv().await {
        match output {
            Output::Node(new) => drop(state.send_replace(new)),
            Output::Status { namespace, name, status } => {
                writers.retain(|_, writer| !writer.is_closed());
                let key = (namespace, name);
                if let Some(writer) = writers.get(&key)
                    && writer.send(*status.clone()).is_ok()
                {
                    continue;
                }
                let (writer, statuses) = watch::channel(*status);
                tasks.push(tokio::spawn(write(client.clone(), key.clone(), statuses)));
                writers.insert(key, writer);
            }
        }
    }
    drop((state, writers));
    let last = async {
        for task in tasks {
            let _panicked = task.await;
        }
        let _panicked = node.await;
    };
    let _late = tokio::time::timeout(Duration::from_millis(700), last).await;
}

/// Writes each newest status of one Injection, until it is gone.
async fn write(client: Client, (namespace, name): (String, String), mut statuses: watch::Receiver<InjectionStatus>) {
    let api: Api<Injection> = Api::namespaced(client, &namespace);
    let parameters = PatchParams::apply(MANAGER).force();
    loop {
        let status = statuses.borrow_and_update().clone();
        let body = json!({
            "apiVersion": chaos_spec::API_VERSION, "kind": "Injection", "metadata": { "name": name }, "status": status,
        });
        let mut pause = PAUSES.0;
        loop {
            match apply_status(&api, &name, &parameters, &body).await {
                Ok((_, None)) => break,
                Ok((_, Some(field))) => {
                    tracing::warn!("injection {namespace}/{name}: {field}: the definitions are older than the agent");
                    break;
                }
                Err(kube::Error::Api(error)) if error.code == 404 => return,
                Err(error) => {
                    tracing::warn!("status of injection {namespace}/{name}: {error}");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(PAUSES.1);
                    // A newer one makes this one void.
                    if statuses.has_changed().unwrap_or(false) {
                        break;
                    }
                }
            }
        }
        if statuses.changed().await.is_err() {
            return;
        }
    }
}

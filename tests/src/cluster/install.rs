//! The product in a cluster, installed as a user would.

use std::{path::PathBuf, sync::OnceLock};

use super::{Cluster, kubectl::PATIENCE};
use crate::clock::wait_until;

/// The namespace of the manifests.
pub const NAMESPACE: &str = "chaos-system";

static INSTALLED: OnceLock<Cluster> = OnceLock::new();

/// The product's installation.
#[derive(Clone, Debug)]
pub struct Install {
    /// Where.
    pub cluster: Cluster,
}

impl Install {
    /// `kubectl apply -k manifests/`, once per program; waits until every pod of it is ready.
    #[track_caller]
    pub fn here(cluster: &Cluster) -> Self {
        let install = Self { cluster: cluster.clone() };
        INSTALLED.get_or_init(|| {
            install.apply("");
            install.apply("started-by");
            cluster.clone()
        });
        install.await_ready();
        install
    }

    /// A directory of the manifests.
    pub fn manifests(overlay: &str) -> PathBuf {
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../manifests").join(overlay)
    }

    /// Applies an overlay.
    #[track_caller]
    pub fn apply(&self, overlay: &str) {
        let path = Self::manifests(overlay);
        let path = path.to_string_lossy();
        self.cluster.ask(&["apply", "-k", &path], "").unwrap_or_else(|error| panic!("apply -k {path}: {error}"));
    }

    /// Waits until agents and controllers are ready.
    #[track_caller]
    pub fn await_ready(&self) {
        for what in ["daemonset/chaos-agent", "deployment/chaos-controller"] {
            self.cluster.kubectl(&format!("-n {NAMESPACE} rollout status {what} --timeout=120s"));
        }
        // A definition is taken before its objects are.
        let empty = r#"{"apiVersion":"chaos-ebpf.dev/v1alpha1","kind":"Experiment","metadata":{"name":"probe","namespace":"default"},
            "spec":{"duration":"1s","selector":{"pods":{"all":true}},"faults":[{"network":{"match":{"all":true},"partition":true}}]}}"#;
        let words = ["create", "--dry-run=server", "-f", "-"];
        assert!(wait_until(PATIENCE, || self.cluster.ask(&words, empty).is_ok()), "no experiments are taken");
        // Installed is not yet known: NodeAgents say what their kernels can once they have tried it.
        let knows = || self.cluster.list("nodeagents").iter().all(|one| one["status"]["capabilities"].is_array());
        assert!(wait_until(PATIENCE, knows), "the agents do not say what their kernels can");
    }

    /// The names of its pods of a component, `agent` or `controller`.
    #[track_caller]
    pub fn pods(&self, component: &str) -> Vec<String> {
        let pods = self.cluster.list(&format!("pods -n {NAMESPACE} -l app.kubernetes.io/component={component}"));
        pods.iter().filter_map(|pod| pod["metadata"]["name"].as_str().map(str::to_owned)).collect()
    }

    /// The host's number of a node's agent.
    #[track_caller]
    pub fn agent_of(&self, node: &str) -> i32 {
        super::process_of_node("chaos", node).unwrap_or_else(|| panic!("no agent runs on {node}"))
    }

    /// Whether an agent runs on a node, and is not the one with this number.
    #[must_use]
    pub fn has_agent(&self, node: &str, but: i32) -> bool {
        super::processes_of_node("chaos", node).iter().any(|pid| *pid != but)
    }

    /// The pod that leads.
    #[track_caller]
    pub fn leader(&self) -> String {
        let lease = self.cluster.get("lease", NAMESPACE, "chaos-controller").expect("a Lease");
        lease["spec"]["holderIdentity"].as_str().unwrap_or_default().to_owned()
    }
}

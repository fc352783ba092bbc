//! The product in a cluster, installed as a user would.

use std::{path::PathBuf, process::Command, sync::OnceLock};

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
        let words = format!(
            "pods -n {NAMESPACE} -l app.kubernetes.io/component=agent --field-selector spec.nodeName={node},status.phase=Running"
        );
        let pods = self.cluster.list(&words);
        let uid = pods.first().and_then(|pod| pod["metadata"]["uid"].as_str()).expect("an agent").to_owned();
        process_of(&uid, "chaos").unwrap_or_else(|| panic!("no agent runs on {node}"))
    }

    /// The host's number of a controller's process.
    #[track_caller]
    pub fn controller(&self, pod: &str) -> i32 {
        let pod = self.cluster.get("pod", NAMESPACE, pod).expect("a controller");
        process_of(pod["metadata"]["uid"].as_str().unwrap_or_default(), "chaos").expect("a controller's process")
    }

    /// The pod that leads.
    #[track_caller]
    pub fn leader(&self) -> String {
        let lease = self.cluster.get("lease", NAMESPACE, "chaos-controller").expect("a Lease");
        lease["spec"]["holderIdentity"].as_str().unwrap_or_default().to_owned()
    }
}

/// A pod's process with this name: its cgroup holds the UID.
fn process_of(uid: &str, name: &str) -> Option<i32> {
    let output = Command::new("pgrep").args(["-x", name]).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let is_its = |pid: &i32| {
        std::fs::read_to_string(format!("/proc/{pid}/cgroup"))
            .is_ok_and(|cgroup| cgroup.contains(uid) || cgroup.contains(&uid.replace('-', "_")))
    };
    text.split_whitespace().filter_map(|pid| pid.parse().ok()).find(is_its)
}

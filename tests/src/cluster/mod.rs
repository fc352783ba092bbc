//! A Kubernetes cluster to act in: `CHAOS_KUBECONFIG` says how to reach it, and `CHAOS_CLUSTER`, where it is the one that
//! `cargo xtask cluster up` makes, where its files are.

mod pod;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::clock;
use crate::need;

pub use pod::{in_pod_netns, pod_pid, sandbox_pid};

/// The image with `chaos-pod` in it, on every node.
pub const POD_IMAGE: &str = "localhost/chaos-pod:1";
/// The image of the product, on every node.
pub const CHAOS_IMAGE: &str = "localhost/chaos:dev";

/// The cluster that the tests were given.
#[derive(Clone, Debug)]
pub struct Cluster {
    kubeconfig: PathBuf,
    state: Option<PathBuf>,
}

impl Cluster {
    /// The cluster of `CHAOS_KUBECONFIG`; why there is none, otherwise.
    pub fn find() -> Result<Self, String> {
        let kubeconfig = std::env::var_os("CHAOS_KUBECONFIG").map(PathBuf::from);
        let kubeconfig = kubeconfig.ok_or("no cluster: `cargo xtask test --cluster` makes one")?;
        let cluster = Self { kubeconfig, state: std::env::var_os("CHAOS_CLUSTER").map(PathBuf::from) };
        cluster.kubectl(&["get", "--raw", "/readyz"])?;
        Ok(cluster)
    }

    /// The same for a test: `None` where it cannot run, and why is printed.
    #[track_caller]
    pub fn open() -> Option<Self> {
        if need::root() && need::cluster() { Self::find().ok() } else { None }
    }

    /// How to reach it, for `KUBECONFIG`.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// What kubectl printed, or its complaint.
    pub fn kubectl(&self, words: &[&str]) -> Result<String, String> {
        self.kubectl_reading(words, "")
    }

    /// Creates or changes what some YAML describes.
    pub fn apply(&self, yaml: &str) -> Result<String, String> {
        self.kubectl_reading(&["apply", "--filename", "-"], yaml)
    }

    /// Deletes what some YAML describes, if it is there, and waits until it is gone.
    pub fn delete(&self, yaml: &str) -> Result<String, String> {
        self.kubectl_reading(&["delete", "--ignore-not-found", "--filename", "-"], yaml)
    }

    /// Names of the nodes.
    pub fn nodes(&self) -> Result<Vec<String>, String> {
        let names = self.kubectl(&["get", "nodes", "--output", "jsonpath={.items[*].metadata.name}"])?;
        Ok(names.split_whitespace().map(str::to_owned).collect())
    }

    /// Runs a command in the namespaces of a node (`node1`), as a shell on it would.
    pub fn node_exec(&self, node: &str, words: &[&str]) -> Result<String, String> {
        let state = self.state.as_ref().ok_or("a node can be entered only where CHAOS_CLUSTER is set")?;
        let file = state.join(format!("{node}.pid"));
        let pid = std::fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))?;
        let mut command = Command::new("nsenter");
        command.args(["--net", "--mount", "--uts", "--target", pid.trim(), "--"]).args(words);
        output(&mut command, "")
    }

    fn kubectl_reading(&self, words: &[&str], input: &str) -> Result<String, String> {
        let own = self.state.as_ref().map(|state| state.join("bin/kubectl"));
        let program = own.filter(|program| program.exists()).unwrap_or_else(|| "kubectl".into());
        output(Command::new(program).arg("--kubeconfig").arg(&self.kubeconfig).args(words), input)
    }
}

/// Waits until `condition` holds; panics with what was waited for when it did not within a minute.
#[track_caller]
pub fn wait_until(what: &str, condition: impl FnMut() -> bool) {
    const LIMIT: Duration = Duration::from_secs(60);
    assert!(clock::wait_until(LIMIT, condition), "not within {} s: {what}", LIMIT.as_secs());
}

/// Runs a command to its end with some input.
fn output(command: &mut Command, input: &str) -> Result<String, String> {
    let shown = format!("{command:?}");
    let failed = |error: std::io::Error| format!("{shown}: {error}");
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().map_err(failed)?;
    if let Some(mut stdin) = child.stdin.take() {
        // Who does not read it says why not by itself.
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = child.wait_with_output().map_err(failed)?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(format!("{shown}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim()))
}

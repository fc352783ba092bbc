//! kubectl, and the machine behind it.

use std::{
    env,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use serde_json::Value;

use crate::clock::wait_until;

/// A cluster.
#[derive(Clone, Debug)]
pub struct Cluster {
    kubectl: PathBuf,
    kubeconfig: PathBuf,
    state: PathBuf,
}

/// How long anything in a cluster is waited for.
pub const PATIENCE: Duration = Duration::from_secs(60);

impl Cluster {
    /// The one that `cargo xtask test` started; why there is none, otherwise.
    pub fn find() -> Result<Self, String> {
        let given = |name: &str| env::var_os(name).map(PathBuf::from).ok_or_else(|| format!("{name} is not set"));
        let why = |error| format!("{error}: cargo xtask test --cluster starts one");
        let state = given("CHAOS_CLUSTER").map_err(why)?;
        Ok(Self { kubectl: state.join("bin/kubectl"), kubeconfig: given("CHAOS_KUBECONFIG").map_err(why)?, state })
    }

    /// The directory with the nodes' files and logs.
    pub fn state(&self) -> &Path {
        &self.state
    }

    /// Its admin's kubeconfig.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// kubectl with these words and this input: what it printed, or what it complained about.
    pub fn ask(&self, words: &[&str], input: &str) -> Result<String, String> {
        let mut command = Command::new(&self.kubectl);
        command.arg("--kubeconfig").arg(&self.kubeconfig).args(words);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|error| format!("start kubectl: {error}"))?;
        if let Some(mut stdin) = child.stdin.take() {
            // It may end without reading all.
            let _broken = stdin.write_all(input.as_bytes());
        }
        let output = child.wait_with_output().map_err(|error| format!("wait for kubectl: {error}"))?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }

    /// kubectl with words split at spaces, which must succeed.
    #[track_caller]
    pub fn kubectl(&self, words: &str) -> String {
        let words: Vec<&str> = words.split_whitespace().collect();
        self.ask(&words, "").unwrap_or_else(|error| panic!("kubectl {}: {error}", words.join(" ")))
    }

    /// `kubectl apply` of these documents, which must succeed.
    #[track_caller]
    pub fn apply(&self, documents: &str) {
        self.ask(&["apply", "-f", "-"], documents).unwrap_or_else(|error| panic!("apply: {error}\n{documents}"));
    }

    /// An object; None where there is none.
    #[track_caller]
    pub fn get(&self, kind: &str, namespace: &str, name: &str) -> Option<Value> {
        match self.ask(&["get", kind, name, "-n", namespace, "-o", "json"], "") {
            Ok(text) => Some(serde_json::from_str(&text).expect("kubectl prints JSON")),
            Err(error) if error.contains("NotFound") || error.contains("doesn't have a resource type") => None,
            Err(error) => panic!("get {kind} {namespace}/{name}: {error}"),
        }
    }

    /// All objects of a kind that agree with these words.
    #[track_caller]
    pub fn list(&self, words: &str) -> Vec<Value> {
        let text = self.kubectl(&format!("get {words} -o json"));
        let list: Value = serde_json::from_str(&text).expect("kubectl prints JSON");
        list["items"].as_array().cloned().unwrap_or_default()
    }

    /// Waits until it is so.
    #[track_caller]
    pub fn wait(&self, what: &str, holds: impl FnMut() -> bool) {
        assert!(wait_until(PATIENCE, holds), "waited in vain until {what}");
    }

    /// A command in a node's namespaces.
    pub fn in_node(&self, node: &str) -> Command {
        let containerd =
            super::process_of_node("containerd", node).unwrap_or_else(|| panic!("no containerd on {node}"));
        let mut command = Command::new("nsenter");
        command.args(["--net", "--mount", "--uts", "-t", &containerd.to_string(), "--"]);
        command
    }

    /// What the API server was asked, and by whom: lines of its audit log.
    pub fn audit(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.state.join("audit.log")).unwrap_or_default();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }
}

//! The node's own policy: a file that no controller can override.

use chaos_host::pod::PodRef;
use chaos_k8s::text::digest;
use chaos_spec::value::Duration;
use serde::{Deserialize, Serialize};
use std::{fs, io, path::Path};

/// What may be done to pods of this node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Policy {
    /// Only pods of these namespaces; empty: of all that are not forbidden.
    pub allowed_namespaces: Vec<String>,
    /// No pods of these namespaces, whatever else is said.
    pub forbidden_namespaces: Vec<String>,
    /// No experiment lasts longer.
    pub max_duration: Duration,
    /// No experiment has more targets on this node.
    pub max_targets: usize,
    /// The experiments of a namespace together take at most this share, in percent, of each table that all of a node share.
    pub max_share: u32,
    /// Pods that share the node's network namespace may be targets.
    pub host_network: bool,
    /// Faults may hit a pod's traffic with its own node (`match.node`).
    pub node_traffic: bool,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            allowed_namespaces: Vec::new(),
            forbidden_namespaces: vec!["kube-system".to_owned(), "chaos-system".to_owned()],
            max_duration: Duration::from_secs(3600),
            max_targets: 1000,
            max_share: 25,
            host_network: true,
            node_traffic: true,
        }
    }
}

impl Policy {
    /// Reads the file; the default one where there is none. With it the file's SHA-256 is not needed here: see [`digest`].
    ///
    /// # Errors
    /// A sentence naming the file, where it cannot be read or understood: an agent that cannot know its policy does nothing.
    pub fn read(path: &Path) -> Result<(Self, String), String> {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((Self::default(), String::new())),
            Err(error) => return Err(format!("read the node's policy {}: {error}", path.display())),
        };
        let policy = yaml_serde::from_str(&text).map_err(|error| {
            format!("read the node's policy {}: {error}; see manifests/base/policy.yaml", path.display())
        })?;
        Ok((policy, digest(text.as_bytes())))
    }

    /// May a pod of this namespace be a target?
    ///
    /// # Errors
    /// A sentence that says why not.
    pub fn namespace(&self, namespace: &str) -> Result<(), String> {
        if self.forbidden_namespaces.iter().any(|one| one == namespace) {
            return Err(format!("this node's policy forbids namespace {namespace}"));
        }
        if self.allowed_namespaces.is_empty() || self.allowed_namespaces.iter().any(|one| one == namespace) {
            return Ok(());
        }
        Err(format!("this node's policy allows the namespaces {}, not {namespace}", self.allowed_namespaces.join(", ")))
    }

    /// May this pod be a target?
    ///
    /// # Errors
    /// A sentence that says why not.
    pub fn pod(&self, place: &PodRef) -> Result<(), String> {
        self.namespace(&place.namespace)?;
        if place.host_network && !self.host_network {
            return Err(format!(
                "this node's policy forbids pods in the node's network namespace (hostNetwork), as {}/{} is",
                place.namespace, place.name
            ));
        }
        Ok(())
    }

    /// May an experiment last so long?
    ///
    /// # Errors
    /// A sentence that says why not.
    pub fn duration(&self, duration: Duration) -> Result<(), String> {
        if duration <= self.max_duration {
            return Ok(());
        }
        Err(format!("this node's policy allows at most {}, not {duration}", self.max_duration))
    }

    /// May an experiment have so many targets here?
    ///
    /// # Errors
    /// A sentence that says why not.
    pub fn targets(&self, count: usize) -> Result<(), String> {
        if count <= self.max_targets {
            return Ok(());
        }
        Err(format!("this node's policy allows at most {} targets, not {count}", self.max_targets))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_spares_the_cluster_itself() {
        let policy = Policy::default();
        assert!(policy.namespace("shop").is_ok());
        assert!(policy.namespace("kube-system").unwrap_err().contains("forbids"));
        assert!(policy.duration(Duration::from_secs(3601)).is_err());
        assert!(policy.targets(1001).is_err());
    }

    #[test]
    fn pods_of_the_nodes_network_may_be_forbidden() {
        let place = |host_network| PodRef {
            namespace: "shop".to_owned(),
            name: "web".to_owned(),
            uid: "uid".to_owned(),
            mirrored: None,
            host_network,
        };
        let policy = Policy { host_network: false, ..Policy::default() };
        assert!(policy.pod(&place(false)).is_ok() && Policy::default().pod(&place(true)).is_ok());
        assert!(policy.pod(&place(true)).unwrap_err().contains("hostNetwork"));
    }

    #[test]
    fn what_is_forbidden_stays_so_though_it_is_allowed() {
        let text = "{ allowedNamespaces: [shop, kube-system], maxDuration: 5m, maxTargets: 3 }";
        let policy: Policy = yaml_serde::from_str(text).unwrap();
        assert!(policy.namespace("shop").is_ok() && policy.namespace("kube-system").is_err());
        assert!(policy.namespace("other").unwrap_err().contains("allows the namespaces"));
        assert!(policy.duration(Duration::from_secs(301)).is_err() && policy.targets(4).is_err());
    }

    #[test]
    fn a_mistyped_field_is_an_error() {
        assert!(yaml_serde::from_str::<Policy>("{ allowedNamespace: [shop] }").is_err());
    }
}

//! Who is hit.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::name;
use super::{PodTargets, is_default};

/// Who is hit: exactly one of pods and local.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Selector {
    /// Pods of a cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pods: Option<PodTargets>,
    /// Targets on this machine, without a cluster; the API server refuses it. At most 64.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 64))]
    pub local: Vec<LocalTarget>,
}

/// A target on this machine: exactly one of its fields.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LocalTarget {
    /// A cgroup, by its path below the cgroup2 mount.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4095))]
    pub cgroup: Option<String>,
    /// A network namespace, by its name in /run/netns or by a path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4095))]
    pub netns: Option<String>,
    /// The cgroup and the network namespace of this process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<i64>", range(min = 1, max = 4_194_304))]
    pub pid: Option<u32>,
    /// A unit of systemd.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255), regex(pattern = name::UNIT))]
    pub unit: Option<String>,
    /// A container of docker, podman, containerd or cri-o, by its id, a unique prefix of it, or its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128), regex(pattern = name::CONTAINER))]
    pub container: Option<String>,
    /// The command that chaos run FILE -- CMD starts; only true has a meaning. It is also what a file without a selector means there.
    #[serde(default, skip_serializing_if = "is_default")]
    pub command: bool,
}

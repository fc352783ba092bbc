//! What a node's agent says of itself: what its kernel can do, what its policy allows, what is active.

use super::resource::resource;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

resource! {
    /// A node's agent; its name is the node's.
    NodeAgent,
    kind "NodeAgent", plural "nodeagents", scope k8s_openapi::ClusterResourceScope,
    spec NodeAgentSpec, status NodeAgentStatus
}

/// Nothing is asked of an agent here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeAgentSpec {}

/// What an agent says.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeAgentStatus {
    /// Version of chaos.
    #[serde(default)]
    #[schemars(length(max = 64))]
    pub version: String,
    /// Release of the kernel.
    #[serde(default)]
    #[schemars(length(max = 256))]
    pub kernel: String,
    /// When this was written last; an agent that lives writes every 10 s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heartbeat: Option<Time>,
    /// When this process of the agent began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Time>,
    /// What the kernel can do, tried by effect, one entry per fault and scope.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    pub capabilities: Vec<Capability>,
    /// Fingerprint of the node's policy file: equal where the files are equal. Empty: the default policy.
    #[serde(default)]
    #[schemars(length(max = 64))]
    pub policy: String,
    /// Why nothing starts here: a lock of this node, or a Halt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub locked: Option<String>,
    /// The experiments that are active here, as namespace/name. At most 256.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), inner(length(max = 320)))]
    pub active: Vec<String>,
}

/// Can a fault be served here?
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Capability {
    /// The fault: latency, loss; of a system call, syscall/NAME.
    #[schemars(length(max = 128))]
    pub fault: String,
    /// Where or how: egress, ingress, cgroup egress, errno, latency.
    #[schemars(length(max = 64))]
    pub scope: String,
    /// Whether it can.
    pub supported: bool,
    /// By which mechanism.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 253))]
    pub mechanism: String,
    /// Why it cannot.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 1024))]
    pub reason: String,
}

//! Pods by their properties.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{LabelSelector, is_default, name};

/// Pods by their properties; all that are given must agree.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PodSelector {
    /// Their namespaces; the experiment's own if left out, * alone for all of them. At most 32.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(min = 1, max = 32),
        inner(length(min = 1, max = 63), regex(pattern = name::LABEL_OR_ALL))
    )]
    pub namespaces: Vec<String>,
    /// By their labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label_selector: Option<LabelSelector>,
    /// By their annotations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotation_selector: Option<LabelSelector>,
    /// By name. At most 64.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(min = 1, max = 64),
        inner(length(min = 1, max = 253), regex(pattern = name::SUBDOMAIN))
    )]
    pub names: Vec<String>,
    /// On these nodes, by name. At most 64.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(min = 1, max = 64),
        inner(length(min = 1, max = 253), regex(pattern = name::SUBDOMAIN))
    )]
    pub nodes: Vec<String>,
    /// On nodes with these labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("minProperties" = 1, "maxProperties" = 64))]
    #[schemars(transform = super::label::bound_values)]
    pub node_selector: BTreeMap<String, String>,
    /// In these phases. If left out: Running and, where pods that appear later are hit too, Pending.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 5))]
    pub phases: Vec<Phase>,
    /// The pods behind this Service of their namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = name::LABEL))]
    pub service: Option<String>,
    /// The pods of this workload.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workload: Option<Workload>,
    /// Every pod of the namespaces.
    #[serde(default, skip_serializing_if = "is_default")]
    pub all: bool,
}

/// The pods that are hit.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PodTargets {
    /// Among which pods.
    #[serde(flatten)]
    pub pods: PodSelector,
    /// Only these containers of them; the whole pod if left out. At most 64.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(min = 1, max = 64),
        inner(length(min = 1, max = 63), regex(pattern = name::LABEL))
    )]
    pub containers: Vec<String>,
    /// How many of them; all if left out.
    #[serde(default, skip_serializing_if = "is_default")]
    pub mode: SelectMode,
    /// A count with mode fixed; 0 to 100 with percent and randomMaxPercent, rounded up, at least one pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100_000))]
    pub value: Option<f64>,
    /// Whether pods that appear later are hit too; true for all and percent, else false, if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub follow_new: Option<bool>,
}

impl PodTargets {
    /// Whether pods that appear later are hit too.
    pub fn follows_new(&self) -> bool {
        self.follow_new.unwrap_or(matches!(self.mode, SelectMode::All | SelectMode::Percent))
    }
}

/// How many of the selected pods are hit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum SelectMode {
    /// Every one.
    #[default]
    All,
    /// One of them, drawn by the seed.
    One,
    /// As many as value says.
    Fixed,
    /// The share that value says.
    Percent,
    /// A share drawn by the seed, at most what value says.
    RandomMaxPercent,
}

/// The phase of a pod, as Kubernetes has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Phase {
    /// Not started yet.
    Pending,
    /// Running.
    Running,
    /// Ended well.
    Succeeded,
    /// Ended badly.
    Failed,
    /// Its node does not say.
    Unknown,
}

/// A workload, whose pods are meant.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Workload {
    /// Its kind, such as Deployment, StatefulSet, DaemonSet or Job.
    #[schemars(length(min = 1, max = 63), regex(pattern = name::OBJECT_KIND))]
    pub kind: String,
    /// Its name.
    #[schemars(length(min = 1, max = 253), regex(pattern = name::SUBDOMAIN))]
    pub name: String,
}

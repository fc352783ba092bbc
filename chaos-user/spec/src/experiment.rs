//! The experiment as a whole.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::value::Duration;
use super::{Checked, Fault, Probe, Selector, check, is_default, name};

/// The only group and version that there is so far.
pub const API_VERSION: &str = "chaos-ebpf.dev/v1alpha1";

/// The only kind that a user writes.
pub const KIND: &str = "Experiment";

/// An experiment: which faults, on whom, for how long.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Experiment {
    /// Always chaos-ebpf.dev/v1alpha1.
    #[schemars(extend("enum" = ["chaos-ebpf.dev/v1alpha1"]))]
    pub api_version: String,
    /// Always Experiment.
    #[schemars(extend("enum" = ["Experiment"]))]
    pub kind: String,
    /// Name and namespace.
    pub metadata: Metadata,
    /// What is asked.
    pub spec: ExperimentSpec,
}

impl Experiment {
    /// An experiment that did not come from a file: of a custom resource, whose metadata holds more than ours.
    pub fn new(name: impl Into<String>, namespace: Option<String>, spec: ExperimentSpec) -> Self {
        let metadata = Metadata { name: name.into(), namespace, ..Metadata::default() };
        Self { api_version: API_VERSION.to_owned(), kind: KIND.to_owned(), metadata, spec }
    }

    /// Applies every check that a file passes: an agent trusts nobody.
    ///
    /// # Errors
    /// Where the experiment cannot be written as JSON, which holds for none that was read from JSON or YAML.
    pub fn check(&self) -> Result<Checked, serde_json::Error> {
        Ok(check(&serde_json::to_value(self)?))
    }
}

/// The part of Kubernetes' ObjectMeta that a file may hold.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Metadata {
    /// The experiment's name: a DNS subdomain (RFC 1123). Two active experiments on a node never share one.
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = name::SUBDOMAIN)
    )]
    pub name: String,
    /// The namespace that it lives in; of no meaning without a cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = name::LABEL))]
    pub namespace: Option<String>,
    /// Labels of the experiment itself.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Annotations of the experiment itself.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// What an experiment asks for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExperimentSpec {
    /// How long the faults act, from the first injection on; it runs on while paused. 100ms to 24h, enforced in the kernel.
    pub duration: Duration,
    /// Seed of the dice: the same seed and the same events give the same decisions. 0 to 2^53; without it one is drawn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<i64>", range(min = 0, max = 9_007_199_254_740_992_i64))]
    pub seed: Option<u64>,
    /// How long the faults may be awaited, from when the controller first wants to tell the nodes: after it the experiment never begins and
    /// its verdict is Error. 1s to 24h; 1m if left out. Of no meaning without a cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_deadline: Option<Duration>,
    /// Whether the faults rest for now; time goes on.
    #[serde(default, skip_serializing_if = "is_default")]
    pub paused: bool,
    /// Whether to match, decide and count only (wouldInject), and harm nothing.
    #[serde(default, skip_serializing_if = "is_default")]
    pub dry_run: bool,
    /// What to do where a node cannot serve a fault; fail if left out.
    #[serde(default, skip_serializing_if = "is_default")]
    pub on_unsupported: OnUnsupported,
    /// Who is hit: exactly one of pods and local.
    pub selector: Selector,
    /// The faults; all start at one instant. 1 to 16.
    #[schemars(length(min = 1, max = 16))]
    pub faults: Vec<Fault>,
    /// Checks of the world outside, run beside the faults. At most 16.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 16))]
    pub probes: Vec<Probe>,
    /// Seconds after its end at which the experiment is deleted; without it, it stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<i64>", range(min = 0, max = 2_147_483_647))]
    pub ttl_seconds_after_finished: Option<u32>,
}

/// What to do where a node cannot serve a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnUnsupported {
    /// Inject nothing anywhere.
    #[default]
    Fail,
    /// Leave out that fault on that node.
    Skip,
}

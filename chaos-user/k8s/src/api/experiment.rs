//! What a user asks of a cluster, and what became of it.

use super::{
    record::{FaultSum, TargetRecord},
    resource::resource,
};
use chaos_outcome::{ProbeReport, Verdict};
use chaos_spec::ExperimentSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

resource! {
    /// An experiment in a cluster.
    Experiment,
    kind "Experiment", plural "experiments", scope k8s_openapi::NamespaceResourceScope,
    spec ExperimentSpec, status ExperimentStatus
}

/// Most targets that a status lists; the Injections have all of them.
pub const MOST_TARGETS: usize = 100;

/// Condition: the pods have been chosen.
pub const SELECTED: &str = "Selected";
/// Condition: the faults have acted; stays true after the end.
pub const INJECTED: &str = "Injected";
/// Condition: nothing is left of the faults.
pub const REVERTED: &str = "Reverted";
/// Condition: part of what was asked is not so.
pub const DEGRADED: &str = "Degraded";

/// Annotation: who started the experiment, written by an admission policy.
pub const STARTED_BY: &str = "chaos-ebpf.dev/started-by";
/// The annotation that says how far an experiment's probes reach. Only who may create experiments in all namespaces may write it
/// (manifests/admission).
pub const REACH: &str = "chaos-ebpf.dev/reach";
/// Its value for probes that reach other namespaces.
pub const REACH_CLUSTER: &str = "cluster";
/// Annotation: `abort` or `finish` ends the experiment for good.
pub const STOP: &str = "chaos-ebpf.dev/stop";

/// What became of an experiment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExperimentStatus {
    /// The generation of the spec that this is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Where it stands.
    #[serde(default)]
    pub phase: Phase,
    /// How it ended; absent while it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", length(max = 32))]
    pub verdict: Option<Verdict>,
    /// Why, as a sentence.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 4096))]
    pub reason: String,
    /// Selected, Injected, Reverted, Degraded.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// How many targets.
    #[serde(default)]
    pub summary: Summary,
    /// Sums over all targets, one entry per fault.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub faults: Vec<FaultSum>,
    /// At most 100 targets, failed ones first; the Injections have all of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    pub targets: Vec<TargetRecord>,
    /// The seed of the dice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<i64>")]
    pub seed: Option<u64>,
    /// Under percent: pods that come later are hit whose draw, 0 to 100, is below this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drawn_below: Option<f64>,
    /// Who started it: the user of the request that made the experiment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub started_by: Option<String>,
    /// The first injection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Time>,
    /// When it will end at the latest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends_at: Option<Time>,
    /// When all had been reverted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Time>,
    /// What was allowed but probably not meant, and what was only partly possible. At most 32.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(max = 1024)))]
    pub warnings: Vec<String>,
    /// What the probes saw.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "super::record::opaque_list")]
    pub probes: Vec<ProbeReport>,
}

/// How many targets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// Chosen.
    #[serde(default)]
    pub selected: i64,
    /// Under the faults, or been so.
    #[serde(default)]
    pub injected: i64,
    /// Where it failed.
    #[serde(default)]
    pub failed: i64,
}

/// Where an experiment stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Phase {
    /// Not begun.
    #[default]
    Pending,
    /// On its way to the nodes.
    Injecting,
    /// The faults act.
    Injected,
    /// The faults rest; time goes on.
    Paused,
    /// Being taken away.
    Reverting,
    /// Over, with a verdict.
    Finished,
    /// Over without having been what was asked.
    Failed,
}

impl Phase {
    /// Is it over for good?
    #[must_use]
    pub const fn is_over(self) -> bool {
        matches!(self, Self::Finished | Self::Failed)
    }
}

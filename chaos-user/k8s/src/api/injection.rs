//! One experiment's part on one node: written by the controller, answered by that node's agent.

use super::{
    record::{FaultSum, TargetRecord},
    resource::resource,
};
use chaos_outcome::Report;
use chaos_spec::{Fault, OnUnsupported, value::Duration};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

resource! {
    /// One experiment's part on one node.
    Injection,
    kind "Injection", plural "injections", scope k8s_openapi::NamespaceResourceScope,
    spec InjectionSpec, status InjectionStatus
}

/// Label: the experiment's name, as far as a label can hold it; the owner reference is what counts.
pub const EXPERIMENT: &str = "chaos-ebpf.dev/experiment";

/// What one node is to do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct InjectionSpec {
    /// The node.
    #[schemars(length(min = 1, max = 253))]
    pub node_name: String,
    /// The experiment, which is of the same namespace.
    #[schemars(length(min = 1, max = 253))]
    pub experiment: String,
    /// Who started it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub started_by: Option<String>,
    /// Time left when this was written; it counts from the first injection on this node on.
    pub remaining: Duration,
    /// When the experiment ends by the controller's clock, from the start on. The agent does not count by it; where its own clock differs, it says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends_at: Option<Time>,
    /// Seed of the dice.
    #[schemars(with = "i64")]
    pub seed: u64,
    /// Match, decide and count only.
    #[serde(default)]
    pub dry_run: bool,
    /// The faults rest.
    #[serde(default)]
    pub paused: bool,
    /// False: prepare everything. True: let the faults act.
    #[serde(default)]
    pub start: bool,
    /// End for good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop: Option<Stop>,
    /// What to do where this node cannot serve a fault.
    #[serde(default)]
    pub on_unsupported: OnUnsupported,
    /// The faults, with peers that are pods or Services left out: these stand in the sets.
    #[schemars(length(max = 16))]
    pub faults: Vec<Fault>,
    /// Addresses of peers that are pods or Services.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    pub peer_sets: Vec<PeerSetUse>,
    /// The pods are no targets of the experiment but peers of one of its faults, which acts here turned round: a Service that leads to
    /// them leads to others too, and only here the packets that go through it can be told apart.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub peers_side: bool,
    /// The pods. At most 1000.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1000))]
    pub targets: Vec<PodTarget>,
    /// Only these containers of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 63)))]
    pub containers: Vec<String>,
    /// Which pods that come later to this node are hit too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub follow: Option<Follow>,
}

/// How an experiment is ended early.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Stop {
    /// It counts as aborted.
    Abort,
    /// As if its duration were over.
    Finish,
}

/// The addresses of some peers of one fault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PeerSetUse {
    /// Index of the fault.
    #[schemars(with = "i64")]
    pub fault: usize,
    /// Index of the entry of except; absent: match itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<i64>")]
    pub except: Option<usize>,
    /// Names of PeerSets of the same namespace, of which all together are meant.
    #[schemars(length(max = 64), inner(length(max = 253)))]
    pub sets: Vec<String>,
}

/// A pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PodTarget {
    /// Its namespace.
    #[schemars(length(max = 63))]
    pub namespace: String,
    /// Its name.
    #[schemars(length(max = 253))]
    pub name: String,
    /// Its UID: a pod of the same name that comes later is another one.
    #[schemars(length(max = 64))]
    pub uid: String,
}

/// Which pods that come later are hit too: all of these must agree.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Follow {
    /// Their namespaces; empty: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(max = 63)))]
    pub namespaces: Vec<String>,
    /// Their labels must agree with all of these.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 4))]
    pub labels: Vec<LabelSelector>,
    /// Their annotations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotations: Option<LabelSelector>,
    /// Their names; empty: any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 253)))]
    pub names: Vec<String>,
    /// Of these, those whose draw by a hash of the seed and the UID, 0 to 100, is below this; absent: all. Not above that of any pod that was
    /// there at the start and was not drawn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub percent: Option<f64>,
}

/// What a node has done.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct InjectionStatus {
    /// The generation of the spec that this is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Where it stands.
    #[serde(default)]
    pub phase: InjectionPhase,
    /// Why, where it is Refused, Unsupported or Failed, and how it ended where that was early.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 4096))]
    pub message: String,
    /// The first injection on this node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Time>,
    /// When the last was reverted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Time>,
    /// Sums over the targets of this node, one entry per fault.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub faults: Vec<FaultSum>,
    /// The targets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1000))]
    pub targets: Vec<TargetRecord>,
    /// The whole report of this node, from the end on.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "understood")]
    #[schemars(schema_with = "super::record::opaque")]
    pub report: Option<Report>,
}

/// A report, or none where it is one of another version of the agent: the schema does not know what stands in it, and a single Injection
/// must not keep the controller from reading all others.
fn understood<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Report>, D::Error> {
    let value = Option::<serde_json::Value>::deserialize(from)?;
    Ok(value.and_then(|value| serde_json::from_value(value).ok()))
}

/// Where a node's part stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum InjectionPhase {
    /// Not looked at yet.
    #[default]
    Pending,
    /// All is made, the start is awaited.
    Prepared,
    /// The faults act.
    Injected,
    /// The faults rest.
    Paused,
    /// Over, as asked.
    Reverted,
    /// Over early: stopped, or the lease was lost.
    Aborted,
    /// This node cannot serve it; nothing was attached.
    Unsupported,
    /// This node may not serve it: its policy, a lock, a protected target; nothing was attached.
    Refused,
    /// We failed; all was reverted.
    Failed,
}

impl InjectionPhase {
    /// Is it over for good?
    #[must_use]
    pub const fn is_over(self) -> bool {
        matches!(self, Self::Reverted | Self::Aborted | Self::Unsupported | Self::Refused | Self::Failed)
    }
}

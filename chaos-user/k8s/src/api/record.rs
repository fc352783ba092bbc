//! Records that several resources hold.

use chaos_outcome::{FaultReport, Gap};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// Sums of one fault. Counts are wire packets or system calls.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FaultSum {
    /// Its name; fault-INDEX of an unnamed one.
    #[schemars(length(max = 253))]
    pub name: String,
    /// Packets or calls of the targets that were looked at.
    #[serde(default)]
    #[schemars(with = "i64")]
    pub seen: u64,
    /// Those that the match agreed with.
    #[serde(default)]
    #[schemars(with = "i64")]
    pub matched: u64,
    /// Those that were hit.
    #[serde(default)]
    #[schemars(with = "i64")]
    pub injected: u64,
    /// Those that matched but that the trigger let pass.
    #[serde(default)]
    #[schemars(with = "i64")]
    pub skipped: u64,
    /// With dryRun, those that would have been hit.
    #[serde(default)]
    #[schemars(with = "i64")]
    pub would_inject: u64,
    /// Those that passed because the lease had lapsed.
    #[serde(default)]
    #[schemars(with = "i64")]
    pub skipped_by_lease: u64,
}

impl FaultSum {
    /// As a report of no single target.
    #[must_use]
    pub fn as_report(&self) -> FaultReport {
        FaultReport {
            name: self.name.clone(),
            seen: self.seen,
            matched: self.matched,
            injected: self.injected,
            skipped: self.skipped,
            would_inject: self.would_inject,
            skipped_by_lease: self.skipped_by_lease,
            ..FaultReport::default()
        }
    }

    /// Adds another one's counts.
    pub fn add(&mut self, other: &Self) {
        let fields = [
            (&mut self.seen, other.seen),
            (&mut self.matched, other.matched),
            (&mut self.injected, other.injected),
            (&mut self.skipped, other.skipped),
            (&mut self.would_inject, other.would_inject),
            (&mut self.skipped_by_lease, other.skipped_by_lease),
        ];
        for (mine, theirs) in fields {
            *mine = mine.saturating_add(theirs);
        }
    }
}

/// Where a target stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum TargetState {
    /// It could not be injected.
    Failed,
    /// Not yet under the faults.
    #[default]
    Pending,
    /// All is made, the start is awaited.
    Prepared,
    /// Under the faults.
    Injected,
    /// The faults rest.
    Paused,
    /// The faults are gone.
    Reverted,
    /// The pod is gone.
    Gone,
}

/// One target.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TargetRecord {
    /// Namespace of the pod.
    #[schemars(length(max = 63))]
    pub namespace: String,
    /// Name of the pod.
    #[schemars(length(max = 253))]
    pub pod: String,
    /// The pod's UID.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 64))]
    pub uid: String,
    /// The container; absent where the whole pod is meant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub container: Option<String>,
    /// The node.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 253))]
    pub node: String,
    /// Where it stands.
    #[serde(default)]
    pub state: TargetState,
    /// By which mechanism of the kernel.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 253))]
    pub mechanism: String,
    /// Packets or calls that matched.
    #[serde(default)]
    #[schemars(with = "i64")]
    pub matched: u64,
    /// Those that were hit.
    #[serde(default)]
    #[schemars(with = "i64")]
    pub injected: u64,
    /// Why it failed, or what to know.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 1024))]
    pub message: String,
    /// When it was without the faults although the experiment ran. At most 16.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "opaque_list")]
    pub gaps: Vec<Gap>,
    /// Milliseconds from the begin of its first process to the faults, of a pod that came while the experiment ran; negative: the faults
    /// were there first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub followed_after_ms: Option<i64>,
}

/// A list whose entries are described by the report's contract and not by the schema.
pub(super) fn opaque_list(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array", "maxItems": 64,
        "items": { "type": "object", "x-kubernetes-preserve-unknown-fields": true }
    })
}

/// An object that is described by the report's contract and not by the schema.
pub(super) fn opaque(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true })
}

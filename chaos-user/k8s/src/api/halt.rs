//! The cluster's kill switch: while one exists, every agent holds its own.

use super::resource::resource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

resource! {
    /// Ends every experiment of the cluster, and lets none start while it exists. Each NodeAgent says whether it holds.
    Halt,
    kind "Halt", plural "halts", scope k8s_openapi::ClusterResourceScope,
    spec HaltSpec, status serde_json::Value
}

/// Why.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HaltSpec {
    /// Why, for those who wonder.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 1024))]
    pub reason: String,
}

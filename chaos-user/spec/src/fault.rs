//! One fault of an experiment.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Network, Syscall, When, is_default, name};

/// One fault: exactly one of network and syscall.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Fault {
    /// The name in the report, unique in the experiment; if left out, fault- and its place in the list, from 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = name::LABEL))]
    pub name: Option<String>,
    /// Whether the verdict may be Pass although this fault hit nothing.
    #[serde(default, skip_serializing_if = "is_default")]
    pub optional: bool,
    /// When it acts on what matches; always if left out.
    #[serde(default, skip_serializing_if = "is_default")]
    pub when: When,
    /// A fault of the packets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<Network>,
    /// A fault of the system calls.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub syscall: Option<Syscall>,
}

impl Fault {
    /// The name, or `fault-<index>` for an unnamed one; `index` is its place in `spec.faults`.
    pub fn display_name(&self, index: usize) -> String {
        self.name.clone().unwrap_or_else(|| format!("fault-{index}"))
    }
}

//! What is asked: YAML text or a custom resource in, a validated [`Experiment`] out. No effects.
//!
//! One set of types serves the command line, the custom resource's schema and the controller. All fields that may be
//! left out say in their documentation what that means; no default is written into the schema, because a default that
//! the API server fills in would make an empty `match` look filled.
//!
//! [`plan`] makes rules of it, by the compile step of each fault in [`faults`].

#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::print_stdout, clippy::print_stderr))]

mod action;
mod endpoint;
mod experiment;
mod fault;
pub mod faults;
mod generated;
mod habit;
mod label;
mod name;
mod network;
mod packet;
mod parse;
mod path;
mod peer;
pub mod plan;
mod pods;
mod probe;
mod problem;
mod rules;
mod scalar;
mod schema;
mod selector;
pub mod suggest;
mod syscall;
mod trigger;
mod unknown;
pub mod value;
mod walk;
mod yaml;

pub use action::{
    Bandwidth, Corrupt, CorruptMode, Distribution, Duplicate, GilbertElliott, Latency, Loss, Reorder, Reset,
};
// new-fault: type
pub use endpoint::{Endpoint, Url};
pub use experiment::{API_VERSION, Experiment, ExperimentSpec, KIND, Metadata, OnUnsupported};
pub use fault::Fault;
pub use label::{LabelSelector, Operator, Requirement};
pub use network::{Direction, Network, NetworkMatch};
pub use packet::{Connections, PacketMatch};
pub use parse::{Checked, Parsed, check, parse, parse_for_command, require_local, require_pods};
pub use path::Path;
pub use peer::{Peer, PeerPods, PeerService};
pub use pods::{Phase, PodSelector, PodTargets, SelectMode, Workload};
pub use probe::{HttpProbe, Probe, ProbePhase, TcpProbe};
pub use problem::{Finding, Problem};
pub use rules::action::{ACTIONS, ONE_ACTION, no_action};
pub use schema::{of as schema_of, schema};
pub use selector::{LocalTarget, Selector};
pub use syscall::{FdKind, Mechanism, Syscall, SyscallLatency, SyscallMatch};
pub use trigger::{Per, When};
pub use unknown::{findings, unknown};
pub use yaml::MAX_TEXT;

/// For `skip_serializing_if`: what equals the default is not written.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

#[cfg(test)]
mod tests;

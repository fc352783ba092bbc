//! The custom resources, group chaos-ebpf.dev, version v1alpha1.

mod cel;
pub mod crd;
mod experiment;
mod halt;
mod injection;
mod node_agent;
mod peer_set;
mod record;
mod resource;
mod unread;
mod written;

pub use experiment::{
    DEGRADED, Experiment, ExperimentStatus, INJECTED, MOST_TARGETS, Phase, REACH, REACH_CLUSTER, REVERTED, SELECTED,
    STARTED_BY, STOP, Summary,
};
pub use halt::{Halt, HaltSpec};
pub use injection::{
    EXPERIMENT, Follow, Injection, InjectionPhase, InjectionSpec, InjectionStatus, PeerSetUse, PodTarget, Stop,
};
pub use node_agent::{Capability, NodeAgent, NodeAgentSpec, NodeAgentStatus};
pub use peer_set::{MOST_ADDRESSES, PeerAddress, PeerSet, PeerSetSpec};
pub use record::{FaultSum, TargetRecord, TargetState};
pub use resource::{GROUP, VERSION};
pub use unread::{Lenient, Unread};
pub use written::Written;

#[cfg(test)]
mod tests;

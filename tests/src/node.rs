//! One node of a cluster, as far as an agent sees it: an API server that holds what it is told, pods that are cgroups and network
//! namespaces of this machine, and the agent. For what a whole cluster would make slow or blur.

mod agent;
mod knocks;
mod objects;
mod pod;
mod scene;
mod server;

pub use agent::Agent;
pub use knocks::Knocks;
pub use objects::{injection, pod_object};
pub use pod::LocalPod;
pub use scene::{Cut, Scene};
pub use server::ApiServer;

/// The node's name.
pub const NODE: &str = "node1";

//! A Kubernetes cluster on this machine, as `cargo xtask cluster up` makes it: asked and changed through kubectl, and looked at from
//! outside, through the namespaces of its pods' processes.

mod crowd;
mod experiment;
mod install;
mod kubectl;
mod many;
pub mod matrix;
mod pods;
mod process;
mod race;
mod shop;

pub use crowd::{Agents, Crowd, memory_of};
pub use experiment::{Asked, Status};
pub use install::Install;
pub use kubectl::Cluster;
pub use many::{Request, Watch};
pub use pods::{Pings, Pod, Scene, container};
pub use process::{first_process, process_named, process_of_node, processes_of_node, sandbox_of};
pub use race::Race;
pub use shop::Shop;

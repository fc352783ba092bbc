//! Fixtures: what stands still while traffic flows.

pub mod cgroup;
pub mod counters;
pub mod hosts;
pub mod mounts;
pub mod nameserver;
pub mod netns;
pub mod offload;
pub mod onlooker;
pub mod owner;
pub mod tun;
pub mod vlan;

pub use cgroup::Cgroup;
pub use counters::Counters;
pub use hosts::{Family, Host, Hosts};
pub use netns::NetNs;
pub use onlooker::Onlooker;

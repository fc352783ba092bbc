//! Who is meant: selectors become targets. Reads procfs and cgroupfs, changes nothing.

#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::print_stdout, clippy::print_stderr))]
mod by_calls;
mod by_netlink;
pub mod cgroup;
mod decide;
pub mod error;
#[cfg(any(test, feature = "fuzz"))]
pub mod fuzz;
pub mod host;
pub mod local;
pub mod names;
mod names_of_containers;
mod names_of_users;
mod near;
pub mod pod;
pub mod process;
mod runtime;
pub mod target;

pub use by_netlink::ByNetlink;
pub use chaos_sys::interface::Interface;
pub use error::{Reason, ResolveError};
pub use host::Host;
pub use local::{Needs, Resolution, Selector, Wanted, resolve_local};
pub use target::{CgroupScope, NetnsRef, Probed, ScopedBy, Target, TargetKind};

#[cfg(test)]
mod tests;

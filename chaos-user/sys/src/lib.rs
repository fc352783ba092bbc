//! How: the only place with netlink, setns, bpf(2) and `unsafe`. No program is ever executed here, but for the
//! command that `chaos run FILE -- CMD` was given.

#![cfg_attr(not(test), deny(clippy::print_stdout, clippy::print_stderr))]

pub use chaos_error as error;

pub mod acting;
pub mod address;
pub mod births;
pub mod bpf;
pub mod btf;
pub mod clock;
pub mod command;
pub mod conntrack;
pub mod counters;
pub mod datapath;
pub mod dist;
pub mod ethtool;
pub mod filter;
#[cfg(any(test, feature = "testing"))]
pub mod fuzz;
pub mod interface;
pub mod kill_switch;
pub mod level;
pub mod link;
pub mod listeners;
mod load;
pub mod memory;
pub mod names;
pub mod netlink;
pub mod netns;
pub mod netns_id;
pub mod probe;
pub mod qdisc;
pub mod seam;
pub mod search;
pub mod sleep;
pub mod steering;
pub mod stops;
pub mod sysfs;
pub mod tables;
mod tc;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

//! Probes: the world outside is asked again and again, before the faults, while they act and after the revert. Each is a
//! task of its own on one thread, so that one that waits for its answer delays neither another one nor the end of the faults.

#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::print_stdout, clippy::print_stderr))]

mod address;
mod check;
mod http;
mod phase;
mod places;
mod probes;
mod reach;
mod tally;
mod tls;

pub use phase::Phase;
pub use places::Places;
pub use probes::{Cause, Place, Probes, Refused};
pub use reach::{Anywhere, Reach};

#[cfg(test)]
mod tests;

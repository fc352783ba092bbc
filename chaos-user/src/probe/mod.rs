//! Probes: the world outside is asked again and again, before the faults, while they act and after the revert. One thread per
//! probe and phase, so that one that waits for its answer delays neither another one nor the end of the faults.

mod address;
mod check;
mod http;
mod phase;
mod probes;
mod tally;

pub use phase::Phase;
pub use probes::{Probes, Refused};

#[cfg(test)]
mod tests;

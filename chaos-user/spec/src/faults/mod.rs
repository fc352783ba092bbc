//! One file per network fault: what its spec means to the kernel. A fault is an action with parameters; matching, triggers, lease
//! and counters are shared.

pub mod bandwidth;
pub mod corrupt;
pub mod duplicate;
pub mod latency;
pub mod loss;
pub mod partition;
pub mod reset;
// new-fault: module

use crate::{Network, value::Percent};
use chaos_abi::ARGS;

/// A fault as the kernel takes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compiled {
    /// The fault's name in specs and reports.
    pub name: &'static str,
    /// `ACTION_*` of chaos-abi.
    pub action: u32,
    /// Its parameters.
    pub args: [u64; ARGS],
    /// What it needs of a queue; None: it needs none.
    pub queue: Option<Queue>,
}

/// A queue that holds packets back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queue {
    /// The longest that a packet may wait, ns.
    pub longest: u64,
    /// How many packets may wait.
    pub packets: u32,
}

/// Compiles the action of a network fault, which validation has made sure is one.
#[must_use]
pub fn compile(network: &Network) -> Option<Compiled> {
    if network.partition {
        return Some(partition::compile());
    }
    // new-fault: compile
    let loss = network.loss.as_ref().map(loss::compile);
    let reset = network.reset.as_ref().map(reset::compile);
    let duplicate = network.duplicate.as_ref().map(duplicate::compile);
    let corrupt = network.corrupt.as_ref().map(corrupt::compile);
    let latency = network.latency.as_ref().map(|latency| latency::compile(latency, network.reorder.as_ref()));
    let bandwidth = network.bandwidth.as_ref().map(bandwidth::compile);
    loss.or(reset).or(duplicate).or(corrupt).or(latency).or(bandwidth)
}

/// The place of an action in the fixed order of a pass.
#[must_use]
pub fn phase(action: u32) -> u32 {
    const ORDER: &[u32] = &[
        chaos_abi::ACTION_PARTITION,
        chaos_abi::ACTION_LOSS,
        chaos_abi::ACTION_RESET,
        chaos_abi::ACTION_DUPLICATE,
        chaos_abi::ACTION_CORRUPT,
        // new-fault: order
        chaos_abi::ACTION_LATENCY,
        chaos_abi::ACTION_BANDWIDTH,
    ];
    ORDER.iter().position(|one| *one == action).unwrap_or(ORDER.len()) as u32
}

/// A percentage that may be left out, on the kernel's scale.
fn scaled(percent: Option<Percent>) -> u32 {
    percent.map_or(0, Percent::scaled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_of_a_pass() {
        let order = [1, 2, 3, 4, 5, 6, 7].map(phase);
        assert!(order.windows(2).all(|w| w[0] < w[1]), "{order:?}");
    }
}

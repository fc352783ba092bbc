//! Partition: drop all that matches.

use super::Compiled;
use chaos_abi::{ACTION_PARTITION, ARGS};

/// No parameters.
#[must_use]
pub fn compile() -> Compiled {
    Compiled { name: "partition", action: ACTION_PARTITION, args: [0; ARGS], queue: None }
}

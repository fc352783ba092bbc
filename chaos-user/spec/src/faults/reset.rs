//! Reset: a TCP RST to both ends.

use super::Compiled;
use crate::Reset;
use chaos_abi::{ACTION_RESET, Dice};

/// `percent` of the matched segments.
#[must_use]
pub fn compile(reset: &Reset) -> Compiled {
    let args = Dice { percent: reset.percent.scaled(), correlation: 0 }.encode();
    Compiled { name: "reset", action: ACTION_RESET, args, queue: None }
}

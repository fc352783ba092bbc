//! Duplicate: a second copy, which goes through the later faults by itself.

use super::{Compiled, scaled};
use crate::Duplicate;
use chaos_abi::{ACTION_DUPLICATE, Dice};

/// As netem's `duplicate`.
#[must_use]
pub fn compile(duplicate: &Duplicate) -> Compiled {
    let args = Dice { percent: duplicate.percent.scaled(), correlation: scaled(duplicate.correlation) }.encode();
    Compiled { name: "duplicate", action: ACTION_DUPLICATE, args, queue: None }
}

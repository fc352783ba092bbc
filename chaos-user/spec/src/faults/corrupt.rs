//! Corrupt: one flipped bit, which the receiver's stack detects or its application gets.

use super::{Compiled, scaled};
use crate::{Corrupt, CorruptMode};
use chaos_abi::{ACTION_CORRUPT, CORRUPT_DELIVERED, CORRUPT_DETECTED, Dice};

/// `detected` and `delivered` are two faults: between local pods nobody verifies a transport checksum.
#[must_use]
pub fn compile(corrupt: &Corrupt) -> Compiled {
    let mode = match corrupt.mode {
        CorruptMode::Detected => CORRUPT_DETECTED,
        CorruptMode::Delivered => CORRUPT_DELIVERED,
    };
    let mut args = Dice { percent: corrupt.percent.scaled(), correlation: scaled(corrupt.correlation) }.encode();
    // One word further than the dice; see chaos_abi::Corrupt.
    args[2] = u64::from(mode);
    Compiled { name: "corrupt", action: ACTION_CORRUPT, args, queue: None }
}

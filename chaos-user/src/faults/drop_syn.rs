//! DropSyn: its parameters as the kernel takes them.

use super::Compiled;
use crate::spec::DropSyn;
use chaos_abi::{ACTION_DROP_SYN, Dice};

/// `percent` of the matched packets.
#[must_use]
pub fn compile(drop_syn: &DropSyn) -> Compiled {
    let args = Dice { percent: drop_syn.percent.scaled(), correlation: 0 }.encode();
    Compiled { name: "dropSyn", action: ACTION_DROP_SYN, args, queue: None }
}

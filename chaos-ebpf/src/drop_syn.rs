//! DropSyn: what it does to a packet. So far every packet passes untouched.

use crate::{rule::ON, skb::Skb, walk::Scratch};
use chaos_abi::{Counters, Rule};

/// Acts on a packet that was hit: [`ON`] lets it go on to the next fault, [`crate::rule::DROP`] drops it without a word.
#[inline(always)]
pub fn act(_skb: Skb, _rule: &Rule, _counters: &mut Counters, _scratch: &mut Scratch) -> u32 {
    ON
}

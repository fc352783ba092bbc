//! Whether a call that matched is hit.

use super::maps::CHAOS_CALLSTATE;
use crate::{atomic::fetch_add, dice::triggered};
use chaos_abi::{RULE_TRIGGER, Rule};

/// The call's place among those that matched, where it is hit.
#[inline(always)]
pub fn hit(id: u32, rule: &Rule) -> Option<u64> {
    let state = CHAOS_CALLSTATE.get_ptr_mut(id)?;
    // SAFETY: fields of a map value.
    let position = unsafe { fetch_add(&raw mut (*state).position, 1) };
    if rule.flags & RULE_TRIGGER == 0 {
        return Some(position);
    }
    if !triggered(rule, position, 1, 0) {
        return None;
    }
    // SAFETY: as above.
    if rule.budget != 0 && unsafe { fetch_add(&raw mut (*state).hits, 1) } >= rule.budget {
        return None;
    }
    Some(position)
}

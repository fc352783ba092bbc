//! Whether a call that matched is hit.

use super::maps::CHAOS_CALLSTATE;
use crate::dice::triggered;
use chaos_abi::{RULE_TRIGGER, Rule};

/// The call's place among those that matched, where it is hit.
#[inline(always)]
pub fn hit(id: u32, rule: &Rule) -> Option<u64> {
    let state = CHAOS_CALLSTATE.get_ptr_mut(id)?;
    // SAFETY: fields of a map value.
    let position = unsafe { fetch_add(&raw mut (*state).position) };
    if rule.flags & RULE_TRIGGER == 0 {
        return Some(position);
    }
    if !triggered(rule, position, 1, 0) {
        return None;
    }
    // SAFETY: as above.
    if rule.budget != 0 && unsafe { fetch_add(&raw mut (*state).hits) } >= rule.budget {
        return None;
    }
    Some(position)
}

/// Adds one; what was there before (Linux 5.12). By hand, because the CPU that the programs are compiled for has no such
/// instruction, which is what kernels before need.
///
/// # Safety
/// `field` is a field of a map value.
#[inline(always)]
pub(super) unsafe fn fetch_add(field: *mut u64) -> u64 {
    let mut value = 1_u64;
    // SAFETY: the caller's; one instruction on 8 aligned bytes.
    unsafe {
        core::arch::asm!("{0} = atomic_fetch_add((u64 *)({1} + 0), {0})", inout(reg) value, in(reg) field, options(nostack));
    }
    value
}

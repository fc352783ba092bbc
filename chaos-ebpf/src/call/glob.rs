//! Matching text against globs: one table of rows for all of them, made by user space. A row says for each byte which row is next.

use super::maps::CHAOS_GLOBS;
use chaos_abi::{GLOB_ACCEPT, GLOB_DEAD};

/// The row behind a byte.
#[inline(always)]
pub fn step(row: u32, byte: u8) -> u32 {
    let Some(next) = CHAOS_GLOBS.get(row) else { return u32::from(GLOB_DEAD) };
    u32::from(next[usize::from(byte)])
}

/// May the text end here?
#[inline(always)]
pub fn accepts(row: u32) -> bool {
    step(row, 0) == u32::from(GLOB_ACCEPT)
}

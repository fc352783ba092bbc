//! Atomic instructions, by hand: the CPU that the programs are compiled for has none, which is what old kernels need.

/// Adds `value`; what was there before (Linux 5.12; on arm64 5.18).
///
/// # Safety
/// `field` is an aligned field of a map value.
#[inline(always)]
pub unsafe fn fetch_add(field: *mut u64, mut value: u64) -> u64 {
    // SAFETY: the caller's; one instruction on 8 aligned bytes.
    unsafe {
        core::arch::asm!("{0} = atomic_fetch_add((u64 *)({1} + 0), {0})", inout(reg) value, in(reg) field, options(nostack));
    }
    value
}

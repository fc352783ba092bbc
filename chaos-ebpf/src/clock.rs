//! Time.

use aya_ebpf::helpers::generated::{bpf_jiffies64, bpf_ktime_get_boot_ns, bpf_ktime_get_ns};

/// CLOCK_MONOTONIC in ns; about 25 ns.
#[inline(always)]
pub fn now() -> u64 {
    // SAFETY: takes nothing, cannot fail.
    unsafe { bpf_ktime_get_ns() }
}

/// CLOCK_BOOTTIME in ns, which counts suspended time: what experiments go by. Since Linux 5.8 for every type of program here.
#[inline(always)]
pub fn boot() -> u64 {
    // SAFETY: takes nothing, cannot fail.
    unsafe { bpf_ktime_get_boot_ns() }
}

/// Jiffies; inlined to one load.
#[inline(always)]
pub fn jiffies() -> u64 {
    // SAFETY: takes nothing, cannot fail.
    unsafe { bpf_jiffies64() }
}

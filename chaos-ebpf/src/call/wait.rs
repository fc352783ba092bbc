//! Delays of calls.

use crate::{clock, delay};
use aya_ebpf::helpers::generated::bpf_loop;
use chaos_abi::{CallArgs, Latency, mix};
use core::ffi::c_void;

/// Most turns of the wait: an upper bound that a clock which stands still would need (linux/bpf.h, BPF_MAX_LOOPS).
const TURNS: u32 = 1 << 20;

/// How long this call is to take longer, ns.
#[inline(always)]
pub fn duration(seed: u64, position: u64, args: &CallArgs) -> u64 {
    if args.jitter == 0 {
        return args.delay;
    }
    let latency =
        Latency { delay: args.delay, jitter: args.jitter, distribution: args.distribution, ..Latency::default() };
    delay::with_jitter(&latency, (mix(seed ^ mix(position)) >> 32) as u32)
}

/// Waits, and keeps the CPU; another thread may take it away on kernels with preemption.
#[inline(always)]
pub fn busy(nanoseconds: u64) {
    let mut until = clock::now().wrapping_add(nanoseconds);
    // SAFETY: the callback's context is this variable, which outlives the call.
    unsafe { bpf_loop(TURNS, turn as *mut c_void, (&raw mut until).cast(), 0) };
}

/// 1: enough.
unsafe extern "C" fn turn(_index: u32, until: *mut c_void) -> i64 {
    // SAFETY: as given to `bpf_loop`.
    let until = unsafe { *until.cast::<u64>() };
    i64::from(clock::now() >= until)
}

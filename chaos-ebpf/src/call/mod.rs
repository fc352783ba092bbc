//! Faults of system calls: one pass over the rules that mean a call of the running thread.
//!
//! The programs of these hooks may be interrupted by another thread on the same CPU and may hold no lock: what they write is
//! written by atomic instructions, and nothing is kept per CPU but counters.

pub mod decide;
pub mod file;
pub mod glob;
pub mod heir;
pub mod hooks;
pub mod kernel;
pub mod later;
pub mod maps;
pub mod path;
pub mod sleep;
pub mod socket;
pub mod task;
pub mod wait;

use crate::maps::{CHAOS_CONTROL, CHAOS_COUNTERS, CHAOS_RULES};
use aya_ebpf::helpers::generated::bpf_get_current_ancestor_cgroup_id;
use chaos_abi::{
    ACTION_CALL, ANY_UID, CallArgs, CallKey, Counters, HOOK_CGROUP, KIND_ANY, LONGEST_BUSY, Lease, MAX_LEVELS,
    MAX_RULES_PER_CALL, NEEDS_KIND, NEEDS_PEER, OFFSET_TIMING, REJECT_CALLER, REJECT_KIND, REJECT_PATH, REJECT_PEER,
    REJECT_PORT, REJECT_TIME, RULE_DRY_RUN, RULE_WINDOW, Rule,
};
use kernel::{offset, opaque};
use maps::{CHAOS_CALLS, CHAOS_SCOPES};

/// Adds one to a counter.
macro_rules! count {
    ($counters:expr, $($field:tt)*) => {
        // SAFETY: a field of this CPU's map value, by an atomic instruction.
        unsafe { add(&raw mut (*$counters).$($field)*) }
    };
}
use count;

/// What a hook knows of the call. Addresses are the kernel's, as numbers.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Call {
    /// `HOOK_*`.
    pub hook: u32,
    /// Its number.
    pub number: u32,
    /// `struct file`, or 0.
    pub file: u64,
    /// `struct vfsmount` of what the call is about, or 0.
    pub mnt: u64,
    /// `struct dentry`, or 0.
    pub dentry: u64,
    /// `struct sockaddr` of the peer, or 0.
    pub address: u64,
    /// `struct socket`, or 0.
    pub socket: u64,
    /// The peer, once it is known.
    pub peer: socket::Peer,
    /// The cgroup whose rules are looked at.
    pub cgroup: u64,
    /// What the descriptor is, once it is known.
    pub kind: u32,
    /// `TIMING_*` of this program's rules.
    pub timing: u32,
}

impl Call {
    /// A call of which nothing but its number is known.
    #[inline(always)]
    #[must_use]
    pub fn new(hook: u32, number: u32) -> Self {
        // Known to be zeros, these words would be cleared by a call of memset, byte by byte, which costs more than all that follows for
        // a thread that is no target.
        let zero = opaque(0) as u64;
        Self {
            hook,
            number,
            file: zero,
            mnt: zero,
            dentry: zero,
            address: zero,
            socket: zero,
            peer: socket::Peer { address: [zero; 2], ..socket::Peer::NONE },
            cgroup: zero,
            kind: KIND_ANY,
            timing: offset!(OFFSET_TIMING) as u32,
        }
    }
}

/// The error that the call is to return, negative; 0: it goes on.
#[inline(always)]
pub fn act(call: &mut Call) -> i64 {
    let Some(scopes) = CHAOS_SCOPES.get(0) else { return 0 };
    let mut place = 0;
    // SAFETY: a map value that user space writes.
    while place < MAX_LEVELS && place < unsafe { (&raw const scopes.count).read_volatile() } as usize {
        // SAFETY: takes a number, cannot fail; 0 where the thread lies higher up.
        let cgroup = unsafe { bpf_get_current_ancestor_cgroup_id(scopes.levels[place] as i32) };
        place = opaque(place + 1);
        // Nobody's: to be found nowhere.
        if cgroup == 0 {
            continue;
        }
        call.cgroup = cgroup;
        let key = CallKey { cgroup, number: call.number, hook: call.hook | call.timing };
        // SAFETY: only presence is asked.
        if unsafe { CHAOS_CALLS.get(key) }.is_some() {
            // SAFETY: our variable.
            let error = unsafe { chaos_call_rules(call) };
            if error != 0 {
                return negative(error.wrapping_neg() as u32);
            }
        }
    }
    0
}

/// `-errno`, of which only what a caller takes for an error is left (linux/err.h, MAX_ERRNO). By a subtraction: before 6.17 the
/// verifier knows nothing of a negated number, and LSM programs may return -4095 to 0 only (kernel/bpf/bpf_lsm.c,
/// `bpf_lsm_get_retval_range`).
#[inline(always)]
fn negative(errno: u32) -> i64 {
    let value: i64;
    // SAFETY: two instructions on registers.
    unsafe {
        core::arch::asm!("{0} = 0", "{0} -= {1}", out(reg) value, in(reg) u64::from(errno & 0xfff),
            options(pure, nomem, nostack));
    }
    value
}

/// The rules of the call's cgroup. A call that one has failed is not the next one's.
///
/// A global function in BPF, as the next two: the verifier looks at each once, whatever calls it (Linux 5.13 for those that take
/// a pointer, kernel/bpf/btf.c, `btf_prepare_func_args`).
#[unsafe(no_mangle)]
#[inline(never)]
pub unsafe extern "C" fn chaos_call_rules(call: *mut Call) -> i64 {
    // SAFETY: the caller's variable; it is not NULL, but the verifier wants to see that tested.
    let Some(call) = (unsafe { call.as_mut() }) else { return 0 };
    let key = CallKey { cgroup: call.cgroup, number: call.number, hook: call.hook | call.timing };
    // SAFETY: the value is written whole, and a program sees it with the old or the new rules.
    let Some(list) = (unsafe { CHAOS_CALLS.get(key) }) else { return 0 };
    let Some(control) = CHAOS_CONTROL.get(0) else { return 0 };
    if call.hook != HOOK_CGROUP {
        if list.needs & NEEDS_KIND != 0 {
            call.kind = file::kind(call);
        }
        if list.needs & NEEDS_PEER != 0 {
            call.peer = socket::peer(call);
        }
    }
    let mut place = 0;
    // SAFETY: a map value that user space writes.
    while place < MAX_RULES_PER_CALL && place < unsafe { (&raw const list.count).read_volatile() } as usize {
        let id = list.rules[place];
        place = opaque(place + 1);
        // SAFETY: the caller's variable.
        let error = unsafe { chaos_call_rule(id, control.generation, call) };
        if error != 0 {
            return error;
        }
    }
    0
}

/// The error that one rule has the call return.
#[unsafe(no_mangle)]
#[inline(never)]
pub unsafe extern "C" fn chaos_call_rule(id: u32, generation: u64, call: *const Call) -> i64 {
    // SAFETY: as above.
    let Some(call) = (unsafe { call.as_ref() }) else { return 0 };
    let Some(rule) = CHAOS_RULES.get(id) else { return 0 };
    // A list that was read while it was written may name a rule of another cgroup.
    if rule.action != ACTION_CALL || rule.cgroup != call.cgroup {
        return 0;
    }
    let Some(lease) = crate::rule::running(rule.lease, generation) else { return 0 };
    let Some(counters) = CHAOS_COUNTERS.get_ptr_mut(id) else { return 0 };
    if crate::clock::jiffies() >= lease.end {
        return 0;
    }
    let args = CallArgs::decode(&rule.args);
    let why = rejected(rule, &args, lease, call);
    // Asked once more rather than kept: what is kept lies on the stack, of which five functions share 512 bytes.
    if crate::clock::jiffies() >= lease.until {
        if why >= 8 {
            count!(counters, skipped_by_lease);
        }
        return 0;
    }
    count!(counters, seen);
    if why < 8 {
        count!(counters, rejected[why & 7]);
        return 0;
    }
    count!(counters, matched);
    count!(counters, skbs);
    apply(id, rule, &args, call, counters)
}

/// Adds one, by an instruction that kernels of any age have (`BPF_XADD`). By hand: for this CPU the compiler knows no atomics.
///
/// # Safety
/// `field` is a field of a map value.
#[inline(always)]
unsafe fn add(field: *mut u64) {
    // SAFETY: the caller's; one instruction on 8 aligned bytes.
    unsafe { core::arch::asm!("lock *(u64 *)({0} + 0) += {1}", in(reg) field, in(reg) 1_u64, options(nostack)) };
}

const PASS: usize = usize::MAX;

/// [`PASS`], or the `REJECT_*` of the first test that failed.
#[inline(always)]
fn rejected(rule: &Rule, args: &CallArgs, lease: &Lease, call: &Call) -> usize {
    if args.kind != KIND_ANY && args.kind != call.kind {
        return REJECT_KIND;
    }
    if rule.ports != 0 && !(call.peer.family != 0 && crate::gate::port(rule.ports, call.peer.port)) {
        return REJECT_PORT;
    }
    if rule.peers != 0 && !socket::is_peer(rule, &call.peer) {
        return REJECT_PEER;
    }
    if args.uid != ANY_UID && args.uid != task::user() {
        return REJECT_CALLER;
    }
    if args.comm != 0 && !task::is_named(args.comm) {
        return REJECT_CALLER;
    }
    // SAFETY: the caller's variable.
    if call.hook != HOOK_CGROUP && args.path != 0 && unsafe { path::chaos_call_path(args.path, call) } == 0 {
        return REJECT_PATH;
    }
    if rule.flags & RULE_WINDOW != 0 {
        let since = crate::clock::boot().wrapping_sub(lease.start);
        if since < rule.after || (rule.until != 0 && since >= rule.until) {
            return REJECT_TIME;
        }
    }
    PASS
}

/// Trigger and dice; then the delay, then the error.
#[inline(always)]
fn apply(id: u32, rule: &Rule, args: &CallArgs, call: &Call, counters: *mut Counters) -> i64 {
    let Some(position) = decide::hit(id, rule) else {
        count!(counters, skipped);
        return 0;
    };
    if rule.flags & RULE_DRY_RUN != 0 {
        count!(counters, would_inject);
        return 0;
    }
    if args.delay != 0 {
        let duration = wait::duration(rule.seed, position, args);
        // Where a rule may ask for a sleep, the program for it stands, and there alone; it counts, and returns the error.
        if args.delay + args.jitter > LONGEST_BUSY && duration > LONGEST_BUSY {
            if !sleep::leave(id, call.number, duration, args.errno) {
                count!(counters, skipped);
            }
            return 0;
        }
        count!(counters, delayed);
        wait::busy(duration);
    }
    count!(counters, injected);
    if args.errno == 0 {
        return 0;
    }
    count!(counters, errors);
    negative(args.errno)
}

//! Sleeping: a thread reads a page of another process, whose file system answers when the time is over. The program that decides runs
//! where nothing may sleep, or where a sleeping thread would keep others of its CPU out; so it leaves a note, and one at the LSM hook
//! that the call passes next finds it.

use super::{
    decide::fetch_add,
    maps::{CHAOS_SLEEPER, CHAOS_SLEEPS, CHAOS_SLOTS},
    task,
};
use crate::{
    clock,
    maps::{CHAOS_CONTROL, CHAOS_LEASES, CHAOS_RULES},
};
use aya_ebpf::{
    bindings::task_struct,
    helpers::generated::{bpf_copy_from_user_task, bpf_get_current_pid_tgid, bpf_loop},
};
use chaos_abi::{KFUNC_TASK_FROM_PID, KFUNC_TASK_RELEASE, SLEEP_PAGE, SLEEP_SLICE, SLEEP_SLOTS, SLEEP_STALE, Sleep};
use core::ffi::c_void;

/// Slices of the longest sleep (60 s and its jitter), with room for turns that end early.
const TURNS: u32 = 1024;
/// How many taken slots are passed over.
const TRIES: usize = 8;
/// An answer that came this much too early was forced: the thread is being killed, or nobody answers any more.
const EARLY: u64 = 1_000_000;

/// One sleep, as the turns of the loop see it.
#[repr(C)]
struct Nap {
    until: u64,
    rule: u32,
    slot: u32,
}

/// Leaves the note; false where there is no room for one.
#[inline(always)]
pub fn leave(rule: u32, number: u32, duration: u64, errno: u32) -> bool {
    let note = Sleep { decided: clock::now(), duration, number, errno, rule, reserved: 0 };
    CHAOS_SLEEPS.insert(thread(), note, 0).is_ok()
}

#[inline(always)]
fn thread() -> u32 {
    // SAFETY: takes nothing, cannot fail.
    unsafe { bpf_get_current_pid_tgid() as u32 }
}

/// What the hook is to return, after the sleep that a note asked for.
#[inline(always)]
pub fn found() -> i64 {
    let id = thread();
    // SAFETY: no other thread writes the note of this one.
    let Some(note) = (unsafe { CHAOS_SLEEPS.get(id) }) else { return 0 };
    let (decided, duration, number, errno, rule) = (note.decided, note.duration, note.number, note.errno, note.rule);
    let _ = CHAOS_SLEEPS.remove(id);
    let now = clock::now();
    if number != task::number() || now.wrapping_sub(decided) > SLEEP_STALE {
        return 0;
    }
    let mut nap = Nap { until: now.wrapping_add(duration), rule, slot: 0 };
    if take(&mut nap, now) {
        // SAFETY: the callback's context is this variable, which outlives the call.
        unsafe { bpf_loop(TURNS, turn as *mut c_void, (&raw mut nap).cast(), 0) };
        wake_at(nap.slot, 0);
    }
    negative(errno)
}

/// Finds a slot that nobody sleeps on.
#[inline(always)]
fn take(nap: &mut Nap, now: u64) -> bool {
    let Some(server) = CHAOS_SLEEPER.get_ptr_mut(0) else { return false };
    let mut tries = 0;
    while tries < TRIES {
        tries = super::kernel::opaque(tries + 1);
        // SAFETY: a field of a map value.
        nap.slot = unsafe { fetch_add(&raw mut (*server).next) } as u32 & (SLEEP_SLOTS - 1);
        // SAFETY: a map value.
        let taken = CHAOS_SLOTS.get_ptr(nap.slot).is_none_or(|until| unsafe { until.read_volatile() } > now);
        if !taken {
            return true;
        }
    }
    false
}

#[inline(always)]
fn wake_at(slot: u32, until: u64) {
    if let Some(place) = CHAOS_SLOTS.get_ptr_mut(slot) {
        // SAFETY: a map value; this thread's alone while it sleeps.
        unsafe { place.write_volatile(until) };
    }
}

/// One slice; 1: enough.
unsafe extern "C" fn turn(_index: u32, nap: *mut c_void) -> i64 {
    // SAFETY: as given to `bpf_loop`.
    let nap = unsafe { &*nap.cast::<Nap>() };
    let now = clock::now();
    if now >= nap.until || !lasts(nap.rule) {
        return 1;
    }
    let Some(server) = CHAOS_SLEEPER.get(0) else { return 1 };
    if server.address == 0 {
        return 1;
    }
    let wake = nap.until.min(now.wrapping_add(SLEEP_SLICE));
    wake_at(nap.slot, wake);
    // SAFETY: the kernel's functions, whose ids stand there when the program is loaded.
    let (from_pid, release) = unsafe {
        (
            core::mem::transmute::<usize, unsafe extern "C" fn(i32) -> *mut task_struct>(KFUNC_TASK_FROM_PID as usize),
            core::mem::transmute::<usize, unsafe extern "C" fn(*mut task_struct)>(KFUNC_TASK_RELEASE as usize),
        )
    };
    let mut byte = 0_u8;
    // SAFETY: the task is ours until it is released.
    let read = unsafe {
        let task = from_pid(server.pid);
        if task.is_null() {
            return 1;
        }
        let page = server.address.wrapping_add(u64::from(nap.slot).wrapping_mul(SLEEP_PAGE));
        let read = bpf_copy_from_user_task((&raw mut byte).cast(), 1, page as *const c_void, task, 0);
        release(task);
        read
    };
    i64::from(read == 0 || clock::now().wrapping_add(EARLY) < wake)
}

/// Is the rule's experiment still under way?
#[inline(always)]
fn lasts(rule: u32) -> bool {
    let Some(rule) = CHAOS_RULES.get(rule) else { return false };
    let Some(lease) = CHAOS_LEASES.get(rule.lease) else { return false };
    let Some(control) = CHAOS_CONTROL.get(0) else { return false };
    let jiffies = clock::jiffies();
    crate::rule::runs(lease, control.generation) && jiffies < lease.end && jiffies < lease.until
}

/// `-errno` by a subtraction: before 6.17 the verifier knows nothing of a negated number, and a hook of this kind may return
/// -4095 to 0 only (kernel/bpf/bpf_lsm.c, `bpf_lsm_get_retval_range`).
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

//! Sleeping: a thread reads a page of another process, whose file system answers when the time is over. The program that decides runs
//! where nothing may sleep, or where a sleeping thread would keep others of its CPU out; so it leaves a note, and one at the LSM hook
//! that the call passes next finds it.

use super::{
    add, count,
    maps::{CHAOS_SLEEPER, CHAOS_SLEEPS, CHAOS_SLOTS},
    negative, task,
};
use crate::atomic::fetch_add;
use crate::{
    clock,
    maps::{CHAOS_CONTROL, CHAOS_COUNTERS, CHAOS_RULES},
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
pub const TRIES: usize = 8;
/// An answer that came this much too early was forced: the thread is being killed, or nobody answers any more.
const EARLY: u64 = 1_000_000;

/// One sleep, as the turns of the loop see it.
#[repr(C)]
pub struct Nap {
    /// CLOCK_MONOTONIC in ns.
    pub until: u64,
    /// The rule that asked for it.
    pub rule: u32,
    /// The page that is waited for.
    pub slot: u32,
}

impl Nap {
    /// Sleeps, and gives the slot back.
    #[inline(always)]
    pub fn sleep(&mut self) {
        // SAFETY: the callback's context is this variable, which outlives the call.
        unsafe { bpf_loop(TURNS, turn as *mut c_void, (&raw mut *self).cast(), 0) };
        wake_at(self.slot, 0);
    }
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

/// What a note asks for.
pub struct Asked {
    /// How long, ns.
    pub duration: u64,
    /// What the call returns then, or 0.
    pub errno: u32,
    /// The rule.
    pub rule: u32,
}

/// The note that is left for this thread's call; it is gone then.
#[inline(always)]
pub fn asked() -> Option<Asked> {
    let id = thread();
    // SAFETY: no other thread writes the note of this one.
    let note = unsafe { CHAOS_SLEEPS.get(id) }?;
    let (decided, number) = (note.decided, note.number);
    let asked = Asked { duration: note.duration, errno: note.errno, rule: note.rule };
    let _ = CHAOS_SLEEPS.remove(id);
    let is_of_this_call = number == task::number() && clock::now().wrapping_sub(decided) <= SLEEP_STALE;
    is_of_this_call.then_some(asked)
}

/// What the hook is to return, after the sleep that a note asked for.
#[inline(always)]
pub fn found() -> i64 {
    let Some(Asked { duration, errno, rule }) = asked() else { return 0 };
    let Some(counters) = CHAOS_COUNTERS.get_ptr_mut(rule) else { return 0 };
    let now = clock::now();
    let mut nap = Nap { until: now.wrapping_add(duration), rule, slot: 0 };
    if !take(&mut nap, now) {
        count!(counters, skipped);
        return 0;
    }
    // Before the sleep: the experiment may be over when it ends, and its report written.
    count!(counters, injected);
    count!(counters, delayed);
    nap.sleep();
    // A sleep that was cut short had its lease or its server end: no error is due any more.
    if errno == 0 || clock::now() < nap.until {
        return 0;
    }
    count!(counters, errors);
    negative(errno)
}

/// Is there somebody to wait for?
#[inline(always)]
pub fn answers() -> bool {
    let Some(server) = CHAOS_SLEEPER.get(0) else { return false };
    if server.address == 0 {
        return false;
    }
    // SAFETY: the task is ours until it is released.
    unsafe {
        let task = from_pid(server.pid);
        if task.is_null() {
            return false;
        }
        release(task);
    }
    true
}

/// Finds a slot that nobody sleeps on; false also where nobody answers.
#[inline(always)]
pub fn take(nap: &mut Nap, now: u64) -> bool {
    if !answers() {
        return false;
    }
    let Some(server) = CHAOS_SLEEPER.get_ptr_mut(0) else { return false };
    let mut tries = 0;
    while tries < TRIES {
        tries = super::kernel::opaque(tries + 1);
        // SAFETY: a field of a map value.
        nap.slot = unsafe { fetch_add(&raw mut (*server).next, 1) } as u32 & (SLEEP_SLOTS - 1);
        // SAFETY: a map value.
        let taken = CHAOS_SLOTS.get_ptr(nap.slot).is_none_or(|until| unsafe { until.read_volatile() } > now);
        if !taken {
            return true;
        }
    }
    false
}

/// Until when a slot is taken.
#[inline(always)]
fn wake_at(slot: u32, until: u64) {
    if let Some(place) = CHAOS_SLOTS.get_ptr_mut(slot) {
        // SAFETY: a map value; this thread's alone while it sleeps.
        unsafe { place.write_volatile(until) };
    }
}

/// The kernel's function: a task by its id in the initial PID namespace, to be released.
///
/// # Safety
/// To be called by a program that [`KFUNC_TASK_FROM_PID`] was replaced in.
#[inline(always)]
unsafe fn from_pid(pid: i32) -> *mut task_struct {
    // SAFETY: the caller's; a call of a constant address is one instruction, in which the function's id is put.
    unsafe {
        core::mem::transmute::<usize, unsafe extern "C" fn(i32) -> *mut task_struct>(KFUNC_TASK_FROM_PID as usize)(pid)
    }
}

/// The kernel's function that gives a task back.
///
/// # Safety
/// As [`from_pid`], of which the task is.
#[inline(always)]
unsafe fn release(task: *mut task_struct) {
    // SAFETY: as above.
    unsafe { core::mem::transmute::<usize, unsafe extern "C" fn(*mut task_struct)>(KFUNC_TASK_RELEASE as usize)(task) }
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
    let wake = nap.until.min(now.wrapping_add(SLEEP_SLICE));
    wake_at(nap.slot, wake);
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
    let Some(control) = CHAOS_CONTROL.get(0) else { return false };
    let Some(lease) = crate::rule::running(rule.lease, control.generation) else { return false };
    let jiffies = clock::jiffies();
    jiffies < lease.end && jiffies < lease.until
}

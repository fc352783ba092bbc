//! Sleeping on the way back from a call: where no program may sleep, one leaves work that the kernel does before the thread returns to
//! user space (Linux 6.18, kernel/bpf/helpers.c, `bpf_task_work_schedule_resume`). Any call can be delayed so, once it is done.

use super::{
    add, count,
    kernel::{offset, opaque, read},
    maps::{CHAOS_LATER, CHAOS_SLEEPER},
    negative,
    sleep::{self, Asked, Nap},
    task,
};
use crate::{
    atomic::fetch_add,
    clock,
    maps::{CHAOS_COUNTERS, CHAOS_LEASES, CHAOS_RULES},
};
use aya_ebpf::{bindings::task_struct, helpers::generated::bpf_get_current_task_btf};
use chaos_abi::{KFUNC_TASK_WORK, Later, MAX_LATER, OFFSET_TASK_FLAGS};
use core::ffi::c_void;

/// The task is about to end (linux/sched.h, PF_EXITING).
const EXITING: u32 = 4;

/// What the hook is to return; the sleep that a note asked for comes after that.
#[inline(always)]
pub fn arranged() -> i64 {
    let Some(Asked { duration, errno, rule }) = sleep::asked() else { return 0 };
    let Some(counters) = CHAOS_COUNTERS.get_ptr_mut(rule) else { return 0 };
    if !sleep::answers() || !arrange(rule, duration, errno) {
        count!(counters, skipped);
        return 0;
    }
    // A delay counts when it comes: the call may outlast the experiment.
    if errno == 0 {
        return 0;
    }
    count!(counters, injected);
    count!(counters, errors);
    negative(errno)
}

/// Has the kernel call [`back`]; false where it does not.
#[inline(always)]
fn arrange(rule: u32, duration: u64, errno: u32) -> bool {
    let Some(server) = CHAOS_SLEEPER.get_ptr_mut(0) else { return false };
    let mut tries = 0;
    while tries < sleep::TRIES {
        tries = opaque(tries + 1);
        // SAFETY: a field of a map value.
        let place = unsafe { fetch_add(&raw mut (*server).later, 1) } as u32 & (MAX_LATER - 1);
        let Some(later) = CHAOS_LATER.get_ptr_mut(place) else { return false };
        // One that is refused (EBUSY) belongs to a thread whose call still lasts. One that is not is ours: nobody reads it before this
        // very thread is on its way back.
        // SAFETY: fields of a map value; the running task cannot go away.
        unsafe {
            if schedule(bpf_get_current_task_btf(), later) == 0 {
                (&raw mut (*later).decided).write_volatile(clock::boot());
                (&raw mut (*later).duration).write_volatile(duration);
                (&raw mut (*later).rule).write_volatile(rule);
                (&raw mut (*later).errno).write_volatile(errno);
                return true;
            }
        }
    }
    false
}

/// The kernel's function: 0, or an error.
///
/// # Safety
/// To be called by a program that [`KFUNC_TASK_WORK`] was replaced in.
#[inline(always)]
unsafe fn schedule(task: *mut task_struct, later: *mut Later) -> i32 {
    type Schedule = unsafe extern "C" fn(*mut task_struct, *mut Later, *const c_void, *mut c_void, *mut c_void) -> i32;
    // SAFETY: the caller's; a call of a constant address is one instruction, in which the function's id is put.
    unsafe {
        let schedule = core::mem::transmute::<usize, Schedule>(KFUNC_TASK_WORK as usize);
        schedule(task, later, (&raw const CHAOS_LATER).cast(), back as *mut c_void, core::ptr::null_mut())
    }
}

/// On the way back. The experiment may have ended while the call lasted, and another one have its numbers.
unsafe extern "C" fn back(_map: *mut c_void, _key: *mut c_void, later: *mut Later) -> i64 {
    // SAFETY: as the kernel gives it to us.
    let (decided, duration, rule, errno) =
        unsafe { ((*later).decided, (*later).duration, (*later).rule, (*later).errno) };
    // One that is killed does what is left to be done, too, and nothing wakes it any more.
    if !is_of_now(rule, decided) || read::<u32>(task::task() + offset!(OFFSET_TASK_FLAGS)) & EXITING != 0 {
        return 0;
    }
    let Some(counters) = CHAOS_COUNTERS.get_ptr_mut(rule) else { return 0 };
    let now = clock::now();
    let mut nap = Nap { until: now.wrapping_add(duration), rule, slot: 0 };
    if !sleep::take(&mut nap, now) {
        count!(counters, skipped);
        return 0;
    }
    if errno == 0 {
        count!(counters, injected);
    }
    count!(counters, delayed);
    nap.sleep();
    0
}

/// Was the rule's experiment under way when this was decided?
#[inline(always)]
fn is_of_now(rule: u32, decided: u64) -> bool {
    let Some(rule) = CHAOS_RULES.get(rule) else { return false };
    CHAOS_LEASES.get(rule.lease).is_some_and(|lease| lease.start <= decided)
}

//! Sleeping on the way back from a call: where no program may sleep, one leaves work that the kernel does before the thread returns to
//! user space (Linux 6.18, kernel/bpf/helpers.c, `bpf_task_work_schedule_resume`). Any call can be delayed so, once it is done.

use super::{
    add, count,
    kernel::{offset, read},
    maps::CHAOS_LATER,
    negative,
    sleep::{self, Asked, Nap},
    task,
};
use crate::{clock, maps::CHAOS_COUNTERS};
use aya_ebpf::{bindings::task_struct, helpers::generated::bpf_get_current_task_btf};
use chaos_abi::{KFUNC_TASK_WORK, Later, OFFSET_TASK_FLAGS};
use core::ffi::c_void;

/// The task is about to end (linux/sched.h, PF_EXITING).
const EXITING: u32 = 4;

/// What the hook is to return; the sleep that a note asked for comes after that.
#[inline(always)]
pub fn arranged() -> i64 {
    let Some(Asked { duration, errno, rule }) = sleep::asked() else { return 0 };
    let Some(counters) = CHAOS_COUNTERS.get_ptr_mut(rule) else { return 0 };
    let now = clock::now();
    let mut nap = Nap { until: now.wrapping_add(duration), rule, slot: 0 };
    if !sleep::take(&mut nap, now) || !arrange(&nap, duration) {
        count!(counters, skipped);
        return 0;
    }
    count!(counters, injected);
    count!(counters, delayed);
    if errno == 0 {
        return 0;
    }
    count!(counters, errors);
    negative(errno)
}

/// Has the kernel call [`back`]; false where it does not.
#[inline(always)]
fn arrange(nap: &Nap, duration: u64) -> bool {
    let Some(later) = CHAOS_LATER.get_ptr_mut(nap.slot) else { return false };
    // Nobody waits for it yet, and so nobody else is to.
    sleep::wake_at(nap.slot, nap.until);
    // SAFETY: fields of a map value, in a slot that is ours; the running task cannot go away.
    let arranged = unsafe {
        (&raw mut (*later).duration).write(duration);
        (&raw mut (*later).rule).write(nap.rule);
        (&raw mut (*later).slot).write(nap.slot);
        schedule(bpf_get_current_task_btf(), later)
    };
    if arranged != 0 {
        sleep::wake_at(nap.slot, 0);
    }
    arranged == 0
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

/// On the way back.
unsafe extern "C" fn back(_map: *mut c_void, _key: *mut c_void, later: *mut Later) -> i64 {
    // SAFETY: as the kernel gives it to us.
    let (duration, rule, slot) = unsafe { ((*later).duration, (*later).rule, (*later).slot) };
    // One that is killed does what is left to be done, too, and nothing wakes it any more.
    if read::<u32>(task::task() + offset!(OFFSET_TASK_FLAGS)) & EXITING == 0 {
        Nap { until: clock::now().wrapping_add(duration), rule, slot }.sleep();
    } else {
        sleep::wake_at(slot, 0);
    }
    0
}

//! The running thread.

use super::{
    glob,
    kernel::{offset, opaque, pointer, read},
};
use aya_ebpf::helpers::generated::{
    bpf_get_current_comm, bpf_get_current_task, bpf_get_current_task_btf, bpf_get_current_uid_gid, bpf_task_pt_regs,
};
use chaos_abi::{GLOB_DEAD, OFFSET_ARG0, OFFSET_CS, OFFSET_NUMBER};

/// A number that no call has.
pub const NO_CALL: u32 = u32::MAX;
/// The code segment of 32-bit programs on a 64-bit kernel (arch/x86/include/asm/segment.h, `__USER32_CS`).
const CS_32: u64 = 0x23;
/// Bytes of a thread's name, with the final zero (linux/sched.h, TASK_COMM_LEN).
const COMM: usize = 16;

/// The registers with which the thread entered the kernel.
#[inline(always)]
fn registers() -> u64 {
    // SAFETY: the running thread's task, which the kernel gives out for this purpose.
    unsafe { bpf_task_pt_regs(bpf_get_current_task_btf()) as u64 }
}

/// The number of the system call that the thread is in; [`NO_CALL`] where a 32-bit program numbers it by another table.
#[inline(always)]
pub fn number() -> u32 {
    let registers = registers();
    let cs = offset!(OFFSET_CS);
    // User space writes 0 where there is no such register.
    if cs != 0 && pointer(registers + cs) == CS_32 {
        return NO_CALL;
    }
    read::<u32>(registers + offset!(OFFSET_NUMBER))
}

/// The call's first argument.
#[inline(always)]
pub fn argument() -> u64 {
    pointer(registers() + offset!(OFFSET_ARG0))
}

/// The running task.
#[inline(always)]
pub fn task() -> u64 {
    // SAFETY: takes nothing, cannot fail.
    unsafe { bpf_get_current_task() }
}

/// The thread's user in the initial user namespace.
#[inline(always)]
pub fn user() -> u32 {
    // SAFETY: takes nothing, cannot fail.
    unsafe { bpf_get_current_uid_gid() as u32 }
}

/// Does the thread's name agree with the glob that begins at this row?
#[inline(always)]
pub fn is_named(row: u32) -> bool {
    let mut name = [0_u8; COMM];
    // SAFETY: an array of that length; the kernel ends it with zero.
    unsafe { bpf_get_current_comm(name.as_mut_ptr().cast(), COMM as u32) };
    let mut row = row;
    let mut place = 0;
    while place < COMM && name[place] != 0 && row != u32::from(GLOB_DEAD) {
        row = glob::step(row, name[place]);
        place = opaque(place + 1);
    }
    glob::accepts(row)
}

//! The path of what a call is about, as the running thread sees it, matched from its end to its begin: an entry knows the folder
//! that it is in. No helper of the kernel's gives paths to all of these hooks, and this way needs no place to put one.
//!
//! A path that is being renamed meanwhile may be read half old and half new.

use super::{
    Call, file,
    glob::{accepts, step},
    kernel::{offset, opaque, pointer, read, unknown_zero},
    task,
};
use aya_ebpf::helpers::generated::bpf_loop;
use chaos_abi::{
    GLOB_DEAD, OFFSET_DENTRY_LENGTH, OFFSET_DENTRY_NAME, OFFSET_DENTRY_PARENT, OFFSET_FS_ROOT_DENTRY,
    OFFSET_FS_ROOT_MNT, OFFSET_MOUNT_MNT, OFFSET_MOUNT_MOUNTPOINT, OFFSET_MOUNT_PARENT, OFFSET_TASK_FS,
    OFFSET_VFSMOUNT_ROOT,
};
use core::ffi::c_void;

/// Turns of the walk: one per folder, mount and 8 bytes of a name. PATH_MAX is 4,096 bytes.
const TURNS: u32 = 4096;

#[repr(C)]
struct Walk {
    row: u64,
    mnt: u64,
    dentry: u64,
    root_mnt: u64,
    root_dentry: u64,
    /// The name under way, of which `left` bytes from its begin are still to be looked at.
    name: u64,
    left: u64,
    /// 1: a name has been looked at; 2: the whole path has.
    state: u64,
}

/// Does the path of what the call is about agree with the glob that begins at this row? 1: yes. Global for the reason given in
/// [`super::chaos_call_rules`].
#[unsafe(no_mangle)]
#[inline(never)]
pub unsafe extern "C" fn chaos_call_path(row: u32, call: *const Call) -> u32 {
    // SAFETY: the caller's variable; it is not NULL, but the verifier wants to see that tested.
    let Some(call) = (unsafe { call.as_ref() }) else { return 0 };
    u32::from(matches(row, call))
}

#[inline(always)]
fn matches(row: u32, call: &Call) -> bool {
    let (mut mnt, mut dentry) = (call.mnt, call.dentry);
    if dentry == 0 {
        let open = file::of(call);
        if open == 0 {
            return false;
        }
        (mnt, dentry) = file::place(open);
    }
    if mnt == 0 || dentry == 0 || file::has_no_namespace(mnt) {
        return false;
    }
    let zero = unknown_zero();
    let fs = pointer(task::task() + offset!(OFFSET_TASK_FS));
    let mut walk = Walk {
        row: u64::from(row),
        mnt,
        dentry,
        root_mnt: pointer(fs + offset!(OFFSET_FS_ROOT_MNT)),
        root_dentry: pointer(fs + offset!(OFFSET_FS_ROOT_DENTRY)),
        name: zero,
        left: zero,
        state: zero,
    };
    // SAFETY: the callback's context is this variable, which outlives the call.
    unsafe { bpf_loop(TURNS, turn as *mut c_void, (&raw mut walk).cast(), 0) };
    walk.state == 2 && accepts(walk.row as u32)
}

/// 1: the walk is over.
unsafe extern "C" fn turn(_index: u32, context: *mut c_void) -> i64 {
    // SAFETY: as given to `bpf_loop`.
    let walk = unsafe { &mut *context.cast::<Walk>() };
    let more = if walk.left == 0 { next_name(walk) } else { next_bytes(walk) };
    i64::from(!more || walk.row == u64::from(GLOB_DEAD))
}

/// Goes to the entry's name, or from a mount's root to what it is mounted on.
#[inline(always)]
fn next_name(walk: &mut Walk) -> bool {
    if walk.dentry == walk.root_dentry && walk.mnt == walk.root_mnt {
        return end(walk);
    }
    if walk.dentry == pointer(walk.mnt + offset!(OFFSET_VFSMOUNT_ROOT)) {
        let mount = walk.mnt.wrapping_sub(offset!(OFFSET_MOUNT_MNT));
        let parent = pointer(mount + offset!(OFFSET_MOUNT_PARENT));
        if parent == mount || parent == 0 {
            // The thread's root lies elsewhere; the path begins at the namespace's.
            return end(walk);
        }
        walk.dentry = pointer(mount + offset!(OFFSET_MOUNT_MOUNTPOINT));
        walk.mnt = parent + offset!(OFFSET_MOUNT_MNT);
        return true;
    }
    walk.name = pointer(walk.dentry + offset!(OFFSET_DENTRY_NAME));
    walk.left = u64::from(read::<u32>(walk.dentry + offset!(OFFSET_DENTRY_LENGTH)));
    walk.dentry = pointer(walk.dentry + offset!(OFFSET_DENTRY_PARENT));
    walk.state = 1;
    // A name of no bytes would be taken for one that is through.
    walk.left != 0
}

/// The path is through; that of the root itself is "/".
#[inline(always)]
fn end(walk: &mut Walk) -> bool {
    if walk.state == 0 {
        walk.row = u64::from(step(walk.row as u32, b'/'));
    }
    walk.state = 2;
    false
}

/// Up to 8 bytes of the name, the last one first; then the "/" in front of it.
#[inline(always)]
fn next_bytes(walk: &mut Walk) -> bool {
    let mut row = walk.row as u32;
    if walk.left >= 8 {
        walk.left -= 8;
        let bytes = read::<u64>(walk.name + walk.left);
        let mut place = 0;
        while place < 8 {
            row = step(row, (bytes >> (56 - 8 * place)) as u8);
            place = opaque(place + 1);
        }
    } else {
        walk.left -= 1;
        row = step(row, read::<u8>(walk.name + walk.left));
    }
    if walk.left == 0 {
        row = step(row, b'/');
    }
    walk.row = u64::from(row);
    true
}

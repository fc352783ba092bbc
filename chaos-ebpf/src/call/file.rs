//! Files and descriptors.

use super::{
    Call,
    kernel::{offset, pointer, read},
    task,
};
use chaos_abi::{
    HOOK_ENTRY, HOOK_KPROBE, KIND_ANY, KIND_FILE, KIND_OTHER, KIND_PIPE, KIND_SOCKET, OFFSET_DENTRY_INODE,
    OFFSET_FDT_FD, OFFSET_FDT_MAX, OFFSET_FILE_DENTRY, OFFSET_FILE_INODE, OFFSET_FILE_MNT, OFFSET_FILE_MODE,
    OFFSET_FILES_FDT, OFFSET_INODE_MODE, OFFSET_MOUNT_MNT, OFFSET_MOUNT_NS, OFFSET_TASK_FILES,
};

/// A file that the kernel opened for itself, which no limit counts (include/linux/fs.h, FMODE_NOACCOUNT).
const NO_ACCOUNT: u32 = 0x2000_0000;
/// Types of inodes (inode(7)).
const TYPE: u16 = 0o170_000;
const SOCKET: u16 = 0o140_000;
const REGULAR: u16 = 0o100_000;
const BLOCK: u16 = 0o060_000;
const DIRECTORY: u16 = 0o040_000;
const CHARACTER: u16 = 0o020_000;
const PIPE: u16 = 0o010_000;

/// Mount and entry of an open file.
#[inline(always)]
pub fn place(file: u64) -> (u64, u64) {
    (pointer(file + offset!(OFFSET_FILE_MNT)), pointer(file + offset!(OFFSET_FILE_DENTRY)))
}

/// Type and permissions of a file's inode.
#[inline(always)]
pub fn mode(file: u64) -> u16 {
    read::<u16>(pointer(file + offset!(OFFSET_FILE_INODE)) + offset!(OFFSET_INODE_MODE))
}

/// Is this a file that a file system opened for itself, as overlayfs does below the one that the caller opened? Its mount has no
/// namespace, or before Linux 6.5 is that of the caller's file (fs/open.c, `open_with_fake_path`). The caller's own call is
/// meant, once.
#[inline(always)]
pub fn is_internal(file: u64) -> bool {
    mode(file) & TYPE == REGULAR
        && (read::<u32>(file + offset!(OFFSET_FILE_MODE)) & NO_ACCOUNT != 0
            || has_no_namespace(pointer(file + offset!(OFFSET_FILE_MNT))))
}

/// NULL or an error pointer stands for the namespace of a mount that nobody can reach by a path (fs/mount.h, `MNT_NS_INTERNAL`).
#[inline(always)]
pub fn has_no_namespace(mnt: u64) -> bool {
    let mount = mnt.wrapping_sub(offset!(OFFSET_MOUNT_MNT));
    let namespace = pointer(mount + offset!(OFFSET_MOUNT_NS));
    namespace == 0 || namespace >= u64::MAX - 4095
}

/// The file of a descriptor of the running thread; 0: there is none.
#[inline(always)]
fn of_descriptor(fd: u32) -> u64 {
    let table = pointer(pointer(task::task() + offset!(OFFSET_TASK_FILES)) + offset!(OFFSET_FILES_FDT));
    if fd >= read::<u32>(table + offset!(OFFSET_FDT_MAX)) {
        return 0;
    }
    pointer(pointer(table + offset!(OFFSET_FDT_FD)) + u64::from(fd) * 8)
}

/// The file that a call is about: the hook's, or at a call's entry that of its first argument.
#[inline(always)]
pub fn of(call: &Call) -> u64 {
    let at_entry = call.hook == HOOK_ENTRY || call.hook == HOOK_KPROBE;
    if call.file == 0 && at_entry { of_descriptor(task::argument() as u32) } else { call.file }
}

/// What the call's file descriptor is.
#[inline(always)]
pub fn kind(call: &Call) -> u32 {
    if call.socket != 0 {
        return KIND_SOCKET;
    }
    let file = of(call);
    let mode = if file != 0 {
        mode(file)
    } else if call.dentry != 0 {
        read::<u16>(pointer(call.dentry + offset!(OFFSET_DENTRY_INODE)) + offset!(OFFSET_INODE_MODE))
    } else {
        return KIND_ANY;
    };
    match mode & TYPE {
        SOCKET => KIND_SOCKET,
        PIPE => KIND_PIPE,
        REGULAR | DIRECTORY | BLOCK | CHARACTER => KIND_FILE,
        _ => KIND_OTHER,
    }
}

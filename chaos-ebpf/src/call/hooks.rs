//! What the arguments of each hook say of the call.

use super::{
    Call, file as files,
    kernel::{offset, pointer},
};
use chaos_abi::{OFFSET_BPRM_FILE, OFFSET_MSG_NAME, OFFSET_PATH_DENTRY, OFFSET_PATH_MNT, OFFSET_UNIX_PATH};

/// `inode_permission` is asked for each folder of a path; access(2) alone sets this (linux/fs.h, MAY_ACCESS).
const MAY_ACCESS: u64 = 0x10;

/// An open file, or none.
#[inline(always)]
pub fn file(call: &mut Call, file: u64) -> bool {
    call.file = file;
    true
}

/// A `struct path`.
#[inline(always)]
pub fn path(call: &mut Call, path: u64) -> bool {
    call.mnt = pointer(path + offset!(OFFSET_PATH_MNT));
    call.dentry = pointer(path + offset!(OFFSET_PATH_DENTRY));
    !files::has_no_namespace(call.mnt)
}

/// A Unix socket that is bound to a path; one that is bound to none has no mount either. Its `struct sock` stands first (net/af_unix.h).
#[inline(always)]
pub fn unix(call: &mut Call, sock: u64) -> bool {
    path(call, sock + offset!(OFFSET_UNIX_PATH))
}

/// An entry of a folder, which need not exist yet.
#[inline(always)]
pub fn entry_of(call: &mut Call, dir: u64, dentry: u64) -> bool {
    call.mnt = pointer(dir + offset!(OFFSET_PATH_MNT));
    call.dentry = dentry;
    !files::has_no_namespace(call.mnt)
}

/// The last step of access(2), and not the way there.
#[inline(always)]
pub fn is_access(mask: u64) -> bool {
    mask & MAY_ACCESS != 0
}

/// A socket, and the address that the call gives, or 0.
#[inline(always)]
pub fn socket(call: &mut Call, socket: u64, address: u64) -> bool {
    call.socket = socket;
    call.address = address;
    true
}

/// A message: it may name its receiver.
#[inline(always)]
pub fn message(call: &mut Call, to: u64, message: u64) -> bool {
    socket(call, to, pointer(message + offset!(OFFSET_MSG_NAME)))
}

/// A program that is about to be executed.
#[inline(always)]
pub fn exec(call: &mut Call, bprm: u64) -> bool {
    call.file = pointer(bprm + offset!(OFFSET_BPRM_FILE));
    true
}

//! Which system calls can be made to fail here, and by which mechanism.

use crate::trial::Trial;
use chaos_abi::LONGEST_BUSY;
use chaos_spec::plan::call::{CallPlan, table};
use serde::Serialize;

/// Calls that io_uring can make for a program, by an operation of its own (include/uapi/linux/io_uring.h, `enum io_uring_op`).
const BY_IO_URING: [&str; 45] = [
    "accept",
    "accept4",
    "bind",
    "close",
    "connect",
    "epoll_pwait",
    "epoll_pwait2",
    "epoll_wait",
    "fallocate",
    "fdatasync",
    "fsync",
    "ftruncate",
    "futex",
    "getsockopt",
    "linkat",
    "listen",
    "mkdirat",
    "openat",
    "openat2",
    "poll",
    "ppoll",
    "pread64",
    "preadv",
    "preadv2",
    "pwrite64",
    "pwritev",
    "pwritev2",
    "read",
    "readv",
    "recvfrom",
    "recvmsg",
    "renameat",
    "renameat2",
    "sendmsg",
    "sendto",
    "setsockopt",
    "shutdown",
    "socket",
    "splice",
    "statx",
    "symlinkat",
    "sync_file_range",
    "unlinkat",
    "write",
    "writev",
];

/// A way by which a program gets what a call gives, past the fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Bypass {
    /// An operation that the kernel carries out without the call.
    #[serde(rename = "io_uring")]
    IoUring,
    /// The call of a 32-bit program, which comes through a table of its own.
    #[serde(rename = "32-bit")]
    Compat,
}

/// One call.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CallRow {
    /// Its name.
    pub call: String,
    /// It can be hit.
    pub supported: bool,
    /// By which mechanism, without a `match` that asks for more.
    pub mechanism: Option<String>,
    /// Why not.
    pub why: Option<String>,
    /// A thread can sleep in it or on its way back, so that it can be delayed beyond 200 us.
    pub sleeps: bool,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why_no_sleep: Option<String>,
    /// Ways past it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub bypasses: Vec<Bypass>,
}

/// All calls whose ways through the kernel are known. Others can be hit where `getsid`, which is none of them, could be: at their
/// entry.
pub(super) fn rows() -> Vec<CallRow> {
    let known = table::ROWS.iter().filter(|row| table::find(row.name).is_some());
    known.map(|row| of(row.name)).collect()
}

fn of(name: &str) -> CallRow {
    let asked = Trial::get().best(&CallPlan::of_all(name), name);
    let mechanism = asked.as_ref().ok().map(|candidate| candidate.mechanism().to_owned());
    let slept = Trial::get().best(&CallPlan::of_all(name).delayed(LONGEST_BUSY + 1), name);
    CallRow {
        call: name.to_owned(),
        supported: mechanism.is_some(),
        bypasses: mechanism.as_deref().map_or_else(Vec::new, |by| bypasses(name, by)),
        mechanism,
        why: asked.err(),
        sleeps: slept.is_ok(),
        why_no_sleep: slept.err(),
    }
}

/// A cgroup's programs see sockets and not calls: whoever comes to them by which way. The others look at the call.
fn bypasses(call: &str, mechanism: &str) -> Vec<Bypass> {
    if mechanism == "cgroup" {
        return Vec::new();
    }
    let by_io_uring = BY_IO_URING.contains(&call);
    by_io_uring.then_some(Bypass::IoUring).into_iter().chain([Bypass::Compat]).collect()
}

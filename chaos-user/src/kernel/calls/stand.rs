//! Where a program stands, and by which means it is put there.

use super::super::{
    bpf::{self, Program},
    error::KernelError,
};
use aya_obj::generated::{bpf_attach_type, bpf_prog_type};
use chaos_abi::{TIMING_ASLEEP, TIMING_LATER};
use std::os::fd::{BorrowedFd, OwnedFd};

/// By which means a program sees a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Way {
    /// `fmod_ret` at the entry of the call.
    Entry,
    /// A kprobe there that overrides the return.
    Kprobe,
    /// An LSM program. Unlike `fmod_ret` it is run by every thread, also while another one is interrupted in it
    /// (linux/bpf_verifier.h, `bpf_prog_check_recur`; Linux 6.2).
    Lsm,
    /// `fmod_ret` at a security hook, where the kernel runs no LSM programs (`lsm=` without bpf).
    Security,
    /// An LSM program, for sleeps that one of the next kind does.
    LsmAsleep,
    /// A sleepable LSM program.
    Sleep,
    /// An LSM program, for sleeps on the way back.
    LsmLater,
    /// `fmod_ret` at the entry of the call, for the same.
    EntryLater,
    /// The cgroup's own hook.
    Cgroup(CgroupHook),
}

/// Hooks of cgroups.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "named as in linux/bpf.h, BPF_CGROUP_*")]
pub enum CgroupHook {
    Connect4,
    Connect6,
    Bind4,
    Bind6,
    SendMsg4,
    SendMsg6,
    SockCreate,
}

impl CgroupHook {
    fn attach_type(self) -> bpf_attach_type {
        match self {
            Self::Connect4 => bpf_attach_type::BPF_CGROUP_INET4_CONNECT,
            Self::Connect6 => bpf_attach_type::BPF_CGROUP_INET6_CONNECT,
            Self::Bind4 => bpf_attach_type::BPF_CGROUP_INET4_BIND,
            Self::Bind6 => bpf_attach_type::BPF_CGROUP_INET6_BIND,
            Self::SendMsg4 => bpf_attach_type::BPF_CGROUP_UDP4_SENDMSG,
            Self::SendMsg6 => bpf_attach_type::BPF_CGROUP_UDP6_SENDMSG,
            Self::SockCreate => bpf_attach_type::BPF_CGROUP_INET_SOCK_CREATE,
        }
    }

    /// The program's name in the object.
    #[must_use]
    pub fn program(self) -> &'static str {
        match self {
            Self::Connect4 => "connect4",
            Self::Connect6 => "connect6",
            Self::Bind4 => "bind4",
            Self::Bind6 => "bind6",
            Self::SendMsg4 => "sendmsg4",
            Self::SendMsg6 => "sendmsg6",
            Self::SockCreate => "sock_create",
        }
    }
}

/// A program at a place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stand {
    /// By which means.
    pub way: Way,
    /// The kernel's function, or a word for people where there is none.
    pub function: String,
    /// The program's name in the object.
    pub program: &'static str,
}

impl Way {
    /// It is for sleeps, and needs somebody to wait for.
    #[must_use]
    pub const fn sleeps(self) -> bool {
        matches!(self, Self::Sleep | Self::LsmLater | Self::EntryLater)
    }

    /// `TIMING_*` of the rules that its programs are to find, or 0.
    #[must_use]
    pub const fn timing(self) -> u32 {
        match self {
            Self::LsmAsleep | Self::Sleep => TIMING_ASLEEP,
            Self::LsmLater | Self::EntryLater => TIMING_LATER,
            _ => 0,
        }
    }

    /// Type and attach type of its programs.
    pub(super) fn types(self) -> (bpf_prog_type, bpf_attach_type) {
        match self {
            Self::Entry | Self::Security | Self::EntryLater => {
                (bpf_prog_type::BPF_PROG_TYPE_TRACING, bpf_attach_type::BPF_MODIFY_RETURN)
            }
            Self::Lsm | Self::LsmAsleep | Self::Sleep | Self::LsmLater => {
                (bpf_prog_type::BPF_PROG_TYPE_LSM, bpf_attach_type::BPF_LSM_MAC)
            }
            Self::Kprobe => (bpf_prog_type::BPF_PROG_TYPE_KPROBE, bpf_attach_type::BPF_CGROUP_INET_INGRESS),
            Self::Cgroup(CgroupHook::SockCreate) => {
                (bpf_prog_type::BPF_PROG_TYPE_CGROUP_SOCK, CgroupHook::SockCreate.attach_type())
            }
            Self::Cgroup(hook) => (bpf_prog_type::BPF_PROG_TYPE_CGROUP_SOCK_ADDR, hook.attach_type()),
        }
    }
}

impl Stand {
    /// Attaches its program; it stays as long as the descriptors. `root`: the uppermost directory of the cgroup2 tree, where
    /// programs of cgroups stand: they look for the target's cgroup as those of all other means do.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn attach(&self, program: BorrowedFd, root: BorrowedFd) -> Result<Vec<OwnedFd>, KernelError> {
        match self.way {
            Way::Kprobe => bpf::attach_kprobe(program, &self.function).map(|fd| vec![fd]),
            Way::Cgroup(hook) => Ok(vec![bpf::attach_to_cgroup(program, root, hook.attach_type(), &self.function)?]),
            _ => Ok(vec![bpf::attach_tracing(program, &self.function)?]),
        }
    }
}

/// Loads a program for a place.
///
/// # Errors
/// `unsupported` where the kernel does not have the function or lets nobody change what it returns.
pub(super) fn load(stand: &Stand, program: &Program) -> Result<OwnedFd, KernelError> {
    bpf::load_program(program, &stand.function).map_err(|error| {
        let said = error.detail.as_deref().unwrap_or("");
        if stand.way == Way::Kprobe && (said.contains("cannot use helper") || said.contains("unknown func")) {
            return error.unsupported(
                "the kernel was built without CONFIG_BPF_KPROBE_OVERRIDE (Ubuntu, Amazon Linux, Bottlerocket and RHEL 8 have it)",
            );
        }
        if stand.way == Way::Sleep && said.contains("unknown") {
            return error.unsupported("needs bpf_task_from_pid and bpf_copy_from_user_task: Linux 6.2, as in Debian 13 and Ubuntu 24.04");
        }
        if matches!(stand.way, Way::Entry | Way::EntryLater) && said.contains("not modifiable") {
            return error.unsupported(
                "needs CONFIG_FUNCTION_ERROR_INJECTION (Ubuntu, RHEL 9, Amazon Linux, Azure Linux, Bottlerocket, COS and Talos have \
                 it), or Linux 7.1, as in Debian 14",
            );
        }
        error
    })
}

/// The descriptor of the cgroup2 tree's uppermost directory.
///
/// # Errors
/// ENOENT where none is mounted.
pub(super) fn open_root(path: &std::path::Path) -> Result<OwnedFd, KernelError> {
    let file = std::fs::File::open(path).map_err(|e| KernelError::from_io("open", path.display().to_string(), &e))?;
    Ok(file.into())
}

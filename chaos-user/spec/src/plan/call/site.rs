//! Where a program is attached, and by which means; pure.

use chaos_abi::{TIMING_ASLEEP, TIMING_LATER};

/// By which means a program sees a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AttachMethod {
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
pub struct HookSite {
    /// By which means.
    pub method: AttachMethod,
    /// The kernel's function, or a word for people where there is none.
    pub function: String,
    /// The program's name in the object.
    pub program: &'static str,
}

impl AttachMethod {
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
}

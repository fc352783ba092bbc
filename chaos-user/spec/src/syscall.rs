//! Faults of the system calls.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::value::{Duration, Errno, PortRange};
use super::{Distribution, Peer, is_default, name};

/// A fault of the system calls: errno, latency or both.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Syscall {
    /// Names of system calls, or groups of them: @file, @network, @memory, @process. At most 64.
    #[schemars(length(min = 1, max = 64), inner(length(min = 1, max = 64), regex(pattern = name::CALL)))]
    pub calls: Vec<String>,
    /// The error that the call returns, by name or number; the call does nothing then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub errno: Option<Errno>,
    /// How long the call takes longer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency: Option<SyscallLatency>,
    /// Which calls; at least one property.
    #[serde(rename = "match")]
    pub matches: SyscallMatch,
    /// By which mechanism of the kernel; the best one if left out.
    #[serde(default, skip_serializing_if = "is_default")]
    pub mechanism: Mechanism,
}

/// How long a call takes longer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SyscallLatency {
    /// How long the calling thread sleeps; above 0, at most 60s.
    pub delay: Duration,
    /// By how much the delay varies to both sides; at most delay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jitter: Option<Duration>,
    /// How the jitter is distributed; uniform if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub distribution: Option<Distribution>,
}

/// Which calls: those that agree with every given property.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SyscallMatch {
    /// All calls of the target.
    #[serde(default, skip_serializing_if = "is_default")]
    pub all: bool,
    /// The file's path, as a pattern: * within a folder, ** across folders. At most 64.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 64), inner(length(min = 1, max = 1024), regex(pattern = name::ABSOLUTE)))]
    pub paths: Vec<String>,
    /// What the file descriptor is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fd: Option<FdKind>,
    /// The peer's port. At most 64.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 64))]
    pub ports: Vec<PortRange>,
    /// The other end. At most 1000.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 1000))]
    pub peers: Vec<Peer>,
    /// The calling thread's name, as a pattern with *; the kernel keeps 15 characters of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 16))]
    pub comm: Option<String>,
    /// The calling thread's user, by number in the initial user namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<i64>", range(min = 0, max = 4_294_967_294_i64))]
    pub uid: Option<u32>,
}

/// What a file descriptor is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum FdKind {
    /// A file of a file system.
    File,
    /// A socket.
    Socket,
    /// A pipe.
    Pipe,
}

/// By which mechanism of the kernel a system call is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Mechanism {
    /// The best one that this kernel has.
    #[default]
    Auto,
    /// fmod_ret at the call's entry.
    Entry,
    /// A kprobe that overrides the return.
    Kprobe,
    /// The security hooks.
    Lsm,
    /// The cgroup's socket address hooks.
    Cgroup,
}

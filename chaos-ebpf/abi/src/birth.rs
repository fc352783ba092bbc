//! What the agent learns of pods that come: cgroups that are made, programs that begin in them.

use crate::abi_struct;

/// [`Birth::kind`]: a cgroup was made; `path` names it.
pub const BIRTH_CGROUP: u32 = 1;
/// A program began in an awaited cgroup.
pub const BIRTH_EXEC: u32 = 2;
/// Bytes of a path that are kept, the last being 0: pods' cgroups have paths of about 150.
pub const BIRTH_PATH: usize = 256;
/// How many levels below the root an awaited cgroup may be.
pub const BIRTH_LEVELS: i32 = 12;

abi_struct! {
    /// One event.
    pub struct Birth {
        /// When, CLOCK_MONOTONIC in ns.
        pub time: u64,
        /// Of [`BIRTH_EXEC`]: the cgroup2 of the process.
        pub cgroup: u64,
        /// Of [`BIRTH_EXEC`]: the awaited cgroup, which that is or is below.
        pub awaited: u64,
        /// `BIRTH_*`.
        pub kind: u32,
        /// Of [`BIRTH_EXEC`]: the process, as the initial PID namespace names it.
        pub pid: u32,
        /// Of [`BIRTH_CGROUP`]: its path below the root of its hierarchy, whichever that is; ended by 0.
        pub path: [u8; BIRTH_PATH],
    }
}

//! Cgroups that come in the place of a target's: their rules follow before anybody is in them.

use crate::abi_struct;

/// Most targets whose cgroups are followed, per process. The table has its memory from the begin: before Linux 6.1 a tracing program
/// with one that has not is warned of in the kernel's log (kernel/bpf/verifier.c, `check_map_prog_compatibility`).
pub const MAX_HEIRS: u32 = 256;
/// Most rules of such a target.
pub const MAX_HEIR_RULES: usize = 64;
/// Most pairs of a hook and a call that its rules stand at.
pub const MAX_HEIR_CALLS: usize = 128;
/// Bytes of a cgroup's name, with the 0 at its end (linux/limits.h, NAME_MAX).
pub const HEIR_NAME: usize = 256;

abi_struct! {
    /// Which cgroup it will be.
    pub struct HeirKey {
        /// The id of the cgroup that it will be in.
        pub parent: u64,
        /// Its name; the rest is 0.
        pub name: [u8; HEIR_NAME],
    }
}

abi_struct! {
    /// What follows.
    pub struct Heir {
        /// The id of the cgroup that was there last.
        pub cgroup: u64,
        /// How many of `rules` are in use.
        pub rule_count: u32,
        /// How many of `numbers` and of `hooks`.
        pub call_count: u32,
        /// Rules that mean that cgroup.
        pub rules: [u32; MAX_HEIR_RULES],
        /// With `hooks`: its entries in the table of calls, as [`crate::CallKey`] has them.
        pub numbers: [u32; MAX_HEIR_CALLS],
        /// As in [`crate::CallKey`].
        pub hooks: [u32; MAX_HEIR_CALLS],
    }
}

//! The contract between chaos's eBPF programs and its user space: map names and the layout of what they hold.
//!
//! Only `u8` to `u64` and arrays, `repr(C)`, no padding (asserted at compile time by [`abi_struct!`]); discriminants are
//! constants, never enums, so that a value written by another version is an unknown number and not undefined behaviour.
#![no_std]

mod birth;
mod call;
mod counters;
mod heir;
mod packet;
mod point;
mod rule;
mod sleep;
mod state;

pub use birth::*;
pub use call::*;
pub use counters::*;
pub use heir::*;
pub use packet::*;
pub use point::*;
pub use rule::*;
pub use sleep::*;
pub use state::*;

/// Version of this contract; kept in [`Control::abi`] and compared before a process joins another one's maps.
pub const ABI_VERSION: u32 = 11;

/// Most attach points (netns and interface, or cgroup; direction) on a node.
pub const MAX_POINTS: u32 = 2048;
/// Most rules (fault x target, and `except` entries) on a node.
pub const MAX_RULES: u32 = 4096;
/// Most rules at one attach point: bounds the walk that the verifier follows.
pub const MAX_RULES_PER_POINT: usize = 64;
/// Most experiments that run at once on a node.
pub const MAX_LEASES: u32 = 1024;
/// Room for single addresses and for prefixes, over all sets.
pub const MAX_PEERS: u32 = 65_536;
/// Most pairs of a host name and a netns.
pub const MAX_HOSTS: u32 = 16_384;
/// Most addresses that one name of a fault stands for on one target.
pub const MAX_LEARNED_OF_NAME: u32 = 256;
/// The same of all faults on a node: a quarter of [`MAX_PEERS`], so that room for other peers is left.
pub const MAX_LEARNED: u32 = 16_384;
/// Most distinct sets of ports.
pub const MAX_PORT_SETS: u32 = 128;
/// Entries of a distribution table, as netem has them (net/sched/sch_netem.c, `struct disttable`).
pub const DIST_SIZE: usize = 4096;
/// Scale of a distribution table: one standard deviation (net/sched/sch_netem.c:62, `NETEM_DIST_SCALE`).
pub const DIST_SCALE: i64 = 8192;
/// An ifindex that no device has: `bpf_redirect` to it drops without telling the sender (net/core/filter.c, `skb_do_redirect`).
pub const NO_DEVICE: u32 = 0x7fff_fff0;

/// Names of maps: at most 15 characters, equal to the statics in the eBPF object.
pub mod maps {
    /// One [`crate::Control`].
    pub const CONTROL: &str = "CHAOS_CONTROL";
    /// [`crate::Lease`] by slot.
    pub const LEASES: &str = "CHAOS_LEASES";
    /// Stops that were asked for, by slot of the lease; see [`crate::stop_word`].
    pub const STOPS: &str = "CHAOS_STOPS";
    /// [`crate::Point`] by attach point id.
    pub const POINTS: &str = "CHAOS_POINTS";
    /// [`crate::Rule`] by rule id.
    pub const RULES: &str = "CHAOS_RULES";
    /// [`crate::State`] by rule id.
    pub const STATES: &str = "CHAOS_STATES";
    /// [`crate::Counters`] by rule id, per CPU.
    pub const COUNTERS: &str = "CHAOS_COUNTERS";
    /// Single peer addresses by [`crate::AddrKey`].
    pub const ADDRS: &str = "CHAOS_ADDRS";
    /// Peer prefixes: the data of the trie's key is an [`crate::AddrKey`].
    pub const PREFIXES: &str = "CHAOS_PREFIXES";
    /// Peer addresses with a port by [`crate::AddrPortKey`].
    pub const ADDR_PORTS: &str = "CHAOS_ADDRPORTS";
    /// Bitmaps of 65,536 ports.
    pub const PORT_SETS: &str = "CHAOS_PORTSETS";
    /// Three distribution tables.
    pub const DIST: &str = "CHAOS_DIST";
    /// Per CPU: what the stub and the programs tell each other.
    pub const SLOT: &str = "CHAOS_SLOT";
    /// Tail call targets of the stubs.
    pub const PROGS: &str = "CHAOS_PROGS";
    /// The same of the stubs on cgroups.
    pub const CGROUP_PROGS: &str = "CHAOS_CGPROGS";
    /// Flows that were hit, by [`crate::SampleKey`].
    pub const HITS: &str = "CHAOS_HITS";
    /// Peers that the peer test rejected, by [`crate::MissKey`].
    pub const MISSED: &str = "CHAOS_MISSED";
    /// When a sampled packet was handed to the queue, by its stamp.
    pub const QUEUED: &str = "CHAOS_QUEUED";
    /// Delays that were measured, by [`crate::SampleKey`].
    pub const DELAYS: &str = "CHAOS_DELAYS";
    /// Host names to learn: [`crate::Followers`] by [`crate::HostKey`].
    pub const HOSTS: &str = "CHAOS_HOSTS";
    /// Ring of [`crate::Birth`].
    pub const BIRTHS: &str = "CHAOS_BIRTHS";
    /// cgroups whose programs are to be told of.
    pub const AWAITED: &str = "CHAOS_AWAITED";
    /// [`crate::CallList`] by [`crate::CallKey`].
    pub const CALLS: &str = "CHAOS_CALLS";
    /// One [`crate::Scopes`].
    pub const SCOPES: &str = "CHAOS_SCOPES";
    /// [`crate::CallState`] by rule id.
    pub const CALL_STATES: &str = "CHAOS_CALLSTATE";
    /// [`crate::Heir`] by [`crate::HeirKey`].
    pub const HEIRS: &str = "CHAOS_HEIRS";
    /// Rows of the tables by which text is matched: the next row by byte; entry 0: [`crate::GLOB_ACCEPT`].
    pub const GLOBS: &str = "CHAOS_GLOBS";
    /// Decided sleeps of calls.
    pub const SLEEPS: &str = "CHAOS_SLEEPS";
    /// The process that makes threads wait.
    pub const SLEEPER: &str = "CHAOS_SLEEPER";
    /// Until when they do.
    pub const SLOTS: &str = "CHAOS_SLOTS";
    /// Sleeps on the way back from calls.
    pub const LATER: &str = "CHAOS_LATER";
    /// [`crate::Name`] by slot of the lease.
    pub const NAMES: &str = "CHAOS_NAMES";
    /// When an address was first learned, CLOCK_MONOTONIC in ns, by [`crate::LearnedKey`].
    pub const LEARNED: &str = "CHAOS_LEARNED";
}

/// Declares a struct of the contract: `repr(C)`, `Copy`, `Pod` for user space, and a compile-time proof that it has no padding.
#[macro_export]
macro_rules! abi_struct {
    ($(#[$meta:meta])* pub struct $name:ident { $($(#[$fmeta:meta])* pub $field:ident: $ty:ty,)* }) => {
        $(#[$meta])*
        #[repr(C)]
        #[derive(Clone, Copy, Debug)]
        pub struct $name { $($(#[$fmeta])* pub $field: $ty,)* }

        const _: () = assert!(size_of::<$name>() == 0 $(+ size_of::<$ty>())*, "padding");

        impl $name {
            /// All bytes zero.
            #[must_use]
            pub const fn zeroed() -> Self {
                // SAFETY: every field is an integer, an array of integers or a struct of such: zero is a valid value.
                unsafe { core::mem::zeroed() }
            }
        }

        // SAFETY: `repr(C)`, made of integers alone, no padding (asserted above).
        #[cfg(feature = "user")]
        unsafe impl aya::Pod for $name {}
    };
}

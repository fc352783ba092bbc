//! What a rule remembers between packets; shared by all CPUs, under a lock.

use crate::abi_struct;

/// The kernel finds the lock in a map's value by this name (kernel/bpf/btf.c, `btf_find_spin_lock`).
#[repr(C)]
#[derive(Clone, Copy, Debug)]
#[allow(non_camel_case_types, reason = "the kernel looks it up in BTF by this name")]
pub struct bpf_spin_lock {
    /// Opaque.
    pub val: u32,
}

abi_struct! {
    /// One entry per rule.
    pub struct State {
        /// Guards the rest.
        pub lock: bpf_spin_lock,
        /// Gilbert-Elliott: 1 in the bad state.
        pub bad: u32,
        /// Last draw of the action's dice.
        pub last_draw: u32,
        /// Last draw of the jitter.
        pub last_jitter: u32,
        /// Packets since the last one that was reordered.
        pub gap: u32,
        /// Unused.
        pub reserved: u32,
        /// Packets that matched within the time window.
        pub position: u64,
        /// Packets hit, for `budget`.
        pub hits: u64,
        /// Bandwidth: when the last byte accepted would have left at the bare rate, ns.
        pub clock: u64,
        /// Latency with `keep_order`: the latest departure given out, ns.
        pub departure: u64,
    }
}

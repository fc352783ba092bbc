//! Node-wide control, leases and attach points.

use crate::{ACTION_EXCEPT, MAX_RULES_PER_POINT, Rule, abi_struct};

abi_struct! {
    /// Node-wide switches; one entry. Name and layout are frozen: every version stops what any version started.
    pub struct Control {
        /// [`crate::ABI_VERSION`] of the process that made the maps.
        pub abi: u32,
        /// The highest `ACTION_*` that the loaded programs know; 0: they are of 0.1.0, which knew [`crate::ACTION_CALL`].
        pub actions: u32,
        /// The kill switch: a lease of another generation is off.
        pub generation: u64,
    }
}

abi_struct! {
    /// What `clock` reads; the only way to the kernel's jiffies from user space.
    pub struct Clock {
        /// `bpf_jiffies64()`.
        pub jiffies: u64,
        /// `bpf_ktime_get_ns()`: CLOCK_MONOTONIC, whatever time namespace the caller is in.
        pub ns: u64,
        /// `bpf_ktime_get_boot_ns()`: CLOCK_BOOTTIME, which goes on while the machine is suspended, as the other two do not.
        pub boot: u64,
    }
}

/// [`Lease::state`]: nobody's.
pub const LEASE_FREE: u32 = 0;
/// Prepared, not yet started.
pub const LEASE_PREPARED: u32 = 1;
/// Rules act while `until` holds.
pub const LEASE_RUNNING: u32 = 2;
/// Rules rest for now; the deadline does not move.
pub const LEASE_PAUSED: u32 = 5;

abi_struct! {
    /// One running experiment's right to act. Written whole, so that all its faults start at one instant.
    pub struct Lease {
        /// Rules act until this jiffy; 0: they are off.
        pub until: u64,
        /// The end of the experiment in jiffies: what packets are tested for, because reading it costs nothing. They stand still while the
        /// machine is suspended: the owner, which wakes with it, brings the end forward with its next renewal.
        pub end: u64,
        /// The same, CLOCK_BOOTTIME in ns.
        pub deadline: u64,
        /// When it started, CLOCK_BOOTTIME in ns.
        pub start: u64,
        /// The generation it belongs to; see [`Control::generation`].
        pub generation: u64,
        /// Which experiment's it is, among all that have this slot one after another: a multiple of [`LEASE_ID_STEP`].
        pub id: u64,
        /// `LEASE_*`.
        pub state: u32,
        /// Unused.
        pub reserved: u32,
    }
}

/// Between two [`Lease::id`]s: room for `STOP_*`.
pub const LEASE_ID_STEP: u64 = 4;
/// Somebody asked for a stop; the owner ends the experiment as Aborted.
pub const STOP_ABORT: u32 = 1;
/// Somebody asked to end it as if the duration were over.
pub const STOP_FINISH: u32 = 2;

/// What whoever stops an experiment writes for its slot. The owner, which writes the lease again and again, never writes this; so no
/// renewal takes a stop back. A word that is of an earlier experiment in the slot says nothing.
#[must_use]
pub const fn stop_word(id: u64, how: u32) -> u64 {
    id | how as u64
}

/// The `STOP_*` that a word says of the experiment with this id; 0: none.
#[inline(always)]
#[must_use]
pub const fn stop_of(id: u64, word: u64) -> u32 {
    let how = word.wrapping_sub(id);
    if how.wrapping_sub(1) < LEASE_ID_STEP - 1 { how as u32 } else { 0 }
}

/// Room for the namespace and the name of an experiment: 63 and 253 bytes in Kubernetes (RFC 1123).
pub const NAME_LENGTH: usize = 320;

abi_struct! {
    /// Whose a lease is: read by people's commands where the journal is lost, and by no program.
    pub struct Name {
        /// As [`Lease::id`].
        pub id: u64,
        /// When its process began, in ticks since the boot (proc_pid_stat(5), starttime).
        pub pid_start: u64,
        /// Its process.
        pub pid: u32,
        /// Bytes of the namespace, which come first.
        pub namespace: u32,
        /// Bytes of the name behind it.
        pub name: u32,
        /// Ids of the maps beside it: control, leases, stops.
        pub maps: [u32; 3],
        /// Both.
        pub text: [u8; NAME_LENGTH],
    }
}

/// [`Point::flags`]: ingress (else egress).
pub const POINT_INGRESS: u32 = 1;
/// DNS answers are read for host names.
pub const POINT_DNS: u32 = 2;

/// Entry of the table of tail calls: all faults.
pub const PROGRAM_FAULT: u32 = 0;
/// The way back from a veth pair.
pub const PROGRAM_BACK: u32 = 1;
/// Reads the clocks.
pub const PROGRAM_CLOCK: u32 = 2;
/// In front of the faults at points with [`POINT_DNS`].
pub const PROGRAM_DNS: u32 = 3;
/// Departure times, on kernels without `bpf_skb_set_tstamp`.
pub const PROGRAM_STAMP: u32 = 4;
/// The second half of [`PROGRAM_DNS`].
pub const PROGRAM_DNS_RECORDS: u32 = 5;

/// [`Entry::flags`]: nothing can be said of a packet without the rule itself.
pub const ENTRY_WHOLE: u16 = 1;

abi_struct! {
    /// A rule at an attach point, with what most packets can be told by that it does not mean.
    pub struct Entry {
        /// Its id; 0: none.
        pub rule: u32,
        /// As [`crate::Rule::lease`].
        pub lease: u32,
        /// As [`crate::Rule::port_bounds`].
        pub ports: [u16; 2],
        /// As [`crate::Rule::local_bounds`].
        pub local_ports: [u16; 2],
        /// As [`crate::Rule::protocol`].
        pub protocol: u16,
        /// `ENTRY_*`.
        pub flags: u16,
    }
}

impl Entry {
    /// Of a rule.
    #[must_use]
    pub const fn of(id: u32, rule: &Rule) -> Self {
        Self {
            rule: id,
            lease: rule.lease,
            ports: rule.port_bounds,
            local_ports: rule.local_bounds,
            protocol: rule.protocol as u16,
            flags: if rule.action == ACTION_EXCEPT { ENTRY_WHOLE } else { 0 },
        }
    }
}

abi_struct! {
    /// One attach point: an interface in one direction, or what arrives for a cgroup.
    pub struct Point {
        /// The interface, in its own netns. At a cgroup: that on which a packet arrived; 0: any but loopback.
        pub ifindex: u32,
        /// `POINT_*`.
        pub flags: u32,
        /// Length of the link header in bytes: 14 for Ethernet, 0 for tun and WireGuard.
        pub l2_len: u32,
        /// The end of the veth pair that queues; 0: there is none.
        pub pair_tx: u32,
        /// The end of the veth pair from which delayed packets come back.
        pub pair_rx: u32,
        /// How many of `rules` are in use.
        pub count: u32,
        /// Inode of the netns.
        pub netns: u64,
        /// The lease of all its rules; 0: they have several.
        pub lease: u32,
        /// Unused.
        pub reserved: u32,
        /// Rules in the order in which they act.
        pub rules: [Entry; MAX_RULES_PER_POINT],
    }
}

/// Per-CPU scratch between a stub, the programs, and a packet that re-enters on the same CPU.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Slot {
    /// Written by the stub: the attach point.
    pub point: u32,
    /// Attach point whose next packet on this CPU is a copy of ours, plus 1.
    pub guard: u32,
    /// With `guard`: the place in the walk at which the copy goes on.
    pub resume: u32,
    /// How deep this CPU is in copies of copies.
    pub depth: u32,
    /// On kernels before 5.18: when the packet under way is to leave, CLOCK_MONOTONIC in ns.
    pub departure: u64,
}

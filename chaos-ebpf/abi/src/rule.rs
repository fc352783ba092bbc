//! A rule: one fault on one target, or one `except` entry of it.

use crate::abi_struct;

/// Drop all that matches.
pub const ACTION_PARTITION: u32 = 1;
/// Random loss.
pub const ACTION_LOSS: u32 = 2;
/// TCP RST to both ends.
pub const ACTION_RESET: u32 = 3;
/// A second copy.
pub const ACTION_DUPLICATE: u32 = 4;
/// One flipped bit.
pub const ACTION_CORRUPT: u32 = 5;
/// Delay, with jitter and reordering.
pub const ACTION_LATENCY: u32 = 6;
/// Token clock.
pub const ACTION_BANDWIDTH: u32 = 7;
/// Not a fault: what matches is taken from the next rule that is one.
pub const ACTION_EXCEPT: u32 = 8;
/// A system call fails, or takes longer.
pub const ACTION_CALL: u32 = 9;
// new-fault: action

/// The highest of them. A new action is no new [`crate::ABI_VERSION`]: programs let a packet pass whose action they do not know, and
/// count it as skipped and as an error.
pub const ACTIONS: u32 = 9;

/// [`Rule::flags`]: count what would be hit, harm nothing.
pub const RULE_DRY_RUN: u32 = 1;
/// Only packets of the cgroup [`Rule::cgroup`] at [`Rule::level`].
pub const RULE_CGROUP: u32 = 1 << 1;
/// `nth`, `every`, `first`, `budget` or `percent` are in use.
pub const RULE_TRIGGER: u32 = 1 << 2;
/// `after` or `until` are in use.
pub const RULE_WINDOW: u32 = 1 << 3;
/// The peer test consults the trie of prefixes.
pub const RULE_PREFIXES: u32 = 1 << 4;
/// The peer test consults the hash of single addresses.
pub const RULE_ADDRS: u32 = 1 << 5;
/// The peer test consults the hash of addresses with ports.
pub const RULE_ADDR_PORTS: u32 = 1 << 6;
/// Connections that the node begins to one of [`Rule::probes`] are spared.
pub const RULE_SPARE_NODE: u32 = 1 << 7;
/// The target has more probes than [`Rule::probes`] holds: those that the node begins to any port are spared.
pub const RULE_ANY_PROBE: u32 = 1 << 8;
/// An address with a port is also one whose connections to that port of the target are meant.
pub const RULE_BOTH_ROLES: u32 = 1 << 9;

/// Number of ports in [`Rule::probes`].
pub const PROBES: usize = 16;

/// [`Rule::protocol`]: any.
pub const PROTO_ANY: u32 = 0x100;
/// ICMP and ICMPv6 but for neighbour discovery.
pub const PROTO_ICMP: u32 = 0x101;
/// TCP, UDP or SCTP: what has ports.
pub const PROTO_PORTS: u32 = 0x102;

/// [`Rule::connections`]: any packet.
pub const CONN_ANY: u32 = 0;
/// TCP with SYN.
pub const CONN_NEW: u32 = 1;
/// TCP without SYN.
pub const CONN_ESTABLISHED: u32 = 2;

/// [`Rule::per`]: dice per event.
pub const PER_EVENT: u32 = 0;
/// Dice per connection: hash of the seed and the 5-tuple.
pub const PER_CONNECTION: u32 = 1;
/// Dice per peer address.
pub const PER_PEER: u32 = 2;

/// [`Rule::port_bounds`]: any port.
pub const ANY_PORT: [u16; 2] = [0, u16::MAX];

/// A probability on the scale 2^32: this and above means always.
pub const ALWAYS: u32 = u32::MAX;

/// Number of words in [`Rule::args`].
pub const ARGS: usize = 8;

abi_struct! {
    /// One fault on one target. Probabilities are on the scale of 2^32, times in ns.
    pub struct Rule {
        /// `ACTION_*`; 0: the slot is free.
        pub action: u32,
        /// `RULE_*`.
        pub flags: u32,
        /// Lease slot of the owner.
        pub lease: u32,
        /// `PROTO_*` or an IP protocol number.
        pub protocol: u32,
        /// Set of peers; 0: any.
        pub peers: u32,
        /// Set of the peer's ports; 0: any.
        pub ports: u32,
        /// Set of local ports; 0: any.
        pub local_ports: u32,
        /// `CONN_*`.
        pub connections: u32,
        /// cgroup id, with `RULE_CGROUP`.
        pub cgroup: u64,
        /// Its depth below the root of the cgroup tree.
        pub level: u32,
        /// `PER_*`.
        pub per: u32,
        /// Dice of `when.percent`.
        pub percent: u32,
        /// The lowest and the highest port of `ports`; 0 and 65535 where it is 0.
        pub port_bounds: [u16; 2],
        /// The same of `local_ports`.
        pub local_bounds: [u16; 2],
        /// Set of the addresses that the target's host names stand for; 0: none.
        pub learned: u32,
        /// With `RULE_SPARE_NODE`: the id by which the target's network namespace calls the node's, plus 1; 0: it has none.
        pub node: u32,
        /// Unused.
        pub reserved: u32,
        /// With `RULE_SPARE_NODE`: the target's ports that its node probes; the rest is 0.
        pub probes: [u16; PROBES],
        /// Hit every k-th matched packet; 0: unused.
        pub every: u64,
        /// Hit the n-th matched packet, from 1; 0: unused.
        pub nth: u64,
        /// Hit the first n matched packets; 0: unused.
        pub first: u64,
        /// Stop after n hits; 0: unused.
        pub budget: u64,
        /// Start of the time window, after the lease's start.
        pub after: u64,
        /// End of the time window, after the lease's start; 0: none.
        pub until: u64,
        /// Seed of this fault on this target.
        pub seed: u64,
        /// Parameters of the action; see the typed pairs in this module.
        pub args: [u64; ARGS],
    }
}

macro_rules! args {
    ($(#[$meta:meta])* $name:ident { $($(#[$fmeta:meta])* $field:ident @ $index:literal: $ty:ty,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct $name { $($(#[$fmeta])* pub $field: $ty,)* }

        impl $name {
            /// Into [`Rule::args`].
            #[must_use]
            pub const fn encode(&self) -> [u64; ARGS] {
                let mut args = [0; ARGS];
                $(args[$index] = self.$field as u64;)*
                args
            }

            /// From [`Rule::args`].
            #[inline(always)]
            #[must_use]
            pub const fn decode(args: &[u64; ARGS]) -> Self {
                Self { $($field: args[$index] as $ty,)* }
            }
        }
    };
}

args! {
    /// `ACTION_LOSS`, and what other actions draw: independent or correlated dice.
    Dice {
        /// Probability.
        percent @ 0: u32,
        /// Correlation with the last draw.
        correlation @ 1: u32,
    }
}

args! {
    /// `ACTION_LOSS` by a Gilbert-Elliott chain, when `enabled`.
    Chain {
        /// 1: this, not [`Dice`].
        enabled @ 2: u32,
        /// Probability of good to bad.
        p @ 3: u32,
        /// Probability of bad to good.
        r @ 4: u32,
        /// Probability of delivery in the bad state.
        h @ 5: u32,
        /// Probability of delivery in the good state.
        k @ 6: u32,
    }
}

/// [`Corrupt::mode`]: the receiver's stack notices.
pub const CORRUPT_DETECTED: u32 = 0;
/// The application gets the flipped bit.
pub const CORRUPT_DELIVERED: u32 = 1;

args! {
    /// `ACTION_CORRUPT`, beside [`Dice`].
    Corrupt {
        /// `CORRUPT_*`.
        mode @ 2: u32,
    }
}

/// [`Latency::distribution`].
pub const DIST_UNIFORM: u32 = 0;
/// Gauss.
pub const DIST_NORMAL: u32 = 1;
/// Pareto, shape 3.
pub const DIST_PARETO: u32 = 2;
/// A quarter normal, three quarters Pareto.
pub const DIST_PARETONORMAL: u32 = 3;

args! {
    /// `ACTION_LATENCY`.
    Latency {
        /// Mean, ns.
        delay @ 0: u64,
        /// Standard deviation, or half the width when uniform, ns.
        jitter @ 1: u64,
        /// Correlation of the jitter.
        correlation @ 2: u32,
        /// `DIST_*`.
        distribution @ 3: u32,
        /// 1: packets keep their order.
        keep_order @ 4: u32,
        /// Probability of leaving at once.
        reorder @ 5: u32,
        /// Correlation of that.
        reorder_correlation @ 6: u32,
        /// Only every gap-th packet may leave at once; 0 and 1: any.
        gap @ 7: u32,
    }
}

/// [`Bandwidth::ns_per_byte`] is scaled by 2^this.
pub const RATE_SHIFT: u32 = 20;

args! {
    /// `ACTION_BANDWIDTH`.
    Bandwidth {
        /// Time that one byte takes, ns << [`RATE_SHIFT`].
        ns_per_byte @ 0: u64,
        /// The bucket's depth as time, ns.
        burst @ 1: u64,
        /// Longest wait, ns: what would wait longer is dropped.
        limit @ 2: u64,
    }
}

/// [`CallArgs::uid`]: any; a number that is no user (linux/uidgid.h, `INVALID_UID`).
pub const ANY_UID: u32 = u32::MAX;

args! {
    /// `ACTION_CALL`.
    CallArgs {
        /// The error that is returned, positive; 0: none.
        errno @ 0: u32,
        /// Mean delay, ns.
        delay @ 1: u64,
        /// As [`Latency::jitter`].
        jitter @ 2: u64,
        /// `DIST_*`.
        distribution @ 3: u32,
        /// Row at which the match of the path begins, from its end to its begin; 0: any path.
        path @ 4: u32,
        /// The same of the thread's name, from its begin to its end.
        comm @ 5: u32,
        /// The thread's user in the initial user namespace, or [`ANY_UID`].
        uid @ 6: u32,
        /// `KIND_*`.
        kind @ 7: u32,
    }
}

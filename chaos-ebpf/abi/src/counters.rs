//! What a rule counts, per CPU. Packets are wire packets: an skb counts its GSO segments.

use crate::abi_struct;

/// [`Counters::rejected`]: wrong direction.
pub const REJECT_DIRECTION: usize = 0;
/// Not a peer.
pub const REJECT_PEER: usize = 1;
/// Another protocol.
pub const REJECT_PROTOCOL: usize = 2;
/// Another port.
pub const REJECT_PORT: usize = 3;
/// Not in the asked phase of a connection.
pub const REJECT_CONNECTION: usize = 4;
/// Another cgroup.
pub const REJECT_SCOPE: usize = 5;
/// Outside `after` and `for`.
pub const REJECT_TIME: usize = 6;
/// Named by `except`.
pub const REJECT_EXCEPT: usize = 7;
/// Of a connection that the node began to a port that it probes.
pub const REJECT_NODE: usize = 8;

/// The same places, for system calls. Another path.
pub const REJECT_PATH: usize = REJECT_DIRECTION;
/// Another kind of file descriptor.
pub const REJECT_KIND: usize = REJECT_PROTOCOL;
/// Another thread's name or user.
pub const REJECT_CALLER: usize = REJECT_CONNECTION;

abi_struct! {
    /// Counters of one rule.
    pub struct Counters {
        /// IP packets that the rule looked at.
        pub seen: u64,
        /// Packets that passed every test.
        pub matched: u64,
        /// Packets on which the fault acted, counted once it had.
        pub injected: u64,
        /// Packets matched and not hit.
        pub skipped: u64,
        /// Packets that a dry run would have hit.
        pub would_inject: u64,
        /// Decisions: skbs that matched.
        pub skbs: u64,
        /// Bytes on the wire of the packets hit.
        pub bytes: u64,
        /// Delayed or throttled.
        pub delayed: u64,
        /// Dropped by loss or partition.
        pub lost: u64,
        /// Copies made.
        pub duplicated: u64,
        /// Corrupted and sent on.
        pub corrupted: u64,
        /// Corrupted so that the receiver would have dropped it, done by dropping.
        pub detected_by_drop: u64,
        /// Sent ahead of delayed ones.
        pub reordered: u64,
        /// TCP segments answered with RST.
        pub reset: u64,
        /// The kernel refused an operation: the packet went on untouched, and is one of `skipped`; a reset half-way: one of `lost`.
        pub errors: u64,
        /// Dropped because the queue was full or the wait beyond `limit`.
        pub overflow: u64,
        /// Would have matched, but the lease had lapsed.
        pub skipped_by_lease: u64,
        /// Delays measured (index of the next sample).
        pub delays: u64,
        /// Hits sampled (index of the next sample).
        pub samples: u64,
        /// By the first test that failed: `REJECT_*`.
        pub rejected: [u64; 9],
    }
}

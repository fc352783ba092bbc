//! Addresses, flows and the keys of the maps that hold them.

use crate::abi_struct;

/// High bit of [`AddrKey::set`]: the address is IPv6, so that a v4 prefix never covers a v6 address.
pub const SET_V6: u32 = 1 << 31;

/// The set of the node's own addresses.
pub const SET_NODE: u32 = SET_V6 - 1;
/// The set of the addresses that no host name may stand for.
pub const SET_NEVER: u32 = SET_V6 - 2;

abi_struct! {
    /// A peer of one set. IPv4 addresses fill the first 4 bytes of `addr`, the rest is 0.
    pub struct AddrKey {
        /// Set id, and [`SET_V6`]; in network byte order, because the trie compares from the first bit on.
        pub set: u32,
        /// Network byte order.
        pub addr: [u8; 16],
    }
}

abi_struct! {
    /// A peer of one set by one of its ports alone.
    pub struct AddrPortKey {
        /// As [`AddrKey::set`].
        pub set: u32,
        /// Its port, host byte order.
        pub port: u16,
        /// Unused.
        pub reserved: u16,
        /// As [`AddrKey::addr`].
        pub addr: [u8; 16],
    }
}

abi_struct! {
    /// A flow as a hit saw it. Ports in host byte order, 0 where the protocol has none.
    pub struct Flow {
        /// Source address.
        pub source: [u8; 16],
        /// Destination address.
        pub destination: [u8; 16],
        /// Source port.
        pub source_port: u16,
        /// Destination port.
        pub destination_port: u16,
        /// 4 or 6.
        pub family: u8,
        /// IP protocol number.
        pub protocol: u8,
        /// Unused.
        pub reserved: [u8; 2],
    }
}

/// Samples kept per rule and CPU.
pub const HIT_SAMPLES: u64 = 4;
/// Delay samples kept per rule.
pub const DELAY_SAMPLES: u64 = 1024;

abi_struct! {
    /// The n-th sample of a rule.
    pub struct SampleKey {
        /// Rule id.
        pub rule: u32,
        /// Which one.
        pub index: u32,
    }
}

abi_struct! {
    /// A peer that the peer test of a rule rejected.
    pub struct MissKey {
        /// Rule id.
        pub rule: u32,
        /// Its port, host byte order.
        pub port: u16,
        /// 4 or 6.
        pub family: u8,
        /// IP protocol number.
        pub protocol: u8,
        /// Its address.
        pub addr: [u8; 16],
    }
}

abi_struct! {
    /// A sampled packet on its way through the queue.
    pub struct Queued {
        /// When it was handed over, CLOCK_MONOTONIC in ns.
        pub since: u64,
        /// The rule that delayed it.
        pub rule: u32,
        /// Unused.
        pub reserved: u32,
    }
}

abi_struct! {
    /// A host name that sets of peers follow, by the answers that one network namespace receives.
    pub struct HostKey {
        /// [`name_hash`] of the name without a leading `*.`.
        pub hash: u64,
        /// Inode of the netns.
        pub netns: u64,
        /// 1: any name below it; 0: the name itself.
        pub wildcard: u32,
        /// Unused.
        pub reserved: u32,
    }
}

/// Most sets that follow one name in one netns.
pub const FOLLOWERS: usize = 16;

abi_struct! {
    /// Who follows a name.
    pub struct Followers {
        /// How often an answer held more than the programs get through.
        pub cut: u64,
        /// How often a set did not learn an address: no room, or one that no name may stand for.
        pub failed: [u64; FOLLOWERS],
        /// How many addresses a set has learned of this name.
        pub learned: [u32; FOLLOWERS],
        /// Set ids; 0: a free place.
        pub sets: [u32; FOLLOWERS],
    }
}

abi_struct! {
    /// An address that a set has learned, and from which name.
    pub struct LearnedKey {
        /// As [`HostKey::hash`].
        pub hash: u64,
        /// As [`HostKey::wildcard`].
        pub wildcard: u32,
        /// As it stands in the table of addresses.
        pub addr: AddrKey,
    }
}

/// Start value of [`name_hash_step`].
pub const NAME_HASH: u64 = 0xcbf2_9ce4_8422_2325;

/// One step of the hash over a DNS name as it stands in a message (RFC 1035, 3.1: labels behind their lengths) without the final
/// zero, from its LAST byte to its first, so that each end of the name has been hashed on the way (FNV-1a). The case of letters
/// does not count (RFC 4343); a length is never a letter.
#[inline(always)]
#[must_use]
pub const fn name_hash_step(hash: u64, byte: u8) -> u64 {
    // Without a branch, of which a verifier would follow both ways for each byte: the sign of a difference.
    let is_upper = (byte.wrapping_sub(b'A') as u32).wrapping_sub(26) >> 31;
    let lower = byte as u32 | is_upper << 5;
    (hash ^ lower as u64).wrapping_mul(0x0000_0100_0000_01b3)
}

/// The hash of a whole name: `db.example.com`.
#[must_use]
pub const fn name_hash(name: &[u8]) -> u64 {
    let (mut hash, mut left, mut length) = (NAME_HASH, name.len(), 0);
    while left > 0 {
        left -= 1;
        if name[left] == b'.' {
            hash = name_hash_step(hash, length);
            length = 0;
        } else {
            hash = name_hash_step(hash, name[left]);
            // Other names than those of DNS may be longer.
            length = length.wrapping_add(1);
        }
    }
    name_hash_step(hash, length)
}

/// Labels of the longest name that may stand behind `*.`.
pub const LABELS: usize = 32;

/// A good mix of 64 bits (the finaliser of `SplitMix64`): the dice of every decision.
#[inline(always)]
#[must_use]
pub const fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

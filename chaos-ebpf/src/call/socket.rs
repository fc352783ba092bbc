//! Sockets and their peers.

use super::{
    Call,
    kernel::{offset, pointer, read},
};
use crate::maps::{CHAOS_ADDRPORTS, CHAOS_ADDRS, CHAOS_PREFIXES};
use aya_ebpf::btf_maps::lpm_trie::Key;
use chaos_abi::{
    AddrKey, AddrPortKey, OFFSET_SK_DADDR, OFFSET_SK_DPORT, OFFSET_SK_FAMILY, OFFSET_SK_V6_DADDR, OFFSET_SOCKET_SK,
    RULE_ADDR_PORTS, RULE_ADDRS, RULE_PREFIXES, Rule, SET_V6,
};

/// Address families (linux/socket.h).
pub const INET: u16 = 2;
/// IPv6.
pub const INET6: u16 = 10;

/// The other end of a socket.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Peer {
    /// Network byte order; IPv4 in the first 4 bytes.
    pub address: [u64; 2],
    /// 4, 6, or 0 where there is none.
    pub family: u16,
    /// Host byte order.
    pub port: u16,
    /// Unused.
    pub reserved: u32,
}

impl Peer {
    /// No peer.
    pub const NONE: Self = Self { address: [0; 2], family: 0, port: 0, reserved: 0 };
}

/// An IPv4 address that IPv6 wraps (RFC 4291, 2.5.5.2) is one.
#[inline(always)]
#[must_use]
pub fn unwrap(address: [u64; 2], port: u16) -> Peer {
    let wrapped = address[0] == 0 && address[1] as u32 == 0xffff_u32.to_be();
    if wrapped {
        return Peer { address: [address[1] >> 32, 0], family: 4, port, reserved: 0 };
    }
    Peer { address, family: 6, port, reserved: 0 }
}

/// The peer of a call: the address that it gives, or that of its socket.
#[inline(always)]
pub fn peer(call: &Call) -> Peer {
    if call.address != 0 {
        let port = u16::from_be(read::<u16>(call.address + 2));
        return match read::<u16>(call.address) {
            INET => Peer { address: [u64::from(read::<u32>(call.address + 4)), 0], family: 4, port, reserved: 0 },
            INET6 => unwrap(read::<[u64; 2]>(call.address + 8), port),
            _ => Peer::NONE,
        };
    }
    if call.socket == 0 {
        return Peer::NONE;
    }
    let sk = pointer(call.socket + offset!(OFFSET_SOCKET_SK));
    let port = u16::from_be(read::<u16>(sk + offset!(OFFSET_SK_DPORT)));
    match read::<u16>(sk + offset!(OFFSET_SK_FAMILY)) {
        INET => {
            Peer { address: [u64::from(read::<u32>(sk + offset!(OFFSET_SK_DADDR))), 0], family: 4, port, reserved: 0 }
        }
        INET6 => unwrap(read::<[u64; 2]>(sk + offset!(OFFSET_SK_V6_DADDR)), port),
        _ => Peer::NONE,
    }
}

/// Is it one of the rule's peers?
#[inline(always)]
pub fn is_peer(rule: &Rule, peer: &Peer) -> bool {
    if peer.family == 0 {
        return false;
    }
    let family = if peer.family == 6 { SET_V6 } else { 0 };
    let set = rule.peers | family;
    // SAFETY: two words are 16 bytes.
    let addr = unsafe { core::mem::transmute::<[u64; 2], [u8; 16]>(peer.address) };
    let data = AddrKey { set: set.to_be(), addr };
    // SAFETY: only presence is asked.
    if rule.flags & RULE_ADDRS != 0 && unsafe { CHAOS_ADDRS.get(data) }.is_some() {
        return true;
    }
    let learned = AddrKey { set: (rule.learned | family).to_be(), addr };
    // SAFETY: only presence is asked.
    if rule.learned != 0 && unsafe { CHAOS_ADDRS.get(learned) }.is_some() {
        return true;
    }
    if rule.flags & RULE_PREFIXES != 0 && CHAOS_PREFIXES.get(&Key::new(160, data)).is_some() {
        return true;
    }
    if rule.flags & RULE_ADDR_PORTS == 0 {
        return false;
    }
    let key = AddrPortKey { set: data.set, port: peer.port, reserved: 0, addr };
    // SAFETY: only presence is asked.
    unsafe { CHAOS_ADDRPORTS.get(key) }.is_some()
}

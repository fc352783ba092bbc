//! Does a rule mean this packet? The first test that fails is counted.

use crate::{
    begun::begun,
    maps::{CHAOS_ADDRPORTS, CHAOS_ADDRS, CHAOS_PORTSETS, CHAOS_PREFIXES},
    parse::{Packet, WHOLE, proto, tcp},
    skb::Skb,
};
use aya_ebpf::btf_maps::lpm_trie::Key;
use chaos_abi::{
    AddrKey, AddrPortKey, CONN_ANY, CONN_NEW, Entry, PROTO_ANY, PROTO_ICMP, PROTO_PORTS, REJECT_CONNECTION,
    REJECT_NODE, REJECT_PEER, REJECT_PORT, REJECT_PROTOCOL, REJECT_SCOPE, RULE_ADDR_PORTS, RULE_ADDRS, RULE_ANY_PROBE,
    RULE_BOTH_ROLES, RULE_CGROUP, RULE_PREFIXES, RULE_SPARE_NODE, Rule, SET_NODE, SET_V6,
};

/// All tests passed.
pub const PASS: usize = usize::MAX;

/// Where the peer is, seen from the target.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Ends {
    /// The peer's address.
    pub peer: [u64; 2],
    /// The peer's port.
    pub peer_port: u16,
    /// The target's port.
    pub local_port: u16,
}

impl Ends {
    /// Destination on egress, source on ingress.
    #[inline(always)]
    pub fn of(packet: &Packet, ingress: bool) -> Self {
        if ingress {
            Self { peer: packet.source, peer_port: packet.source_port, local_port: packet.destination_port }
        } else {
            Self { peer: packet.destination, peer_port: packet.destination_port, local_port: packet.source_port }
        }
    }
}

/// The tests that need nothing but the entry at the attach point, in the order of [`test`]: `REJECT_*`, or [`PASS`] where the rule must be
/// asked.
#[inline(always)]
pub fn quick(entry: &Entry, packet: &Packet, ends: &Ends) -> usize {
    // Volatile, or LLVM keeps these in registers from one rule to the next, and the verifier tells apart what each rule has let it know of
    // them: the walk would never end for it.
    // SAFETY: fields of a map value.
    let (found, peer, local) = unsafe {
        (
            u16::from((&raw const packet.protocol).read_volatile()),
            (&raw const ends.peer_port).read_volatile(),
            (&raw const ends.local_port).read_volatile(),
        )
    };
    let wanted = entry.protocol;
    let meant = wanted == found
        || wanted == PROTO_ANY as u16
        || (wanted == PROTO_PORTS as u16 && has_ports(found as u8))
        || wanted == PROTO_ICMP as u16;
    if !meant {
        return REJECT_PROTOCOL;
    }
    let beyond = |[low, high]: [u16; 2], port: u16| port < low || port > high;
    // What has no ports has 0 for them, which a rule with ports never means.
    if beyond(entry.ports, peer) || beyond(entry.local_ports, local) {
        return REJECT_PORT;
    }
    PASS
}

/// [`PASS`], or the `REJECT_*` of the first test that failed. `scoped`: the cgroup is one of them; `ingress`: which way the packet goes.
#[inline(always)]
pub fn test(skb: Skb, rule: &Rule, packet: &Packet, ends: &Ends, scoped: bool, ingress: bool) -> usize {
    if !protocol(rule.protocol, packet) {
        return REJECT_PROTOCOL;
    }
    if rule.ports != 0 && !(packet.transport != 0 && has_ports(packet.protocol) && port(rule.ports, ends.peer_port)) {
        return REJECT_PORT;
    }
    if rule.local_ports != 0
        && !(packet.transport != 0 && has_ports(packet.protocol) && port(rule.local_ports, ends.local_port))
    {
        return REJECT_PORT;
    }
    if rule.connections != CONN_ANY {
        let syn = packet.tcp_flags & tcp::SYN != 0;
        if packet.transport != WHOLE || syn != (rule.connections == CONN_NEW) {
            return REJECT_CONNECTION;
        }
    }
    if rule.peers != 0 && !peer(rule, packet, ends) {
        return REJECT_PEER;
    }
    if rule.flags & RULE_SPARE_NODE != 0 && is_probe(skb, rule, packet, ends, ingress) {
        return REJECT_NODE;
    }
    if scoped && rule.flags & RULE_CGROUP != 0 && skb.cgroup(rule.level) != rule.cgroup {
        return REJECT_SCOPE;
    }
    PASS
}

/// Is it of a connection that the node begins to a port that it probes, as a kubelet does?
#[inline(always)]
fn is_probe(skb: Skb, rule: &Rule, packet: &Packet, ends: &Ends, ingress: bool) -> bool {
    packet.protocol == proto::TCP
        && packet.transport == WHOLE
        && (rule.flags & RULE_ANY_PROBE != 0 || rule.probes.contains(&ends.local_port))
        && in_addrs(SET_NODE, packet, ends)
        // Without a way to ask, what the node forwards under its own address is spared as well.
        && (rule.node == 0 || begun(skb, packet, ingress, rule.node - 1))
}

#[inline(always)]
fn has_ports(protocol: u8) -> bool {
    protocol == proto::TCP || protocol == proto::UDP || protocol == proto::SCTP
}

#[inline(always)]
fn protocol(wanted: u32, packet: &Packet) -> bool {
    match wanted {
        PROTO_ANY => true,
        PROTO_ICMP => {
            (packet.family == 4 && packet.protocol == proto::ICMP)
                || (packet.family == 6 && packet.protocol == proto::ICMP6)
        }
        PROTO_PORTS => has_ports(packet.protocol),
        number => number == u32::from(packet.protocol),
    }
}

/// Is the port in the set?
#[inline(always)]
pub fn port(set: u32, port: u16) -> bool {
    let Some(bits) = CHAOS_PORTSETS.get_ptr(set) else { return false };
    // SAFETY: a map value of 1,024 words; a port shifted by 6 is below 1,024.
    let word = unsafe { *bits.cast::<u64>().add(usize::from(port >> 6)) };
    word >> (port & 63) & 1 == 1
}

#[inline(always)]
fn address_key(set: u32, packet: &Packet, ends: &Ends) -> AddrKey {
    let set = if packet.family == 6 { set | SET_V6 } else { set };
    // SAFETY: two words are 16 bytes.
    let addr = unsafe { core::mem::transmute::<[u64; 2], [u8; 16]>(ends.peer) };
    AddrKey { set: set.to_be(), addr }
}

#[inline(always)]
fn in_addrs(set: u32, packet: &Packet, ends: &Ends) -> bool {
    // SAFETY: only presence is asked.
    unsafe { CHAOS_ADDRS.get(address_key(set, packet, ends)) }.is_some()
}

#[inline(always)]
fn peer(rule: &Rule, packet: &Packet, ends: &Ends) -> bool {
    let data = address_key(rule.peers, packet, ends);
    // SAFETY: only presence is asked.
    if rule.flags & RULE_ADDRS != 0 && unsafe { CHAOS_ADDRS.get(data) }.is_some() {
        return true;
    }
    // A number of its own for what names stand for: it differs from target to target.
    if rule.learned != 0 && in_addrs(rule.learned, packet, ends) {
        return true;
    }
    if rule.flags & RULE_PREFIXES != 0 && CHAOS_PREFIXES.get(&Key::new(160, data)).is_some() {
        return true;
    }
    if rule.flags & RULE_ADDR_PORTS == 0 || packet.transport == 0 || !has_ports(packet.protocol) {
        return false;
    }
    let with = |port: u16| AddrPortKey { set: data.set, port, reserved: 0, addr: data.addr };
    // SAFETY: only presence is asked.
    if unsafe { CHAOS_ADDRPORTS.get(with(ends.peer_port)) }.is_some() {
        return true;
    }
    // SAFETY: only presence is asked.
    rule.flags & RULE_BOTH_ROLES != 0 && unsafe { CHAOS_ADDRPORTS.get(with(ends.local_port)) }.is_some()
}

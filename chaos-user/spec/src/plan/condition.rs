//! Conditions on a packet, as sets that the kernel looks up.

use crate::{
    Connections, PacketMatch, SyscallMatch,
    value::{Cidr, HostPattern, PortRange, Protocol},
};
use std::collections::BTreeSet;

use chaos_abi::{CONN_ANY, CONN_ESTABLISHED, CONN_NEW, PROTO_ANY, PROTO_ICMP, PROTO_PORTS};

/// One `match` or `except` entry.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    /// `PROTO_*` or an IP protocol number.
    pub protocol: u32,
    /// `CONN_*`.
    pub connections: u32,
    /// The peer's ports; empty: any.
    pub ports: Vec<PortRange>,
    /// Local ports; empty: any.
    pub local_ports: Vec<PortRange>,
    /// Interfaces; empty: all.
    pub interfaces: Vec<String>,
    /// Peers by address; with all other kinds empty and `any_peer` false: none.
    pub peers: Vec<Cidr>,
    /// Peers by name.
    pub hosts: Vec<HostPattern>,
    /// Peers that somebody else resolves, pods and Services, as they are now; None: there are no such peers.
    pub resolved: Option<BTreeSet<PeerAddress>>,
    /// No peer was asked for.
    pub any_peer: bool,
}

/// A peer that somebody else resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerAddress {
    /// Its address, or a network.
    pub cidr: Cidr,
    /// Only this port of it, where it is a single address; None: any.
    pub port: Option<u16>,
}

impl Condition {
    /// From a spec. Peers given as Services or pods are still to be resolved: until then they match nothing.
    #[must_use]
    pub fn of(spec: &PacketMatch) -> Self {
        let has_ports = !spec.ports.is_empty() || !spec.local_ports.is_empty();
        Self {
            protocol: match spec.protocol {
                Some(Protocol::Icmp) => PROTO_ICMP,
                Some(protocol) => u32::from(number(protocol)),
                None if has_ports => PROTO_PORTS,
                None => PROTO_ANY,
            },
            connections: match spec.connections {
                Connections::Any => CONN_ANY,
                Connections::New => CONN_NEW,
                Connections::Established => CONN_ESTABLISHED,
            },
            ports: spec.ports.clone(),
            local_ports: spec.local_ports.clone(),
            interfaces: spec.interfaces.clone(),
            peers: spec.peers.iter().filter_map(|peer| peer.cidr).collect(),
            hosts: spec.peers.iter().filter_map(|peer| peer.host.clone()).collect(),
            resolved: spec.peers.iter().any(|peer| peer.pods.is_some() || peer.service.is_some()).then(BTreeSet::new),
            any_peer: spec.peers.is_empty(),
        }
    }

    /// What a system call's peer is to be.
    #[must_use]
    pub fn of_call(spec: &SyscallMatch) -> Self {
        Self::of(&PacketMatch { peers: spec.peers.clone(), ports: spec.ports.clone(), ..PacketMatch::default() })
    }

    /// Alike but for the peers, of which both have some: one rule can serve both.
    #[must_use]
    pub fn merges_with(&self, other: &Self) -> bool {
        !self.any_peer
            && !other.any_peer
            && self.protocol == other.protocol
            && self.connections == other.connections
            && self.ports == other.ports
            && self.local_ports == other.local_ports
            && self.interfaces == other.interfaces
    }

    /// Takes over another one's peers.
    pub fn absorb(&mut self, other: Self) {
        self.peers.extend(other.peers);
        self.hosts.extend(other.hosts);
        if let Some(resolved) = other.resolved {
            self.resolved.get_or_insert_default().extend(resolved);
        }
    }

    /// Does it ask for an interface by name?
    #[must_use]
    pub fn wants_interface(&self, name: &str) -> bool {
        self.interfaces.is_empty() || self.interfaces.iter().any(|one| one == name)
    }
}

/// IP protocol numbers (IANA).
fn number(protocol: Protocol) -> u8 {
    match protocol {
        Protocol::Icmp => 1,
        Protocol::Tcp => 6,
        Protocol::Udp => 17,
        Protocol::Sctp => 132,
        Protocol::Number(number) => number,
    }
}

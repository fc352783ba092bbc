//! Conditions on a packet, as sets that the kernel looks up.

use crate::spec::{
    Connections, PacketMatch,
    value::{Cidr, HostPattern, PortRange, Protocol},
};
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
    /// Peers by address; with `hosts` empty and `any_peer` false: none.
    pub peers: Vec<Cidr>,
    /// Peers by name.
    pub hosts: Vec<HostPattern>,
    /// No peer was asked for.
    pub any_peer: bool,
}

impl Condition {
    /// From a spec. Peers given as services or pods need a cluster, which validation has checked.
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
            any_peer: spec.peers.is_empty(),
        }
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

//! Properties of packets.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::value::{PortRange, Protocol};
use super::{Peer, is_default, name};

/// Properties of packets; all that are given must agree, of a list one entry.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PacketMatch {
    /// All packets of the target but those of the loopback device.
    #[serde(default, skip_serializing_if = "is_default")]
    pub all: bool,
    /// The other end. At most 1000.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 1000))]
    pub peers: Vec<Peer>,
    /// The protocol: tcp, udp, sctp, icmp (ICMP and ICMPv6, never neighbour discovery) or a number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<Protocol>,
    /// The peer's port: the destination on egress, the source on ingress. Without protocol: TCP, UDP and SCTP. At most 64.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 64))]
    pub ports: Vec<PortRange>,
    /// The target's own port. Without protocol: TCP, UDP and SCTP. At most 64.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 64))]
    pub local_ports: Vec<PortRange>,
    /// Packets with SYN (new) or without (established), TCP only; any if left out.
    #[serde(default, skip_serializing_if = "is_default")]
    pub connections: Connections,
    /// The target's devices, by name; lo is possible here and only here. All but lo if left out. At most 16.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 16), inner(length(min = 1, max = 15), regex(pattern = name::INTERFACE)))]
    pub interfaces: Vec<String>,
    /// Also connections that a pod's own node begins to the ports of its probes, which are otherwise exempt where no peer is named.
    #[serde(default, skip_serializing_if = "is_default")]
    pub node: bool,
}

/// Which packets of TCP connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Connections {
    /// All packets.
    #[default]
    Any,
    /// Those with SYN, which open a connection.
    New,
    /// Those without SYN.
    Established,
}

//! Faults of the packets.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Bandwidth, Corrupt, Duplicate, Latency, Loss, PacketMatch, Reorder, Reset, is_default};

/// A fault of the packets: which ones, and exactly one action (reorder comes together with latency).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Network {
    /// Which way the packets go, seen from the target; egress if left out.
    #[serde(default, skip_serializing_if = "is_default")]
    pub direction: Direction,
    /// Which packets; at least one property.
    #[serde(rename = "match")]
    pub matches: NetworkMatch,
    /// Limit new connections to one segment per skb, so that every packet is decided by itself.
    #[serde(default, skip_serializing_if = "is_default")]
    pub per_packet: bool,
    /// Delay packets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency: Option<Latency>,
    /// Lose packets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss: Option<Loss>,
    /// Send packets twice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duplicate: Option<Duplicate>,
    /// Damage packets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub corrupt: Option<Corrupt>,
    /// Let some packets overtake those that latency holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reorder: Option<Reorder>,
    /// Limit the rate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bandwidth: Option<Bandwidth>,
    /// Drop all that matches; only true has a meaning.
    #[serde(default, skip_serializing_if = "is_default")]
    pub partition: bool,
    /// Reset TCP connections.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reset: Option<Reset>,
    // new-fault: field
}

/// Which way the packets go, seen from the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// Out of the target.
    #[default]
    Egress,
    /// Into the target.
    Ingress,
    /// Both ways.
    Both,
}

impl Direction {
    /// Whether packets out of the target are meant.
    pub const fn egress(self) -> bool {
        matches!(self, Self::Egress | Self::Both)
    }

    /// Whether packets into the target are meant.
    pub const fn ingress(self) -> bool {
        matches!(self, Self::Ingress | Self::Both)
    }
}

/// Which packets: those that agree with every given property and with no entry of except.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NetworkMatch {
    /// What the packets must agree with.
    #[serde(flatten)]
    pub packet: PacketMatch,
    /// What is left out: packets that agree with all of one entry. At most 1000.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 1000))]
    pub except: Vec<PacketMatch>,
}

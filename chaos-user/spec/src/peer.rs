//! The other end of a connection.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::PodSelector;
use super::name;
use super::value::{Cidr, HostPattern};

/// The other end: exactly one of its fields. Names and selectors are followed while the experiment runs.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Peer {
    /// A network: 10.0.0.0/8, 2001:db8::/32.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cidr: Option<Cidr>,
    /// A host name as it is asked for, in full, or *. and a host name: all names below it. Its addresses are looked up at the start
    /// and learned from the DNS answers over UDP that the target receives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<HostPattern>,
    /// A Service: its cluster and external addresses and its ready endpoints.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<PeerService>,
    /// Pods, and the Services all of whose ready endpoints are among them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pods: Option<PeerPods>,
}

/// A Service as the other end.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PeerService {
    /// Its name.
    #[schemars(length(min = 1, max = 63), regex(pattern = name::LABEL))]
    pub name: String,
    /// Its namespace; the experiment's own if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = name::LABEL))]
    pub namespace: Option<String>,
    /// Only this port of it; all of its ports if left out. 1 to 65535.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<i64>", range(min = 1, max = 65_535))]
    pub port: Option<u16>,
}

/// Pods as the other end.
pub type PeerPods = PodSelector;

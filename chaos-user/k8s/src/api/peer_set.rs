//! Resolved addresses of peers, shared by the Injections that name them.

use super::resource::resource;
use chaos_spec::value::Cidr;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

resource! {
    /// Addresses that peers stand for.
    PeerSet,
    kind "PeerSet", plural "peersets", scope k8s_openapi::NamespaceResourceScope,
    spec PeerSetSpec, status serde_json::Value
}

/// Most addresses of one set; more stand in further sets, so that no object grows large.
pub const MOST_ADDRESSES: usize = 1000;

/// Which addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PeerSetSpec {
    /// The addresses. At most 1000.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1000))]
    pub addresses: Vec<PeerAddress>,
}

/// One address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PeerAddress {
    /// A network or a single address in CIDR notation.
    pub cidr: Cidr,
    /// Only this port of it; any if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<i64>", range(min = 1, max = 65_535))]
    pub port: Option<u16>,
}

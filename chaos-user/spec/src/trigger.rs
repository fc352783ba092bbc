//! When a fault acts on what it matches.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::is_default;
use super::value::{Duration, Percent};

/// When a fault acts on what it matches; all given conditions must agree. Counters are per fault and target and start
/// at `after`. Order: the time window, then every, nth and first on matched events, then percent, then budget.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct When {
    /// Share of the events that are hit, 0 to 100; 100 if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub percent: Option<Percent>,
    /// Every k-th matched event: the k-th, the 2k-th, ... At least 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<i64>", range(min = 1, max = 9_007_199_254_740_992_i64))]
    pub every: Option<u64>,
    /// Only the n-th matched event. At least 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<i64>", range(min = 1, max = 9_007_199_254_740_992_i64))]
    pub nth: Option<u64>,
    /// Only the first n matched events. At least 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<i64>", range(min = 1, max = 9_007_199_254_740_992_i64))]
    pub first: Option<u64>,
    /// Stop after so many hits. At least 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<i64>", range(min = 1, max = 9_007_199_254_740_992_i64))]
    pub budget: Option<u64>,
    /// How long after the start of the experiment the fault begins; at once if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Duration>,
    /// How long the fault acts from there on; to the experiment's end if left out.
    #[serde(default, rename = "for", skip_serializing_if = "Option::is_none")]
    pub lasting: Option<Duration>,
    /// What the dice of percent are thrown for; each event if left out.
    #[serde(default, skip_serializing_if = "is_default")]
    pub per: Per,
}

/// What the dice are thrown for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Per {
    /// Each packet or call.
    #[default]
    Event,
    /// Each connection: it is wholly hit or wholly clean (a hash of the seed and the 5-tuple).
    Connection,
    /// Each peer: it is wholly hit or wholly clean (a hash of the seed and the peer's address).
    Peer,
}

//! What is done to a packet.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::is_default;
use super::value::{Duration, Percent, Rate, Size};

/// Delays packets (tc-netem(8), "delay").
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Latency {
    /// How long each packet is held; above 0, at most 60s.
    pub delay: Duration,
    /// By how much the delay varies to both sides; at most delay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jitter: Option<Duration>,
    /// How much each delay depends on the one before, in percent; 0 if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation: Option<Percent>,
    /// How the jitter is distributed; uniform if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub distribution: Option<Distribution>,
    /// Whether packets of a connection keep their order under jitter.
    #[serde(default, skip_serializing_if = "is_default")]
    pub keep_order: bool,
    /// Packets held at once per target; what exceeds it is dropped and counted as overflow. 10000 if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<i64>", range(min = 1, max = 1_000_000))]
    pub limit: Option<u32>,
}

/// How jitter is distributed (tc-netem(8), "distribution").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Distribution {
    /// Evenly from delay - jitter to delay + jitter.
    #[default]
    Uniform,
    /// The normal distribution, jitter being its standard deviation.
    Normal,
    /// The Pareto distribution.
    Pareto,
    /// A quarter normal, three quarters Pareto.
    ParetoNormal,
}

/// Loses packets: exactly one of percent and gilbertElliott.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Loss {
    /// Share of the packets that are lost, 0 to 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub percent: Option<Percent>,
    /// How much each loss depends on the one before, in percent; 0 if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation: Option<Percent>,
    /// Losses in bursts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gilbert_elliott: Option<GilbertElliott>,
}

/// The Gilbert-Elliott model of losses in bursts, all in percent (tc-netem(8), "loss gemodel").
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GilbertElliott {
    /// Probability to go from the good to the bad state at a packet.
    pub p: Percent,
    /// Probability to go from the bad to the good state at a packet; 100 - p if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub r: Option<Percent>,
    /// Probability that a packet survives in the bad state (netem takes 1-h); 0 if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub h: Option<Percent>,
    /// Probability that a packet survives in the good state (netem takes 1-k); 100 if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub k: Option<Percent>,
}

/// Sends packets twice (tc-netem(8), "duplicate").
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Duplicate {
    /// Share of the packets that are sent twice, 0 to 100.
    pub percent: Percent,
    /// How much each decision depends on the one before, in percent; 0 if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation: Option<Percent>,
}

/// Damages packets: one bit of each that is chosen (tc-netem(8), "corrupt").
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Corrupt {
    /// Share of the packets that are damaged, 0 to 100.
    pub percent: Percent,
    /// How much each decision depends on the one before, in percent; 0 if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation: Option<Percent>,
    /// Who sees the damage; detected if left out.
    #[serde(default, skip_serializing_if = "is_default")]
    pub mode: CorruptMode,
}

/// Who sees the damage of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum CorruptMode {
    /// The receiver's checksum: the packet is lost there.
    #[default]
    Detected,
    /// The application: checksums are made right again.
    Delivered,
}

/// Lets some packets pass those that latency holds (tc-netem(8), "reorder"); needs latency beside it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Reorder {
    /// Share of the packets that are sent at once, 0 to 100.
    pub percent: Percent,
    /// How much each decision depends on the one before, in percent; 0 if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation: Option<Percent>,
    /// Only every gap-th packet is a candidate; 1 if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<i64>", range(min = 1, max = 1_000_000))]
    pub gap: Option<u32>,
}

/// Limits the rate by a token bucket (tc-tbf(8)).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Bandwidth {
    /// The rate, in tc's units.
    pub rate: Rate,
    /// How much may pass at once, in tc's units; what the rate gives in 10 ms, at least 32kb, if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burst: Option<Size>,
    /// Packets of 1514 bytes that may wait; what exceeds it is dropped and counted as overflow. 1000 if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<i64>", range(min = 1, max = 1_000_000))]
    pub limit: Option<u32>,
}

/// Resets TCP connections: a RST to both ends.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Reset {
    /// Share of the packets that cause a reset, 0 to 100.
    pub percent: Percent,
}

// new-fault: type

impl Latency {
    /// Packets held at once per target, if not said.
    pub const DEFAULT_LIMIT: u32 = 10_000;
}

impl Bandwidth {
    /// Packets that may wait, if not said.
    pub const DEFAULT_LIMIT: u32 = 1_000;
}

//! Checks of the world outside.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::name;
use super::value::Duration;

/// A check that is repeated: exactly one of http and tcp. A failing one ends the experiment with the verdict Fail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Probe {
    /// Its name in the report, unique in the experiment.
    #[schemars(length(min = 1, max = 63), regex(pattern = name::LABEL))]
    pub name: String,
    /// Ask a web server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpProbe>,
    /// Open a TCP connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tcp: Option<TcpProbe>,
    /// How often; 1s if left out. 100ms to 1h.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every: Option<Duration>,
    /// How long to wait for the answer; 1s if left out. 10ms to 60s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
    /// So many failures in a row are a failure; 3 if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<i64>", range(min = 1, max = 1000))]
    pub failures: Option<u32>,
    /// In which phase it runs; in all three if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<ProbePhase>,
}

impl Probe {
    /// How often it is run, if not said.
    pub const DEFAULT_EVERY: Duration = Duration::from_secs(1);
    /// How long its answer is waited for, if not said.
    pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(1);
    /// How many failures in a row are a failure, if not said.
    pub const DEFAULT_FAILURES: u32 = 3;
}

/// A question to a web server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HttpProbe {
    /// The address to GET.
    #[schemars(length(min = 1, max = 2048), regex(pattern = name::URL))]
    pub url: String,
    /// The status that is right; 200 if left out. 100 to 599.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<i64>", range(min = 100, max = 599))]
    pub status: Option<u16>,
    /// For https: PEM text of the certificates that sign the server's, instead of the machine's roots.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 65536))]
    pub ca_bundle: Option<String>,
    /// For https: take every certificate.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub insecure_skip_verify: bool,
}

/// A TCP connection that must open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TcpProbe {
    /// Host and port, such as db:5432; an IPv6 address stands in brackets.
    #[schemars(length(min = 1, max = 262), regex(pattern = name::ADDRESS))]
    pub address: String,
}

/// When a probe runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ProbePhase {
    /// Before the faults: a failure attaches nothing.
    Before,
    /// While they act: a failure stops them at once.
    During,
    /// After the revert.
    After,
}

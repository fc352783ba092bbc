//! The report of an experiment.
//!
//! Field names are a contract: they may be added to, never renamed.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

use super::LatencyReport;

/// How an experiment ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Default, JsonSchema)]
pub enum Verdict {
    /// Every fault that is not optional injected something, and every probe held.
    #[default]
    Pass,
    /// We failed.
    Error,
    /// The experiment is not valid.
    Invalid,
    /// This kernel, user or machine cannot do it; nothing was attached.
    Unsupported,
    /// A fault that is not optional injected nothing.
    NoEffect,
    /// A signal, a stop or a lost lease ended it early.
    Aborted,
    /// A probe failed.
    Fail,
    /// A policy, a lock or a protected target forbids it.
    Refused,
}

/// What happened in one experiment.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The experiment's name.
    pub experiment: String,
    /// How it ended.
    pub verdict: Verdict,
    /// Why, as a sentence; empty with Pass.
    pub reason: String,
    /// The seed that the dice were thrown with.
    pub seed: u64,
    /// What was allowed but probably not meant, and what was only partly possible.
    pub warnings: Vec<String>,
    /// The first injection, RFC 3339 in UTC; empty where nothing was injected.
    pub started_at: String,
    /// The end of the revert, RFC 3339 in UTC; empty while it runs.
    pub ended_at: String,
    /// What each fault asked, as it was read, by its name: `latency { delay: 100ms }, egress, match { all: true }`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub asked: BTreeMap<String, String>,
    /// How the command ended that was started for it; absent where there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<CommandReport>,
    /// Who was hit.
    pub targets: Vec<TargetReport>,
    /// What was done, one entry per fault and target.
    pub faults: Vec<FaultReport>,
    /// What the probes saw.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub probes: Vec<ProbeReport>,
}

/// A command that was started, and how it ended.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CommandReport {
    /// Its words.
    pub words: Vec<String>,
    /// Its exit code; absent where a signal ended it, or it could not be started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// The signal that ended it, such as SIGKILL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<String>,
    /// Why it could not be started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl CommandReport {
    /// How it ended, in words.
    #[must_use]
    pub fn ending(&self) -> String {
        match (&self.error, self.exit_code, &self.signal) {
            (Some(error), _, _) => format!("not started: {error}"),
            (None, Some(code), _) => format!("exit code {code}"),
            (None, None, Some(signal)) => format!("ended by {signal}"),
            (None, None, None) => "its end is not known".to_owned(),
        }
    }
}

/// One target.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TargetReport {
    /// What it is: netns, cgroup, pid, unit, container or pod.
    pub kind: String,
    /// Its name, as it was selected.
    pub name: String,
    /// The id of its cgroup; absent where it is a network namespace alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cgroup_id: Option<u64>,
    /// Where it stands: Pending, Injected, Reverted, Failed or Gone.
    pub state: String,
    /// When it was without the faults although the experiment ran.
    pub gaps: Vec<Gap>,
}

/// A time in which a target was without the faults.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Gap {
    /// Its begin, RFC 3339 in UTC.
    pub from: String,
    /// Its end, RFC 3339 in UTC.
    pub to: String,
    /// Why: a restart of the agent, a lapse of the lease.
    pub reason: String,
}

/// What one fault did to one target. Counts are wire packets (an skb counts its segments) or system calls.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FaultReport {
    /// The fault's name; `fault-<index>` of an unnamed one.
    pub name: String,
    /// The target's name.
    pub target: String,
    /// By which mechanism of the kernel it was done.
    pub mechanism: String,
    /// Events of the target that were looked at.
    pub seen: u64,
    /// Those that the match agreed with: injected and skipped ones.
    pub matched: u64,
    /// Those that were hit.
    pub injected: u64,
    /// Those that matched but that the trigger let pass.
    pub skipped: u64,
    /// With dryRun, those that would have been hit.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub would_inject: u64,
    /// Decisions: skbs of the injected packets.
    pub skbs: u64,
    /// Bytes of the injected packets.
    pub bytes: u64,
    /// What was done to them.
    pub actions: Actions,
    /// What our own queue lost, read from the qdisc.
    pub dropped: u64,
    /// What exceeded the limit of held packets.
    pub overflow: u64,
    /// What passed because the lease had lapsed.
    pub skipped_by_lease: u64,
    /// Runs of the program that the kernel left out because it was running already.
    pub recursion_misses: u64,
    /// What the match refused, by the first test that failed.
    pub rejected_by: RejectedBy,
    /// Of those that were spared as the node's: packets of which address and port alone said so, since the target's network has no link to
    /// the node's. Whether the node began their connection is not known.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub spared_by_address: u64,
    /// Local proxies that took over connections of the target that the fault means; looked for where no packet matched.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub taken_over: Vec<TakenOver>,
    /// Examples of what was hit and what was not.
    pub samples: Samples,
    /// Addresses that host peers stood for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<HostAddresses>,
    /// Measured delay of packets that left the device; absent where it cannot be measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency: Option<LatencyReport>,
}

/// What was done to the injected packets or calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Actions {
    /// Held back.
    pub delayed: u64,
    /// Lost, by loss or partition.
    pub lost: u64,
    /// Sent twice.
    pub duplicated: u64,
    /// Damaged and sent.
    pub corrupted: u64,
    /// Lost in place of a damage that the receiver would have detected.
    pub detected_by_drop: u64,
    /// Sent ahead of others.
    pub reordered: u64,
    /// Answered by a reset.
    pub reset: u64,
    /// Calls that returned an error.
    pub errors: u64,
}

/// What the match refused, by the first test that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RejectedBy {
    /// The other direction.
    pub direction: u64,
    /// Another peer.
    pub peer: u64,
    /// Another protocol.
    pub protocol: u64,
    /// Another port.
    pub port: u64,
    /// The wrong end of a connection's life.
    pub connection: u64,
    /// Exempt: of another cgroup.
    pub scope: u64,
    /// Outside of the time window.
    pub time: u64,
    /// Named in except.
    #[serde(default)]
    pub except: u64,
    /// Spared: of a connection that the pod's node begins to a port that it probes.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub node: u64,
    /// Calls: another path.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub path: u64,
    /// Calls: another kind of file descriptor.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub fd: u64,
    /// Calls: another thread's name or user.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub caller: u64,
}

impl RejectedBy {
    /// All counts with their names, in the order of the tests.
    pub const fn entries(&self) -> [(&'static str, u64); 12] {
        [
            ("direction", self.direction),
            ("peer", self.peer),
            ("protocol", self.protocol),
            ("port", self.port),
            ("connection", self.connection),
            ("scope", self.scope),
            ("time", self.time),
            ("except", self.except),
            ("node", self.node),
            ("path", self.path),
            ("fd", self.fd),
            ("caller", self.caller),
        ]
    }
}

/// Connections that the kernel redirects to a listener in the target's own network namespace.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TakenOver {
    /// One of them, as it was begun: `10.1.0.7:41822 -> 10.1.2.9:5432`.
    pub connection: String,
    /// Who answers instead: `127.0.0.1:15001`.
    pub at: String,
    /// How many were known at the end.
    pub connections: u64,
    /// The container that listens there; absent where it is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// The name of a process of the cgroup that listens there, as it gives itself one; absent where none was found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<String>,
    /// Its number, as this machine counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<i32>,
}

/// Examples of events.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Samples {
    /// Some that were hit: `10.1.0.7:41822 -> 10.1.2.9:5432 tcp`.
    pub hits: Vec<String>,
    /// The peers of most of those that were refused, the most frequent first.
    pub missed: Vec<MissedPeer>,
}

/// A peer whose packets the match refused.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MissedPeer {
    /// Its address and port: `10.96.0.12:5432`.
    pub peer: String,
    /// How many packets.
    pub count: u64,
    /// What is known to stand behind the address: `Service shop/db`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub known_as: Option<String>,
    /// What would have matched it: `service: db`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suggestion: Option<String>,
}

/// The addresses that a host peer stood for.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HostAddresses {
    /// The name or pattern.
    pub host: String,
    /// The addresses that were learned.
    pub addresses: Vec<String>,
    /// How often addresses were not learned, and so not meant: beyond 256 of a name on a target or 16384 of a node, of the node
    /// itself, or in too long an answer.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unlearned: u64,
}

/// What one probe saw.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProbeReport {
    /// Its name.
    pub name: String,
    /// What it saw in each phase in which it ran: before, during, after.
    pub phases: Vec<PhaseReport>,
}

/// What a probe saw in one phase.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PhaseReport {
    /// before, during or after.
    pub phase: String,
    /// How often it was run.
    pub runs: u64,
    /// Share of the runs that succeeded, 0 to 100.
    pub uptime_percent: f64,
    /// Whether it failed as often in a row as it may not.
    pub failed: bool,
    /// How long the answers took; absent where there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency: Option<LatencyReport>,
    /// Why the last run that failed did; absent where none failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

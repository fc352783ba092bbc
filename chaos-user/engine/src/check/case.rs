//! What is tried: every fault in every direction, told apart by the peer's port, so that one experiment holds many; pure.

use chaos_spec::{
    Experiment, ExperimentSpec,
    plan::{self, Plan},
};
use serde_json::{Value, json};
use std::time::Duration;

/// The delay that is asked for.
pub const DELAY: Duration = Duration::from_millis(60);
/// The peer's port of the first case; the next ones follow.
const FIRST_PORT: u16 = 2001;
/// A peer's port that no fault means.
pub const CONTROL_PORT: u16 = 2000;

/// A fault, as a user would name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// All is dropped.
    Partition,
    /// 100 % is dropped.
    Loss,
    /// TCP connections break.
    Reset,
    /// 100 % comes twice.
    Duplicate,
    /// The receiver's stack notices.
    CorruptDetected,
    /// The receiver's application gets it.
    CorruptDelivered,
    /// By [`DELAY`].
    Latency,
    /// The second packet overtakes the first.
    Reorder,
    /// 200 kbit/s: a packet of 1,242 bytes takes 50 ms.
    Bandwidth,
    // new-fault: kind
}

impl Kind {
    /// The fault's name, and its variant where there are several.
    pub fn names(self) -> (&'static str, Option<&'static str>) {
        match self {
            Self::Partition => ("partition", None),
            Self::Loss => ("loss", None),
            Self::Reset => ("reset", None),
            Self::Duplicate => ("duplicate", None),
            Self::CorruptDetected => ("corrupt", Some("detected")),
            Self::CorruptDelivered => ("corrupt", Some("delivered")),
            Self::Latency => ("latency", None),
            Self::Reorder => ("reorder", None),
            Self::Bandwidth => ("bandwidth", None),
            // new-fault: name
        }
    }

    /// Needs veth and fq.
    pub fn queues(self) -> bool {
        matches!(self, Self::Latency | Self::Reorder | Self::Bandwidth)
    }

    /// How many datagrams are sent, and of how many bytes.
    pub fn datagrams(self) -> (usize, usize) {
        match self {
            Self::Reorder => (2, 32),
            Self::Bandwidth => (3, 1200),
            _ => (3, 32),
        }
    }

    fn action(self) -> (&'static str, Value) {
        let always = json!({ "percent": 100 });
        match self {
            Self::Partition => ("partition", json!(true)),
            Self::Loss => ("loss", always),
            Self::Reset => ("reset", always),
            Self::Duplicate => ("duplicate", always),
            Self::CorruptDetected => ("corrupt", json!({ "percent": 100, "mode": "detected" })),
            Self::CorruptDelivered => ("corrupt", json!({ "percent": 100, "mode": "delivered" })),
            Self::Latency | Self::Reorder => {
                ("latency", json!({ "delay": humantime::format_duration(DELAY).to_string() }))
            }
            Self::Bandwidth => ("bandwidth", json!({ "rate": "200kbit", "burst": "1kb" })),
            // new-fault: value
        }
    }
}

/// One trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Case {
    /// The fault.
    pub kind: Kind,
    /// 0: IPv4; 1: IPv6.
    pub family: usize,
    /// Which way.
    pub ingress: bool,
    /// The peer's port.
    pub port: u16,
}

impl Case {
    /// `egress` or `ingress`.
    pub fn direction(&self) -> &'static str {
        if self.ingress { "ingress" } else { "egress" }
    }

    fn fault(&self) -> Value {
        let (action, value) = self.kind.action();
        let mut network = json!({ "direction": self.direction(), "match": { "ports": [self.port] } });
        network[action] = value;
        match self.kind {
            // Every second one leaves at once (tc-netem(8), `gap`).
            Kind::Reorder => network["reorder"] = json!({ "percent": 100, "gap": 2 }),
            // The opening of a connection passes; see `reset`.
            Kind::Reset => network["match"]["connections"] = json!("established"),
            _ => {}
        }
        json!({ "network": network })
    }
}

/// All cases, those that need a queue or those that do not.
pub fn cases(queues: bool, ipv6: bool) -> Vec<Case> {
    let all = [
        (Kind::Partition, 0),
        (Kind::Partition, 1),
        (Kind::Loss, 0),
        (Kind::Reset, 0),
        (Kind::Duplicate, 0),
        (Kind::CorruptDetected, 0),
        (Kind::CorruptDelivered, 0),
        (Kind::Latency, 0),
        (Kind::Latency, 1),
        (Kind::Reorder, 0),
        (Kind::Bandwidth, 0),
        // new-fault: case
    ];
    let both = all.into_iter().flat_map(|(kind, family)| [false, true].map(|ingress| (kind, family, ingress)));
    let wanted = both.filter(|(kind, family, _)| kind.queues() == queues && (*family == 0 || ipv6));
    wanted.zip(FIRST_PORT..).map(|((kind, family, ingress), port)| Case { kind, family, ingress, port }).collect()
}

/// The experiment of these cases. `dry_run`: they do nothing, which the check must notice.
///
/// # Errors
/// The text of what the planner refuses, which would be a bug.
pub fn plan(name: &str, cases: &[Case], dry_run: bool) -> Result<Plan, String> {
    let spec = json!({
        "duration": "60s",
        "seed": 1,
        "dryRun": dry_run,
        "selector": { "local": [{ "netns": "scratch" }] },
        "faults": cases.iter().map(Case::fault).collect::<Vec<_>>(),
    });
    let spec: ExperimentSpec = serde_json::from_value(spec).map_err(|error| error.to_string())?;
    let refused =
        |refusals: Vec<plan::Refusal>| refusals.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
    plan::plan(&Experiment::new(name, None, spec), 1).map_err(refused)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_is_planned_in_both_directions() {
        for queues in [false, true] {
            let cases = cases(queues, true);
            let plan = plan("chaos-check", &cases, false).unwrap();
            assert_eq!(plan.rules.len(), cases.len());
            for rule in &plan.rules {
                let case = cases[rule.fault];
                assert_eq!(rule.direction.ingress(), case.ingress);
                assert_eq!(rule.queue.is_some(), queues, "{case:?}");
                let action = case.kind.action().0;
                assert_eq!(rule.kind, action, "{case:?}");
            }
        }
        let ports: std::collections::BTreeSet<u16> = cases(false, true).iter().map(|case| case.port).collect();
        assert_eq!(ports.len(), cases(false, true).len());
        assert!(!ports.contains(&CONTROL_PORT));
        assert!(cases(true, false).iter().all(|case| case.family == 0));
    }
}

//! Tests of reports as a whole.

mod report;
mod text;
mod verdict;

use super::{
    Actions, FaultReport, LatencyReport, MissedPeer, PhaseReport, ProbeReport, RejectedBy, Report, Samples,
    TargetReport,
};

/// A fault that hit 1310 of 12034 packets.
fn slow(target: &str) -> FaultReport {
    FaultReport {
        name: "slow".into(),
        target: target.into(),
        mechanism: "tcx+fq".into(),
        seen: 12_034,
        matched: 1310,
        injected: 1310,
        skbs: 1042,
        bytes: 812_345,
        actions: Actions { delayed: 1310, ..Actions::default() },
        rejected_by: RejectedBy { peer: 10_992, ..RejectedBy::default() },
        samples: Samples {
            hits: vec!["10.1.0.7:41822 -> 10.1.2.9:5432 tcp".into()],
            missed: vec![MissedPeer { peer: "10.96.0.12:5432".into(), count: 9120, ..MissedPeer::default() }],
        },
        latency: Some(LatencyReport { requested_ms: Some(100.0), p50_ms: 100.1, p99_ms: 100.9 }),
        ..FaultReport::default()
    }
}

/// A fault that saw so many packets and hit none.
fn idle(name: &str, seen: u64) -> FaultReport {
    FaultReport { name: name.into(), target: "web".into(), seen, ..FaultReport::default() }
}

fn report() -> Report {
    Report {
        experiment: "checkout-slow-db".into(),
        seed: 42,
        started_at: "2026-01-02T03:04:05Z".into(),
        ended_at: "2026-01-02T03:06:05Z".into(),
        targets: vec![TargetReport {
            kind: "netns".into(),
            name: "web".into(),
            cgroup_id: Some(4711),
            state: "Reverted".into(),
            gaps: Vec::new(),
        }],
        faults: vec![slow("web")],
        ..Report::default()
    }
}

fn probe(phase: &str, failed: bool) -> ProbeReport {
    let phase = PhaseReport { phase: phase.into(), runs: 120, uptime_percent: 97.5, failed, ..PhaseReport::default() };
    ProbeReport { name: "up".into(), phases: vec![phase] }
}

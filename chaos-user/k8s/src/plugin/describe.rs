//! `describe`: all that is known of one experiment.

use super::{
    Answer,
    cluster::Cluster,
    gather::name,
    words::{age, counted, moment, or_dash, since},
};
use crate::api::{Experiment, ExperimentStatus, Injection};
use chaos_outcome::EngineError;
use chaos_outcome::{ExitCode, aligned, count, printable, row};
use kube::ResourceExt;
use std::time::SystemTime;

/// Describes an experiment of the namespace.
///
/// # Errors
/// The API server's.
pub async fn describe(cluster: &Cluster, name: &str) -> Result<Answer, EngineError> {
    let experiment = cluster.experiment(name).await?;
    let injections = cluster.injections(&experiment).await?;
    Ok(Answer { text: text(&experiment, &injections, SystemTime::now()), code: ExitCode::Pass })
}

fn text(experiment: &Experiment, injections: &[Injection], now: SystemTime) -> String {
    let status = experiment.status.clone().unwrap_or_default();
    let mut text = head(experiment, &status, now);
    for block in
        [conditions(&status, now), faults(&status), targets(&status, injections), nodes(injections), probes(&status)]
    {
        if !block.is_empty() {
            text += "\n";
            text += &block;
        }
    }
    text
}

fn head(experiment: &Experiment, status: &ExperimentStatus, now: SystemTime) -> String {
    let spec = &experiment.spec;
    let summary = status.summary;
    let ago = |time: Option<&k8s_openapi::apimachinery::pkg::apis::meta::v1::Time>| match time {
        Some(time) => format!("{} ({} ago)", moment(Some(time)), age(since(time, now))),
        None => String::new(),
    };
    let mut lines = vec![
        ("name", experiment.name_any()),
        ("namespace", experiment.namespace().unwrap_or_default()),
        ("phase", format!("{:?}", status.phase)),
        ("verdict", status.verdict.map(|verdict| format!("{verdict:?}")).unwrap_or_default()),
        ("reason", status.reason.clone()),
        ("unreadable", experiment.unread.as_ref().map(ToString::to_string).unwrap_or_default()),
        ("duration", spec.duration.to_string()),
        ("dry run", if spec.dry_run { "yes: it counts, and harms nothing" } else { "" }.to_owned()),
        ("seed", status.seed.map(|seed| seed.to_string()).unwrap_or_default()),
        ("started by", status.started_by.clone().unwrap_or_default()),
        ("created", ago(experiment.creation_timestamp().as_ref())),
        ("started", ago(status.started_at.as_ref())),
    ];
    match &status.ended_at {
        Some(ended) => lines.push(("ended", ago(Some(ended)))),
        None => lines.push(("ends", moment(status.ends_at.as_ref()))),
    }
    let failed = if summary.failed > 0 { format!(", {} failed", summary.failed) } else { String::new() };
    lines.push(("targets", format!("{} selected, {} injected{failed}", summary.selected, summary.injected)));
    lines.extend(status.warnings.iter().map(|warning| ("warning", warning.clone())));
    let lines = lines.iter().filter(|(_, value)| !value.is_empty());
    lines.map(|(name, value)| format!("{name:<12}{}\n", printable(value))).collect()
}

fn conditions(status: &ExperimentStatus, now: SystemTime) -> String {
    if status.conditions.is_empty() {
        return String::new();
    }
    let mut rows = vec![row(&["CONDITION", "STATUS", "SINCE", "REASON", "MESSAGE"])];
    rows.extend(status.conditions.iter().map(|one| {
        row(&[&one.type_, &one.status, &age(since(&one.last_transition_time, now)), &one.reason, &one.message])
    }));
    aligned(&rows, 0..0)
}

fn faults(status: &ExperimentStatus) -> String {
    if status.faults.is_empty() {
        return String::new();
    }
    let dry = status.faults.iter().any(|fault| fault.would_inject > 0);
    let lapsed = status.faults.iter().any(|fault| fault.skipped_by_lease > 0);
    let mut head = row(&["FAULT", "SEEN", "MATCHED", if dry { "WOULD INJECT" } else { "INJECTED" }, "SKIPPED"]);
    head.extend(lapsed.then(|| "LEASE LAPSED".to_owned()));
    let mut rows = vec![head];
    for one in &status.faults {
        let hit = if dry { one.would_inject } else { one.injected };
        let mut cells = vec![one.name.clone()];
        cells.extend([one.seen, one.matched, hit, one.skipped].map(count));
        cells.extend(lapsed.then(|| count(one.skipped_by_lease)));
        rows.push(cells);
    }
    aligned(&rows, 1..6)
}

/// The status has the failed ones first, and at most a hundred.
fn targets(status: &ExperimentStatus, injections: &[Injection]) -> String {
    if status.targets.is_empty() {
        return String::new();
    }
    let mut rows = vec![row(&["TARGET", "NODE", "STATE", "MECHANISM", "MATCHED", "INJECTED", "GAPS", "MESSAGE"])];
    rows.extend(status.targets.iter().map(|one| {
        let followed = one.followed_after_ms.map(|ms| format!("came later, hit {ms} ms after its begin"));
        let message = [followed.unwrap_or_default(), one.message.clone()];
        let message: Vec<String> = message.into_iter().filter(|text| !text.is_empty()).collect();
        vec![
            name(one),
            one.node.clone(),
            format!("{:?}", one.state),
            or_dash(&one.mechanism),
            count(one.matched),
            count(one.injected),
            one.gaps.len().to_string(),
            message.join("; "),
        ]
    }));
    let all: usize = injections.iter().filter_map(|one| one.status.as_ref()).map(|status| status.targets.len()).sum();
    let more = all.saturating_sub(status.targets.len());
    let more = if more == 0 { String::new() } else { format!("and {} more\n", counted(more, "target")) };
    aligned(&rows, 4..7) + &more
}

fn nodes(injections: &[Injection]) -> String {
    if injections.is_empty() {
        return String::new();
    }
    let mut rows = vec![row(&["NODE", "PHASE", "TARGETS", "INJECTION", "MESSAGE"])];
    rows.extend(injections.iter().map(|one| {
        let status = one.status.clone().unwrap_or_default();
        vec![
            one.spec.node_name.clone(),
            format!("{:?}", status.phase),
            one.spec.targets.len().max(status.targets.len()).to_string(),
            one.name_any(),
            status.message,
        ]
    }));
    aligned(&rows, 2..3)
}

fn probes(status: &ExperimentStatus) -> String {
    if status.probes.is_empty() {
        return String::new();
    }
    let mut rows = vec![row(&["PROBE", "PHASE", "RUNS", "UPTIME", "LAST ERROR"])];
    for (probe, phase) in status.probes.iter().flat_map(|probe| probe.phases.iter().map(move |phase| (probe, phase))) {
        rows.push(vec![
            probe.name.clone(),
            phase.phase.clone(),
            count(phase.runs),
            format!("{:.1}%", phase.uptime_percent),
            phase.last_error.clone().unwrap_or_default(),
        ]);
    }
    aligned(&rows, 2..4)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn all_of_the_status_is_said() {
        let experiment: Experiment = serde_json::from_value(json!({
            "metadata": { "namespace": "shop", "name": "cut", "creationTimestamp": "2026-01-01T00:00:00Z" },
            "spec": { "duration": "30s", "selector": { "pods": { "all": true } }, "faults": [] },
            "status": {
                "phase": "Finished", "verdict": "NoEffect", "reason": "cut: nothing", "seed": 7, "startedBy": "eve",
                "startedAt": "2026-01-01T00:00:01Z", "endedAt": "2026-01-01T00:00:31Z",
                "summary": { "selected": 2, "injected": 1, "failed": 1 }, "warnings": ["node n2: \u{1b}[2J"],
                "conditions": [{
                    "type": "Reverted", "status": "True", "reason": "Over", "message": "all",
                    "lastTransitionTime": "2026-01-01T00:00:31Z"
                }],
                "faults": [{ "name": "cut", "seen": 1200, "matched": 3, "injected": 2, "skipped": 1, "skippedByLease": 4 }],
                "targets": [
                    { "namespace": "shop", "pod": "b", "node": "n2", "state": "Failed", "message": "no cgroup" },
                    { "namespace": "shop", "pod": "a", "node": "n1", "state": "Reverted", "mechanism": "tcx", "followedAfterMs": -3 },
                ]
            }
        }))
        .unwrap();
        let injection: Injection = serde_json::from_value(json!({
            "metadata": { "name": "cut-1" },
            "spec": { "nodeName": "n1", "experiment": "cut", "remaining": "5s", "seed": 1, "faults": [] },
            "status": { "phase": "Aborted", "message": "stopped", "targets": [{ "namespace": "shop", "pod": "a" }] }
        }))
        .unwrap();
        let now = SystemTime::from(experiment.status.as_ref().unwrap().ended_at.as_ref().unwrap().0);
        let text = text(&experiment, &[injection], now);
        for part in [
            "verdict     NoEffect\n",
            "started     2026-01-01T00:00:01Z (30s ago)\n",
            "targets     2 selected, 1 injected, 1 failed\n",
            "warning     node n2: ?[2J\n",
            "Reverted   True    0s     Over    all\n",
            "FAULT   SEEN  MATCHED  INJECTED  SKIPPED  LEASE LAPSED\ncut    1,200        3         2        1             4\n",
            "shop/b  n2    Failed    -",
            "came later, hit -3 ms after its begin\n",
            "n1    Aborted        1  cut-1      stopped\n",
        ] {
            assert!(text.contains(part), "{part:?} is not in\n{text}");
        }
        assert!(text.find("shop/b") < text.find("shop/a"), "failed ones first:\n{text}");
    }
}

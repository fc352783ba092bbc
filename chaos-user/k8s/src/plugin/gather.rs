//! One report of an experiment, from what its nodes say.

use super::words::moment;
use crate::api::{Experiment, FaultSum, Injection, PodTarget, TargetRecord, TargetState};
use chaos_outcome::{Report, TargetReport, Verdict, merged};
use chaos_spec::plan::Asked;
use kube::ResourceExt;
use std::collections::BTreeSet;

/// The report as far as it is known; the verdict is the controller's. Where the Injections are gone, the sums of the status remain.
#[must_use]
pub fn gather(experiment: &Experiment, injections: &[Injection]) -> Report {
    let status = experiment.status.clone().unwrap_or_default();
    let reports = || injections.iter().filter_map(|one| Some((one, one.status.as_ref()?.report.as_ref()?)));
    let mut faults = merged(reports().flat_map(|(_, report)| report.faults.clone()));
    let counted = status.faults.iter().any(|sum| sum.seen > 0 || sum.skipped_by_lease > 0);
    if faults.is_empty() && counted {
        faults = status.faults.iter().map(FaultSum::as_report).collect();
    }
    let mut warnings = status.warnings.clone();
    let of_nodes = reports().flat_map(|(one, report)| {
        report.warnings.iter().map(move |warning| format!("node {}: {warning}", one.spec.node_name))
    });
    warnings.extend(of_nodes);
    let (targets, failed) = targets(injections, &status.targets);
    warnings.extend(failed);
    let mut said = BTreeSet::new();
    warnings.retain(|warning| said.insert(warning.clone()));
    Report {
        experiment: experiment.name_any(),
        verdict: status.verdict.unwrap_or(Verdict::Error),
        reason: status.reason,
        seed: status.seed.unwrap_or_default(),
        warnings,
        started_at: moment(status.started_at.as_ref()),
        ended_at: moment(status.ended_at.as_ref()),
        asked: experiment
            .spec
            .faults
            .iter()
            .enumerate()
            .map(|(index, fault)| (fault.display_name(index), Asked::of(fault).line()))
            .collect(),
        command: None,
        targets,
        faults,
        probes: status.probes,
    }
}

/// The targets in the order of their names, and what is to be said of some.
fn targets(injections: &[Injection], known: &[TargetRecord]) -> (Vec<TargetReport>, Vec<String>) {
    let mut all = Vec::new();
    let mut said = Vec::new();
    for one in injections {
        let Some(status) = one.status.as_ref().filter(|status| !status.targets.is_empty()) else {
            all.extend(one.spec.targets.iter().map(asked));
            continue;
        };
        let reported = status.report.as_ref().map(|report| report.targets.as_slice()).unwrap_or_default();
        for record in &status.targets {
            let mut target = of_record(record);
            target.cgroup_id = reported.iter().find(|one| one.name == target.name).and_then(|one| one.cgroup_id);
            // What was prepared and given up was never under the faults.
            if status.started_at.is_none() && record.state == TargetState::Reverted {
                target.state = format!("{:?}", TargetState::Pending);
            }
            all.push(target);
            said.extend(message(record));
        }
    }
    if all.is_empty() {
        all.extend(known.iter().map(of_record));
        said.extend(known.iter().filter_map(message));
    }
    all.sort_by(|a, b| a.name.cmp(&b.name));
    (all, said)
}

/// One of which its node has said nothing.
fn asked(target: &PodTarget) -> TargetReport {
    TargetReport {
        kind: "pod".to_owned(),
        name: format!("{}/{}", target.namespace, target.name),
        state: format!("{:?}", TargetState::Pending),
        ..TargetReport::default()
    }
}

fn of_record(record: &TargetRecord) -> TargetReport {
    TargetReport {
        kind: if record.container.is_some() { "container" } else { "pod" }.to_owned(),
        name: name(record),
        cgroup_id: None,
        state: format!("{:?}", record.state),
        gaps: record.gaps.clone(),
    }
}

/// As agents name targets: `namespace/pod`, `namespace/pod/container`.
#[must_use]
pub fn name(record: &TargetRecord) -> String {
    let container = record.container.as_ref().map(|container| format!("/{container}")).unwrap_or_default();
    format!("{}/{}{container}", record.namespace, record.pod)
}

fn message(record: &TargetRecord) -> Option<String> {
    (!record.message.is_empty()).then(|| format!("{}: {}", name(record), record.message))
}

#[cfg(test)]
mod tests {
    use super::*;
    use chaos_outcome::FaultReport;
    use serde_json::{Value, json};

    fn experiment(status: Value) -> Experiment {
        let spec = json!({ "duration": "5s", "selector": { "pods": { "all": true } }, "faults": [] });
        let metadata = json!({ "namespace": "shop", "name": "cut" });
        serde_json::from_value(json!({ "metadata": metadata, "spec": spec, "status": status })).unwrap()
    }

    fn injection(node: &str, status: Value) -> Injection {
        let spec = json!({ "nodeName": node, "experiment": "cut", "remaining": "5s", "seed": 1, "faults": [] });
        serde_json::from_value(json!({ "metadata": { "name": node }, "spec": spec, "status": status })).unwrap()
    }

    fn report(target: &str, matched: u64) -> Value {
        let fault = FaultReport { name: "f".into(), target: target.into(), matched, ..FaultReport::default() };
        let whole =
            Report { experiment: "cut".into(), warnings: vec!["so".into()], faults: vec![fault], ..Report::default() };
        json!(whole)
    }

    #[test]
    fn nodes_become_one_report() {
        let target = |pod: &str, state: &str, message: &str| json!({ "namespace": "shop", "pod": pod, "state": state, "message": message });
        let nodes = [
            injection(
                "n1",
                json!({ "startedAt": "2026-01-01T00:00:00Z", "targets": [target("b", "Reverted", "")], "report": report("shop/b", 3) }),
            ),
            injection(
                "n2",
                json!({ "targets": [target("a", "Reverted", ""), target("c", "Failed", "no")], "report": report("shop/a", 4) }),
            ),
        ];
        let status = json!({ "verdict": "NoEffect", "reason": "why", "seed": 9, "startedAt": "2026-01-01T00:00:00Z" });
        let whole = gather(&experiment(status), &nodes);
        assert_eq!((whole.verdict, whole.reason.as_str(), whole.seed), (Verdict::NoEffect, "why", 9));
        assert_eq!(whole.started_at, "2026-01-01T00:00:00Z");
        let states: Vec<_> = whole.targets.iter().map(|one| (one.name.as_str(), one.state.as_str())).collect();
        assert_eq!(states, [("shop/a", "Pending"), ("shop/b", "Reverted"), ("shop/c", "Failed")]);
        assert_eq!(whole.faults.iter().map(|one| one.matched).sum::<u64>(), 7);
        assert_eq!(whole.warnings, ["node n1: so", "node n2: so", "shop/c: no"]);
    }

    #[test]
    fn without_injections_the_sums_remain() {
        let status = json!({
            "verdict": "Pass", "faults": [{ "name": "f", "seen": 5, "matched": 5, "injected": 5 }],
            "targets": [{ "namespace": "shop", "pod": "a", "container": "web", "state": "Gone" }]
        });
        let whole = gather(&experiment(status), &[]);
        assert_eq!((whole.faults[0].injected, whole.targets[0].name.as_str()), (5, "shop/a/web"));
        assert_eq!(gather(&experiment(json!(null)), &[]).verdict, Verdict::Error);
    }

    #[test]
    fn a_node_that_has_said_nothing_has_its_targets_all_the_same() {
        let mut silent = injection("n1", json!(null));
        silent.spec.targets = vec![PodTarget { namespace: "shop".into(), name: "a".into(), uid: "u".into() }];
        let status = json!({ "verdict": "Error", "faults": [{ "name": "f" }] });
        let whole = gather(&experiment(status), &[silent]);
        assert_eq!((whole.targets[0].name.as_str(), whole.targets[0].state.as_str()), ("shop/a", "Pending"));
        assert!(whole.faults.is_empty(), "what was never counted is no count of 0");
    }
}

//! What the nodes say, put together.

use crate::{
    api::{
        Experiment, FaultSum, Injection, InjectionPhase, InjectionStatus, MOST_TARGETS, PodTarget, Summary,
        TargetRecord, TargetState,
    },
    text::cut,
};
use chaos_outcome::{Ending, FaultPlanned, FaultReport, ProbeReport, Unit, Verdict, judge, merged};
use std::collections::BTreeMap;

/// Sums of each fault over all nodes.
#[must_use]
pub fn sums(experiment: &Experiment, injections: &[Injection]) -> Vec<FaultSum> {
    let faults = experiment.spec.faults.iter().enumerate();
    let each = faults.map(|(index, fault)| {
        let name = fault.display_name(index);
        let mut sum = FaultSum { name: name.clone(), ..FaultSum::default() };
        let of_nodes = injections.iter().filter_map(|one| one.status.as_ref()).flat_map(|status| &status.faults);
        of_nodes.filter(|one| one.name == name).for_each(|one| sum.add(one));
        sum
    });
    each.collect()
}

/// What a node may say of targets: those that its order names, each by the name that it has there, and, where it follows new pods by itself,
/// pods of the namespaces that it follows there. A node's token is to speak of no other pod.
fn believed(one: &Injection) -> impl Iterator<Item = TargetRecord> {
    let spec = &one.spec;
    let named: BTreeMap<&str, &PodTarget> = spec.targets.iter().map(|target| (target.uid.as_str(), target)).collect();
    let followed = |record: &TargetRecord| {
        spec.follow
            .as_ref()
            .is_some_and(|follow| follow.namespaces.is_empty() || follow.namespaces.contains(&record.namespace))
    };
    let records = one.status.iter().flat_map(|status| &status.targets);
    records.filter_map(move |record| {
        let record = match named.get(record.uid.as_str()) {
            Some(target) => {
                TargetRecord { namespace: target.namespace.clone(), pod: target.name.clone(), ..record.clone() }
            }
            None => followed(record).then(|| record.clone())?,
        };
        Some(TargetRecord { node: spec.node_name.clone(), ..record })
    })
}

/// The targets, failed ones first and at most 100, and how many there are.
#[must_use]
pub fn targets(injections: &[Injection]) -> (Vec<TargetRecord>, Summary) {
    let mut all: Vec<TargetRecord> = injections.iter().flat_map(believed).collect();
    // What was prepared and given up was never under the faults.
    let own = || injections.iter().filter(|one| !one.spec.peers_side);
    let has_begun = |one: &&Injection| one.status.as_ref().is_some_and(|status| status.started_at.is_some());
    let begun = own().filter(has_begun).flat_map(believed);
    let hit = [TargetState::Injected, TargetState::Paused, TargetState::Reverted, TargetState::Gone];
    let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    let asked: usize = own().map(|one| one.spec.targets.len()).sum();
    let summary = Summary {
        selected: number(asked.max(own().map(|one| believed(one).count()).sum())),
        injected: number(begun.filter(|one| hit.contains(&one.state)).count()),
        failed: number(all.iter().filter(|one| one.state == TargetState::Failed).count()),
    };
    all.sort_by(|a, b| (a.state, &a.namespace, &a.pod).cmp(&(b.state, &b.namespace, &b.pod)));
    all.truncate(MOST_TARGETS);
    (all, summary)
}

/// Something is to be done, or has been done, on its node. The others wait for pods that may come.
#[must_use]
pub fn takes_part(one: &Injection) -> bool {
    !one.spec.targets.is_empty() || one.status.as_ref().is_some_and(|status| !status.targets.is_empty())
}

/// Those that the outcome depends on: where a pod may only come yet, a node may refuse without a word, unless all do.
fn concerned(injections: &[Injection], decides: impl Fn(&Injection) -> bool) -> Vec<&Injection> {
    // By what the controller has chosen: a node without a target may say of itself what it likes.
    let part: Vec<&Injection> = injections.iter().filter(|one| !one.spec.targets.is_empty()).collect();
    if part.is_empty() && injections.iter().all(decides) { injections.iter().collect() } else { part }
}

/// What went wrong on nodes, worst first.
#[must_use]
pub fn troubles(injections: &[Injection]) -> Vec<(InjectionPhase, String)> {
    let order = [InjectionPhase::Failed, InjectionPhase::Refused, InjectionPhase::Unsupported];
    let mut found = Vec::new();
    let went_wrong = |one: &Injection| one.status.as_ref().is_some_and(|status| order.contains(&status.phase));
    let concerned = concerned(injections, went_wrong);
    for phase in order {
        for one in &concerned {
            let Some(status) = one.status.as_ref().filter(|status| status.phase == phase) else { continue };
            found.push((phase, cut(&format!("node {}: {}", one.spec.node_name, status.message), 1024)));
        }
    }
    found
}

/// What to say of targets that were without the faults although the experiment ran.
#[must_use]
pub fn gaps(injections: &[Injection]) -> Option<String> {
    let with_gaps: Vec<String> = injections
        .iter()
        .flat_map(believed)
        .filter(|one| !one.gaps.is_empty())
        .map(|one| format!("{}/{} on {}", one.namespace, one.pod, one.node))
        .collect();
    let shown = with_gaps.iter().take(10).cloned().collect::<Vec<_>>().join(", ");
    (!with_gaps.is_empty()).then(|| format!("{} targets were without the faults for a time: {shown}", with_gaps.len()))
}

/// The verdict of an experiment that is over on all nodes that answered.
#[must_use]
pub fn verdict(
    experiment: &Experiment,
    injections: &[Injection],
    silent: &[String],
    probes: &[ProbeReport],
) -> (Verdict, String) {
    // Of a node whose report is not understood the sums are.
    let of_node = |status: &InjectionStatus| match &status.report {
        Some(report) => report.faults.clone(),
        None => status.faults.iter().map(FaultSum::as_report).collect(),
    };
    let over = injections.iter().filter_map(|one| one.status.as_ref()).filter(|status| status.phase.is_over());
    let counted: Vec<FaultReport> = merged(over.flat_map(of_node));
    let faults = experiment.spec.faults.iter().enumerate();
    let planned: Vec<FaultPlanned> = faults
        .map(|(index, fault)| FaultPlanned {
            name: fault.display_name(index),
            optional: fault.optional,
            unit: if fault.syscall.is_some() { Unit::Calls } else { Unit::Packets },
        })
        .collect();
    judge(&ending(injections, silent), experiment.spec.dry_run, &planned, &counted, probes)
}

fn ending(injections: &[Injection], silent: &[String]) -> Ending {
    if let Some((phase, text)) = troubles(injections).into_iter().next() {
        return match phase {
            InjectionPhase::Refused => Ending::Refused(text),
            InjectionPhase::Unsupported => Ending::Unsupported(text),
            _ => Ending::Error(text),
        };
    }
    if !silent.is_empty() {
        let nodes =
            format!("no agent answered on: {}; see that the DaemonSet's pods there are Ready", silent.join(", "));
        let started = injections.iter().any(|one| one.spec.start);
        return if started { Ending::Error(nodes) } else { Ending::Unsupported(nodes) };
    }
    let aborted = concerned(injections, |_| true).into_iter().find_map(|one| {
        let status = one.status.as_ref().filter(|status| status.phase == InjectionPhase::Aborted)?;
        Some(Ending::Aborted(cut(&format!("node {}: {}", one.spec.node_name, status.message), 1024)))
    });
    aborted.unwrap_or(Ending::Finished)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_node_speaks_of_the_targets_of_its_order_by_their_own_names() {
        let record = |uid: &str, namespace: &str, pod: &str| json!({ "uid": uid, "namespace": namespace, "pod": pod, "node": "n9", "state": "Injected", "mechanism": "" });
        let order: Injection = serde_json::from_value(json!({
            "metadata": {},
            "spec": {
                "nodeName": "n1", "experiment": "cut", "remaining": "5s", "seed": 1, "faults": [],
                "targets": [{ "namespace": "shop", "name": "web", "uid": "a" }],
                "follow": { "namespaces": ["shop"] },
            },
            "status": { "phase": "Injected", "startedAt": "2026-11-30T12:00:00Z", "targets": [
                record("a", "kube-system", "coredns"), record("b", "kube-system", "coredns"), record("c", "shop", "new"),
            ] },
        }))
        .unwrap();
        let (told, summary) = targets(&[order]);
        let names: Vec<_> = told.iter().map(|one| format!("{} {}/{}", one.node, one.namespace, one.pod)).collect();
        assert_eq!(names, ["n1 shop/new", "n1 shop/web"]);
        assert_eq!(summary.injected, 2);
    }
}

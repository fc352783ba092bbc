//! What the nodes say, put together.

use crate::{
    k8s::{
        api::{
            Experiment, FaultSum, Injection, InjectionPhase, InjectionStatus, MOST_TARGETS, Summary, TargetRecord,
            TargetState,
        },
        text::cut,
    },
    observe::{Ending, FaultPlanned, FaultReport, ProbeReport, Unit, Verdict, judge, merged},
};

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

/// The targets, failed ones first and at most 100, and how many there are.
#[must_use]
pub fn targets(injections: &[Injection]) -> (Vec<TargetRecord>, Summary) {
    let statuses = || injections.iter().filter_map(|one| one.status.as_ref());
    let mut all: Vec<&TargetRecord> = statuses().flat_map(|status| &status.targets).collect();
    // What was prepared and given up was never under the faults.
    let own = || injections.iter().filter(|one| !one.spec.peers_side);
    let of_own = || own().filter_map(|one| one.status.as_ref());
    let begun = of_own().filter(|status| status.started_at.is_some()).flat_map(|status| &status.targets);
    let hit = [TargetState::Injected, TargetState::Paused, TargetState::Reverted, TargetState::Gone];
    let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    let asked: usize = own().map(|one| one.spec.targets.len()).sum();
    let summary = Summary {
        selected: number(asked.max(of_own().map(|status| status.targets.len()).sum())),
        injected: number(begun.filter(|one| hit.contains(&one.state)).count()),
        failed: number(all.iter().filter(|one| one.state == TargetState::Failed).count()),
    };
    all.sort_by(|a, b| (a.state, &a.namespace, &a.pod).cmp(&(b.state, &b.namespace, &b.pod)));
    all.truncate(MOST_TARGETS);
    (all.into_iter().cloned().collect(), summary)
}

/// What went wrong on nodes, worst first.
#[must_use]
pub fn troubles(injections: &[Injection]) -> Vec<(InjectionPhase, String)> {
    let order = [InjectionPhase::Failed, InjectionPhase::Refused, InjectionPhase::Unsupported];
    let mut found = Vec::new();
    for phase in order {
        for one in injections {
            let Some(status) = one.status.as_ref().filter(|status| status.phase == phase) else { continue };
            found.push((phase, cut(&format!("node {}: {}", one.spec.node_name, status.message), 1024)));
        }
    }
    found
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
        return Ending::Error(format!(
            "no agent answered on: {}; see that the DaemonSet's pods there are Ready",
            silent.join(", ")
        ));
    }
    let aborted = injections.iter().find_map(|one| {
        let status = one.status.as_ref().filter(|status| status.phase == InjectionPhase::Aborted)?;
        Some(Ending::Aborted(cut(&format!("node {}: {}", one.spec.node_name, status.message), 1024)))
    });
    aborted.unwrap_or(Ending::Finished)
}

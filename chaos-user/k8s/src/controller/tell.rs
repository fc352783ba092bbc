//! What users are told beside the status: events on the experiment and on the pods that it hits, and one line in the log.

use super::events::Events;
use crate::{
    api::{Experiment, ExperimentStatus, FaultSum, Injection, Phase},
    text::cut,
};
use futures::StreamExt;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::{
    Resource, ResourceExt,
    runtime::events::{Event, EventType},
};
use serde_json::json;
use std::collections::BTreeSet;

/// Longest note of an event (events.k8s.io/v1).
const NOTE: usize = 1024;
/// Events that are written beside each other.
const WRITERS: usize = 8;

/// Tells of a new phase.
pub async fn tell(experiment: &Experiment, events: &Events, status: &ExperimentStatus, orders: &[Injection]) {
    let name = format!("{}/{}", experiment.namespace().unwrap_or_default(), experiment.name_any());
    let note = note(status);
    tracing::info!(experiment = %name, phase = ?status.phase, report = %json!(status), "{note}");
    let type_ = if status.phase == Phase::Failed { EventType::Warning } else { EventType::Normal };
    let event = event(type_, &format!("{:?}", status.phase), &note);
    events.publish(&event, &experiment.object_ref(&())).await;
    let (reason, what) = match status.phase {
        Phase::Injected => ("FaultInjected", "faults act on this pod"),
        Phase::Finished if status.started_at.is_some() => ("FaultReverted", "its faults are over"),
        _ => return,
    };
    let note = match &status.started_by {
        Some(user) => format!("Experiment {name} of {user}: {what}"),
        None => format!("Experiment {name}: {what}"),
    };
    let event = self::event(EventType::Normal, reason, &note);
    let (pods, events) = (pods(status, orders), events.clone());
    // Nobody waits for up to a hundred of them.
    tokio::spawn(async move {
        futures::stream::iter(&pods).for_each_concurrent(WRITERS, |pod| events.publish(&event, pod)).await;
    });
}

/// Warns of what keeps it from going on.
pub async fn warn(experiment: &Experiment, events: &Events, reason: &str, text: &str) {
    events.publish(&event(EventType::Warning, reason, text), &experiment.object_ref(&())).await;
}

fn event(type_: EventType, reason: &str, note: &str) -> Event {
    let (reason, action) = (reason.to_owned(), "Reconcile".to_owned());
    Event { type_, reason, note: Some(cut(note, NOTE)), action, secondary: None }
}

/// The report in one line, so that it outlives the experiment.
fn note(status: &ExperimentStatus) -> String {
    let Some(verdict) = status.verdict else { return format!("{} pods selected", status.summary.selected) };
    let sum = |one: &FaultSum| format!("{}: {} matched, {} injected", one.name, one.matched, one.injected);
    let sums = status.faults.iter().map(sum);
    let head =
        if status.reason.is_empty() { format!("{verdict:?}") } else { format!("{verdict:?}: {}", status.reason) };
    std::iter::once(head).chain(sums).collect::<Vec<_>>().join("; ")
}

/// The pods among the targets that the orders name, each once: what a node says alone is written on no pod.
fn pods(status: &ExperimentStatus, orders: &[Injection]) -> Vec<ObjectReference> {
    let named: BTreeSet<&str> =
        orders.iter().flat_map(|one| &one.spec.targets).map(|target| target.uid.as_str()).collect();
    let mut pods: Vec<ObjectReference> = Vec::new();
    for target in status.targets.iter().filter(|target| named.contains(target.uid.as_str())) {
        if !pods.iter().any(|pod| pod.uid.as_ref() == Some(&target.uid)) {
            pods.push(ObjectReference {
                api_version: Some("v1".to_owned()),
                kind: Some("Pod".to_owned()),
                namespace: Some(target.namespace.clone()),
                name: Some(target.pod.clone()),
                uid: Some(target.uid.clone()),
                ..ObjectReference::default()
            });
        }
    }
    pods
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::TargetRecord;
    use chaos_outcome::Verdict;

    #[test]
    fn the_note_is_the_report_in_short() {
        let fault = FaultSum { name: "cut".to_owned(), matched: 9, injected: 4, ..FaultSum::default() };
        let verdict = Some(Verdict::Pass);
        let status = ExperimentStatus { verdict, faults: vec![fault], ..ExperimentStatus::default() };
        assert_eq!(note(&status), "Pass; cut: 9 matched, 4 injected");
    }

    #[test]
    fn a_pod_with_two_containers_is_told_once() {
        let target = |uid: &str| TargetRecord { uid: uid.to_owned(), ..TargetRecord::default() };
        let targets = vec![target("a"), target("a"), target("b"), target("foreign")];
        let named = ["a", "b"].map(|uid| json!({ "namespace": "shop", "name": uid, "uid": uid }));
        let spec = json!({
            "nodeName": "n", "experiment": "cut", "remaining": "5s", "seed": 1, "faults": [], "targets": named,
        });
        let order: Injection = serde_json::from_value(json!({ "metadata": {}, "spec": spec })).unwrap();
        let told = pods(&ExperimentStatus { targets, ..ExperimentStatus::default() }, &[order]);
        let uids: Vec<_> = told.into_iter().filter_map(|pod| pod.uid).collect();
        assert_eq!(uids, ["a", "b"], "what a node alone names is written on nobody");
    }
}

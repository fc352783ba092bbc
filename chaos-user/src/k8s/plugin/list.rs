//! `list`: experiments as a table.

use super::{
    Answer,
    cluster::Cluster,
    words::{age, or_dash, phase, since, unreadable},
};
use crate::{
    engine::EngineError,
    k8s::api::Experiment,
    observe::{ExitCode, aligned, row},
};
use kube::ResourceExt;
use std::time::SystemTime;

/// The experiments of the namespace, or of all, the newest last.
///
/// # Errors
/// The API server's.
pub async fn list(cluster: &Cluster, everywhere: bool) -> Result<Answer, EngineError> {
    let namespace = (!everywhere).then_some(cluster.namespace.as_str());
    let mut all = cluster.list::<Experiment>(&cluster.api(namespace), namespace).await?;
    all.sort_by_key(|one| (one.creation_timestamp().map(|time| time.0), one.namespace(), one.name_any()));
    let mut text = if all.is_empty() { String::new() } else { table(&all, SystemTime::now()) };
    all.iter().filter_map(unreadable).for_each(|line| text += &format!("{line}\n"));
    Ok(Answer { text, code: ExitCode::Pass })
}

fn table(all: &[Experiment], now: SystemTime) -> String {
    let head = ["NAMESPACE", "NAME", "PHASE", "VERDICT", "TARGETS", "INJECTED", "STARTED BY", "AGE"];
    let each = all.iter().map(|one| {
        let status = one.status.clone().unwrap_or_default();
        vec![
            one.namespace().unwrap_or_default(),
            one.name_any(),
            format!("{:?}", phase(one)),
            status.verdict.map_or_else(|| "-".to_owned(), |verdict| format!("{verdict:?}")),
            status.summary.selected.to_string(),
            status.summary.injected.to_string(),
            or_dash(&status.started_by.unwrap_or_default()),
            one.creation_timestamp().map_or_else(|| "-".to_owned(), |time| age(since(&time, now))),
        ]
    });
    aligned(&[row(&head)].into_iter().chain(each).collect::<Vec<_>>(), 4..6)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::time::Duration;

    #[test]
    fn a_row_per_experiment() {
        let spec = json!({ "duration": "5s", "selector": { "pods": { "all": true } }, "faults": [] });
        let experiment = |name: &str, status: serde_json::Value| -> Experiment {
            let metadata = json!({ "namespace": "shop", "name": name, "creationTimestamp": "2026-01-01T00:00:00Z" });
            serde_json::from_value(json!({ "metadata": metadata, "spec": spec, "status": status })).unwrap()
        };
        let over = json!({
            "phase": "Finished", "verdict": "Pass", "summary": { "selected": 3, "injected": 2 }, "startedBy": "eve"
        });
        let all = [experiment("cut", over), experiment("new", json!(null))];
        let created = SystemTime::from(all[0].creation_timestamp().unwrap().0);
        let text = table(&all, created + Duration::from_secs(300));
        let expected = "\
NAMESPACE  NAME  PHASE     VERDICT  TARGETS  INJECTED  STARTED BY  AGE
shop       cut   Finished  Pass           3         2  eve         5m
shop       new   Pending   -              0         0  -           5m
";
        assert_eq!(text, expected);
    }
}

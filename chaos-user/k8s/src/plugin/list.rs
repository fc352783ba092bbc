//! `list`: experiments as a table.

use super::{
    Answer,
    cluster::Cluster,
    words::{age, or_dash, phase, since, unreadable},
};
use crate::api::Experiment;
use chaos_outcome::EngineError;
use chaos_outcome::{ExitCode, aligned, row};
use kube::ResourceExt;
use serde_json::json;
use std::time::SystemTime;

/// The experiments of the namespace, or of all, the newest last.
///
/// # Errors
/// The API server's.
pub async fn list(
    cluster: &Cluster,
    everywhere: bool,
    labels: Option<&str>,
    output: &str,
) -> Result<Answer, EngineError> {
    let namespace = (!everywhere).then_some(cluster.namespace.as_str());
    let mut all = cluster.list_by::<Experiment>(&cluster.api(namespace), namespace, labels).await?;
    all.sort_by_key(|one| (one.creation_timestamp().map(|time| time.0), one.namespace(), one.name_any()));
    if let Some(text) = for_programs(&all, output)? {
        return Ok(Answer { text, code: ExitCode::Pass });
    }
    let mut text = if all.is_empty() { String::new() } else { table(&all, SystemTime::now()) };
    all.iter().filter_map(unreadable).for_each(|line| text += &format!("{line}\n"));
    Ok(Answer { text, code: ExitCode::Pass })
}

/// As kubectl prints a list; none of a table.
fn for_programs(all: &[Experiment], output: &str) -> Result<Option<String>, EngineError> {
    let failed = |error: &dyn std::fmt::Display| EngineError::Failed(format!("print the experiments: {error}"));
    let items = || json!({ "apiVersion": "v1", "kind": "List", "metadata": {}, "items": all });
    match output {
        "name" => Ok(Some(all.iter().map(|one| format!("experiment.chaos-ebpf.dev/{}\n", one.name_any())).collect())),
        "json" => Ok(Some(format!("{:#}\n", items()))),
        "yaml" => yaml_serde::to_string(&items()).map(Some).map_err(|error| failed(&error)),
        _ => Ok(None),
    }
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
        let said = |output| for_programs(&all, output).unwrap();
        assert_eq!(said("name").unwrap(), "experiment.chaos-ebpf.dev/cut\nexperiment.chaos-ebpf.dev/new\n");
        let list: serde_json::Value = serde_json::from_str(&said("json").unwrap()).unwrap();
        assert_eq!((&list["kind"], &list["items"][1]["metadata"]["name"]), (&json!("List"), &json!("new")));
        assert_eq!(yaml_serde::from_str::<serde_json::Value>(&said("yaml").unwrap()).unwrap(), list);
        assert_eq!(said("wide"), None);
    }
}

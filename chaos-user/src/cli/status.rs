//! `chaos status`: what is active on this node, and what is left of the dead.

use super::fail;
use chaos_engine::{Journal, RunEntry, journal, marks};
use chaos_outcome::{ExitCode, printable};
use serde_json::{Value, json};

/// `chaos status`.
pub fn status(as_json: bool) -> ExitCode {
    let journal = match journal::peek() {
        Ok(journal) => journal,
        Err(error) => {
            // What acts is said all the same.
            act_unnamed(&unnamed(&Journal::default())).iter().for_each(|line| println!("{line}"));
            return fail(&error);
        }
    };
    let mut value = describe(&journal);
    // Looked for only where the journal names nobody: the look opens every program of the node.
    if value["experiments"].as_array().is_some_and(Vec::is_empty) {
        let unnamed = unnamed(&journal);
        value["unnamed"] = json!(unnamed.len());
        // Else they have an owner.
        if unnamed.is_empty()
            && let Some(leftovers) = value["leftovers"].as_array_mut()
        {
            leftovers.extend(marks::left(&journal).into_iter().map(Value::from));
        }
        value["unnamedExperiments"] = json!(unnamed);
    }
    if as_json {
        println!("{value:#}");
    } else {
        print_table(&value);
    }
    ExitCode::Pass
}

fn run(run: &RunEntry) -> Value {
    json!({
        "name": run.name,
        "namespace": run.namespace,
        "source": run.source,
        "startedBy": { "user": run.user, "uid": run.uid, "pid": run.pid, "command": run.command },
        "startedAt": run.started_at,
        "endsAt": run.ends_at,
        "targets": run.targets,
        "faults": run.faults,
    })
}

/// The whole answer.
pub fn describe(journal: &Journal) -> Value {
    let (live, dead): (Vec<_>, Vec<_>) = journal.runs.iter().partition(|run| run.owner().is_alive());
    let used = |id: u32| live.iter().any(|run| run.points.contains(&id));
    let points = journal.points.iter().filter(|entry| !used(entry.id)).map(|entry| {
        let direction = if entry.ingress { "ingress" } else { "egress" };
        format!("{} {direction} of netns {}", entry.interface, entry.netns)
    });
    let limits = journal.limits.iter().filter(|entry| !live.iter().any(|run| run.limits.contains(&entry.place)));
    let limits = limits.map(|entry| format!("gso_max_segs of {} of netns {}", entry.interface, entry.place.netns));
    let leftovers: Vec<String> = dead
        .iter()
        .map(|run| format!("experiment {} of pid {}, which is gone", run.name, run.pid))
        .chain(points)
        .chain(limits)
        .collect();
    let node = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok()).unwrap_or_default();
    json!({
        "node": node,
        "lock": journal::locked_by(),
        "experiments": live.iter().map(|one| run(one)).collect::<Vec<_>>(),
        "leftovers": leftovers,
    })
}

/// Names of those that act and stand in no journal; empty for one whose maps have no name of it either.
fn unnamed(journal: &Journal) -> Vec<String> {
    let acting = marks::unnamed(journal).map_or(0, |found| found.len());
    let lost = marks::lost(journal).unwrap_or_default();
    let name = |run: &RunEntry| run.namespace.iter().chain([&run.name]).cloned().collect::<Vec<_>>().join("/");
    let mut names: Vec<String> = lost.iter().flat_map(|one| &one.runs).map(name).collect();
    names.resize(acting.max(names.len()), String::new());
    names
}

fn act_unnamed(names: &[String]) -> Vec<String> {
    let line = |name: &String| match name.as_str() {
        "" => "an experiment is active that no journal names; `chaos stop --all` ends it".to_owned(),
        name => {
            let name = printable(name);
            format!("experiment {name} is active, which no journal names; `chaos stop {name}` ends it")
        }
    };
    names.iter().map(line).collect()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("-")
}

fn print_table(value: &Value) {
    println!("node {}", text(&value["node"]));
    if let Some(reason) = value["lock"].as_str() {
        println!("locked: {reason}; `chaos unlock` lifts it");
    }
    let experiments = value["experiments"].as_array().map(Vec::as_slice).unwrap_or_default();
    let unnamed = value["unnamedExperiments"].as_array().map(Vec::as_slice).unwrap_or_default();
    let unnamed: Vec<String> = unnamed.iter().filter_map(Value::as_str).map(ToOwned::to_owned).collect();
    act_unnamed(&unnamed).iter().for_each(|line| println!("{line}"));
    if unnamed.is_empty() && experiments.is_empty() {
        println!("no experiment is active");
    }
    for one in experiments {
        let list = |key: &str| {
            let names = one[key].as_array().map(Vec::as_slice).unwrap_or_default();
            names.iter().map(text).collect::<Vec<_>>().join(", ")
        };
        println!("experiment {} ({})", text(&one["name"]), text(&one["source"]));
        println!(
            "  started by {} (pid {}): {}",
            text(&one["startedBy"]["user"]),
            one["startedBy"]["pid"],
            text(&one["startedBy"]["command"])
        );
        println!("  from {} to {}", text(&one["startedAt"]), text(&one["endsAt"]));
        println!("  targets {}; faults {}", list("targets"), list("faults"));
    }
    for leftover in value["leftovers"].as_array().map(Vec::as_slice).unwrap_or_default() {
        println!("leftover: {}; `chaos cleanup` removes it", text(leftover));
    }
}

//! One experiment on the stage.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use crate::clock::wait_until;
use crate::lab::NodeLock;
use crate::net::{Hosts, NetNs};
use crate::product::binary::finish;
use crate::product::{Chaos, Leftovers, Report};

use super::{Effort, Measured, Phases, Sample};

/// How long an ended run may take to leave.
const LEAVE: Duration = Duration::from_secs(30);

/// Plays a sample and prints what came of it.
///
/// # Errors
///
/// Says what went otherwise than asked: the run, what was measured, or what was left on the machine.
pub fn show(sample: Sample, chaos: &Chaos, effort: Effort) -> Result<(), String> {
    // What other tests leave for a moment would look like ours.
    let _lock = NodeLock::exclusive();
    let hosts = Hosts::new();
    let (yaml, changes) = sample.adapt(&hosts)?;
    println!("\n== chaos run manifests/samples/{}.yaml", sample.name);
    println!("  with {}", changes.join(", "));
    let namespaces = [&hosts.a.ns, &hosts.b.ns];
    let clean = Leftovers::now(&namespaces);
    let before = Measured::now(&hosts, sample.direction, effort);
    let run = Run::start(chaos, sample, &yaml)?;
    let there = Leftovers::now(&namespaces).difference(&clean);
    let during = Measured::now(&hosts, sample.direction, effort);
    let report = run.finish()?;
    let (left, others) = left(&namespaces, &clean, &there);
    let after = Measured::now(&hosts, sample.direction, effort);
    let phases = Phases { before, during, after };
    print!("{phases}");
    println!("  asked:   {}", sample.asked);
    println!("  counted: {}", counted(&report));
    println!("  while it ran there were: {}", inventory(&there));
    println!(
        "  left after it: {}",
        if left.is_empty() { "nothing but the journal, which is empty".to_owned() } else { left.join("; ") }
    );
    if !others.is_empty() {
        println!("  another process made meanwhile: {}", inventory(&others));
    }
    if !left.is_empty() {
        return Err(format!("{}: something is left on the machine", sample.name));
    }
    if !(sample.worked)(&phases) {
        return Err(format!("{}: what was measured is not what was asked", sample.name));
    }
    Ok(())
}

/// What is left of the run, and what came only after we had looked at it, which is another's: somebody may use chaos on this
/// machine at the same time. The kernel frees BPF objects a little after their last user.
fn left(namespaces: &[&NetNs], clean: &Leftovers, there: &[String]) -> (Vec<String>, Vec<String>) {
    let mut left = (Vec::new(), Vec::new());
    wait_until(Duration::from_secs(5), || {
        let new = Leftovers::now(namespaces).difference(clean);
        left = new.into_iter().partition(|thing| there.contains(thing) || !thing.starts_with("left: bpf "));
        left.0.is_empty()
    });
    left
}

/// A `chaos run` under way.
struct Run {
    chaos: Chaos,
    name: String,
    child: std::process::Child,
    file: PathBuf,
}

impl Run {
    fn start(chaos: &Chaos, sample: Sample, yaml: &str) -> Result<Self, String> {
        let file = std::env::temp_dir().join(format!("chaos-demo-{}-{}.yaml", std::process::id(), sample.name));
        fs::write(&file, yaml).map_err(|error| format!("write {}: {error}", file.display()))?;
        let child = chaos.start(&["run", "-o", "json", &file.to_string_lossy()]);
        let run = Self { chaos: chaos.clone(), name: sample.experiment(), child, file };
        let waited = chaos.command(&["wait", &run.name, "--for", "injected", "--timeout", "30s"]);
        if waited.code == 0 {
            return Ok(run);
        }
        let said = run.finish().map_or_else(|error| error, |report| report.json.to_string());
        Err(format!("{} was not injected: {} {said}", sample.name, waited.text()))
    }

    /// Ends it as if its duration were over.
    fn finish(self) -> Result<Report, String> {
        let stopped = self.chaos.command(&["stop", &self.name, "--finish"]);
        let output = finish(self.child, LEAVE).ok_or("chaos run did not end")?;
        let _ = fs::remove_file(&self.file);
        match Report::parse(&output.stdout) {
            Some(report) if report.verdict() == "Pass" && output.code == 0 => Ok(report),
            _ => Err(format!("chaos run: exit code {}\n{}{}", output.code, output.text(), stopped.stderr)),
        }
    }
}

/// The report's own counts, in one line.
fn counted(report: &Report) -> String {
    let fault = report.only_fault();
    let share = fault.injected() as f64 * 100.0 / fault.matched().max(1) as f64;
    let actions = fault.json["actions"].as_object().into_iter().flatten();
    let actions: Vec<String> = actions
        .filter(|(_, count)| count.as_u64().is_some_and(|count| count > 0))
        .map(|(action, count)| format!("{action} {count}"))
        .collect();
    format!(
        "matched {}, hit {} ({share:.2} %): {}; verdict {}",
        fault.matched(),
        fault.injected(),
        actions.join(", "),
        report.verdict()
    )
}

/// How many of each kind of thing.
fn inventory(things: &[String]) -> String {
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    for thing in things.iter().filter_map(|thing| thing.strip_prefix("left: ")) {
        let mut words = thing.split(' ');
        let kind = match (words.next().unwrap_or_default(), words.next().unwrap_or_default()) {
            ("bpf", kind) => format!("BPF {}s", kind.to_lowercase()),
            ("file", _) => "files in /run/chaos".to_owned(),
            (kind, _) => format!("{kind}s"),
        };
        *kinds.entry(kind).or_default() += 1;
    }
    kinds.into_iter().map(|(kind, count)| format!("{count} {kind}")).collect::<Vec<_>>().join(", ")
}

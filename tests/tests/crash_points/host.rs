//! What a machine has beside hosts and their interfaces.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use super::orphans::orphans;

/// Mounts, files, entries of the journal, and a switch of the kernel.
pub fn things() -> BTreeSet<String> {
    let mut things = BTreeSet::new();
    let mounts = fs::read_to_string("/proc/thread-self/mountinfo").unwrap_or_default();
    let mounts = mounts.lines().filter_map(|line| line.split(' ').nth(4));
    things.extend(mounts.filter(|at| !at.starts_with("/run/netns")).map(|at| format!("mount {at}")));
    let files = fs::read_dir("/run/chaos").into_iter().flatten().flatten();
    things.extend(files.map(|entry| format!("file {}", entry.path().display())));
    let expedited = fs::read_to_string("/sys/kernel/rcu_expedited").unwrap_or_default();
    things.insert(format!("rcu_expedited {}", expedited.trim()));
    things.extend(journal());
    things
}

/// What is there now and was not before, and the other way round, after the moment that the kernel takes to free things.
pub fn difference(
    before: &BTreeSet<String>,
    orphans_before: &BTreeSet<String>,
    look: impl Fn() -> BTreeSet<String>,
) -> Vec<String> {
    let mut difference = Vec::new();
    for _ in 0..20 {
        // Not in haste: see `orphans`.
        std::thread::sleep(Duration::from_millis(100));
        let now = look();
        let left = now.difference(before).map(|thing| format!("left: {thing}"));
        let gone = before.difference(&now).map(|thing| format!("gone: {thing}"));
        difference = left.chain(gone).collect();
        if difference.is_empty() {
            difference = orphans().difference(orphans_before).map(|object| format!("left: {object}")).collect();
        }
        if difference.is_empty() {
            break;
        }
    }
    difference
}

/// Runs and attach points in the journal.
fn journal() -> Vec<String> {
    let text = fs::read_to_string("/run/chaos/journal.json").unwrap_or_default();
    let journal: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
    let entries = |list: &str| journal[list].as_array().cloned().unwrap_or_default();
    let mut left: Vec<String> = entries("runs").iter().map(|run| format!("journal: run {run}")).collect();
    left.extend(entries("points").iter().map(|point| format!("journal: point {point}")));
    for field in ["datapath", "rcuExpedited"] {
        if !journal[field].is_null() {
            left.push(format!("journal: {field} {}", journal[field]));
        }
    }
    left
}

//! Reports for people.

use std::ops::Range;

use super::figure::{count, millis, printable};
use super::report::{FaultReport, Report};

/// All reports, with an empty line between them.
pub fn render(reports: &[Report]) -> String {
    reports.iter().map(one).collect::<Vec<_>>().join("\n")
}

fn one(report: &Report) -> String {
    let mut head = vec![
        ("experiment", report.experiment.clone()),
        ("verdict", format!("{:?}", report.verdict)),
        ("reason", report.reason.clone()),
        ("seed", report.seed.to_string()),
        ("started", report.started_at.clone()),
        ("ended", report.ended_at.clone()),
    ];
    if let Some(command) = &report.command {
        head.push(("command", format!("{}: {}", command.words.join(" "), command.ending())));
    }
    head.extend(report.warnings.iter().map(|warning| ("warning", warning.clone())));
    let mut text = String::new();
    for (name, value) in head.iter().filter(|(_, value)| !value.is_empty()) {
        text += &format!("{name:<12}{}\n", printable(value));
    }
    for block in [targets(report), faults(report), notes(report), probes(report)] {
        if !block.is_empty() {
            text += "\n";
            text += &block;
        }
    }
    text
}

fn targets(report: &Report) -> String {
    if report.targets.is_empty() {
        return String::new();
    }
    let mut rows = vec![row(&["TARGET", "KIND", "STATE", "GAPS"])];
    for target in &report.targets {
        rows.push(row(&[&target.name, &target.kind, &target.state, &target.gaps.len().to_string()]));
    }
    aligned(&rows, 3..4)
}

/// The entries of one fault, over all its targets.
fn grouped(report: &Report) -> Vec<(&str, Vec<&FaultReport>)> {
    let mut groups: Vec<(&str, Vec<&FaultReport>)> = Vec::new();
    for fault in &report.faults {
        match groups.iter_mut().find(|(name, _)| *name == fault.name) {
            Some((_, entries)) => entries.push(fault),
            None => groups.push((&fault.name, vec![fault])),
        }
    }
    groups
}

fn sum(entries: &[&FaultReport], field: impl Fn(&FaultReport) -> u64) -> u64 {
    entries.iter().fold(0, |sum, entry| sum.saturating_add(field(entry)))
}

fn faults(report: &Report) -> String {
    let groups = grouped(report);
    if groups.is_empty() {
        return String::new();
    }
    let dry = report.faults.iter().any(|fault| fault.would_inject > 0);
    let hit = if dry { "WOULD INJECT" } else { "INJECTED" };
    let mut rows =
        vec![row(&["FAULT", "MECHANISM", "TARGETS", "SEEN", "MATCHED", hit, "SKIPPED", "P50", "P99", "DONE"])];
    for (name, entries) in groups {
        let total = |field: fn(&FaultReport) -> u64| count(sum(&entries, field));
        rows.push(vec![
            name.to_owned(),
            mechanisms(&entries),
            entries.len().to_string(),
            total(|fault| fault.seen),
            total(|fault| fault.matched),
            if dry { total(|fault| fault.would_inject) } else { total(|fault| fault.injected) },
            total(|fault| fault.skipped),
            range(&entries, |fault| fault.latency.map(|latency| latency.p50_ms)),
            range(&entries, |fault| fault.latency.map(|latency| latency.p99_ms)),
            done(&entries),
        ]);
    }
    aligned(&rows, 2..9)
}

fn mechanisms(entries: &[&FaultReport]) -> String {
    let mut names: Vec<&str> = entries.iter().map(|entry| entry.mechanism.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    names.join(",")
}

/// Percentiles of several targets cannot be summed: from the lowest to the highest.
fn range(entries: &[&FaultReport], field: impl Fn(&FaultReport) -> Option<f64>) -> String {
    let values: Vec<f64> = entries.iter().filter_map(|entry| field(entry)).collect();
    let (low, high) = values.iter().fold((f64::MAX, f64::MIN), |(low, high), v| (low.min(*v), high.max(*v)));
    if values.is_empty() {
        return "-".to_owned();
    }
    let (low, high) = (millis(low), millis(high));
    if low == high { format!("{low}ms") } else { format!("{low}-{high}ms") }
}

fn done(entries: &[&FaultReport]) -> String {
    let actions: [(&str, u64); 8] = [
        ("delayed", sum(entries, |fault| fault.actions.delayed)),
        ("lost", sum(entries, |fault| fault.actions.lost)),
        ("duplicated", sum(entries, |fault| fault.actions.duplicated)),
        ("corrupted", sum(entries, |fault| fault.actions.corrupted)),
        ("dropped as detected", sum(entries, |fault| fault.actions.detected_by_drop)),
        ("reordered", sum(entries, |fault| fault.actions.reordered)),
        ("reset", sum(entries, |fault| fault.actions.reset)),
        ("errors", sum(entries, |fault| fault.actions.errors)),
    ];
    let text = listed(&actions);
    if text.is_empty() { "-".to_owned() } else { text }
}

/// "lost 3, reset 1": those that are not 0.
fn listed(counts: &[(&str, u64)]) -> String {
    let there = counts.iter().filter(|(_, number)| *number > 0);
    there.map(|(name, number)| format!("{name} {}", count(*number))).collect::<Vec<_>>().join(", ")
}

/// What does not fit into columns: refusals, our own losses, examples, addresses.
fn notes(report: &Report) -> String {
    let mut text = String::new();
    for (name, asked) in &report.asked {
        text += &format!("{}: asked {}\n", printable(name), printable(asked));
    }
    for (name, entries) in grouped(report) {
        let mut note = |what: &str, value: String| {
            if !value.is_empty() {
                text += &format!("{}: {what} {}\n", printable(name), printable(&value));
            }
        };
        let rejected = entries.first().map(|first| first.rejected_by.entries()).unwrap_or_default();
        let rejected = rejected.map(|(cause, _)| {
            let of = |fault: &FaultReport| fault.rejected_by.entries().iter().find(|e| e.0 == cause).map_or(0, |e| e.1);
            (cause, sum(&entries, of))
        });
        note("rejected by", listed(&rejected));
        let lost = [
            ("dropped by our queue", sum(&entries, |fault| fault.dropped)),
            ("over the limit", sum(&entries, |fault| fault.overflow)),
            ("passed as the lease lapsed", sum(&entries, |fault| fault.skipped_by_lease)),
            ("runs missed", sum(&entries, |fault| fault.recursion_misses)),
        ];
        note("not as asked:", listed(&lost));
        let hits: Vec<&str> =
            entries.iter().flat_map(|entry| &entry.samples.hits).map(String::as_str).take(3).collect();
        note("for example", hits.join("; "));
        for host in entries.iter().flat_map(|entry| &entry.hosts) {
            note(&host.host, host.addresses.join(", "));
        }
    }
    text
}

fn probes(report: &Report) -> String {
    if report.probes.is_empty() {
        return String::new();
    }
    let mut rows = vec![row(&["PROBE", "PHASE", "RUNS", "UPTIME", "P50", "P99"])];
    for probe in &report.probes {
        for phase in &probe.phases {
            let time = |of: Option<f64>| of.map_or_else(|| "-".to_owned(), |ms| format!("{}ms", millis(ms)));
            rows.push(vec![
                probe.name.clone(),
                phase.phase.clone(),
                count(phase.runs),
                format!("{:.1}%", phase.uptime_percent),
                time(phase.latency.map(|latency| latency.p50_ms)),
                time(phase.latency.map(|latency| latency.p99_ms)),
            ]);
        }
    }
    aligned(&rows, 2..6)
}

/// Cells of one row.
pub fn row(cells: &[&str]) -> Vec<String> {
    cells.iter().map(|cell| (*cell).to_owned()).collect()
}

/// The rows with their columns aligned: the numeric ones to the right, the others to the left.
pub fn aligned(rows: &[Vec<String>], numeric: Range<usize>) -> String {
    let rows: Vec<Vec<String>> = rows.iter().map(|row| row.iter().map(|cell| printable(cell)).collect()).collect();
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let mut text = String::new();
    for row in &rows {
        let cells =
            row.iter().zip(&widths).enumerate().map(|(column, (cell, &width))| match numeric.contains(&column) {
                true => format!("{cell:>width$}"),
                false => format!("{cell:<width$}"),
            });
        text += cells.collect::<Vec<_>>().join("  ").trim_end();
        text.push('\n');
    }
    text
}

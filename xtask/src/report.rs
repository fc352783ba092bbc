//! What the tests said: the lines at the end of a run, and the tables of KERNELS.md.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

use crate::{
    artifacts, setup,
    tally::{Suites, Tally},
};

/// Where the results of whole suites are kept, a file for each kernel.
fn store() -> PathBuf {
    artifacts::workspace().join("target/tests")
}

/// Of how many tests the end says how long they took: those that took longest.
const SLOWEST: usize = 25;

/// What each place had to say.
#[derive(Default)]
pub struct Report {
    total: Tally,
    lines: Vec<String>,
    /// How long each test took, and where.
    took: Vec<(Duration, String)>,
    keep: bool,
}

impl Report {
    /// One that also keeps what whole suites say, for KERNELS.md.
    pub fn new(keep: bool) -> Self {
        Self { keep, ..Self::default() }
    }

    /// Runs the tests of a place. What they say is kept for this kernel, where one is named.
    pub fn add(&mut self, place: &str, kernel: Option<&str>, run: impl FnOnce() -> Result<Suites>) {
        eprintln!("==> {place}");
        let begun = Instant::now();
        match run() {
            Ok(suites) => {
                let tally = Tally::sum(&suites);
                self.took.extend(tally.took.iter().map(|(test, took)| (*took, format!("{place}: {test}"))));
                if let Some(Err(error)) = kernel.filter(|_| self.keep).map(|kernel| keep(kernel, suites)) {
                    self.total.failed += 1;
                    self.lines.push(format!("{place}: failed: {error:#}"));
                }
                // A package without tests is not worth a line.
                if tally != Tally::default() {
                    self.lines.push(format!("{place}: {tally} in {:.0} s", begun.elapsed().as_secs_f64()));
                    self.lines.extend(tally.not_run.iter().map(|(name, why)| format!("    not run: {name}: {why}")));
                    self.lines.extend(tally.measured.iter().map(|line| format!("    measured: {line}")));
                    self.total += tally;
                }
            }
            Err(error) => {
                self.total.failed += 1;
                eprintln!("error: {error:#}");
                self.lines.push(format!("{place}: failed: {error:#}"));
            }
        }
    }

    /// Prints everything; says whether all passed.
    pub fn finish(mut self) -> ExitCode {
        println!();
        for line in &self.lines {
            println!("{line}");
        }
        self.took.sort_unstable_by(|one, other| other.cmp(one));
        for (took, test) in self.took.iter().take(SLOWEST) {
            println!("took {:.1} s: {test}", took.as_secs_f64());
        }
        if self.total == Tally::default() {
            eprintln!("error: no test ran; is the filter right?");
        }
        println!("{}", self.total);
        if self.total.failed == 0 && self.total != Tally::default() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

/// Keeps what suites said, beside what others said before: after each place, for all of them take hours.
fn keep(kernel: &str, suites: Suites) -> Result<()> {
    // Two runs beside each other, each with a suite of one kernel, are to lose nothing.
    let _lock = setup::lock("results of tests")?;
    let directory = store();
    fs::create_dir_all(&directory).with_context(|| format!("make {}", directory.display()))?;
    let path = directory.join(format!("{kernel}.json"));
    let mut all: Suites = match fs::read_to_string(&path) {
        Ok(text) => serde_json::from_str(&text).unwrap_or_default(),
        Err(_) => Suites::new(),
    };
    all.extend(suites);
    fs::write(&path, serde_json::to_string_pretty(&all)?).with_context(|| format!("write {}", path.display()))
}

/// What is kept, by kernel.
///
/// # Errors
/// Where a file cannot be read.
pub fn kept() -> Result<BTreeMap<String, Suites>> {
    let mut kernels = BTreeMap::new();
    let Ok(entries) = fs::read_dir(store()) else { return Ok(kernels) };
    for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
        let Some(kernel) = path.file_stem().and_then(|stem| stem.to_str()) else { continue };
        let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        let suites = serde_json::from_str(&text).with_context(|| format!("understand {}", path.display()))?;
        kernels.insert(kernel.to_owned(), suites);
    }
    Ok(kernels)
}

/// Suites by kernels; then what was not there, and what was measured.
pub fn page(kernels: &BTreeMap<String, Suites>) -> String {
    let mut order: Vec<&String> = kernels.keys().collect();
    order.sort_by_key(|kernel| version(kernel));
    let names: Vec<&str> = order.iter().map(|kernel| kernel.as_str()).collect();
    let mut text = format!("| suite | {} |\n|---|{}\n", names.join(" | "), "---|".repeat(names.len()));
    let suites: BTreeSet<&String> = kernels.values().flat_map(BTreeMap::keys).collect();
    for suite in suites {
        let cells: Vec<String> = order.iter().map(|kernel| cell(kernels[*kernel].get(suite))).collect();
        let _infallible = writeln!(text, "| {suite} | {} |", cells.join(" | "));
    }
    text.push_str("\nNot run, and why:\n\n");
    for (why, tests) in absent(kernels) {
        let tests: Vec<String> = tests.iter().map(|(test, on)| format!("{test} ({})", on.join(", "))).collect();
        let _infallible = writeln!(text, "- {why}: {}", tests.join(", "));
    }
    text.push_str("\nMeasured:\n\n");
    for kernel in order {
        for line in kernels[kernel].values().flat_map(|tally| &tally.measured) {
            let _infallible = writeln!(text, "- {kernel}: {line}");
        }
    }
    text
}

fn version(kernel: &str) -> Vec<u32> {
    kernel.split(['.', '-']).map_while(|part| part.parse().ok()).collect()
}

fn cell(tally: Option<&Tally>) -> String {
    match tally {
        None => "-".to_owned(),
        Some(tally) if tally.failed > 0 => format!("{} of {} FAILED", tally.failed, tally.failed + tally.passed),
        Some(tally) if tally.skipped > 0 => format!("{} of {}", tally.passed, tally.passed + tally.skipped),
        Some(tally) => tally.passed.to_string(),
    }
}

/// By reason, the tests that did not run, and on which kernels.
fn absent(kernels: &BTreeMap<String, Suites>) -> BTreeMap<&str, BTreeMap<&str, Vec<&str>>> {
    let mut reasons: BTreeMap<&str, BTreeMap<&str, Vec<&str>>> = BTreeMap::new();
    for (kernel, suites) in kernels {
        for (test, why) in suites.values().flat_map(|tally| &tally.not_run) {
            reasons.entry(why).or_default().entry(test).or_default().push(kernel);
        }
    }
    reasons
}

#[cfg(test)]
mod tests {
    use super::{Suites, Tally, page};

    #[test]
    fn suites_stand_beside_kernels_in_their_order() {
        let suite = |passed, why: Option<&str>, measured: Option<&str>| {
            let tally = Tally {
                passed,
                skipped: why.iter().len(),
                not_run: why.map(|why| ("one".to_owned(), why.to_owned())).into_iter().collect(),
                measured: measured.map(str::to_owned).into_iter().collect(),
                ..Tally::default()
            };
            Suites::from([("loss".to_owned(), tally)])
        };
        let kernels = [("6.12", suite(3, None, Some("ratio: 0.97"))), ("6.1", suite(2, Some("no fq"), None))];
        let text = page(&kernels.map(|(kernel, suites)| (kernel.to_owned(), suites)).into());
        assert!(text.starts_with("| suite | 6.1 | 6.12 |\n|---|---|---|\n| loss | 2 of 3 | 3 |\n"), "{text}");
        assert!(text.contains("- no fq: one (6.1)\n") && text.contains("- 6.12: ratio: 0.97\n"), "{text}");
    }
}

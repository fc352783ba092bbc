//! Counts of tests, from what Rust's test harness prints.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    io::{self, Write},
    ops::AddAssign,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

/// How a test says that it did not run, on a line of its own: the word, its name, a colon, the reason.
const MARKS: [&str; 2] = ["SKIPPED ", "NOT HERE "];
/// How a test tells a measurement, likewise.
const MEASURED: &str = "MEASURED ";
/// What a line begins with that names the suite whose lines follow; its name ends with a blank.
pub const HEADING: &str = "==> ";

/// Tests of each suite.
pub type Suites = BTreeMap<String, Tally>;

/// Tests by outcome.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct Tally {
    pub passed: usize,
    pub failed: usize,
    pub skipped: usize,
    /// Names of tests that the harness counts as passed, but that said they did not run, and why.
    pub not_run: BTreeMap<String, String>,
    /// What tests measured, in their words: the test's name, a colon, what it found.
    pub measured: Vec<String>,
    /// How long each test took, by its name. True of harnesses that run one after the other.
    #[serde(skip)]
    pub took: BTreeMap<String, Duration>,
}

impl Tally {
    /// Of all suites.
    pub fn sum(suites: &Suites) -> Self {
        let mut sum = Self::default();
        suites.values().for_each(|tally| sum += tally.clone());
        sum
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
        self.not_run.extend(other.not_run);
        self.measured.extend(other.measured);
        self.took.extend(other.took);
    }
}

/// Reads a harness's output as it comes, shows it, and counts. Clones read further streams of the same harness.
#[derive(Clone, Default)]
pub struct Reader {
    seen: Arc<Mutex<Seen>>,
    line: Vec<u8>,
    /// Whose lines come on this stream.
    suite: String,
}

struct Seen {
    suites: Suites,
    /// Those of them whose harness has told its result.
    ended: BTreeSet<String>,
    /// Inside the output of passed tests, which `--show-output` lists.
    quiet: bool,
    /// When the test began whose result comes next.
    begun: Instant,
}

impl Default for Seen {
    fn default() -> Self {
        Self { suites: Suites::new(), ended: BTreeSet::new(), quiet: false, begun: Instant::now() }
    }
}

impl Reader {
    /// For the lines of one suite, unless a heading names another.
    pub fn of(suite: &str) -> Self {
        Self { suite: suite.to_owned(), ..Self::default() }
    }

    /// Whether to show this line.
    fn take(&mut self, line: &str) -> bool {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).read(&mut self.suite, line)
    }

    /// What was counted of the suites that have come to their end.
    pub fn ended(&self) -> Suites {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner).ended.clone();
        self.suites().into_iter().filter(|(suite, _)| seen.contains(suite)).collect()
    }

    /// What was counted so far.
    pub fn suites(&self) -> Suites {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let mut suites = seen.suites.clone();
        for tally in suites.values_mut() {
            let not_run = tally.not_run.len().min(tally.passed);
            tally.passed -= not_run;
            tally.skipped += not_run;
        }
        suites
    }
}

impl Write for Reader {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.line.extend(bytes);
        while let Some(end) = self.line.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.line.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line);
            if self.take(line.trim_end()) {
                io::stdout().write_all(line.as_bytes())?;
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stdout().flush()
    }
}

impl Seen {
    /// Whether to show this line.
    fn read(&mut self, suite: &mut String, line: &str) -> bool {
        if let Some(name) = line.strip_prefix(HEADING).and_then(|heading| heading.split(' ').next()) {
            name.clone_into(suite);
            let new = !self.suites.contains_key(name);
            self.suites.entry(name.to_owned()).or_default();
            // It comes on each of the streams.
            return new;
        }
        let counts = self.suites.entry(suite.clone()).or_default();
        if let Some((test, _)) = line.strip_prefix("test ").and_then(|test| test.split_once(" ... ")) {
            counts.took.insert(test.to_owned(), self.begun.elapsed());
            self.begun = Instant::now();
        } else if line.starts_with("running ") {
            self.begun = Instant::now();
        }
        if let Some(measured) = line.strip_prefix(MEASURED) {
            counts.measured.push(measured.to_owned());
            return true;
        }
        if let Some(said) = MARKS.iter().find_map(|mark| line.strip_prefix(mark)) {
            let (name, why) = said.split_once(": ").unwrap_or((said, "no reason given"));
            counts.not_run.insert(name.to_owned(), why.to_owned());
            return true;
        }
        if let Some(result) = line.strip_prefix("test result: ") {
            counts.count(result);
            self.ended.insert(suite.clone());
            self.quiet = false;
        } else if line == "successes:" {
            self.quiet = true;
        } else if line == "failures:" {
            self.quiet = false;
        }
        !self.quiet
    }
}

impl Tally {
    /// `ok. 3 passed; 0 failed; 1 ignored; 0 measured; 2 filtered out; finished in 0.01s`
    fn count(&mut self, result: &str) {
        for part in result.split([';', '.']) {
            let mut words = part.split_whitespace();
            let (Some(number), Some(what)) = (words.next(), words.next()) else { continue };
            let Ok(number) = number.parse::<usize>() else { continue };
            match what {
                "passed" => self.passed += number,
                "failed" => self.failed += number,
                "ignored" => self.skipped += number,
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Reader, Tally};

    #[test]
    fn results_are_counted_by_suite_and_the_skipped_are_not_passed() {
        let mut stdout = Reader::of("first");
        let mut stderr = stdout.clone();
        let result = "test result: ok. 3 passed; 1 failed; 2 ignored; 0 measured; 9 filtered out; finished in 1.23s";
        let shown = ["successes:", "---- a ----", result, "==> second on Linux"].map(|line| stdout.take(line));
        assert_eq!(shown, [false, false, true, true]);
        let said = ["SKIPPED a::b: needs root", "==> second on Linux", "MEASURED c: 0.97", "NOT HERE d: no fq"];
        assert_eq!(said.map(|line| stderr.take(line)), [true, false, true, true]);
        stdout.take(result);
        let (first, second) = ([("a::b", "needs root")], [("d", "no fq")]);
        let tally = |not_run: [(&str, &str); 1], measured: &[&str]| Tally {
            passed: 2,
            failed: 1,
            skipped: 3,
            not_run: not_run.map(|(name, why)| (name.to_owned(), why.to_owned())).into(),
            measured: measured.iter().map(|line| (*line).to_owned()).collect(),
            ..Tally::default()
        };
        let suites = stdout.suites();
        assert_eq!(suites["first"], tally(first, &[]));
        assert_eq!(suites["second"], tally(second, &["c: 0.97"]));
        assert_eq!(Tally::sum(&suites).passed, 4);
    }

    #[test]
    fn tests_are_timed_by_the_lines_of_their_results() {
        let mut reader = Reader::of("first");
        for line in ["running 2 tests", "test a::b ... ok", "test c ... FAILED", "test result: FAILED. 1 passed"] {
            reader.take(line);
        }
        let took = reader.suites().remove("first").unwrap_or_default().took;
        assert_eq!(took.into_keys().collect::<Vec<_>>(), ["a::b", "c"]);
    }

    #[test]
    fn a_suite_ends_with_its_result() {
        let mut reader = Reader::default();
        let result = "test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.23s";
        for line in ["==> first on Linux", result, "==> second on Linux", "NOT HERE d: no fq"] {
            reader.take(line);
        }
        assert_eq!(reader.ended().into_keys().collect::<Vec<_>>(), ["first"]);
        assert_eq!(reader.suites().len(), 2);
    }
}

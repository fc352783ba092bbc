//! Counts of tests, from what Rust's test harness prints.

use std::{
    collections::BTreeMap,
    fmt,
    io::{self, Write},
    ops::AddAssign,
    sync::{Arc, Mutex, PoisonError},
};

/// How a test says that it did not run, on a line of its own: the word, its name, a colon, the reason.
const MARKS: [&str; 2] = ["SKIPPED ", "NOT HERE "];

/// Tests by outcome.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Tally {
    pub passed: usize,
    pub failed: usize,
    pub skipped: usize,
    /// Names of tests that the harness counts as passed, but that said they did not run, and why.
    pub not_run: BTreeMap<String, String>,
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
    }
}

/// Reads a harness's output as it comes, shows it, and counts. Clones read further streams of the same harness.
#[derive(Clone, Default)]
pub struct Reader {
    seen: Arc<Mutex<Seen>>,
    line: Vec<u8>,
}

#[derive(Default)]
struct Seen {
    counts: Tally,
    /// Inside the output of passed tests, which `--show-output` lists.
    quiet: bool,
}

impl Reader {
    /// What was counted so far.
    pub fn tally(&self) -> Tally {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let mut tally = seen.counts.clone();
        let not_run = tally.not_run.len().min(tally.passed);
        tally.passed -= not_run;
        tally.skipped += not_run;
        tally
    }
}

impl Write for Reader {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.line.extend(bytes);
        while let Some(end) = self.line.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.line.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line);
            let show = self.seen.lock().unwrap_or_else(PoisonError::into_inner).read(line.trim_end());
            if show {
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
    fn read(&mut self, line: &str) -> bool {
        if let Some(said) = MARKS.iter().find_map(|mark| line.strip_prefix(mark)) {
            let (name, why) = said.split_once(": ").unwrap_or((said, "no reason given"));
            self.counts.not_run.insert(name.to_owned(), why.to_owned());
            return true;
        }
        if let Some(result) = line.strip_prefix("test result: ") {
            self.count(result);
            self.quiet = false;
        } else if line == "successes:" {
            self.quiet = true;
        } else if line == "failures:" {
            self.quiet = false;
        }
        !self.quiet
    }

    /// `ok. 3 passed; 0 failed; 1 ignored; 0 measured; 2 filtered out; finished in 0.01s`
    fn count(&mut self, result: &str) {
        for part in result.split([';', '.']) {
            let mut words = part.split_whitespace();
            let (Some(number), Some(what)) = (words.next(), words.next()) else { continue };
            let Ok(number) = number.parse::<usize>() else { continue };
            match what {
                "passed" => self.counts.passed += number,
                "failed" => self.counts.failed += number,
                "ignored" => self.counts.skipped += number,
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Seen, Tally};

    #[test]
    fn results_are_counted_and_the_skipped_are_not_passed() {
        let mut seen = Seen::default();
        assert!(seen.read("test a ... ok"));
        assert!(!seen.read("successes:"));
        assert!(!seen.read("---- a stdout ----"));
        assert!(seen.read("SKIPPED a::b: needs root"));
        assert!(
            seen.read("test result: ok. 3 passed; 1 failed; 2 ignored; 0 measured; 9 filtered out; finished in 1.23s")
        );
        let not_run = [("a::b".to_owned(), "needs root".to_owned())].into();
        assert_eq!(seen.counts, Tally { passed: 3, failed: 1, skipped: 2, not_run });
    }
}

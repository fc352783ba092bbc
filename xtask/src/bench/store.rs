//! Runs, kept as `target/bench/DATE.json`.

use std::{
    fs,
    path::{Path, PathBuf},
    time::SystemTime,
};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use super::figure::{Absent, Figure, Line};
use crate::artifacts;

/// One run of the benchmarks.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Run {
    /// When it began: RFC 3339, UTC.
    pub date: String,
    /// Fewer rounds.
    pub quick: bool,
    /// User space is optimised; what runs in the kernel always is.
    pub optimised: bool,
    /// What was measured.
    pub figures: Vec<Figure>,
    /// What was not.
    pub absent: Vec<Absent>,
}

impl Run {
    /// One that begins now.
    pub fn new(quick: bool, optimised: bool) -> Self {
        let date = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
        Self { date, quick, optimised, figures: Vec::new(), absent: Vec::new() }
    }

    /// Takes a line of a benchmark.
    pub fn add(&mut self, line: Line) {
        match line {
            Line::Figure(figure) => self.figures.push(figure),
            Line::Absent(absent) => self.absent.push(absent),
        }
    }

    /// As it is stored.
    pub fn json(&self) -> Result<String> {
        serde_json::to_string_pretty(self).context("write the run as JSON")
    }

    /// Its place, with this ending; colons are not for file names everywhere.
    pub fn path(&self, ending: &str) -> PathBuf {
        directory().join(format!("{}{ending}", self.date.replace(':', "-")))
    }

    /// Writes it.
    pub fn save(&self) -> Result<()> {
        write(&self.path(".json"), &self.json()?)
    }
}

/// Writes a file among the runs.
pub fn write(path: &Path, text: &str) -> Result<()> {
    fs::create_dir_all(directory()).with_context(|| format!("create {}", directory().display()))?;
    fs::write(path, text).with_context(|| format!("write {}", path.display()))
}

/// All runs that are stored, the oldest first.
pub fn earlier() -> Result<Vec<Run>> {
    let directory = directory();
    let mut runs = Vec::new();
    let Ok(entries) = fs::read_dir(&directory) else { return Ok(runs) };
    for entry in entries {
        let path = entry.with_context(|| format!("read {}", directory.display()))?.path();
        if path.extension().is_some_and(|ending| ending == "json") {
            let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
            match serde_json::from_str::<Run>(&text) {
                Ok(run) => runs.push(run),
                // Of another version of this command: no reason not to measure.
                Err(error) => eprintln!("==> {} is left out: {error}; remove it", path.display()),
            }
        }
    }
    runs.sort_by(|one, other| one.date.cmp(&other.date));
    Ok(runs)
}

fn directory() -> PathBuf {
    artifacts::target().join("bench")
}

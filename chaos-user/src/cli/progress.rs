//! Live progress on stderr: lines that are rewritten on a terminal, plain lines where it is piped.

use chaos_engine::{Active, Engine};
use chaos_outcome::{FaultProgress, lines};
use std::{
    io::{IsTerminal, Write, stderr},
    time::{Duration, Instant},
};

/// What was shown last.
pub struct Progress {
    terminal: bool,
    shown: usize,
    next: Instant,
}

impl Progress {
    /// Nothing shown yet.
    pub fn new() -> Self {
        Self { terminal: stderr().is_terminal(), shown: 0, next: Instant::now() }
    }

    /// Nothing shown yet, and never over what was said before: a command writes there, too.
    pub fn beside_a_command() -> Self {
        Self { terminal: false, ..Self::new() }
    }

    /// Shows all experiments, when it is time.
    pub fn show(&mut self, engine: &Engine, active: &[&Active]) {
        if active.is_empty() || !self.is_due() {
            return;
        }
        let mut text = Vec::new();
        for one in active {
            let Ok(counts) = engine.counts(one) else { continue };
            let left = engine.leases().remaining(one.run.lease).unwrap_or_default();
            for line in lines(&FaultProgress::sums(&counts), left, one.plan.dry_run) {
                text.push(format!("{}: {line}", one.plan.name));
            }
        }
        self.print(&text);
    }

    /// Is it time to show something?
    pub fn is_due(&self) -> bool {
        Instant::now() >= self.next
    }

    /// Shows these lines in the place of the last ones.
    pub fn print(&mut self, text: &[String]) {
        self.next = Instant::now() + Duration::from_millis(if self.terminal { 500 } else { 10_000 });
        self.clear();
        self.shown = if self.terminal { text.len() } else { 0 };
        let mut stderr = stderr().lock();
        for line in text {
            // At once: a command may write there, too.
            let _closed_stderr = stderr.write_all(format!("{line}\n").as_bytes());
        }
    }

    /// Takes the lines off the terminal.
    pub fn clear(&mut self) {
        let mut stderr = stderr().lock();
        for _ in 0..std::mem::take(&mut self.shown) {
            // Up one line, clear it (ECMA-48 CUU, EL).
            let _closed_stderr = write!(stderr, "\x1b[1A\x1b[2K");
        }
    }
}

//! A phase: the probes of an experiment while they run.

use super::{check::Check, tally::Tally};
use crate::observe::PhaseReport;
use std::{
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{self, RecvTimeoutError},
    },
    time::{Duration, Instant},
};

/// How one probe is run.
#[derive(Clone, Debug)]
pub struct Schedule {
    /// What is asked.
    pub check: Check,
    /// From the begin of one run to that of the next.
    pub every: Duration,
    /// How long one run may take.
    pub timeout: Duration,
    /// So many failures in a row are a failure.
    pub failures: u32,
}

/// One probe's part.
struct Part {
    /// Index of the probe.
    probe: usize,
    tally: Arc<Mutex<Tally>>,
    /// Dropped, it ends the thread after its current run, for which nobody waits.
    _stop: mpsc::Sender<()>,
}

/// Probes that run. Dropped or ended, no result counts any more.
pub struct Phase {
    name: &'static str,
    parts: Vec<Part>,
}

fn locked(tally: &Mutex<Tally>) -> std::sync::MutexGuard<'_, Tally> {
    tally.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Phase {
    /// Starts the probes, given by their indices; each is run for the first time at once. An answer that comes after `until` belongs
    /// to another phase and is not counted.
    ///
    /// # Errors
    /// Where no thread can be made.
    pub fn start(name: &'static str, probes: Vec<(usize, Schedule)>, until: Option<Instant>) -> std::io::Result<Self> {
        let mut parts = Vec::new();
        for (probe, schedule) in probes {
            let tally = Arc::new(Mutex::new(Tally::default()));
            let (stop, stopped) = mpsc::channel();
            let shared = Arc::clone(&tally);
            let thread = std::thread::Builder::new().name("probe".to_owned());
            thread.spawn(move || repeat(&schedule, &shared, &stopped, until))?;
            parts.push(Part { probe, tally, _stop: stop });
        }
        Ok(Self { name, parts })
    }

    /// The first probe that has failed.
    #[must_use]
    pub fn failed(&self) -> Option<usize> {
        self.parts.iter().find(|part| locked(&part.tally).failed()).map(|part| part.probe)
    }

    /// Every probe has succeeded once or failed.
    #[must_use]
    pub fn decided(&self) -> bool {
        self.parts.iter().all(|part| locked(&part.tally).decided())
    }

    /// Ends it without waiting for runs that have no answer yet: they are not counted. The reports by probe.
    #[must_use]
    pub fn end(self) -> Vec<(usize, PhaseReport)> {
        let reports = self.parts.into_iter().map(|part| {
            let tally = std::mem::take(&mut *locked(&part.tally));
            tally.report(self.name).map(|report| (part.probe, report))
        });
        reports.flatten().collect()
    }
}

fn repeat(schedule: &Schedule, tally: &Mutex<Tally>, stopped: &mpsc::Receiver<()>, until: Option<Instant>) {
    let mut next = Instant::now();
    loop {
        let result = schedule.check.ask(schedule.timeout);
        let late = until.is_some_and(|until| Instant::now() >= until);
        if late || stopped.try_recv() == Err(mpsc::TryRecvError::Disconnected) {
            return;
        }
        locked(tally).book(result, schedule.failures);
        // A run that took longer than the interval delays the next ones; they do not pile up.
        next = (next + schedule.every).max(Instant::now());
        let wait = next.saturating_duration_since(Instant::now());
        if stopped.recv_timeout(wait) == Err(RecvTimeoutError::Disconnected) {
            return;
        }
    }
}

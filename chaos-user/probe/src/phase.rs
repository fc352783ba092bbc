//! A phase: the probes of an experiment while they run.

use super::{
    check::Check,
    places::{Places, runtime},
    tally::Tally,
};
use chaos_outcome::PhaseReport;
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};
use tokio::task::AbortHandle;

/// How one probe is run.
#[derive(Clone)]
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
    task: AbortHandle,
}

impl Drop for Part {
    /// Ends the run that is under way, for which nobody waits.
    fn drop(&mut self) {
        self.task.abort();
    }
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
    pub fn start(
        name: &'static str,
        probes: Vec<(usize, Schedule)>,
        until: Option<Instant>,
        places: &Places,
    ) -> std::io::Result<Self> {
        if probes.is_empty() {
            return Ok(Self { name, parts: Vec::new() });
        }
        let runtime = runtime()?;
        let each = probes.into_iter().map(|(probe, schedule)| {
            let tally = Arc::new(Mutex::new(Tally::default()));
            let task = runtime.spawn(repeat(schedule, Arc::clone(&tally), until, places.clone()));
            Part { probe, tally, task: task.abort_handle() }
        });
        Ok(Self { name, parts: each.collect() })
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
        let reports = self.parts.iter().map(|part| {
            part.task.abort();
            let tally = std::mem::take(&mut *locked(&part.tally));
            tally.report(self.name).map(|report| (part.probe, report))
        });
        reports.flatten().collect()
    }
}

async fn repeat(schedule: Schedule, tally: Arc<Mutex<Tally>>, until: Option<Instant>, places: Places) {
    let mut next = Instant::now();
    loop {
        let place = places.take().await;
        let begin = Instant::now();
        // On the heap, and only while it is asked: ten thousand tasks that sleep are small.
        let result = Box::pin(schedule.check.ask(schedule.timeout)).await;
        place.give_back(begin.elapsed());
        if until.is_some_and(|until| Instant::now() >= until) {
            return;
        }
        locked(&tally).book(result, schedule.failures);
        // A run that took longer than the interval delays the next ones; they do not pile up.
        next = (next + schedule.every).max(Instant::now());
        tokio::time::sleep_until(next.into()).await;
    }
}

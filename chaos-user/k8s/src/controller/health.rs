//! What the controller answers over HTTP: whether it lives, and how much it does.

use crate::{api::Experiment, beat::Beat, lists::Lists, serve::Answers};
use kube::runtime::reflector::Store;
use prometheus_client::{
    encoding::text::encode,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};
use std::{
    collections::BTreeMap,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

/// A candidate that has not tried for the Lease for so long hangs: longer than the API client waits for an answer.
const HUNG: Duration = Duration::from_secs(330);

/// Labels of a metric.
type Labels = Vec<(&'static str, String)>;

/// What it has done.
#[derive(Debug)]
pub struct Counts {
    reconciled: Family<Labels, Counter>,
    took: Histogram,
}

impl Default for Counts {
    fn default() -> Self {
        let buckets = [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0];
        Self { reconciled: Family::default(), took: Histogram::new(buckets) }
    }
}

impl Counts {
    /// Looked at an experiment.
    pub fn reconciled(&self, took: Duration, well: bool) {
        let result = if well { "ok" } else { "error" };
        self.reconciled.get_or_create(&vec![("result", result.to_owned())]).inc();
        self.took.observe(took.as_secs_f64());
    }
}

/// What is known for answering.
#[derive(Default)]
pub struct Health {
    /// Of the candidate for the Lease.
    pub beat: Beat,
    /// The API server has answered once.
    pub reached: AtomicBool,
    /// This replica leads.
    pub leads: AtomicBool,
    /// The experiments, once it leads.
    pub experiments: OnceLock<Store<Experiment>>,
    /// What it has done.
    pub counts: Arc<Counts>,
    /// What the API server serves.
    pub lists: Lists,
}

impl Answers for Health {
    fn alive(&self) -> Result<(), String> {
        let age = self.beat.age();
        if age > HUNG { Err(format!("no try for the Lease for {} s", age.as_secs())) } else { Ok(()) }
    }

    fn ready(&self) -> Result<(), String> {
        if self.reached.load(Ordering::Relaxed) {
            self.lists.all_served()
        } else {
            Err("the API server has not answered yet".to_owned())
        }
    }

    fn metrics(&self) -> String {
        self.metrics_with(self.by_phase())
    }
}

impl Health {
    fn metrics_with(&self, experiments_by_phase: BTreeMap<String, i64>) -> String {
        let mut registry = Registry::with_prefix("chaos_controller");
        let leads = Gauge::<i64>::default();
        leads.set(self.leads.load(Ordering::Relaxed).into());
        registry.register("leader", "1 while this replica leads", leads);
        let experiments = Family::<Labels, Gauge>::default();
        for (phase, count) in experiments_by_phase {
            experiments.get_or_create(&vec![("phase", phase)]).set(count);
        }
        registry.register("experiments", "Experiments by phase", experiments);
        registry.register("reconciles", "Looks at experiments, by result", self.counts.reconciled.clone());
        registry.register("reconcile_seconds", "How long a look took", self.counts.took.clone());
        let mut text = String::new();
        // Writing to a String does not fail.
        let _written = encode(&mut text, &registry);
        text
    }

    fn by_phase(&self) -> BTreeMap<String, i64> {
        let mut phases = BTreeMap::new();
        for one in self.experiments.get().map(Store::state).into_iter().flatten() {
            let phase = one.status.as_ref().map(|status| status.phase).unwrap_or_default();
            *phases.entry(format!("{phase:?}")).or_default() += 1;
        }
        phases
    }
}

/// What /metrics answers of a controller that has looked at one experiment, for the reference: a family without an
/// instance would have no labels to show.
#[must_use]
pub fn example() -> String {
    let health = Health::default();
    health.counts.reconciled(Duration::ZERO, true);
    health.metrics_with(BTreeMap::from([("PHASE".to_owned(), 0)]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_metrics_tell_what_was_done() {
        let health = Health::default();
        health.leads.store(true, Ordering::Relaxed);
        health.counts.reconciled(Duration::from_millis(20), true);
        health.counts.reconciled(Duration::from_millis(20), false);
        let text = health.metrics();
        for line in [
            "chaos_controller_leader 1",
            r#"chaos_controller_reconciles_total{result="error"} 1"#,
            "chaos_controller_reconcile_seconds_count 2",
        ] {
            assert!(text.lines().any(|one| one == line), "{line} is not in\n{text}");
        }
        assert!(health.ready().is_err());
    }
}

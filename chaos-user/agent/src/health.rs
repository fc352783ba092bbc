//! What the agent answers over HTTP: whether its threads live, and what it has counted.

use super::input::NodeState;
use chaos_k8s::{beat::Beat, lists::Lists, serve::Answers};
use prometheus_client::{
    encoding::text::encode,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};
use std::{sync::atomic::AtomicU64, time::Duration};
use tokio::sync::watch;

/// A thread that has not been round for so long hangs: attaching to many targets takes seconds, never so long.
const HUNG: Duration = Duration::from_secs(30);

/// Labels of a metric.
type Labels = Vec<(&'static str, String)>;

/// What is known for answering.
pub struct Health {
    /// Of the thread that owns the engine.
    pub worker: Beat,
    /// Of the thread that renews the leases.
    pub lease: Beat,
    /// What the worker said last.
    pub state: watch::Receiver<NodeState>,
    /// What the API server serves.
    pub lists: Lists,
}

impl Answers for Health {
    fn alive(&self) -> Result<(), String> {
        for (name, beat) in [("engine", &self.worker), ("lease", &self.lease)] {
            let age = beat.age();
            if age > HUNG {
                return Err(format!("the thread {name} has not been round for {} s", age.as_secs()));
            }
        }
        Ok(())
    }

    fn ready(&self) -> Result<(), String> {
        if !self.state.borrow().listed {
            self.lists.all_served()?;
            return Err("the API server has not listed everything yet".to_owned());
        }
        self.lists.all_served()
    }

    fn metrics(&self) -> String {
        let mut text = String::new();
        // Writing to a String does not fail.
        let _written = encode(&mut text, &registry(&self.state.borrow(), self.lease.age()));
        text
    }
}

/// What /metrics answers of an agent that has counted one fault and one error, for the reference: a family without an
/// instance would have no labels to show.
#[must_use]
pub fn example() -> String {
    let mut state = NodeState::default();
    state.counts.insert(("NAMESPACE/NAME".to_owned(), "FAULT".to_owned()), (0, 0, 0));
    state.errors.insert("CATEGORY", 0);
    let mut text = String::new();
    // Writing to a String does not fail.
    let _written = encode(&mut text, &registry(&state, Duration::ZERO));
    text
}

fn registry(state: &NodeState, lease_age: Duration) -> Registry {
    let mut registry = Registry::with_prefix("chaos_agent");
    let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    let gauge = |registry: &mut Registry, name: &str, help: &str, value: i64| {
        let gauge = Gauge::<i64>::default();
        gauge.set(value);
        registry.register(name, help, gauge);
    };
    gauge(&mut registry, "experiments_active", "Experiments that act on this node", number(state.active.len()));
    gauge(&mut registry, "faults_active", "Faults of these", number(state.faults));
    gauge(&mut registry, "targets", "Pods and containers under them", number(state.targets));
    gauge(&mut registry, "locked", "1 while nothing may start here", i64::from(state.locked.is_some()));
    let lease = Gauge::<f64, AtomicU64>::default();
    lease.set(lease_age.as_secs_f64());
    registry.register("lease_age_seconds", "Since the leases were renewed; at 2 the faults end", lease);
    let kinds = [("matched", "Packets that agreed with a fault"), ("injected", "Packets that were hit")];
    let families = kinds.map(|(name, help)| {
        let family = Family::<Labels, Counter>::default();
        registry.register(name, help, family.clone());
        family
    });
    let skipped = Family::<Labels, Counter>::default();
    registry.register("skipped", "Packets that agreed and were not hit", skipped.clone());
    for ((experiment, fault), (matched, injected, passed)) in &state.counts {
        let labels: Labels = vec![("experiment", experiment.clone()), ("fault", fault.clone())];
        for (family, value) in families.iter().chain([&skipped]).zip([matched, injected, passed]) {
            family.get_or_create(&labels).inc_by(*value);
        }
    }
    let errors = Family::<Labels, Counter>::default();
    registry.register("errors", "Experiments that could not be served, by category", errors.clone());
    for (category, count) in &state.errors {
        errors.get_or_create(&vec![("category", (*category).to_owned())]).inc_by(*count);
    }
    registry
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_metrics_tell_what_was_counted() {
        let mut state = NodeState { active: vec!["shop/slow".to_owned()], faults: 1, ..NodeState::default() };
        state.counts.insert(("shop/slow".to_owned(), "fault-0".to_owned()), (10, 4, 6));
        state.errors.insert("refused", 2);
        let mut text = String::new();
        encode(&mut text, &registry(&state, Duration::from_millis(250))).unwrap();
        for line in [
            "chaos_agent_experiments_active 1",
            "chaos_agent_lease_age_seconds 0.25",
            r#"chaos_agent_injected_total{experiment="shop/slow",fault="fault-0"} 4"#,
            r#"chaos_agent_skipped_total{experiment="shop/slow",fault="fault-0"} 6"#,
            r#"chaos_agent_errors_total{category="refused"} 2"#,
        ] {
            assert!(text.lines().any(|one| one == line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn a_thread_that_hangs_is_told() {
        let (_sender, state) = watch::channel(NodeState::default());
        let health = Health { worker: Beat::default(), lease: Beat::default(), state, lists: Lists::default() };
        health.worker.now();
        // The other thread was never round since the machine booted.
        assert_eq!(health.alive().is_err(), health.lease.age() > HUNG);
        health.lease.now();
        assert_eq!(health.alive(), Ok(()));
        assert!(health.ready().unwrap_err().contains("listed"));
    }
}

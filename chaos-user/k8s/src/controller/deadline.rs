//! The start deadline: an experiment whose faults have not begun by then never begins, and what keeps it from beginning is said.

use super::{condition, decide::Decision, outcome};
use crate::{
    api::{Experiment, ExperimentStatus, INJECTED, Injection, InjectionPhase, Phase, REVERTED, Stop},
    lists::of_request,
    text::cut,
    time::time,
    undeclared::undeclared,
};
use chaos_outcome::Verdict;
use serde_json::Value;
use std::time::{Duration, SystemTime};

/// Where the experiment says nothing.
const DEFAULT: Duration = Duration::from_secs(60);

/// What keeps the nodes from being told.
#[derive(Debug)]
pub enum Hindrance {
    /// The API server refused, or did not answer.
    Api(kube::Error),
    /// The API server did not take this field: it stands for what the definitions do not have.
    Pruned(String),
}

impl From<kube::Error> for Hindrance {
    fn from(error: kube::Error) -> Self {
        undeclared(&error).map_or(Self::Api(error), Self::Pruned)
    }
}

impl Hindrance {
    /// As a sentence.
    #[must_use]
    pub fn obstacle(&self) -> Obstacle {
        match self {
            Self::Api(error) => Obstacle { text: of_request(error), reason: "CannotInject" },
            Self::Pruned(field) => Obstacle {
                text: format!(
                    "{field}: the API server does not take it; the definitions are older than the controller: apply the CRDs"
                ),
                reason: DEFINITIONS,
            },
        }
    }
}

const DEFINITIONS: &str = "DefinitionsTooOld";

/// The same, between two looks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Obstacle {
    /// The cause and, where one is known, the remedy.
    pub text: String,
    /// As a condition's reason.
    pub reason: &'static str,
}

/// How it stands with the start.
#[derive(Clone, Debug, Default)]
pub struct Start {
    /// Since the controller first wanted to tell the nodes, whichever replica that was.
    pub waited: Duration,
    /// What kept it from telling them when it tried last.
    pub obstacle: Option<Obstacle>,
}

/// The first field of what was sent that what came back does not have.
#[must_use]
pub fn pruned(sent: &Value, back: &Value, at: &str) -> Option<String> {
    match (sent, back) {
        (Value::Object(sent), Value::Object(back)) => sent.iter().find_map(|(name, value)| {
            let at = format!("{at}.{name}");
            match back.get(name) {
                Some(back) => pruned(value, back, &at),
                None => Some(at),
            }
        }),
        (Value::Array(sent), Value::Array(back)) => sent.iter().enumerate().find_map(|(index, value)| {
            let at = format!("{at}[{index}]");
            back.get(index).map_or_else(|| Some(at.clone()), |back| pruned(value, back, &at))
        }),
        _ => None,
    }
}

/// How long ago an earlier look, or another replica, began to wait: since then the condition says that nothing is injected.
#[must_use]
pub fn carried(status: &ExperimentStatus, now: SystemTime) -> Duration {
    let since = status.conditions.iter().find(|one| one.type_ == INJECTED && one.status == "False");
    since.map_or(Duration::ZERO, |one| now.duration_since(one.last_transition_time.0.into()).unwrap_or_default())
}

/// What an order that is there lacks of what is asked: another replica sent it, and did not live to see what came back.
fn dropped(existing: &[Injection], decision: &Decision) -> Option<Obstacle> {
    let field = decision.injections.iter().find_map(|new| {
        let old = existing.iter().find(|old| old.metadata.name == new.metadata.name)?;
        if old.spec.faults == new.spec.faults {
            return None;
        }
        let json = |one: &Injection| serde_json::to_value(&one.spec.faults).unwrap_or_default();
        pruned(&json(new), &json(old), "spec.faults")
    })?;
    Some(Hindrance::Pruned(field).obstacle())
}

/// Had the nodes been told to begin before this look? A status alone does not say so where something keeps the orders from being written.
fn begun(experiment: &Experiment, existing: &[Injection], start: &Start) -> bool {
    let started = experiment.status.as_ref().is_some_and(|status| status.started_at.is_some());
    (started && start.obstacle.is_none()) || existing.iter().any(|one| one.spec.start)
}

/// What was decided, unless it may not begin any more; and the condition that says what it waits for.
#[must_use]
pub fn within(
    experiment: &Experiment,
    existing: &[Injection],
    mut decision: Decision,
    start: &Start,
    now: SystemTime,
) -> Decision {
    if decision.injections.is_empty() || decision.status.phase.is_over() || begun(experiment, existing, start) {
        return decision;
    }
    let limit = experiment.spec.start_deadline.map_or(DEFAULT, |limit| limit.get());
    let told = start.obstacle.clone().filter(|one| one.reason == DEFINITIONS);
    if let Some(obstacle) = told.or_else(|| dropped(existing, &decision)) {
        return never(experiment, existing, decision, obstacle.text, now);
    }
    if start.waited >= limit {
        let cause = start.obstacle.as_ref().map_or_else(|| not_ready(existing), |one| one.text.clone());
        let limit = humantime::format_duration(limit);
        let text = format!("the faults had not begun within {limit} (spec.startDeadline): {cause}");
        return never(experiment, existing, decision, text, now);
    }
    if decision.status.started_at.is_none() {
        let reason = start.obstacle.as_ref().map_or("Preparing", |one| one.reason);
        let text = start.obstacle.as_ref().map(|one| one.text.as_str()).unwrap_or_default();
        let generation = experiment.metadata.generation;
        condition::set(&mut decision.status.conditions, now, generation, (INJECTED, false), reason, text);
        let left = limit - start.waited;
        decision.again = Some(decision.again.map_or(left, |again| again.min(left)));
    }
    decision
}

/// Ends it: nodes that have been told to prepare are told to stop, and no further one is told anything.
fn never(
    experiment: &Experiment,
    existing: &[Injection],
    mut decision: Decision,
    reason: String,
    now: SystemTime,
) -> Decision {
    // What a node refused is why it has not begun, more than that time is over.
    let (verdict, reason) = match outcome::troubles(existing).into_iter().next() {
        Some((InjectionPhase::Refused, text)) => (Verdict::Refused, text),
        Some((InjectionPhase::Unsupported, text)) => (Verdict::Unsupported, text),
        _ => (Verdict::Error, reason),
    };
    let status = &mut decision.status;
    (status.phase, status.verdict) = (Phase::Failed, Some(verdict));
    (status.started_at, status.ends_at, status.ended_at) = (None, None, time(now));
    let generation = experiment.metadata.generation;
    condition::set(&mut status.conditions, now, generation, (INJECTED, false), "NeverBegun", &reason);
    condition::set(&mut status.conditions, now, generation, (REVERTED, true), "Over", "");
    status.reason = cut(&reason, 4096);
    let known = |one: &&mut Injection| existing.iter().any(|old| old.metadata.name == one.metadata.name);
    decision.injections.retain_mut(|one| known(&one));
    for one in &mut decision.injections {
        (one.spec.start, one.spec.stop) = (false, Some(Stop::Abort));
    }
    decision.sets.objects.clear();
    (decision.probe, decision.again) = (None, None);
    decision
}

fn not_ready(existing: &[Injection]) -> String {
    let ready = |one: &&Injection| one.status.as_ref().is_some_and(|status| status.observed_generation.is_some());
    let nodes: Vec<&str> = existing.iter().filter(|one| !ready(one)).map(|one| one.spec.node_name.as_str()).collect();
    if nodes.is_empty() {
        "the nodes were not all ready".to_owned()
    } else {
        format!("no answer of: {}", nodes.join(", "))
    }
}

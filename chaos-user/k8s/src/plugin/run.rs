//! `run`: makes experiments, follows them to their end, and brings their reports.

use super::{
    Show,
    cluster::Cluster,
    follow::Follower,
    gather::gather,
    submit,
    words::{phase, title},
};
use crate::api::{Experiment, STOP};
use chaos_outcome::EngineError;
use chaos_outcome::{ExitCode, FaultProgress, Report, lines};
use chaos_spec::Parsed;
use kube::{Api, ResourceExt, api::DeleteParams};
use std::time::{Duration, Instant};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::interval,
};

/// How often the time that is left is shown anew.
const TICK: Duration = Duration::from_millis(500);
/// So long an experiment may wait for a controller to look at it.
const UNSEEN: Duration = Duration::from_secs(60);
/// So much longer than its duration an experiment may take: it is prepared before, and taken away after.
const LATE: Duration = Duration::from_secs(300);

/// What is asked of a run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wish {
    /// Match, decide and count only.
    pub dry_run: bool,
    /// Delete each experiment after its end.
    pub delete: bool,
}

/// The reports of those that came to their end, and the exit codes of what else went wrong, which has been said.
///
/// # Errors
/// Where nothing was made.
pub async fn run(
    cluster: &Cluster,
    parsed: &[Parsed],
    wish: Wish,
    show: &mut dyn Show,
) -> Result<(Vec<Report>, Vec<ExitCode>), EngineError> {
    let objects = submit::objects(cluster, parsed, wish.dry_run)?;
    for one in parsed {
        one.warnings
            .iter()
            .for_each(|warning| show.say(&format!("warning: {}: {warning}", one.experiment.metadata.name)));
    }
    submit::try_all(cluster, parsed, &objects).await?;
    let mut signals = Signals::catch().map_err(|error| EngineError::Failed(format!("catch signals: {error}")))?;
    let mut made = Vec::new();
    for (parsed, object) in parsed.iter().zip(&objects) {
        match submit::create(cluster, parsed, object, false).await {
            Ok(experiment) => made.push(experiment),
            Err(error) => {
                // All or none, as on one machine.
                abort(cluster, &made, show).await;
                return Err(error);
            }
        }
    }
    let mut all: Vec<Followed> = made.into_iter().map(Followed::new).collect();
    let mut codes = follow(cluster, &mut all, &mut signals, show).await?;
    let mut reports = Vec::new();
    for one in all.iter().filter(|one| one.stage == Stage::Over) {
        match cluster.injections(&one.experiment).await {
            Ok(injections) => reports.push(gather(&one.experiment, &injections)),
            Err(error) => {
                show.say(&error.to_string());
                reports.push(gather(&one.experiment, &[]));
                codes.push(ExitCode::Error);
            }
        }
        if wish.delete
            && let Err(error) = delete(cluster, &one.experiment).await
        {
            show.say(&error.to_string());
            codes.push(ExitCode::Error);
        }
    }
    Ok((reports, codes))
}

/// Where one stands for this run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Open,
    Over,
    /// Followed no longer: deleted by somebody, or given up.
    Left,
}

struct Followed {
    experiment: Experiment,
    stage: Stage,
    since: Instant,
    /// When its start was seen: this machine's clock may differ from the cluster's.
    started: Option<Instant>,
}

impl Followed {
    fn new(experiment: Experiment) -> Self {
        Self { experiment, stage: Stage::Open, since: Instant::now(), started: None }
    }

    /// Takes in what has changed; what is to be said of it.
    fn take(&mut self, found: Option<Experiment>) -> Option<String> {
        let Some(found) = found else {
            self.stage = Stage::Left;
            return Some(format!("{} was deleted; its faults are taken away", title(&self.experiment)));
        };
        let before = phase(&self.experiment);
        self.experiment = found;
        let now = phase(&self.experiment);
        if self.started.is_none() && self.status_has_start() {
            self.started = Some(Instant::now());
        }
        if now.is_over() {
            self.stage = Stage::Over;
        }
        (before != now).then(|| self.headline())
    }

    fn status_has_start(&self) -> bool {
        self.experiment.status.as_ref().is_some_and(|status| status.started_at.is_some())
    }

    /// `shop/cut: Injected, 2 of 3 targets`.
    fn headline(&self) -> String {
        let status = self.experiment.status.clone().unwrap_or_default();
        let place = format!("{}: {:?}", title(&self.experiment), status.phase);
        match status.verdict {
            Some(verdict) => format!("{place}, {verdict:?}"),
            None => {
                let summary = status.summary;
                format!("{place}, {} of {} targets injected", summary.injected, summary.selected)
            }
        }
    }

    fn live(&self) -> Vec<String> {
        let head = self.headline();
        let Some(started) = self.started else { return vec![head] };
        let status = self.experiment.status.clone().unwrap_or_default();
        let left = self.experiment.spec.duration.get().saturating_sub(started.elapsed());
        let faults: Vec<FaultProgress> = status
            .faults
            .iter()
            .map(|sum| FaultProgress {
                name: sum.name.clone(),
                matched: sum.matched,
                injected: sum.injected,
                skipped: sum.skipped,
                would_inject: sum.would_inject,
            })
            .collect();
        let lines = lines(&faults, left, self.experiment.spec.dry_run);
        lines.into_iter().map(|line| format!("{head}  {line}")).collect()
    }

    /// Why it is followed no longer, though it is not over.
    fn given_up(&self) -> Option<String> {
        let seen = self.experiment.status.as_ref().is_some_and(|status| status.observed_generation.is_some());
        let place = title(&self.experiment);
        if !seen && self.since.elapsed() > UNSEEN {
            return Some(format!(
                "{place}: no controller has looked at it within {}; see that the chaos-controller runs",
                humantime::format_duration(UNSEEN)
            ));
        }
        (self.since.elapsed() > self.experiment.spec.duration.get() + LATE).then(|| {
            format!("{place}: is not over although its time is; its faults have ended, see kubectl chaos describe")
        })
    }
}

async fn follow(
    cluster: &Cluster,
    all: &mut [Followed],
    signals: &mut Signals,
    show: &mut dyn Show,
) -> Result<Vec<ExitCode>, EngineError> {
    let experiments: Vec<Experiment> = all.iter().map(|one| one.experiment.clone()).collect();
    let mut follower = Follower::of(cluster, &experiments);
    let mut ticks = interval(TICK);
    let mut codes = Vec::new();
    let mut stopping = false;
    while all.iter().any(|one| one.stage == Stage::Open) {
        let mut said = None;
        tokio::select! {
            event = follower.next(show) => {
                let (index, found) = event?;
                let Some(one) = all.get_mut(index).filter(|one| one.stage == Stage::Open) else { continue };
                said = one.take(found);
                if one.stage == Stage::Left {
                    codes.push(ExitCode::Aborted);
                }
            }
            () = signals.next() => {
                show.live(&[]);
                if stopping {
                    show.say("left; what still runs ends by its own deadline: see kubectl chaos list");
                    codes.push(ExitCode::Aborted);
                    return Ok(codes);
                }
                stopping = true;
                show.say("stopping; once more leaves without waiting");
                abort(cluster, &open(all), show).await;
            }
            _ = ticks.tick() => {}
        }
        if let Some(line) = said {
            show.live(&[]);
            show.say(&line);
        }
        for one in all.iter_mut().filter(|one| one.stage == Stage::Open) {
            if let Some(why) = one.given_up() {
                show.live(&[]);
                show.say(&why);
                one.stage = Stage::Left;
                codes.push(ExitCode::Error);
                // It must not begin when nobody looks any more.
                abort(cluster, std::slice::from_ref(&one.experiment), show).await;
            }
        }
        let live = all.iter().filter(|one| one.stage == Stage::Open).flat_map(Followed::live);
        show.live(&live.collect::<Vec<_>>());
    }
    show.live(&[]);
    Ok(codes)
}

fn open(all: &[Followed]) -> Vec<Experiment> {
    all.iter().filter(|one| one.stage == Stage::Open).map(|one| one.experiment.clone()).collect()
}

/// Asks for the end of these; what goes wrong is said.
async fn abort(cluster: &Cluster, experiments: &[Experiment], show: &mut dyn Show) {
    let asked = experiments.iter().map(|one| cluster.annotate(one, STOP, "abort"));
    for error in futures::future::join_all(asked).await.into_iter().filter_map(Result::err) {
        show.say(&error.to_string());
    }
}

async fn delete(cluster: &Cluster, experiment: &Experiment) -> Result<(), EngineError> {
    let namespace = experiment.namespace();
    let api: Api<Experiment> = cluster.api(namespace.as_deref());
    let asked = super::error::Asked { verb: "delete", resource: "experiments", namespace: namespace.as_deref() };
    cluster.call(asked, api.delete(&experiment.name_any(), &DeleteParams::default())).await.map(drop)
}

/// What ends a run early.
struct Signals([Signal; 3]);

impl Signals {
    fn catch() -> std::io::Result<Self> {
        let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
        let [interrupt, terminate, hangup] = kinds.map(signal);
        Ok(Self([interrupt?, terminate?, hangup?]))
    }

    async fn next(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn experiment(status: Value) -> Experiment {
        let spec = json!({ "duration": "30s", "selector": { "pods": { "all": true } }, "faults": [] });
        let metadata = json!({ "namespace": "shop", "name": "cut" });
        serde_json::from_value(json!({ "metadata": metadata, "spec": spec, "status": status })).unwrap()
    }

    #[test]
    fn each_phase_is_said_once_and_the_end_is_seen() {
        let mut one = Followed::new(experiment(json!(null)));
        assert_eq!(one.live(), ["shop/cut: Pending, 0 of 0 targets injected"]);
        let running = json!({
            "phase": "Injected", "startedAt": "2026-01-01T00:00:00Z", "summary": { "selected": 3, "injected": 2 },
            "faults": [{ "name": "loss", "matched": 1200, "injected": 7, "skipped": 1193 }]
        });
        let said = one.take(Some(experiment(running.clone())));
        assert_eq!(said.as_deref(), Some("shop/cut: Injected, 2 of 3 targets injected"));
        assert_eq!(one.take(Some(experiment(running))), None);
        let live = one.live().join("\n");
        assert!(
            live.starts_with("shop/cut: Injected, 2 of 3 targets injected  30s left  loss  matched 1,200"),
            "{live}"
        );
        let said = one.take(Some(experiment(json!({ "phase": "Finished", "verdict": "Pass" }))));
        assert_eq!((said.as_deref(), one.stage), (Some("shop/cut: Finished, Pass"), Stage::Over));
    }

    #[test]
    fn one_that_is_deleted_or_never_looked_at_is_left() {
        let mut one = Followed::new(experiment(json!(null)));
        assert_eq!(one.given_up(), None);
        one.since = Instant::now().checked_sub(UNSEEN + TICK).unwrap();
        assert!(one.given_up().unwrap().contains("no controller"));
        one.take(Some(experiment(json!({ "phase": "Injecting", "observedGeneration": 1 }))));
        assert_eq!(one.given_up(), None);
        assert!(one.take(None).unwrap().contains("was deleted"));
        assert_eq!(one.stage, Stage::Left);
    }
}

//! The controller: an Experiment becomes an Injection on each node that has targets, and what the nodes say becomes its status.
//!
//! It never talks to a node. Of several replicas one leads.

pub(crate) mod aside;
mod condition;
mod deadline;
mod decide;
mod events;
mod fan_out;
mod health;
mod known;
mod leader;
mod orphans;
mod outcome;
mod peers;
mod prober;
mod reach;
pub(crate) mod reconcile;
pub(crate) mod select;
mod tell;
#[cfg(test)]
mod tests;
mod valid;
pub(crate) mod world;

use crate::{
    api::{Experiment, Injection},
    lists::{of_request, of_watch, serves},
    place, serve,
};
use chaos_outcome::EngineError;
use events::Events;
use futures::{Stream, StreamExt, stream};
use health::Health;
pub use health::example as example_of_metrics;
use known::Known;
use kube::{
    Client,
    runtime::{
        Controller, WatchStreamExt,
        controller::{self, Action, Config},
        events::Reporter,
        reflector::ObjectRef,
        watcher::{self, watcher},
    },
};
use prober::Prober;
pub use reach::Allowed;
use reach::Maps;
use reconcile::{Context, MANAGER};
use std::{sync::Arc, time::Duration};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc::{Receiver, UnboundedSender},
    time::Instant,
};
use world::{Watched, api};

/// Experiments that are looked at beside each other.
const CONCURRENCY: u16 = 8;
/// How often changes of pods, Services and nodes have all experiments looked at: a large cluster is never still.
const CHANGES: Duration = Duration::from_millis(100);

/// What a controller is told on its command line.
#[derive(Clone, Debug)]
pub struct Options {
    /// Only this namespace; None: all.
    pub namespace: Option<String>,
    /// The namespace of its Lease.
    pub own_namespace: String,
    /// Its name among its replicas.
    pub identity: String,
    /// Where it tells its health and its metrics.
    pub ports: serve::Ports,
    /// What probes of every namespace reach beside their own.
    pub probe_allow: Vec<Allowed>,
}

/// Runs until SIGTERM, or until another leads.
///
/// # Errors
/// What keeps it from working at all.
pub fn run(options: Options) -> Result<(), EngineError> {
    place::supported()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.map_err(|e| EngineError::Failed(format!("start threads: {e}")))?;
    runtime.block_on(async {
        let client = Client::try_default();
        let client = client.await.map_err(|e| EngineError::Failed(format!("find the API server: {e}")))?;
        let failed = |e: std::io::Error| EngineError::Failed(format!("catch signals: {e}"));
        let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
        let health = Arc::new(Health::default());
        health.beat.now();
        let answers: Arc<dyn serve::Answers> = Arc::<Health>::clone(&health);
        serve::begin(options.ports, answers).await?;
        let candidate = leader::Candidate::new(
            client.clone(),
            &options.own_namespace,
            options.identity.clone(),
            Arc::clone(&health),
        );
        tokio::select! {
            result = lead(client, &options, &candidate, &health) => result?,
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        candidate.resign().await;
        Ok(())
    })
}

async fn lead(
    client: Client,
    options: &Options,
    candidate: &leader::Candidate,
    health: &Health,
) -> Result<(), EngineError> {
    candidate.lead().await;
    tracing::info!("{} leads", options.identity);
    let namespace = options.namespace.as_deref();
    let (changed, changes) = tokio::sync::mpsc::channel(1);
    let watched = Watched::start(&client, namespace, &changed, &health.lists);
    watched.ready().await;
    let reporter = Reporter { controller: MANAGER.into(), instance: Some(options.identity.clone()) };
    let seen = watched.clone();
    let context = Arc::new(Context {
        events: Events::new(client.clone(), reporter),
        client: client.clone(),
        watched,
        known: Known::default(),
        prober: Prober::new(Maps::new(move || seen.now(), options.probe_allow.clone())),
        counts: Arc::clone(&health.counts),
        lists: health.lists.clone(),
    });
    let (wanted, wants) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(injections(Arc::clone(&context), options.namespace.clone(), wanted));
    context.known.ready().await;
    let controller = Controller::new(api::<Experiment>(&client, namespace), watcher::Config::default());
    let experiments = controller.store();
    // A replica leads once.
    let _first = health.experiments.set(experiments);
    tokio::spawn(orphans::delete(Arc::clone(&context), options.namespace.clone()));
    let controller = controller
        .with_config(Config::default().concurrency(CONCURRENCY))
        .reconcile_on(stream::unfold(wants, |mut wants| async move { Some((wants.recv().await?, wants)) }))
        .reconcile_all_on(calmed(changes))
        .run(reconcile::reconcile, again, context)
        .for_each(|result| async {
            if let Err(error) = result {
                tracing::warn!("reconcile: {}", said(&error));
            }
        });
    tokio::select! {
        () = controller => Err(EngineError::Failed("the watch of experiments ended".to_owned())),
        () = candidate.keep() => Err(EngineError::Failed("another controller leads".to_owned())),
    }
}

/// In one line, and with the reason.
fn said(error: &controller::Error<kube::Error, watcher::Error>) -> String {
    match error {
        controller::Error::QueueError(error) => format!("watch Experiment: {}", of_watch(error)),
        controller::Error::ReconcilerFailed(error, on) => format!("{on}: {}", of_request(error)),
        other => crate::text::cut(&other.to_string(), 512),
    }
}

/// Follows the Injections, and says which experiments want a look.
async fn injections(context: Arc<Context>, namespace: Option<String>, wanted: UnboundedSender<ObjectRef<Experiment>>) {
    let all = api::<Injection>(&context.client, namespace.as_deref());
    let mut events = Box::pin(watcher(all, watcher::Config::default()).default_backoff());
    while let Some(event) = events.next().await {
        match event {
            // Whoever was to hear of it ends with this process.
            Ok(event) => {
                if serves(&event) {
                    context.lists.served("Injection");
                }
                context.known.learn(event).into_iter().for_each(|one| drop(wanted.send(one)));
            }
            Err(error) => context.lists.failed("Injection", &error),
        }
    }
}

/// The first change at once, those after it together.
fn calmed(changes: Receiver<()>) -> impl Stream<Item = ()> {
    stream::unfold((changes, Instant::now()), |(mut changes, next)| async move {
        tokio::time::sleep_until(next).await;
        changes.recv().await?;
        Some(((), (changes, Instant::now() + CHANGES)))
    })
}

fn again(_: Arc<Experiment>, _: &kube::Error, _: Arc<Context>) -> Action {
    Action::requeue(Duration::from_secs(1))
}

//! The controller: an Experiment becomes an Injection on each node that has targets, and what the nodes say becomes its status.
//!
//! It never talks to a node. Of several replicas one leads.

mod aside;
mod condition;
mod decide;
mod fan_out;
mod health;
mod leader;
mod orphans;
mod outcome;
mod peers;
mod prober;
pub(crate) mod reconcile;
pub(crate) mod select;
mod tell;
#[cfg(test)]
mod tests;
pub(crate) mod world;

use crate::{
    engine::EngineError,
    k8s::{
        api::{Experiment, Injection},
        serve,
    },
};
use futures::StreamExt;
use health::Health;
use kube::{
    Client,
    runtime::{
        Controller,
        controller::{Action, Config},
        events::{Recorder, Reporter},
        watcher,
    },
};
use prober::Prober;
use reconcile::{Context, MANAGER};
use std::{sync::Arc, time::Duration};
use tokio::signal::unix::{SignalKind, signal};
use world::{Watched, api};

/// Experiments that are looked at beside each other.
const CONCURRENCY: u16 = 8;

/// What a controller is told on its command line.
#[derive(Clone, Debug)]
pub struct Options {
    /// Only this namespace; None: all.
    pub namespace: Option<String>,
    /// The namespace of its Lease.
    pub own_namespace: String,
    /// Its name among its replicas.
    pub identity: String,
    /// Where it tells its health and its metrics; None: nowhere.
    pub port: Option<u16>,
}

/// Runs until SIGTERM, or until another leads.
///
/// # Errors
/// What keeps it from working at all.
pub fn run(options: Options) -> Result<(), EngineError> {
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
        if let Some(port) = options.port {
            let answers: Arc<dyn serve::Answers> = Arc::<Health>::clone(&health);
            tokio::spawn(serve::serve(serve::listen(port).await?, answers));
        }
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
    let (changed, mut changes) = tokio::sync::mpsc::channel(1);
    let watched = Watched::start(&client, namespace, &changed);
    watched.ready().await;
    let reporter = Reporter { controller: MANAGER.into(), instance: Some(options.identity.clone()) };
    let context = Arc::new(Context {
        recorder: Recorder::new(client.clone(), reporter),
        client: client.clone(),
        watched,
        prober: Prober::default(),
        counts: Arc::clone(&health.counts),
    });
    let all = futures::stream::poll_fn(move |context| changes.poll_recv(context));
    let controller = Controller::new(api::<Experiment>(&client, namespace), watcher::Config::default());
    let experiments = controller.store();
    // A replica leads once.
    let _first = health.experiments.set(experiments);
    tokio::spawn(orphans::delete(Arc::clone(&context), options.namespace.clone()));
    let controller = controller
        .owns(api::<Injection>(&client, namespace), watcher::Config::default())
        .with_config(Config::default().concurrency(CONCURRENCY))
        .reconcile_all_on(all)
        .run(reconcile::reconcile, again, context)
        .for_each(|result| async {
            if let Err(error) = result {
                tracing::warn!("reconcile: {error}");
            }
        });
    tokio::select! {
        () = controller => Err(EngineError::Failed("the watch of experiments ended".to_owned())),
        () = candidate.keep() => Err(EngineError::Failed("another controller leads".to_owned())),
    }
}

fn again(_: Arc<Experiment>, _: &kube::Error, _: Arc<Context>) -> Action {
    Action::requeue(Duration::from_secs(1))
}

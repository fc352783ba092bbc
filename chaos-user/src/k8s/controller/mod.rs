//! The controller: an Experiment becomes an Injection on each node that has targets, and what the nodes say becomes its status.
//!
//! It never talks to a node. Of several replicas one leads.

mod decide;
mod fan_out;
mod leader;
mod outcome;
mod peers;
pub(crate) mod reconcile;
pub(crate) mod select;
#[cfg(test)]
mod tests;
pub(crate) mod world;

use crate::{
    engine::EngineError,
    k8s::api::{Experiment, Injection},
};
use futures::StreamExt;
use kube::{
    Client,
    runtime::{
        Controller,
        controller::{Action, Config},
        events::{Recorder, Reporter},
        watcher,
    },
};
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
        let candidate = leader::Candidate::new(client.clone(), &options.own_namespace, options.identity.clone());
        tokio::select! {
            result = serve(client, &options, &candidate) => result?,
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        candidate.resign().await;
        Ok(())
    })
}

async fn serve(client: Client, options: &Options, candidate: &leader::Candidate) -> Result<(), EngineError> {
    candidate.lead().await;
    tracing::info!("{} leads", options.identity);
    let namespace = options.namespace.as_deref();
    let (changed, mut changes) = tokio::sync::mpsc::channel(1);
    let watched = Watched::start(&client, namespace, &changed);
    watched.ready().await;
    let reporter = Reporter { controller: MANAGER.into(), instance: Some(options.identity.clone()) };
    let context =
        Arc::new(Context { recorder: Recorder::new(client.clone(), reporter), client: client.clone(), watched });
    let all = futures::stream::poll_fn(move |context| changes.poll_recv(context));
    let controller = Controller::new(api::<Experiment>(&client, namespace), watcher::Config::default())
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

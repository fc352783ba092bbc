//! The node agent: applies the Injections of its node to the pods beside it.
//!
//! One thread owns the engine and blocks; what it hears comes from watches of the API server and from the kernel, what it says goes
//! to the API server. The lease has a thread of its own, as everywhere.

#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::print_stdout, clippy::print_stderr))]

mod again;
mod compile;
#[cfg(any(test, feature = "fuzz"))]
pub mod fuzz;
mod handover;
mod health;
mod input;
mod members;
mod node;
mod notebook;
mod part;
mod pods;
mod policy;
mod probed;
mod publish;
mod room;
mod share;
mod steps;
mod tell;
mod turn;
mod watch;
mod worker;

use chaos_engine::{Engine, own, reap::Reaped};
use chaos_host::{Host, pod::Pods};
use chaos_k8s::{beat::Beat, lists::Lists, place, serve};
use chaos_outcome::EngineError;
use chaos_sys::{
    births::{self, Births, Reader},
    memory,
};
use health::Health;
pub use health::example as example_of_metrics;
use input::{Input, NodeState};
use kube::Client;
use node::Node;
use policy::Policy;
use room::Room;
use std::{
    collections::BTreeSet,
    path::PathBuf,
    sync::{
        Arc,
        atomic::AtomicBool,
        mpsc::{Sender, channel},
    },
    thread,
    time::{Duration, Instant},
};
use tokio::signal::unix::{SignalKind, signal};
use turn::Turn;
use worker::{Parts, Worker};

/// What an agent is told on its command line.
#[derive(Clone, Debug)]
pub struct Options {
    /// The node's name at the API server.
    pub node: String,
    /// Only this namespace; None: all.
    pub namespace: Option<String>,
    /// The node's policy.
    pub policy: PathBuf,
    /// Where it tells its health and its metrics.
    pub ports: serve::Ports,
}

/// How long the process before this one may take to let its ports go.
const PORTS: Duration = Duration::from_secs(20);

/// Runs until SIGTERM.
///
/// # Errors
/// What keeps it from working at all: no policy that can be read, no API server's address, no rights.
pub fn run(options: Options) -> Result<(), EngineError> {
    place::supported()?;
    memory::be_frugal();
    // First of all: the process before this one waits for who stands by.
    let turn = Arc::new(Turn::open()?);
    let owns = turn.take()?;
    let (policy, digest) = Policy::read(&options.policy).map_err(EngineError::Failed)?;
    // Who stands by touches nothing that the other one owns, nor shares its programs, which may be of another version.
    let (engine, reaped) = if owns { Engine::open()? } else { (Engine::beside()?, Reaped::default()) };
    if !reaped.runs.is_empty() {
        tracing::warn!("removed what dead processes left: {}", reaped.runs.join(", "));
    }
    let host = Host::this().map_err(|problem| EngineError::Unsupported(problem.text))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.map_err(|e| EngineError::Failed(format!("start threads: {e}")))?;
    let client = runtime.block_on(async {
        Client::try_default().await.map_err(|e| EngineError::Failed(format!("find the API server: {e}")))
    })?;
    let (output, outputs) = tokio::sync::mpsc::unbounded_channel();
    let (to_worker, inputs) = channel();
    let room = Arc::new(Room::default());
    let births = listen(&to_worker, &room)?;
    let (state, states) = tokio::sync::watch::channel(NodeState::default());
    let beat = Beat::default();
    beat.now();
    let lists = Lists::default();
    let lease = Beat::new(engine.leases().renewed());
    let health = Health { worker: beat.clone(), lease, state: states.clone(), lists: lists.clone() };
    let prepared = Arc::new(AtomicBool::new(false));
    let parts = Parts {
        engine,
        finder: Pods::new(host),
        policy,
        addresses: own::addresses(&BTreeSet::new())?,
        births,
        room,
        output,
        beat,
        turn: Arc::clone(&turn),
        owns,
        prepared: Arc::clone(&prepared),
    };
    let worker = named("engine", move || Worker::new(parts).run(&inputs))?;
    runtime.block_on(async {
        let answered = answer(options.ports, Arc::new(health), owns, states);
        let node = Node { name: options.node.clone(), policy: digest, owns, prepared };
        let publisher = tokio::spawn(publish::publish(client.clone(), node, state, outputs));
        let scope = watch::Scope { node: options.node, namespace: options.namespace };
        tokio::select! {
            () = watch::watch(client, scope, to_worker.clone(), &lists) => {}
            result = answered => result?,
            result = terminated(&turn) => result?,
        }
        // It may be gone already.
        let _ends_anyway = to_worker.send(Input::End);
        let _panicked = publisher.await;
        Ok::<(), EngineError>(())
    })?;
    worker.join().map_err(|_| EngineError::Failed("the engine's thread panicked".into()))
}

/// Answers over HTTP once this process owns: until then another one does, at the same ports, which it lets go as it ends.
async fn answer(
    ports: serve::Ports,
    health: Arc<Health>,
    owns: bool,
    mut states: tokio::sync::watch::Receiver<NodeState>,
) -> Result<(), EngineError> {
    // Its sender goes with this process.
    let _gone = owns || states.wait_for(|state| state.owns).await.is_ok();
    let since = Instant::now();
    loop {
        match serve::begin(ports, Arc::<Health>::clone(&health)).await {
            Ok(()) => return std::future::pending().await,
            // Also one that does not say whose turn it is: a version before that.
            Err(error) if since.elapsed() > PORTS => return Err(error),
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

async fn terminated(turn: &Turn) -> Result<(), EngineError> {
    let failed = |e: std::io::Error| EngineError::Failed(format!("catch signals: {e}"));
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    handover::await_follower(turn).await;
    Ok(())
}

fn named(name: &str, work: impl FnOnce() + Send + 'static) -> Result<thread::JoinHandle<()>, EngineError> {
    let thread = thread::Builder::new().name(name.to_owned()).spawn(work);
    thread.map_err(|e| EngineError::Failed(format!("start thread {name}: {e}")))
}

/// Hears of new pods from the kernel. A kernel that cannot tell loses the head start over them, and nothing else.
fn listen(to: &Sender<Input>, room: &Arc<Room>) -> Result<Option<Births>, EngineError> {
    let (births, reader) = match births::start(chaos_objects::BIRTH) {
        Ok(started) => started,
        Err(error) => {
            tracing::warn!("{error}; new pods are noticed by the API server alone, some time after they began");
            return Ok(None);
        }
    };
    let (to, room) = (to.clone(), Arc::clone(room));
    named("births", move || hear(reader, &to, &room))?;
    Ok(Some(births))
}

fn hear(mut reader: Reader, to: &Sender<Input>, room: &Room) {
    loop {
        match reader.wait() {
            Ok(Some(event)) => {
                if room.enter() && to.send(Input::Birth(event)).is_err() {
                    return;
                }
            }
            Ok(None) => {}
            Err(error) => return tracing::error!("{error}; new pods are noticed by the API server alone"),
        }
    }
}

//! The one thread that owns the engine: hears of objects and of the node, brings each Injection to where it should be.

use super::{
    compile::PeerSets,
    handover::GLANCE,
    input::{Input, Kind, Output},
    notebook::Notebook,
    part::{DELETED, Part, Stage},
    pods::PodFacts,
    policy::Policy,
    room::{self, Room},
    turn::Turn,
};
use chaos_engine::{Engine, journal, own};
use chaos_host::pod::Pods;
use chaos_k8s::{beat::Beat, text::cut};
use chaos_outcome::Ending;
use chaos_outcome::EngineError;
use chaos_sys::{births::Births, kill_switch::kill_switch};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::{
        Arc,
        atomic::AtomicBool,
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::{Duration, Instant},
};
use tokio::sync::mpsc::UnboundedSender;

/// How often running experiments are looked at: their end, a lost lease, `chaos stop` on the node.
const TICK: Duration = Duration::from_millis(50);
/// How often what they have counted is written down.
const NOTE: Duration = Duration::from_millis(500);
/// How often it is told to the API server; every node at another moment.
const TELL: Duration = Duration::from_secs(10);
/// Kinds of objects whose lists are waited for: see [`Kind`].
const KINDS: usize = 4;

/// What the worker is made with.
pub struct Parts {
    /// The engine, with the programs loaded.
    pub engine: Engine,
    /// Finds pods.
    pub finder: Pods,
    /// The node's policy.
    pub policy: Policy,
    /// The node's own addresses.
    pub addresses: BTreeSet<IpAddr>,
    /// Events of new pods; None where this kernel has none.
    pub births: Option<Births>,
    /// Of these events.
    pub room: Arc<Room>,
    /// Where it speaks to.
    pub output: UnboundedSender<Output>,
    /// That its thread lives.
    pub beat: Beat,
    /// Whose turn it is.
    pub turn: Arc<Turn>,
    /// That it is this process's from the begin on.
    pub owns: bool,
    /// All else that is done before this process can take over.
    pub prepared: Arc<AtomicBool>,
}

/// The worker.
pub struct Worker {
    pub(super) engine: Engine,
    pub(super) finder: Pods,
    pub(super) policy: Policy,
    pub(super) addresses: BTreeSet<IpAddr>,
    pub(super) births: Option<Births>,
    room: Arc<Room>,
    pub(super) output: UnboundedSender<Output>,
    pub(super) beat: Beat,
    pub(super) turn: Arc<Turn>,
    /// This process owns the node's experiments; else it hears, and does nothing.
    pub(super) owns: bool,
    pub(super) prepared: Arc<AtomicBool>,
    /// It has said that it is prepared.
    pub(super) stands_by: bool,
    /// What keeps it from asking whose turn it is.
    pub(super) hindered: Option<String>,
    pub(super) pods: BTreeMap<String, PodFacts>,
    pub(super) sets: PeerSets,
    /// Sets that cannot be read as they are now, and why; one that was readable before keeps its addresses.
    pub(super) unread: BTreeMap<(String, String), String>,
    pub(super) halts: BTreeMap<String, String>,
    pub(super) parts: BTreeMap<String, Part>,
    pub(super) notebook: Notebook,
    pub(super) errors: BTreeMap<&'static str, u64>,
    /// Kinds whose first list has come; nothing is decided before all have.
    listed: BTreeSet<Kind>,
    /// Parts to look at.
    dirty: BTreeSet<String>,
    noted: Instant,
    told: Instant,
}

impl Worker {
    /// With what earlier processes of this agent wrote down.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        let Parts { engine, finder, policy, addresses, births, room, output, beat, turn, owns, prepared } = parts;
        Self {
            engine,
            finder,
            policy,
            addresses,
            births,
            room,
            output,
            beat,
            turn,
            owns,
            prepared,
            stands_by: false,
            hindered: None,
            pods: BTreeMap::new(),
            sets: PeerSets::new(),
            unread: BTreeMap::new(),
            halts: BTreeMap::new(),
            parts: BTreeMap::new(),
            notebook: if owns { Notebook::open() } else { Notebook::default() },
            errors: BTreeMap::new(),
            listed: BTreeSet::new(),
            dirty: BTreeSet::new(),
            noted: Instant::now(),
            told: Instant::now(),
        }
    }

    /// Works until it is told to end, or nobody is left who could tell it anything.
    pub fn run(mut self, input: &Receiver<Input>) {
        loop {
            self.beat.now();
            match input.recv_timeout(self.patience()) {
                Ok(Input::End) | Err(RecvTimeoutError::Disconnected) => break,
                Ok(one) => {
                    self.hear(one);
                    // What has come meanwhile is heard before anything is decided; a storm of it waits for its turn.
                    for more in input.try_iter().take(room::MOST) {
                        if matches!(more, Input::End) {
                            return self.end();
                        }
                        self.hear(more);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
            self.work();
        }
        self.end();
    }

    /// Everything was listed once.
    pub(super) fn has_listed(&self) -> bool {
        self.listed.len() == KINDS
    }

    /// Parts of which something is made.
    pub(super) fn running(&self) -> Vec<String> {
        self.parts.iter().filter(|(_, part)| part.active.is_some()).map(|(uid, _)| uid.clone()).collect()
    }

    fn patience(&self) -> Duration {
        let acts = |part: &Part| matches!(part.stage, Stage::Running | Stage::Paused | Stage::Prepared);
        match self.owns {
            false => GLANCE,
            true if self.parts.values().any(acts) => TICK,
            true => NOTE,
        }
    }

    fn hear(&mut self, input: Input) {
        match input {
            Input::Injection(injection) => {
                let Some(uid) = injection.metadata.uid.clone() else { return };
                match self.parts.get_mut(&uid) {
                    Some(part) => part.renew(*injection),
                    None => drop(self.parts.insert(uid.clone(), Part::new(*injection))),
                }
                self.dirty.insert(uid);
            }
            Input::Pod(pod) => {
                self.pods.insert(pod.uid.clone(), *pod);
                self.look_at_all();
            }
            Input::PeerSet(name, addresses) => {
                match addresses {
                    Ok(addresses) => {
                        self.unread.remove(&name);
                        self.sets.insert(name, addresses);
                    }
                    Err(why) => {
                        tracing::warn!("PeerSet {}/{} cannot be read: {why}", name.0, name.1);
                        self.unread.insert(name, why);
                    }
                }
                self.look_at_all();
            }
            Input::Halt(name, reason) => {
                self.halts.insert(name, reason);
            }
            Input::Gone(kind, name) => self.gone(kind, &name),
            Input::All(kind, names) => {
                let known: Vec<String> = match kind {
                    Kind::Injection => self.parts.keys().chain(self.notebook.uids()).cloned().collect(),
                    Kind::Pod => self.pods.keys().cloned().collect(),
                    Kind::PeerSet => {
                        let all = self.sets.keys().chain(self.unread.keys());
                        all.map(|(namespace, name)| format!("{namespace}/{name}")).collect()
                    }
                    Kind::Halt => self.halts.keys().cloned().collect(),
                };
                known.iter().filter(|name| !names.contains(*name)).for_each(|name| self.gone(kind, name));
                self.listed.insert(kind);
                self.look_at_all();
            }
            Input::Birth(event) => {
                self.room.leave();
                self.born(&event);
            }
            Input::End => {}
        }
    }

    /// Nothing is to be remembered of an Injection that is gone.
    pub(super) fn forget_part(&mut self, uid: &str) {
        self.notebook.forget(uid);
        self.save();
    }

    fn gone(&mut self, kind: Kind, name: &str) {
        match kind {
            Kind::Injection => {
                if let Some(mut part) = self.parts.remove(name) {
                    self.finish(&mut part, Ending::Aborted(DELETED.to_owned()));
                }
                self.forget_part(name);
            }
            Kind::Pod => {
                self.pods.remove(name);
                self.look_at_all();
            }
            Kind::PeerSet => {
                if let Some((namespace, name)) = name.split_once('/') {
                    let name = (namespace.to_owned(), name.to_owned());
                    self.sets.remove(&name);
                    self.unread.remove(&name);
                }
                self.look_at_all();
            }
            Kind::Halt => {
                self.halts.remove(name);
            }
        }
    }

    pub(super) fn look_at_all(&mut self) {
        let open = self.parts.iter().filter(|(_, part)| !matches!(part.stage, Stage::Over(_)));
        self.dirty.extend(open.map(|(uid, _)| uid.clone()));
    }

    fn work(&mut self) {
        if !self.has_listed() || !self.is_our_turn() {
            return;
        }
        if !self.halts.is_empty() {
            self.halt();
        }
        if self.room.take_dropped() {
            self.look_again();
        }
        for uid in std::mem::take(&mut self.dirty) {
            self.with(&uid, Self::step);
        }
        let running = self.running();
        for uid in &running {
            self.with(uid, Self::watch);
        }
        if self.noted.elapsed() >= NOTE {
            self.noted = Instant::now();
            self.follow_addresses();
            self.note(&running);
            self.tell_node();
        }
        if self.told.elapsed() >= TELL {
            self.told = Instant::now();
            for uid in &running {
                self.tell(uid);
            }
        }
    }

    /// The node's own addresses as they are now: what is made next, and what acts already, spares these.
    pub(super) fn follow_addresses(&mut self) {
        let hosts = self.pods.values().flat_map(|pod| pod.hosts.iter().copied()).collect();
        let now = match own::addresses(&hosts) {
            Ok(now) => now,
            Err(error) => return tracing::warn!("{error}; the node's addresses of before are spared"),
        };
        if now == self.addresses {
            return;
        }
        self.addresses = now;
        if self.parts.values().any(|part| part.active.is_some())
            && let Err(error) = self.engine.set_node(&self.addresses)
        {
            self.failed(&error);
            tracing::warn!("follow the node's addresses: {error}");
        }
    }

    /// Takes a part out while something is done with it and the rest, and says what has changed.
    pub(super) fn with(&mut self, uid: &str, work: impl FnOnce(&mut Self, &mut Part)) {
        let Some(mut part) = self.parts.remove(uid) else { return };
        let key = |part: &Part| {
            let members: Vec<_> = part
                .members
                .values()
                .map(|m| (m.facts.uid.clone(), m.state, m.message.clone(), m.joined, m.began))
                .collect();
            (part.stage, part.message.clone(), part.injection.metadata.generation, members)
        };
        let before = key(&part);
        work(self, &mut part);
        let changed = key(&part) != before;
        let stage_changed = part.stage != before.0;
        self.parts.insert(uid.to_owned(), part);
        // Before it is told: who hears of it may kill this process, and the next one is to go on with it.
        if stage_changed {
            self.note(&[uid.to_owned()]);
        }
        if changed {
            self.tell(uid);
        }
        if stage_changed {
            self.tell_node();
        }
    }

    /// Why nothing may start here; no longer than a NodeAgent takes, whoever wrote the reason.
    pub(super) fn locked(&self) -> Option<String> {
        let halt = self.halts.iter().next().map(|(name, reason)| format!("Halt {name}: {reason}"));
        let why = halt.or_else(|| journal::locked_by().map(|reason| format!("this node is locked: {reason}")));
        why.map(|why| cut(&why, 1024))
    }

    /// Holds the kill switch: everything of this node is off, whoever owns it.
    fn halt(&mut self) {
        let Some(reason) = self.locked() else { return };
        let active = self.running();
        if active.is_empty() {
            return;
        }
        if let Err(error) = kill_switch() {
            tracing::error!("kill switch: {error}");
        }
        for uid in active {
            self.with(&uid, |worker, part| worker.finish(part, Ending::Aborted(reason.clone())));
        }
    }

    pub(super) fn save(&mut self) {
        // It is the owner's.
        if !self.owns {
            return;
        }
        if let Err(error) = self.notebook.save() {
            self.failed(&error);
            tracing::error!("{error}");
        }
    }

    pub(super) fn failed(&mut self, error: &EngineError) {
        let category = match error {
            EngineError::Invalid(_) => "invalid",
            EngineError::Unsupported(_) => "unsupported",
            EngineError::Refused(_) => "refused",
            EngineError::Failed(_) => "failed",
        };
        *self.errors.entry(category).or_default() += 1;
    }
}

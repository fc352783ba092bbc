//! What the controller knows of each experiment between two looks at it: its Injections as the watch tells them, what it has itself
//! written that the watch has not told yet, and when it looked last.
//!
//! A thousand Injections are not asked for at each look: that is megabytes from the API server for each answer of an agent.

use super::deadline::{Obstacle, Start};
use crate::api::{Experiment, ExperimentStatus, Injection, PeerSet, Phase, Written};
use kube::{
    Resource, ResourceExt,
    runtime::{reflector::ObjectRef, watcher::Event},
};
use std::{
    collections::{BTreeSet, HashMap},
    mem,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{sync::watch, time::Instant};

/// How long an experiment rests between two looks, for each of its Injections: agents answer one by one, and each answer of a thousand is
/// not worth a look and a write of its own.
const REST: Duration = Duration::from_millis(1);
/// The longest rest.
const LONGEST: Duration = Duration::from_secs(1);
/// How often it is written which nodes are ready.
const PROGRESS: Duration = Duration::from_millis(500);
/// How long a set of addresses is believed to be as it was found: up to half a megabyte is not to be read at each look.
const SETS: Duration = Duration::from_secs(10);

/// One experiment.
#[derive(Default)]
struct Part {
    /// By name.
    injections: Arc<Vec<Injection>>,
    /// Since when we have them, by name.
    since: HashMap<String, Instant>,
    /// The versions that we wrote and the watch has not told yet, by name.
    awaited: HashMap<String, u64>,
    /// As our last write of its status left it, and when.
    written: Option<(Instant, Arc<Experiment>)>,
    /// As it was read by itself.
    read: Option<Arc<Experiment>>,
    /// The end of the last look, and what was wanted then.
    looked: Option<(Instant, u64)>,
    /// Its Experiment has been deleted.
    gone: Arc<AtomicBool>,
    /// Sets of addresses that are known to be there, by name, and since when.
    sets: Option<(Instant, Arc<Vec<PeerSet>>)>,
    /// Since when the nodes are to be told, and how long that had been so before.
    wanted: Option<(Instant, Duration)>,
    /// Since when the nodes have been told to end it.
    stopped: Option<Instant>,
    /// What kept us from telling them.
    obstacle: Option<Obstacle>,
    /// It has its verdict: its Injections are of no more use.
    over: bool,
}

/// All experiments.
#[derive(Default)]
struct Inner {
    /// By UID.
    parts: HashMap<String, Part>,
    /// Of a list that has not come to its end.
    listed: Vec<Injection>,
}

/// What is known, from the first list of Injections on.
pub struct Known {
    inner: Mutex<Inner>,
    ready: watch::Sender<bool>,
}

impl Default for Known {
    fn default() -> Self {
        Self { inner: Mutex::default(), ready: watch::Sender::new(false) }
    }
}

/// The experiment that an Injection belongs to: its UID and its name.
fn owner(one: &Injection) -> Option<(&str, &str)> {
    let kind = Experiment::kind(&());
    let owner = one.owner_references().iter().find(|owner| owner.kind == kind)?;
    Some((&owner.uid, &owner.name))
}

/// Versions of one resource grow (KEP-5504); one that cannot be read is taken for the newest.
fn version(one: &impl Resource) -> u64 {
    one.resource_version().and_then(|version| version.parse().ok()).unwrap_or(u64::MAX)
}

/// What is left of the rest of an experiment with so many Injections, so long after it was looked at.
#[must_use]
pub fn rest(count: usize, after: Duration) -> Option<Duration> {
    let whole = REST.saturating_mul(u32::try_from(count).unwrap_or(u32::MAX)).min(LONGEST);
    whole.checked_sub(after).filter(|left| !left.is_zero())
}

/// Is the first the second one without a part that was dropped?
fn is_less(one: &Injection, whole: &Injection) -> bool {
    let same = whole.uid() == one.uid() && whole.metadata.generation == one.metadata.generation;
    same && whole.is_whole() && !one.is_whole()
}

impl Part {
    fn put(&mut self, mut one: Injection) {
        if self.awaited.get(&one.name_any()).is_some_and(|awaited| *awaited <= version(&one)) {
            self.awaited.remove(&one.name_any());
        }
        if self.over {
            return;
        }
        self.since.entry(one.name_any()).or_insert_with(Instant::now);
        // As large as the rest of it, and of no use here.
        one.metadata.managed_fields = None;
        // Shared with a look that goes on: that one keeps what it began with.
        let all = Arc::make_mut(&mut self.injections);
        match all.binary_search_by(|other| other.metadata.name.cmp(&one.metadata.name)) {
            Ok(place) => {
                // A watch that began under older definitions drops what these do not have; what was written had it.
                let known = &all[place];
                if is_less(&one, known) {
                    (one.spec, one.unread) = (known.spec.clone(), None);
                }
                all[place] = one;
            }
            Err(place) => all.insert(place, one),
        }
    }

    /// Nothing but Injections was ever known of it: they came when their Experiment had gone.
    fn is_nothing(&self) -> bool {
        self.injections.is_empty() && self.written.is_none() && self.looked.is_none() && !self.over
    }

    fn remove(&mut self, one: &Injection) {
        self.awaited.remove(&one.name_any());
        self.since.remove(&one.name_any());
        let all = Arc::make_mut(&mut self.injections);
        if let Ok(place) = all.binary_search_by(|other| other.metadata.name.cmp(&one.metadata.name)) {
            all.remove(place);
        }
    }
}

impl Known {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes what the watch says of Injections; the experiments that want a look.
    pub fn learn(&self, event: Event<Injection>) -> Vec<ObjectRef<Experiment>> {
        let mut inner = self.inner();
        match event {
            Event::Init => inner.listed.clear(),
            Event::InitApply(one) => inner.listed.push(one),
            Event::InitDone => {
                let all = mem::take(&mut inner.listed);
                let wanted = all.iter().filter_map(experiment).collect();
                inner.renew(all);
                self.ready.send_replace(true);
                return wanted;
            }
            Event::Apply(one) => {
                let wanted = experiment(&one);
                if let Some((uid, _)) = owner(&one) {
                    inner.parts.entry(uid.to_owned()).or_default().put(one);
                }
                return wanted.into_iter().collect();
            }
            Event::Delete(one) => {
                // Of an experiment that has gone nobody wants a look.
                let Some((uid, _)) = owner(&one) else { return Vec::new() };
                let Some(part) = inner.parts.get_mut(uid) else { return Vec::new() };
                part.remove(&one);
                if part.is_nothing() {
                    inner.parts.remove(uid);
                }
                return experiment(&one).into_iter().collect();
            }
        }
        Vec::new()
    }

    /// Waits until the Injections have been listed once.
    pub async fn ready(&self) {
        let mut ready = self.ready.subscribe();
        let _sender_lives = ready.wait_for(|ready| *ready).await;
    }

    /// How long an experiment is to rest yet; None: not at all, because enough time has passed or something else is wanted than at the last
    /// look. `wanted`: a fingerprint of that.
    pub fn rest(&self, uid: &str, wanted: u64) -> Option<Duration> {
        let inner = self.inner();
        let part = inner.parts.get(uid)?;
        let (looked, _) = part.looked.filter(|(_, before)| *before == wanted)?;
        rest(part.injections.len(), looked.elapsed())
    }

    /// A look has ended.
    pub fn looked(&self, uid: &str, wanted: u64) {
        if let Some(part) = self.inner().parts.get_mut(uid) {
            part.looked = Some((Instant::now(), wanted));
        }
    }

    /// The newest that is known of an experiment: what we have written may not have come back to us yet. False where its spec has come by
    /// a watch alone: one that began under older definitions drops what these do not have.
    pub fn newest(&self, experiment: Arc<Experiment>) -> (Arc<Experiment>, bool) {
        let mut inner = self.inner();
        let part = inner.parts.entry(experiment.uid().unwrap_or_default()).or_default();
        let newest = match &part.written {
            Some((_, written)) if version(written.as_ref()) > version(experiment.as_ref()) => Arc::clone(written),
            _ => experiment,
        };
        let of_same = |read: &&Arc<Experiment>| read.metadata.generation == newest.metadata.generation;
        match part.read.as_ref().filter(of_same) {
            Some(read) if read.spec != newest.spec || read.unread != newest.unread => {
                let mut whole = newest.as_ref().clone();
                (whole.spec, whole.unread) = (read.spec.clone(), read.unread.clone());
                (Arc::new(whole), true)
            }
            read => (newest, read.is_some()),
        }
    }

    /// It was read by itself.
    pub fn read(&self, experiment: Arc<Experiment>) {
        let uid = experiment.uid().unwrap_or_default();
        self.inner().parts.entry(uid).or_default().read = Some(experiment);
    }

    /// Our write of its status.
    pub fn wrote_status(&self, experiment: Experiment) {
        if let Some(part) = self.inner().parts.get_mut(&experiment.uid().unwrap_or_default()) {
            part.written = Some((Instant::now(), Arc::new(experiment)));
        }
    }

    /// How long this status may wait to be written: which nodes are ready is told with the start, which waits for all of them and is not
    /// to wait for a write. None: not at all.
    pub fn waits(&self, uid: &str, old: &ExperimentStatus, new: &ExperimentStatus) -> Option<Duration> {
        let prepares = |status: &ExperimentStatus| status.phase == Phase::Injecting && status.started_at.is_none();
        if old == new || !prepares(old) || !prepares(new) {
            return None;
        }
        let (since, _) = self.inner().parts.get(uid)?.written.as_ref()?.clone();
        PROGRESS.checked_sub(since.elapsed()).filter(|left| !left.is_zero())
    }

    /// Our write of an Injection.
    pub fn wrote(&self, one: &Injection) {
        let mut inner = self.inner();
        let Some(part) = owner(one).and_then(|(uid, _)| inner.parts.get_mut(uid)) else { return };
        let place = part.injections.binary_search_by(|other| other.metadata.name.cmp(&one.metadata.name));
        let told = place.ok().and_then(|place| part.injections.get(place));
        if told.map_or(0, version) < version(one) {
            part.awaited.insert(one.name_any(), version(one));
        } else if told.is_none_or(|told| !is_less(told, one)) {
            return;
        }
        // Kept, as the watch may show less of it.
        let mut one = one.clone();
        one.metadata.managed_fields = None;
        let all = Arc::make_mut(&mut part.injections);
        match place {
            Ok(place) => {
                // Its status is what the node said last.
                let status = all[place].status.take();
                all[place] = Injection { status, ..one };
            }
            Err(place) => all.insert(place, one),
        }
    }

    /// Its Injections; None where the watch has not told all that we have written: then they must be asked for.
    pub fn injections(&self, uid: &str) -> Option<Arc<Vec<Injection>>> {
        let inner = self.inner();
        let part = inner.parts.get(uid)?;
        (part.awaited.is_empty() && !part.over).then(|| Arc::clone(&part.injections))
    }

    /// The nodes are to be told; how long that has been so, with what was `carried` over from before this process.
    pub fn start(&self, uid: &str, carried: Duration) -> Start {
        let mut inner = self.inner();
        let part = inner.parts.entry(uid.to_owned()).or_default();
        let (since, before) = part.wanted.get_or_insert((Instant::now(), carried));
        Start { waited: since.elapsed().saturating_add(*before), obstacle: part.obstacle.clone() }
    }

    /// What kept us from telling the nodes, or that nothing does; true where that is news.
    pub fn hindered(&self, uid: &str, obstacle: Option<Obstacle>) -> bool {
        let mut inner = self.inner();
        let Some(part) = inner.parts.get_mut(uid) else { return false };
        let news = obstacle.is_some() && part.obstacle != obstacle;
        part.obstacle = obstacle;
        news
    }

    /// How long we have had each of its orders that no agent has looked at, by name.
    pub fn unanswered(&self, uid: &str) -> HashMap<String, Duration> {
        let inner = self.inner();
        let Some(part) = inner.parts.get(uid) else { return HashMap::new() };
        let open = part.injections.iter().filter(|one| {
            let looked = one.status.as_ref().and_then(|status| status.observed_generation);
            looked.is_none()
        });
        open.filter_map(|one| Some((one.name_any(), part.since.get(&one.name_any())?.elapsed()))).collect()
    }

    /// For how long the nodes have been told to end it, as far as this controller has seen.
    pub fn stopping(&self, uid: &str) -> Option<Duration> {
        let mut inner = self.inner();
        let part = inner.parts.get_mut(uid)?;
        if part.injections.iter().any(|one| one.spec.stop.is_some()) {
            part.stopped.get_or_insert_with(Instant::now);
        }
        part.stopped.map(|since| since.elapsed())
    }

    /// Its sets of addresses, as they were a moment ago.
    pub fn sets(&self, uid: &str) -> Option<Arc<Vec<PeerSet>>> {
        let inner = self.inner();
        let (since, sets) = inner.parts.get(uid)?.sets.as_ref()?;
        (since.elapsed() < SETS).then(|| Arc::clone(sets))
    }

    /// These have just been found or written.
    pub fn found_sets(&self, uid: &str, sets: Vec<PeerSet>) {
        if let Some(part) = self.inner().parts.get_mut(uid) {
            part.sets = Some((Instant::now(), Arc::new(sets)));
        }
    }

    /// Says, from now on, whether the Experiment has been deleted.
    pub fn gone(&self, uid: &str) -> Arc<AtomicBool> {
        Arc::clone(&self.inner().parts.entry(uid.to_owned()).or_default().gone)
    }

    /// It has its verdict.
    pub fn over(&self, uid: &str) {
        let mut inner = self.inner();
        let part = inner.parts.entry(uid.to_owned()).or_default();
        let gone = Arc::clone(&part.gone);
        *part = Part { over: true, gone, ..Part::default() };
    }

    /// Its Experiment has been deleted.
    pub fn forget(&self, uid: &str) {
        if let Some(part) = self.inner().parts.remove(uid) {
            part.gone.store(true, Ordering::Relaxed);
        }
    }

    /// The experiments that are known.
    pub fn uids(&self) -> BTreeSet<String> {
        self.inner().parts.keys().cloned().collect()
    }

    /// Those that are not among these have been deleted.
    pub fn retain(&self, lives: impl Fn(&str) -> bool) {
        self.inner().parts.retain(|uid, part| {
            let lives = lives(uid);
            part.gone.fetch_or(!lives, Ordering::Relaxed);
            lives
        });
    }
}

impl Inner {
    /// A new list takes the place of what was known.
    fn renew(&mut self, all: Vec<Injection>) {
        for part in self.parts.values_mut() {
            (part.injections, part.awaited) = (Arc::default(), HashMap::new());
        }
        for one in all {
            if let Some((uid, _)) = owner(&one) {
                self.parts.entry(uid.to_owned()).or_default().put(one);
            }
        }
    }
}

fn experiment(one: &Injection) -> Option<ObjectRef<Experiment>> {
    let (_, name) = owner(one)?;
    Some(ObjectRef::new(name).within(&one.namespace()?))
}

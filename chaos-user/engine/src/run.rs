//! An experiment's life: prepare, start, watch, revert. All are prepared first, then started by one write each.

use super::{
    Active, EngineError, Locked, Request, Session, arrivals,
    drain::drain,
    journal::{self, Home, Journal},
    lease::Leases,
    lookup::{self, Known},
    marks,
    prepare::{Asker, CLUSTER, all, note},
    reap, release,
    session::Shared,
    sets, taken, undo,
};
use chaos_host::Target;
use chaos_outcome::FaultReport;
use chaos_spec::plan::PeerAddress;
use chaos_sys::names;
use std::{
    collections::BTreeSet,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

/// The engine of one process.
pub struct Engine {
    pub(super) session: Shared,
    pub(super) leases: Leases,
    pub(super) home: Home,
}

/// Prepares all requests, or none: a failed step rolls back the earlier ones.
///
/// # Errors
/// By exit code; see [`EngineError`].
pub fn prepare(requests: Vec<Request>) -> Result<(Engine, Vec<Active>), EngineError> {
    // Before the lock, for nameservers may be slow.
    let requests: Vec<(Request, Known)> = requests
        .into_iter()
        .map(|one| {
            let known = lookup::look_up(&one.plan, &one.targets);
            (one, known)
        })
        .collect();
    let (mut locked, was_lost) = marks::lock()?;
    permitted(&Home::Node)?;
    reap::reap(&mut locked)?;
    let places = requests.iter().flat_map(|(request, _)| request.places()).collect();
    marks::clear_way(&locked.journal, (!was_lost).then_some(places))?;
    check_names(&locked, requests.iter().map(|(request, _)| request))?;
    let mut session = Session::open(&mut locked)?;
    let leases = ready(&session, &requests).and_then(|()| Leases::new(session.datapath.reopen()?, session.hz));
    let leases = match leases {
        Ok(leases) => leases,
        Err(error) => {
            undo::roll_back(&mut locked, &mut session, &[]);
            return Err(error);
        }
    };
    let active = all(&mut locked, &mut session, requests)?;
    Ok((Engine { session: Arc::new(Mutex::new(session)), leases, home: Home::Node }, active))
}

/// What keeps these from starting here whatever the kernel can: the node's lock, and names that are taken.
///
/// # Errors
/// As of a start.
pub fn allowed(requests: &[Request]) -> Result<(), EngineError> {
    permitted(&Home::Node)?;
    // A damaged one names nobody; a start sets it aside.
    taken(&journal::peek().unwrap_or_default(), requests.iter())
}

/// May an experiment start? `chaos stop --lock` locks the node; a scratch namespace is nobody's.
pub(super) fn permitted(home: &Home) -> Result<(), EngineError> {
    match (home, journal::locked_by()) {
        (Home::Node, Some(reason)) => {
            Err(EngineError::Refused(format!("this node is locked: {reason}; `chaos unlock` lifts it")))
        }
        _ => Ok(()),
    }
}

/// Can the kernel do what all requests share?
pub(super) fn ready(session: &Session, requests: &[(Request, Known)]) -> Result<(), EngineError> {
    let needed = |request: &Request| request.targets.iter().any(|target| arrivals::needed(&request.plan, target));
    if requests.iter().any(|(request, _)| needed(request)) {
        session.datapath.arrivals()?;
    }
    Ok(())
}

/// Two active experiments of a node never share a name; two of a cluster may where their namespaces differ.
pub(super) fn check_names<'a>(locked: &Locked, requests: impl Iterator<Item = &'a Request>) -> Result<(), EngineError> {
    taken(&locked.journal, requests)
}

fn taken<'a>(journal: &Journal, requests: impl Iterator<Item = &'a Request>) -> Result<(), EngineError> {
    let runs = journal.runs.iter().filter(|run| run.owner().is_alive());
    let mut known: Vec<(String, Option<String>)> =
        runs.map(|run| (run.name.clone(), run.namespace.clone().filter(|_| run.source == CLUSTER))).collect();
    for request in requests {
        let name = request.plan.name.clone();
        let namespace = request.plan.namespace.clone().filter(|_| matches!(request.asker, Asker::Cluster(_)));
        let taken = known.iter().any(|(other, of)| *other == name && (namespace.is_none() || *of == namespace));
        if taken {
            let text = format!(
                "metadata.name: an experiment named {name:?} is active on this node; `chaos stop {name}` ends it"
            );
            return Err(EngineError::Invalid(vec![text]));
        }
        known.push((name, namespace));
    }
    Ok(())
}

impl Engine {
    /// The leases of this process.
    #[must_use]
    pub fn leases(&self) -> &Leases {
        &self.leases
    }

    pub(super) fn session(&self) -> std::sync::MutexGuard<'_, Session> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts all for their whole durations, one write each, and says so in the journal.
    ///
    /// # Errors
    /// What the kernel says; nothing is rolled back here.
    pub fn start(&self, active: &mut [Active]) -> Result<(), EngineError> {
        let each: Vec<(&mut Active, Duration)> = active
            .iter_mut()
            .map(|one| {
                let duration = one.plan.duration;
                (one, duration)
            })
            .collect();
        self.start_for(each)
    }

    /// Starts each for its own time, one write each, and says so in the journal.
    ///
    /// # Errors
    /// What the kernel says, and `Refused` where the node was locked meanwhile; nothing is rolled back here.
    pub fn start_for(&self, mut active: Vec<(&mut Active, Duration)>) -> Result<(), EngineError> {
        permitted(&self.home)?;
        self.session().datapath.fill_tables()?;
        for (one, duration) in &mut active {
            one.started = SystemTime::now();
            self.leases.start(one.run.lease, one.run.lease_id, *duration, one.began)?;
        }
        // A `chaos stop --lock` between the look and the start saw nothing that acts.
        permitted(&self.home)?;
        let mut locked = self.home.lock()?;
        for (one, duration) in active {
            let text = |time: SystemTime| humantime::format_rfc3339_millis(time).to_string();
            one.run.started_at = text(one.started);
            one.run.ends_at = text(one.started + duration);
            note(&mut locked, &one.run);
        }
        locked.save()
    }

    /// Makes the peers that somebody else resolves those of `wanted`: for the match of a fault (its index), or an entry of its
    /// `except`.
    ///
    /// # Errors
    /// What the kernel says; what is written so far stays.
    pub fn set_peers(
        &self,
        active: &mut Active,
        fault: usize,
        except: Option<usize>,
        wanted: &BTreeSet<PeerAddress>,
    ) -> Result<(), EngineError> {
        let Some(index) = active.plan.rules.iter().position(|rule| rule.fault == fault) else { return Ok(()) };
        let rule = &active.plan.rules[index];
        let place = match except {
            Some(entry) => rule.except_of.get(entry).copied(),
            None => Some(rule.excepts.len()),
        };
        let Some(sets) = place.and_then(|place| active.sets[index].get_mut(place)) else { return Ok(()) };
        Ok(sets.update(&mut self.session().datapath, wanted)?)
    }

    /// Makes the addresses of the node, which rules may spare, these: for all experiments of this node.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn set_node(&self, addresses: &BTreeSet<IpAddr>) -> Result<(), EngineError> {
        Ok(sets::write_node(&mut self.session().datapath, addresses)?)
    }

    /// Takes a target out of a running experiment; its final counts. `container`: as [`taken::enter`] has it.
    ///
    /// # Errors
    /// What could not be taken away; it stays in the journal for `chaos cleanup`.
    pub fn release(
        &self,
        active: &mut Active,
        target: usize,
        container: impl Fn(&Target, i32) -> Option<String>,
    ) -> Result<Vec<FaultReport>, EngineError> {
        let reports = self.reports(active, Some(target));
        // It holds the namespace for as long as its connections are looked at.
        let gone = active.targets.get(target).cloned();
        let mut locked = self.home.lock()?;
        undo::release(&mut locked, &mut self.session(), active, target)?;
        drop(locked);
        let mut reports = reports?;
        if let Some(gone) = gone {
            taken::of_released(active, &gone, &mut reports, container);
        }
        Ok(reports)
    }

    /// Rules off, packets in the queue sent on their way, all taken away; the final counts.
    ///
    /// # Errors
    /// What could not be taken away; it stays in the journal for `chaos cleanup`.
    pub fn revert(&self, active: &Active) -> Result<Vec<FaultReport>, EngineError> {
        let ended = self.leases.end(active.run.lease);
        drain(active);
        let reports = self.reports(active, None);
        // A step that failed keeps none of the others from being tried.
        let removed = self.remove(active);
        ended.and(removed).and(reports)
    }

    /// Takes everything away at once, packets in the queue included: for a process that must end. Nothing is counted any more.
    ///
    /// # Errors
    /// What could not be taken away; it stays in the journal for the next start.
    pub fn leave(&self, active: &Active) -> Result<(), EngineError> {
        let ended = self.leases.end(active.run.lease);
        let removed = self.remove(active);
        ended.and(removed)
    }

    fn remove(&self, active: &Active) -> Result<(), EngineError> {
        // Its lease has ended: what a journal that is damaged named has one owner less.
        let _cleared_again_below = names::remove(&mut self.session().datapath, active.run.lease);
        let (mut locked, damaged) = match self.home {
            Home::Node => marks::lock()?,
            Home::Private(_) => (self.home.lock()?, false),
        };
        let is_lost = damaged || !locked.journal.names(&active.run);
        let mut session = self.session();
        let detached = session.known_calls().map_or(Ok(()), |calls| {
            active.tables.iter().for_each(|tables| calls.forget(*tables));
            calls.remove(&active.run.rules)
        });
        let cleared = release::clear(&mut session.datapath, &active.run);
        if cleared.is_ok() {
            locked.journal.runs.retain(|run| !run.is_same(&active.run));
        }
        let gone = undo::let_go(&mut locked, &mut session, &active.netns);
        let saved = locked.save();
        cleared?;
        if is_lost {
            drop(session);
            // What the journal would have named is found by its marks.
            marks::sweep_in(&locked.journal, active.netns.values().cloned().collect())?;
        }
        gone.and(saved).and(detached)
    }
}

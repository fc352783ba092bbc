//! An experiment's life: prepare, start, watch, revert. All are prepared first, then started by one write each.

use super::{
    EngineError, Locked, RunEntry, Session, arrivals, attach, collect,
    drain::drain,
    expedite, hosts,
    journal::{self, Home},
    lease::Leases,
    limit,
    lookup::{self, Known},
    owner::Owner,
    reap, release,
    rules::{self, Placed},
    session::Shared,
    undo,
    wants::{self, Around, Want},
};
use crate::{kernel::netns::Netns, observe::FaultReport, plan::Plan, resolve::Target, spec::Probe};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

/// More attach points than this at once are worth the cheap link operations.
pub(super) const BATCH: usize = 4;

/// What is asked for: a plan on its targets.
pub struct Request {
    /// What to do.
    pub plan: Plan,
    /// To whom.
    pub targets: Vec<Target>,
    /// Said by earlier steps.
    pub warnings: Vec<String>,
    /// By which command.
    pub command: String,
    /// What the world outside is asked meanwhile; the caller does.
    pub probes: Vec<Probe>,
}

/// An experiment that is applied.
pub struct Active {
    /// What was asked.
    pub plan: Plan,
    /// Its targets.
    pub targets: Vec<Target>,
    /// What to tell the user.
    pub warnings: Vec<String>,
    /// Its entry in the journal.
    pub run: RunEntry,
    /// When it started.
    pub started: SystemTime,
    pub(super) placed: Vec<Placed>,
    pub(super) netns: HashMap<u64, Netns>,
    mechanism: &'static str,
    /// Sending ends of veth pairs by netns, with what their queues had dropped before.
    pub(super) queues: HashMap<u64, (Vec<u32>, u64)>,
}

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
    let mut locked = journal::lock()?;
    if let Some(reason) = journal::locked_by() {
        return Err(EngineError::Refused(format!("this node is locked: {reason}; `chaos unlock` lifts it")));
    }
    reap::reap(&mut locked)?;
    check_names(&locked, requests.iter().map(|(request, _)| request.plan.name.as_str()))?;
    let mut session = Session::open(&mut locked)?;
    let leases = match ready(&mut session, &requests) {
        Ok(leases) => leases,
        Err(error) => {
            undo::roll_back(&mut locked, &mut session, &[]);
            return Err(error);
        }
    };
    let active = all(&mut locked, &mut session, requests)?;
    Ok((Engine { session: Arc::new(Mutex::new(session)), leases, home: Home::Node }, active))
}

/// What all requests share.
fn ready(session: &mut Session, requests: &[(Request, Known)]) -> Result<Leases, EngineError> {
    if requests.iter().any(|(request, _)| request.targets.iter().any(|target| arrivals::needed(&request.plan, target)))
    {
        session.datapath.arrivals()?;
    }
    Leases::new(session.datapath.reopen()?, session.hz)
}

/// Prepares all, or none.
///
/// # Errors
/// The first request's that could not be prepared.
pub(super) fn all(
    locked: &mut Locked,
    session: &mut Session,
    requests: Vec<(Request, Known)>,
) -> Result<Vec<Active>, EngineError> {
    let mut active = Vec::new();
    let prepared = requests.into_iter().try_for_each(|(request, known)| {
        active.push(one(locked, session, request, known)?);
        Ok(())
    });
    match prepared.and_then(|()| locked.save()) {
        Ok(()) => Ok(active),
        Err(error) => {
            undo::roll_back(locked, session, &active);
            Err(error)
        }
    }
}

pub(super) fn check_names<'a>(locked: &Locked, names: impl Iterator<Item = &'a str>) -> Result<(), EngineError> {
    let mut known: Vec<&str> = locked.journal.runs.iter().map(|run| run.name.as_str()).collect();
    for name in names {
        if known.contains(&name) {
            let text = format!(
                "metadata.name: an experiment named {name:?} is active on this node; `chaos stop {name}` ends it"
            );
            return Err(EngineError::Invalid(vec![text]));
        }
        known.push(name);
    }
    Ok(())
}

fn entry(request: &Request) -> RunEntry {
    let me = Owner::me();
    let uid = nix::unistd::getuid();
    let user = nix::unistd::User::from_uid(uid).ok().flatten().map_or_else(|| uid.to_string(), |user| user.name);
    RunEntry {
        name: request.plan.name.clone(),
        namespace: request.plan.namespace.clone(),
        source: "cli".to_owned(),
        pid: me.pid,
        pid_start: me.start,
        user,
        uid: uid.as_raw(),
        command: request.command.clone(),
        targets: request.targets.iter().map(|target| target.name.clone()).collect(),
        faults: request.plan.faults.iter().map(|fault| fault.name.clone()).collect(),
        ..RunEntry::default()
    }
}

fn one(locked: &mut Locked, session: &mut Session, request: Request, known: Known) -> Result<Active, EngineError> {
    hosts::check(&session.datapath, &request.plan)?;
    let mut run = entry(&request);
    rules::reserve(locked, &mut run, &request.plan, request.targets.len())?;
    locked.journal.runs.push(run.clone());
    locked.save()?;
    let placed = rules::write(session, &run, &request.plan, &request.targets, &known)?;
    let mut netns = HashMap::new();
    let mut all: Vec<(u64, Vec<Want>)> = Vec::new();
    for (index, target) in request.targets.iter().enumerate() {
        let inode = target.netns.inode;
        let ns = Netns::from_fd(Arc::clone(&target.netns.fd), target.name.clone())?;
        let local = wants::local_addresses(&request.plan, &ns)?;
        let around = Around { local: &local, known: &known };
        let wants = wants::wants(&request.plan, &placed, index, target, around)
            .map_err(|text| EngineError::Invalid(vec![text]))?;
        all.push((inode, wants));
        netns.insert(inode, ns);
    }
    let points = attach::enter_all(locked, &mut run, &all)?;
    let batch = points.iter().map(Vec::len).sum::<usize>() > BATCH;
    if batch {
        expedite::raise(locked)?;
    }
    attach::look_for_clsact(session, &mut locked.journal.points, &netns)?;
    limit::enter(locked, &mut run, limit::places(&request.plan, &placed, &request.targets, &all), &netns)?;
    locked.save()?;
    limit::set(&run, &netns)?;
    let mut journal_points = std::mem::take(&mut locked.journal.points);
    let attached = attach::attach_all(session, &mut journal_points, &netns, &all, &points);
    locked.journal.points = journal_points;
    let lowered = expedite::lower(locked);
    // What was made is written down whatever else failed.
    let saved = locked.save();
    attached?;
    lowered.and(saved)?;
    let queues = queues(locked, session, &run, &netns)?;
    let clsact = locked.journal.points.iter().any(|entry| run.points.contains(&entry.id) && entry.filter.is_some());
    Ok(Active {
        plan: request.plan,
        targets: request.targets,
        warnings: [request.warnings, known.warnings].concat(),
        run,
        started: SystemTime::now(),
        placed,
        netns,
        mechanism: if clsact { "clsact" } else { "tcx" },
        queues,
    })
}

fn queues(
    locked: &Locked,
    session: &Session,
    run: &RunEntry,
    netns: &HashMap<u64, Netns>,
) -> Result<HashMap<u64, (Vec<u32>, u64)>, EngineError> {
    let mut queues: HashMap<u64, (Vec<u32>, u64)> = HashMap::new();
    let used = locked.journal.points.iter().filter(|entry| entry.pair.is_some() && run.points.contains(&entry.id));
    for entry in used {
        let point = session.datapath.points.get(&entry.id, 0);
        let point = point.map_err(|e| crate::kernel::datapath::map_error("read map", chaos_abi::maps::POINTS, &e))?;
        queues.entry(entry.netns).or_default().0.push(point.pair_tx);
    }
    for (inode, (pairs, before)) in &mut queues {
        if let Some(netns) = netns.get(inode) {
            *before = collect::queues(netns, pairs)?.0;
        }
    }
    Ok(queues)
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

    /// Starts all, one write each, and says so in the journal.
    ///
    /// # Errors
    /// What the kernel says; nothing is rolled back here.
    pub fn start(&self, active: &mut [Active]) -> Result<(), EngineError> {
        self.session().datapath.fill_tables()?;
        for one in active.iter_mut() {
            one.started = SystemTime::now();
            self.leases.start(one.run.lease, one.plan.duration)?;
        }
        let mut locked = self.home.lock()?;
        for one in active.iter_mut() {
            let text = |time: SystemTime| humantime::format_rfc3339_millis(time).to_string();
            one.run.started_at = text(one.started);
            one.run.ends_at = text(one.started + one.plan.duration);
            if let Some(known) = locked.journal.runs.iter_mut().find(|run| run.lease == one.run.lease) {
                *known = one.run.clone();
            }
        }
        locked.save()
    }

    /// What each fault has done so far.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn counts(&self, active: &Active) -> Result<Vec<FaultReport>, EngineError> {
        let session = self.session();
        let each = active.placed.iter().map(|placed| {
            let target = active.targets.get(placed.target).map_or("", |target| target.name.as_str());
            collect::counts(&session, &active.plan, placed, target)
        });
        Ok(each.collect::<Result<Vec<_>, _>>()?)
    }

    fn report(&self, active: &Active) -> Result<Vec<FaultReport>, EngineError> {
        let session = self.session();
        let mut reports = Vec::new();
        for placed in &active.placed {
            let target = active.targets.get(placed.target).map_or("", |target| target.name.as_str());
            let mut report = collect::report(&session, &active.plan, placed, target)?;
            let queue = active.plan.rules[placed.plan].queue.is_some();
            let target = active.targets.get(placed.target);
            let mechanism = match target.filter(|target| target.scope().is_some()) {
                Some(_) => arrivals::mechanism(active.plan.rules[placed.plan].direction, active.mechanism),
                None => active.mechanism.to_owned(),
            };
            report.mechanism = if queue { format!("{mechanism}+fq") } else { mechanism };
            reports.push(report);
        }
        drop(session);
        self.add_drops(active, &mut reports);
        Ok(reports)
    }

    /// What the queues lost unseen by the programs, booked on the first fault of the target that queues. What did not fit when it was
    /// delayed is `overflow` already, and the qdisc counts it too.
    fn add_drops(&self, active: &Active, reports: &mut [FaultReport]) {
        for (inode, (pairs, before)) in &active.queues {
            let Some((drops, _)) = active.netns.get(inode).and_then(|netns| collect::queues(netns, pairs).ok()) else {
                continue;
            };
            let known: u64 = active
                .placed
                .iter()
                .zip(reports.iter())
                .filter(|(placed, _)| active.targets.get(placed.target).is_some_and(|t| t.netns.inode == *inode))
                .map(|(_, report)| if report.actions.delayed > 0 { report.overflow } else { 0 })
                .sum();
            let booked = active.placed.iter().zip(reports.iter_mut()).find(|(placed, _)| {
                let target = active.targets.get(placed.target);
                active.plan.rules[placed.plan].queue.is_some() && target.is_some_and(|t| t.netns.inode == *inode)
            });
            if let Some((_, report)) = booked {
                report.dropped = drops.saturating_sub(*before).saturating_sub(known);
            }
        }
    }

    /// Rules off, packets in the queue sent on their way, all taken away; the final counts.
    ///
    /// # Errors
    /// What could not be taken away; it stays in the journal for `chaos cleanup`.
    pub fn revert(&self, active: &Active) -> Result<Vec<FaultReport>, EngineError> {
        let ended = self.leases.end(active.run.lease);
        drain(active);
        let reports = self.report(active);
        // A step that failed keeps none of the others from being tried.
        let removed = self.remove(active);
        ended.and(removed).and(reports)
    }

    fn remove(&self, active: &Active) -> Result<(), EngineError> {
        let mut locked = self.home.lock()?;
        let mut session = self.session();
        let cleared = release::clear(&mut session.datapath, &active.run);
        if cleared.is_ok() {
            locked.journal.runs.retain(|run| run.lease != active.run.lease);
        }
        let gone = undo::let_go(&mut locked, &mut session, active);
        let saved = locked.save();
        cleared?;
        gone.and(saved)
    }
}

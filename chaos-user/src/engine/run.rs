//! An experiment's life: prepare, start, watch, revert. All are prepared first, then started by one write each.

use super::{
    EngineError, Locked, RunEntry, Session, arrivals, attach, collect, expedite, journal,
    lease::Leases,
    limit,
    owner::Owner,
    reap, release,
    rules::{self, Placed},
    session::Shared,
    wants::{self, Want},
};
use crate::{
    kernel::{address, error::KernelError, netlink::Rtnl, netns::Netns},
    observe::FaultReport,
    plan::Plan,
    resolve::Target,
};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime},
};

/// More attach points than this at once are worth the cheap link operations.
const BATCH: usize = 4;
/// The longest that a revert waits for packets in the queue.
const DRAIN: Duration = Duration::from_secs(2);

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
    placed: Vec<Placed>,
    netns: HashMap<u64, Netns>,
    mechanism: &'static str,
    /// Sending ends of veth pairs by netns, with what their queues had dropped before.
    queues: HashMap<u64, (Vec<u32>, u64)>,
}

/// The engine of one process.
pub struct Engine {
    session: Shared,
    leases: Leases,
}

/// Prepares all requests, or none: a failed step rolls back the earlier ones.
///
/// # Errors
/// By exit code; see [`EngineError`].
pub fn prepare(requests: Vec<Request>) -> Result<(Engine, Vec<Active>), EngineError> {
    let mut locked = journal::lock()?;
    if let Some(reason) = journal::locked_by() {
        return Err(EngineError::Refused(format!("this node is locked: {reason}; `chaos unlock` lifts it")));
    }
    reap::reap(&mut locked)?;
    check_names(&locked, &requests)?;
    let mut session = Session::open(&mut locked)?;
    if requests.iter().any(|request| request.targets.iter().any(|target| arrivals::needed(&request.plan, target))) {
        session.datapath.arrivals()?;
    }
    let leases = Leases::new(session.datapath.reopen()?, session.hz)?;
    let mut active = Vec::new();
    let mut failed = None;
    for request in requests {
        match one(&mut locked, &mut session, request) {
            Ok(one) => active.push(one),
            Err(error) => {
                failed = Some(error);
                break;
            }
        }
    }
    if let Some(error) = failed {
        roll_back(&mut locked, &mut session, &active);
        return Err(error);
    }
    locked.save()?;
    Ok((Engine { session: Arc::new(Mutex::new(session)), leases }, active))
}

fn check_names(locked: &Locked, requests: &[Request]) -> Result<(), EngineError> {
    for (index, request) in requests.iter().enumerate() {
        let name = &request.plan.name;
        let twice = requests[..index].iter().any(|other| other.plan.name == *name);
        if twice || locked.journal.runs.iter().any(|run| run.name == *name) {
            let text = format!(
                "metadata.name: an experiment named {name:?} is active on this node; `chaos stop {name}` ends it"
            );
            return Err(EngineError::Invalid(vec![text]));
        }
    }
    Ok(())
}

fn roll_back(locked: &mut Locked, session: &mut Session, active: &[Active]) {
    let me = Owner::me();
    let mine: Vec<RunEntry> = locked.journal.runs.iter().filter(|run| run.owner() == me).cloned().collect();
    locked.journal.runs.retain(|run| run.owner() != me);
    let mut netns = HashMap::new();
    for run in &mine {
        let _first_error_counts = release::clear(&mut session.datapath, run);
    }
    for one in active {
        netns.extend(one.netns.clone());
    }
    let _dropped = std::mem::take(&mut session.held);
    let _first_error_counts = release::unused_points(locked, Some(&mut session.datapath), &netns);
    let _first_error_counts = expedite::lower(locked);
    if locked.journal.runs.is_empty() {
        locked.journal.datapath = None;
    }
    // What could not be taken back stands in the journal for `chaos cleanup`.
    let _first_error_counts = locked.save();
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

fn one(locked: &mut Locked, session: &mut Session, request: Request) -> Result<Active, EngineError> {
    let mut run = entry(&request);
    rules::reserve(locked, &mut run, &request.plan, request.targets.len())?;
    locked.journal.runs.push(run.clone());
    locked.save()?;
    let placed = rules::write(session, &run, &request.plan, &request.targets)?;
    let mut netns = HashMap::new();
    let mut all: Vec<(u64, Vec<Want>)> = Vec::new();
    for (index, target) in request.targets.iter().enumerate() {
        let inode = target.netns.inode;
        let ns = Netns::from_fd(Arc::clone(&target.netns.fd), target.name.clone())?;
        let local = local_addresses(&request.plan, &ns)?;
        let wants = wants::wants(&request.plan, &placed, index, target, &local)
            .map_err(|text| EngineError::Invalid(vec![text]))?;
        all.push((inode, wants));
        netns.insert(inode, ns);
    }
    let points = attach::enter_all(locked, &mut run, &all)?;
    let batch = points.iter().map(Vec::len).sum::<usize>() > BATCH;
    if batch {
        expedite::raise(locked)?;
    }
    limit::enter(locked, &mut run, limit::places(&request.plan, &placed, &request.targets, &all), &netns)?;
    locked.save()?;
    limit::set(&run, &netns)?;
    let mut journal_points = std::mem::take(&mut locked.journal.points);
    let attached = attach::attach_all(session, &mut journal_points, &netns, &all, &points);
    locked.journal.points = journal_points;
    if batch {
        expedite::lower(locked)?;
    }
    locked.save()?;
    attached?;
    let queues = queues(locked, session, &run, &netns)?;
    let clsact = locked.journal.points.iter().any(|entry| run.points.contains(&entry.id) && entry.filter.is_some());
    Ok(Active {
        plan: request.plan,
        targets: request.targets,
        warnings: request.warnings,
        run,
        started: SystemTime::now(),
        placed,
        netns,
        mechanism: if clsact { "clsact" } else { "tcx" },
        queues,
    })
}

/// Needed only where a peer may name a local address, which moves a rule onto loopback.
fn local_addresses(plan: &Plan, netns: &Netns) -> Result<Vec<std::net::IpAddr>, KernelError> {
    if plan.rules.iter().all(|rule| rule.condition.any_peer) {
        return Ok(Vec::new());
    }
    let list = netns.enter(|| address::list(&mut Rtnl::open()?))??;
    Ok(list.into_iter().map(|address| address.ip).collect())
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

    fn session(&self) -> std::sync::MutexGuard<'_, Session> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts all, one write each, and says so in the journal.
    ///
    /// # Errors
    /// What the kernel says; nothing is rolled back here.
    pub fn start(&self, active: &mut [Active]) -> Result<(), EngineError> {
        for one in active.iter_mut() {
            one.started = SystemTime::now();
            self.leases.start(one.run.lease, one.plan.duration)?;
        }
        let mut locked = journal::lock()?;
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
        self.leases.end(active.run.lease)?;
        self.drain(active);
        let reports = self.report(active)?;
        let mut locked = journal::lock()?;
        let mut session = self.session();
        release::clear(&mut session.datapath, &active.run)?;
        locked.journal.runs.retain(|run| run.lease != active.run.lease);
        self.let_go(&mut locked, &mut session, active)?;
        locked.save()?;
        Ok(reports)
    }

    fn let_go(&self, locked: &mut Locked, session: &mut Session, active: &Active) -> Result<(), EngineError> {
        let me = Owner::me();
        let mine = |run: &RunEntry| run.owner() == me;
        let still: Vec<u32> =
            locked.journal.runs.iter().filter(|run| mine(run)).flat_map(|run| run.points.clone()).collect();
        let gone: Vec<u32> = active.run.points.iter().copied().filter(|id| !still.contains(id)).collect();
        let batch = gone.len() > BATCH;
        if batch {
            expedite::raise(locked)?;
        }
        session.held.retain(|id, _| !gone.contains(id));
        let result = release::unused_points(locked, Some(&mut session.datapath), &active.netns);
        if batch {
            expedite::lower(locked)?;
        }
        if locked.journal.runs.is_empty() {
            locked.journal.datapath = None;
        }
        locked.save()?;
        result
    }

    /// Waits for packets that wait in the queue, at most as long as they may.
    fn drain(&self, active: &Active) {
        let longest = active.plan.rules.iter().filter_map(|rule| rule.queue).map(|queue| queue.longest).max();
        let Some(longest) = longest else { return };
        let limit = Instant::now() + DRAIN.min(Duration::from_nanos(longest));
        while Instant::now() < limit {
            let waiting = active.queues.iter().filter_map(|(inode, (pairs, _))| {
                active.netns.get(inode).and_then(|netns| collect::queues(netns, pairs).ok()).map(|(_, waiting)| waiting)
            });
            if waiting.sum::<u64>() == 0 {
                return;
            }
            // The qdisc tells nobody when it runs empty.
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

//! Everything that is made before a fault acts, and more targets for one that acts already.

use super::{
    Active, Engine, EngineError, Locked, RunEntry, Session, attach, calls, clsact, collect, expedite, hosts, limit,
    lookup::{self, Known},
    marks,
    never::Never,
    owner::Owner,
    queue,
    rules::{self, Remembered, Slots},
    sets,
    trial::Trial,
    undo,
    wants::{self, Around, Want},
};
use chaos_abi::maps;
use chaos_host::Target;
use chaos_spec::{
    Probe,
    plan::{
        Plan, RulePlan,
        call::{AttachMethod, HookSite},
    },
};
use chaos_sys::{
    datapath::map_error,
    names,
    netns::{self, Netns},
};
use std::{
    collections::{BTreeSet, HashMap},
    net::IpAddr,
    sync::Arc,
};

/// What is asked for: a plan on its targets.
pub struct Request {
    /// What to do.
    pub plan: Plan,
    /// To whom.
    pub targets: Vec<Target>,
    /// Said by earlier steps.
    pub warnings: Vec<String>,
    /// Who asks.
    pub asker: Asker,
    /// What the world outside is asked meanwhile; the caller does.
    pub probes: Vec<Probe>,
    /// The node's own addresses, for rules that spare them.
    pub node: BTreeSet<IpAddr>,
    /// What rules remember from before a restart, by index of the fault and name of the target.
    pub remembered: HashMap<(usize, String), Remembered>,
}

impl Request {
    /// The network namespaces of its targets.
    #[must_use]
    pub fn places(&self) -> Vec<Netns> {
        let of = |target: &Target| Netns::from_fd(Arc::clone(&target.netns.fd), target.name.clone()).ok();
        self.targets.iter().filter_map(of).collect()
    }
}

/// Who asks for an experiment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asker {
    /// A user of this machine, by this command.
    Command(String),
    /// A cluster's controller, for this user.
    Cluster(String),
}

/// [`RunEntry::source`] of experiments of a cluster.
pub const CLUSTER: &str = "kubernetes";

fn entry(request: &Request) -> RunEntry {
    let me = Owner::me();
    let uid = nix::unistd::getuid();
    let known = || nix::unistd::User::from_uid(uid).ok().flatten().map_or_else(|| uid.to_string(), |user| user.name);
    let (source, user, command) = match &request.asker {
        Asker::Command(command) => ("cli", known(), command.clone()),
        Asker::Cluster(user) => (CLUSTER, user.clone(), String::new()),
    };
    RunEntry {
        name: request.plan.name.clone(),
        namespace: request.plan.namespace.clone(),
        source: source.to_owned(),
        pid: me.pid,
        pid_start: me.start,
        user,
        uid: uid.as_raw(),
        command,
        faults: request.plan.faults.iter().map(|fault| fault.name.clone()).collect(),
        ..RunEntry::default()
    }
}

/// Prepares all, or none: what these requests made so far is rolled back, what others made stays.
///
/// # Errors
/// The first request's that could not be prepared.
pub(super) fn all(
    locked: &mut Locked,
    session: &mut Session,
    requests: Vec<(Request, Known)>,
) -> Result<Vec<Active>, EngineError> {
    // Before anything that is rolled back: what is not named would lose its links by that.
    marks::all_named(&locked.journal, &session.datapath)?;
    let before: Vec<u32> = locked.journal.runs.iter().map(|run| run.lease).collect();
    let mut active = Vec::new();
    let prepared = requests.into_iter().try_for_each(|(request, known)| {
        active.push(one(locked, session, request, known)?);
        Ok(())
    });
    match prepared.and_then(|()| locked.save()) {
        Ok(()) => Ok(active),
        Err(error) => {
            undo::roll_back(locked, session, &before);
            Err(error)
        }
    }
}

fn one(locked: &mut Locked, session: &mut Session, request: Request, known: Known) -> Result<Active, EngineError> {
    hosts::check(&session.datapath, &request.plan)?;
    all_actions_known(session, &request.plan)?;
    let mut run = entry(&request);
    rules::reserve(locked, &mut run, &request.plan)?;
    locked.journal.runs.push(run.clone());
    locked.save()?;
    names::write(&mut session.datapath, &marks::named(&run))?;
    if !request.node.is_empty() {
        sets::write_node(&mut session.datapath, &request.node)?;
    }
    if request.plan.rules.iter().any(RulePlan::names_hosts) {
        sets::write_never(&mut session.datapath, Never::of_this_node().addresses())?;
    }
    let sets = sets::write(&mut session.datapath, &request.plan, &run.sets)?;
    let mut active = Active::new(request.plan, request.warnings, run, sets, known);
    let made = choose(session, &mut active)
        .and_then(|()| join(locked, session, &mut active, request.targets, &request.remembered));
    if made.is_err()
        && let Some(calls) = session.known_calls()
    {
        active.tables.iter().for_each(|tables| calls.forget(*tables));
    }
    made.map(|()| active)
}

/// Programs of an earlier version that act on this node stay loaded while one of its experiments lives.
fn all_actions_known(session: &Session, plan: &Plan) -> Result<(), EngineError> {
    for rule in &plan.rules {
        if !session.datapath.knows(rule.action())? {
            return Err(EngineError::Unsupported(format!(
                "spec.faults[{}].network.{}: the programs on this node are of an earlier version of chaos, which lacks this fault; let \
                 its experiments end first, or end them with `chaos stop --all`",
                rule.fault, rule.kind
            )));
        }
    }
    Ok(())
}

/// By which means each of the plan's calls is hit, and the tables of what they are matched with.
fn choose(session: &mut Session, active: &mut Active) -> Result<(), EngineError> {
    for rule in &active.plan.rules {
        let (mut chosen, mut tables) = (Vec::new(), (0, 0));
        if let Some(call) = &rule.call {
            chosen = Trial::get().choose(call).map_err(EngineError::Unsupported)?;
            tables = session.calls()?.tables(call)?;
        }
        active.chosen.push(chosen);
        active.tables.push(tables);
    }
    apart(active.chosen.iter().flatten().flat_map(|candidate| &candidate.sites)).map_err(EngineError::Unsupported)
}

/// A kprobe's return is lost where a program of the other kind stands at the same function: both are called by ftrace, and the trampoline
/// of the other has the last word on where to go on (kernel/trace/ftrace.c, `call_direct_funcs`).
fn apart<'a>(sites: impl Iterator<Item = &'a HookSite> + Clone) -> Result<(), String> {
    let by = |ways: &'static [AttachMethod]| {
        sites.clone().filter(|site| ways.contains(&site.method)).map(|site| site.function.as_str())
    };
    let entries: BTreeSet<&str> = by(&[AttachMethod::Entry, AttachMethod::EntryLater]).collect();
    match by(&[AttachMethod::Kprobe]).find(|function| entries.contains(function)) {
        Some(function) => Err(format!(
            "{function} would be hit by both entry and kprobe, of which the latter would have no effect; let the faults of one call \
             have the same mechanism"
        )),
        None => Ok(()),
    }
}

/// Puts an experiment's rules onto more targets. Where its lease runs, they act from here on.
pub(super) fn join(
    locked: &mut Locked,
    session: &mut Session,
    active: &mut Active,
    targets: Vec<Target>,
    remembered: &HashMap<(usize, String), Remembered>,
) -> Result<(), EngineError> {
    marks::still_named(&locked.journal, &active.run)?;
    let first = active.targets.len();
    let ids = rules::reserve_rules(locked, &active.plan, targets.len())?;
    if !targets.is_empty() && active.run.port_sets.is_empty() {
        active.run.port_sets = rules::reserve_ports(locked, &active.plan)?;
    }
    active.run.rules.extend(&ids);
    active.run.targets.extend(targets.iter().map(|target| target.name.clone()));
    let namespaces: BTreeSet<u64> = targets.iter().map(|target| target.netns.inode).collect();
    let learned = sets::spread(&active.plan, &mut active.sets, &namespaces, || rules::next_set(locked));
    active.run.sets.extend(learned);
    note(locked, &active.run);
    locked.save()?;
    sets::write_ports(&mut session.datapath, &active.plan, &mut active.sets, &active.run.port_sets)?;
    sets::follow(&mut session.datapath, &active.plan, &active.sets, &active.known)?;
    let plan = &active.plan;
    let memory = |rule: usize, target: &Target| {
        let key = (plan.rules[rule].fault, target.name.clone());
        remembered.get(&key).copied().unwrap_or_default()
    };
    let slots = Slots { ids: &ids, lease: active.run.lease, first, tables: &active.tables };
    let placed = rules::write(session, &slots, plan, &active.sets, &targets, memory)?;
    active.targets.extend(targets);
    // Known before anything can fail, so that what was placed is taken back.
    active.placed.extend(placed.iter().cloned());
    calls::place(session, active, &placed)?;
    netns::travelling(|| {
        let wanted = wanted(active, first)?;
        attach(locked, session, active, &wanted)?;
        queues(locked, session, active)
    })?
}

/// The attach points of the targets from `first` on, with the namespaces that they are in.
fn wanted(active: &mut Active, first: usize) -> Result<Vec<(u64, Vec<Want>)>, EngineError> {
    let mut all = Vec::new();
    if !active.plan.needs_network() {
        return Ok(all);
    }
    for (index, target) in active.targets.iter().enumerate().skip(first) {
        let inode = target.netns.inode;
        let ns = Netns::from_fd(Arc::clone(&target.netns.fd), target.name.clone())?;
        let local = wants::local_addresses(&active.plan, &ns)?;
        let around = Around { local: &local, known: &active.known };
        let said = queue::spared(&active.plan, target, around);
        active.warnings.extend(said.into_iter().filter(|text| !active.warnings.contains(text)).collect::<Vec<_>>());
        let wants = wants::wants(&active.plan, &active.placed, index, target, around)
            .map_err(|text| EngineError::Invalid(vec![text]))?;
        all.push((inode, wants));
        active.netns.insert(inode, ns);
    }
    Ok(all)
}

/// Makes what is wanted in these namespaces.
pub(super) fn attach(
    locked: &mut Locked,
    session: &mut Session,
    active: &mut Active,
    all: &[(u64, Vec<Want>)],
) -> Result<(), EngineError> {
    let points = attach::enter_all(locked, &mut active.run, all)?;
    if points.iter().any(|ids| !ids.is_empty()) {
        expedite::raise(locked)?;
    }
    clsact::look_for(session, &mut locked.journal.points, &active.netns)?;
    let places = limit::places(&active.plan, &active.placed, &active.targets, all);
    limit::enter(locked, &mut active.run, places, &active.netns)?;
    note(locked, &active.run);
    locked.save()?;
    limit::set(locked, &active.run, &active.netns)?;
    let mut journal_points = std::mem::take(&mut locked.journal.points);
    let attached = attach::attach_all(session, &mut journal_points, &active.netns, all, &points);
    locked.journal.points = journal_points;
    let lowered = expedite::lower(locked);
    // What was made is written down whatever else failed.
    let saved = locked.save();
    attached?;
    let clsact =
        locked.journal.points.iter().any(|entry| active.run.points.contains(&entry.id) && entry.filter.is_some());
    active.mechanism = if clsact { "clsact" } else { "tcx" };
    lowered.and(saved)
}

/// What a join that failed has reserved and not placed is nobody's again.
fn give_back(run: &mut RunEntry, before: &RunEntry, standing: &[u32]) {
    run.rules.retain(|id| before.rules.contains(id) || standing.contains(id));
    if !standing.iter().any(|id| !before.rules.contains(id)) {
        run.targets.truncate(before.targets.len());
    }
}

/// The journal's entry of a run becomes this one.
pub(super) fn note(locked: &mut Locked, run: &RunEntry) {
    if let Some(known) = locked.journal.runs.iter_mut().find(|known| known.is_same(run)) {
        known.clone_from(run);
    }
}

/// Finds the queues of this run, and what those that are new to it had dropped before.
pub(super) fn queues(locked: &Locked, session: &Session, active: &mut Active) -> Result<(), EngineError> {
    let mut found: HashMap<u64, Vec<u32>> = HashMap::new();
    let used = |id| active.run.points.contains(&id);
    for entry in locked.journal.points.iter().filter(|entry| entry.pair.is_some() && used(entry.id)) {
        let point = session.datapath.points.get(&entry.id, 0);
        let point = point.map_err(|e| map_error("read map", maps::POINTS, &e))?;
        found.entry(entry.netns).or_default().push(point.pair_tx);
    }
    for (inode, pairs) in found {
        let known = active.queues.get(&inode);
        if known.is_some_and(|(known, _)| *known == pairs) {
            continue;
        }
        let before = match active.netns.get(&inode) {
            Some(netns) => collect::queues(netns, &pairs)?.0,
            None => 0,
        };
        active.queues.insert(inode, (pairs, before));
    }
    Ok(())
}

impl Engine {
    /// Puts a running experiment's faults onto more targets: they act from here on, until the same end. A failure takes back what
    /// was made for these targets and leaves the others as they are.
    ///
    /// # Errors
    /// By exit code; see [`EngineError`].
    pub fn join(
        &self,
        active: &mut Active,
        targets: Vec<Target>,
        remembered: &HashMap<(usize, String), Remembered>,
    ) -> Result<(), EngineError> {
        // Before the lock, for nameservers may be slow.
        let known = lookup::look_up(&active.plan, &targets);
        active
            .warnings
            .extend(known.warnings.iter().filter(|text| !active.warnings.contains(text)).cloned().collect::<Vec<_>>());
        active.known.extend(known);
        let mut locked = self.home.lock()?;
        let mut session = self.session();
        let (first, before) = (active.targets.len(), active.run.clone());
        let joined = join(&mut locked, &mut session, active, targets, remembered);
        if joined.is_err() {
            let mut standing = Vec::new();
            for index in first..active.targets.len() {
                let its = active.placed.iter().filter(|placed| placed.target == index);
                let its: Vec<u32> = its.flat_map(|placed| placed.ids.iter().copied()).collect();
                // The error that came first is the one to tell. What could not be taken away may act yet: its numbers are not free.
                if undo::release(&mut locked, &mut session, active, index).is_err() {
                    standing.extend(its);
                }
            }
            standing.extend(active.placed.iter().flat_map(|placed| placed.ids.iter().copied()));
            give_back(&mut active.run, &before, &standing);
            note(&mut locked, &active.run);
            let _second_error = locked.save();
        }
        joined
    }
}

#[cfg(test)]
mod tests {
    use super::{AttachMethod, HookSite, RunEntry, apart, give_back};

    #[test]
    fn a_join_that_fails_keeps_no_ids_but_those_that_stand() {
        let names = |names: &[&str]| names.iter().map(ToString::to_string).collect();
        let before = RunEntry { rules: vec![1, 2], targets: names(&["a"]), ..RunEntry::default() };
        let joined = RunEntry { rules: vec![1, 2, 3, 4], targets: names(&["a", "b"]), ..RunEntry::default() };
        let left = |standing: &[u32]| {
            let mut run = joined.clone();
            give_back(&mut run, &before, standing);
            (run.rules, run.targets.len())
        };
        assert_eq!(left(&[1, 2]), (vec![1, 2], 1));
        assert_eq!(left(&[1, 2, 4]), (vec![1, 2, 4], 2), "what could not be taken off");
    }

    #[test]
    fn no_function_has_programs_of_both_kinds() {
        let site = |method, function: &str| HookSite { method, function: function.to_owned(), program: "entry" };
        let (entry, kprobe) =
            (site(AttachMethod::Entry, "__x64_sys_fsync"), site(AttachMethod::Kprobe, "__x64_sys_fsync"));
        let other = site(AttachMethod::Kprobe, "__x64_sys_close");
        assert!(apart([&entry, &other].into_iter()).is_ok() && apart([&kprobe, &other].into_iter()).is_ok());
        for entry in [entry, site(AttachMethod::EntryLater, "__x64_sys_fsync")] {
            assert!(apart([&entry, &other, &kprobe].into_iter()).unwrap_err().contains("__x64_sys_fsync"));
        }
    }
}

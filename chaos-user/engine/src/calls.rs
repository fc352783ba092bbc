//! Faults of system calls: which programs stand where, and which rules they find there.
//!
//! All of it belongs to this process and goes with it; the journal has the rules' ids and nothing more to undo.

use super::{Active, EngineError, Session, heirs::Heirs, rules::Placed, trial};
use crate::syscall::Image;
use chaos_abi::{CallKey, CallList, CallState, MAX_LEVELS, MAX_RULES_PER_CALL, NEEDS_KIND, NEEDS_PEER, Scopes, maps};
use chaos_spec::plan::call::{CallPlan, Candidate, HookSite};
use chaos_sys::{
    bpf,
    datapath::{Datapath, map_error},
    error::KernelError,
    seam, sleep,
};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    os::fd::{AsFd, OwnedFd},
};

/// The rules for a call of a cgroup, with what they need to know.
type List = Vec<(u32, u32)>;

/// A program in its place.
struct Standing {
    program: OwnedFd,
    // Held, or it would be detached.
    _links: Vec<OwnedFd>,
    /// The rules that need it.
    rules: BTreeSet<u32>,
}

/// A process's side of the system calls' faults.
pub struct Calls {
    image: Image,
    sites: HashMap<HookSite, Standing>,
    /// By cgroup, hook and number; with the depth of the cgroup.
    lists: BTreeMap<(u64, u32, u32), (u32, List)>,
    heirs: Heirs,
}

impl Calls {
    /// With the maps of this datapath.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn new(datapath: &Datapath) -> Result<Self, KernelError> {
        let root = trial::cgroup_root()?;
        let image = Image::new(&datapath.call_maps(), &root)?;
        Ok(Self { image, sites: HashMap::new(), lists: BTreeMap::new(), heirs: Heirs::default() })
    }

    /// Writes the tables of a fault's patterns: the rows at which path and name begin.
    ///
    /// # Errors
    /// ENOSPC where there is no room.
    pub fn tables(&mut self, plan: &CallPlan) -> Result<(u32, u32), KernelError> {
        let mut add = |rows: &Option<Vec<_>>| rows.as_ref().map_or(Ok(0), |rows| self.image.maps.add_globs(rows));
        Ok((add(&plan.paths)?, add(&plan.comm)?))
    }

    /// Gives them back.
    pub fn forget(&mut self, (path, comm): (u32, u32)) {
        self.image.maps.remove_globs(path);
        self.image.maps.remove_globs(comm);
    }

    /// What a rule is to remember.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn remember(&mut self, id: u32, state: CallState) -> Result<(), KernelError> {
        seam::run("fill map", maps::CALL_STATES, || {
            self.image.maps.states.set(id, state, 0).map_err(|e| map_error("fill map", maps::CALL_STATES, &e))
        })
    }

    /// What a rule remembers.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn memory(&self, id: u32) -> Result<CallState, KernelError> {
        self.image.maps.states.get(&id, 0).map_err(|e| map_error("read map", maps::CALL_STATES, &e))
    }

    /// How often the kernel left out the programs of a rule, for whichever thread's call: a thread that was interrupted in one keeps others
    /// of its CPU out of it (kernel/bpf/trampoline.c, `__bpf_prog_enter_recur`).
    #[must_use]
    pub fn misses(&self, id: u32) -> u64 {
        let mine = self.sites.values().filter(|standing| standing.rules.contains(&id));
        mine.map(|standing| bpf::recursion_misses(standing.program.as_fd())).sum()
    }

    /// Puts a rule where it is to be found, and programs where they are to find it. Programs first: the rules do nothing before
    /// their lease runs.
    ///
    /// # Errors
    /// What the kernel says; E2BIG where a call has too many rules or targets lie at too many depths.
    pub fn place(&mut self, id: u32, cgroup: (u64, u32), needs: u32, chosen: &[Candidate]) -> Result<(), EngineError> {
        for candidate in chosen {
            for site in &candidate.sites {
                self.site(id, site)?;
            }
            let key = (cgroup.0, candidate.hook, candidate.number);
            let (_, list) = self.lists.entry(key).or_insert((cgroup.1, Vec::new()));
            if list.len() == MAX_RULES_PER_CALL {
                let text = format!("more than {MAX_RULES_PER_CALL} faults for one call of one target");
                return Err(EngineError::Unsupported(text));
            }
            list.push((id, needs));
            self.write(key)?;
        }
        self.write_levels()
    }

    fn site(&mut self, id: u32, site: &HookSite) -> Result<(), KernelError> {
        if let Some(standing) = self.sites.get_mut(site) {
            standing.rules.insert(id);
            return Ok(());
        }
        if site.method.sleeps() {
            self.image.maps.set_sleeper(sleep::pages()?)?;
        }
        let program = self.image.load(site)?;
        let links = self.image.attach(site, &program)?;
        self.sites.insert(site.clone(), Standing { program, _links: links, rules: BTreeSet::from([id]) });
        Ok(())
    }

    fn write(&mut self, key: (u64, u32, u32)) -> Result<(), KernelError> {
        let (cgroup, hook, number) = key;
        let entry = CallKey { cgroup, number, hook };
        let rules = self.lists.get(&key).map(|(_, list)| list.as_slice()).unwrap_or_default();
        if rules.is_empty() {
            self.lists.remove(&key);
            return seam::run("write map", maps::CALLS, || {
                super::rules::gone(self.image.maps.calls.remove(&entry), "write map", maps::CALLS)
            });
        }
        let mut list = CallList { count: rules.len() as u32, needs: 0, rules: [0; MAX_RULES_PER_CALL] };
        for (to, (id, needs)) in list.rules.iter_mut().zip(rules) {
            *to = *id;
            list.needs |= needs;
        }
        seam::run("write map", maps::CALLS, || {
            self.image.maps.calls.insert(entry, list, 0).map_err(|e| map_error("write map", maps::CALLS, &e))
        })
    }

    fn write_levels(&mut self) -> Result<(), EngineError> {
        let levels: BTreeSet<u32> = self.lists.values().map(|(level, _)| *level).collect();
        if levels.len() > MAX_LEVELS {
            let text = format!("targets lie at more than {MAX_LEVELS} depths of the cgroup tree");
            return Err(EngineError::Unsupported(text));
        }
        let mut scopes = Scopes { count: levels.len() as u32, ..Scopes::zeroed() };
        scopes.levels.iter_mut().zip(levels).for_each(|(to, level)| *to = level);
        let write = || self.image.maps.scopes.set(0, scopes, 0).map_err(|e| map_error("write map", maps::SCOPES, &e));
        seam::run("write map", maps::SCOPES, write).map_err(EngineError::from)
    }

    /// Has rules follow from a cgroup to the one that will be made in its place, with that name in `parent`.
    ///
    /// # Errors
    /// E2BIG where they are too many; what the kernel says.
    pub fn foresee(&mut self, cgroup: u64, place: (u64, &str), rules: &[u32]) -> Result<(), KernelError> {
        let calls =
            self.lists.keys().filter(|(of, ..)| *of == cgroup).map(|(_, hook, number)| (*hook, *number)).collect();
        self.heirs.add(&mut self.image, cgroup, place, rules, calls)
    }

    /// The lists of a cgroup, and those that these rules stand in, become those of the one that was made in its place, where the kernel's
    /// program has not done so.
    ///
    /// # Errors
    /// The first that the kernel refused.
    pub fn follow(&mut self, old: u64, new: u64, rules: &[u32]) -> Result<(), KernelError> {
        // An earlier step that failed may have left them at another one.
        let left = |list: &List| list.iter().any(|(id, _)| rules.contains(id));
        let behind = |(of, ..): &(u64, u32, u32), list: &List| *of != new && (*of == old || left(list));
        let keys: Vec<_> =
            self.lists.iter().filter(|(key, (_, list))| behind(key, list)).map(|(key, _)| *key).collect();
        let mut result = Ok(());
        for key in keys {
            let (_, hook, number) = key;
            if let Some((level, list)) = self.lists.remove(&key) {
                // Another experiment may be there already.
                let (_, to) = self.lists.entry((new, hook, number)).or_insert((level, List::new()));
                let missing = list.into_iter().filter(|(id, _)| !to.iter().any(|(other, _)| other == id));
                let missing: Vec<_> = missing.take(MAX_RULES_PER_CALL.saturating_sub(to.len())).collect();
                to.extend(missing);
            }
            result = result.and(self.write((new, hook, number))).and(self.write(key));
        }
        result.and(self.heirs.follow(&mut self.image, old, new))
    }

    /// Entries with one of these rules that the kernel's program has moved since, where nobody looks any more.
    fn sweep(&mut self, gone: &[u32]) -> Result<(), KernelError> {
        let has = |list: &CallList| list.rules.iter().take(list.count as usize).any(|id| gone.contains(id));
        let all = self.image.maps.calls.iter().filter_map(Result::ok);
        let moved: Vec<CallKey> = all
            .filter(|(key, list)| has(list) && !self.lists.contains_key(&(key.cgroup, key.hook, key.number)))
            .map(|(key, _)| key)
            .collect();
        moved
            .into_iter()
            .try_for_each(|key| super::rules::gone(self.image.maps.calls.remove(&key), "write map", maps::CALLS))
    }

    /// Takes rules away, and programs that no other rule needs.
    ///
    /// # Errors
    /// The first that the kernel refused; the rest is gone.
    pub fn remove(&mut self, gone: &[u32]) -> Result<(), EngineError> {
        // First, or a cgroup that is made meanwhile would have them again.
        let mut result = self.heirs.remove(&mut self.image, gone).map_err(EngineError::from);
        let touched = |(_, list): &(u32, List)| list.iter().any(|(id, _)| gone.contains(id));
        let keys: Vec<_> = self.lists.iter().filter(|(_, list)| touched(list)).map(|(key, _)| *key).collect();
        for key in keys {
            if let Some((_, list)) = self.lists.get_mut(&key) {
                list.retain(|(id, _)| !gone.contains(id));
            }
            result = result.and(self.write(key).map_err(EngineError::from));
        }
        result = result.and(self.sweep(gone).map_err(EngineError::from));
        for standing in self.sites.values_mut() {
            standing.rules.retain(|id| !gone.contains(id));
        }
        self.sites.retain(|_, standing| !standing.rules.is_empty());
        result.and(self.write_levels())
    }
}

/// Puts the rules of system calls of an experiment's targets from `first` on in their places.
///
/// # Errors
/// By exit code; the caller rolls back.
pub(super) fn place(session: &mut Session, active: &Active, placed: &[Placed]) -> Result<(), EngineError> {
    for one in placed {
        let Some(plan) = &active.plan.rules[one.plan].call else { continue };
        let target = &active.targets[one.target];
        let scope = target.cgroup.as_ref().ok_or_else(|| EngineError::Unsupported(without_cgroup(&target.name)))?;
        let kind = if plan.kind == chaos_abi::KIND_ANY { 0 } else { NEEDS_KIND };
        let needs = kind | if plan.peers { NEEDS_PEER } else { 0 };
        let chosen: Vec<Candidate> = active.chosen[one.plan].clone();
        session.calls()?.place(one.id(), (scope.id, scope.level), needs, &chosen)?;
    }
    Ok(())
}

/// Why system calls of a target cannot be hit.
#[must_use]
pub fn without_cgroup(target: &str) -> String {
    format!(
        "{target} has no cgroup by which its processes could be told from others; select by cgroup, pid, unit or container"
    )
}

//! From the processes that are meant to a target: by namespace or by cgroup, and what must never be one.
use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
};

use super::{
    cgroup::{self, Tree},
    error::Problem,
    local::{Finder, Needs},
    process::Process,
    runtime,
    target::{CgroupScope, NetnsRef, Probed, ScopedBy, Target, TargetKind},
};

/// The processes that are meant.
pub(super) struct Members {
    /// The cgroup that holds exactly them; none where they have no cgroup2 of their own.
    pub(super) scope: Option<CgroupScope>,
    pub(super) pids: BTreeSet<i32>,
    /// Where they were found, for people.
    pub(super) place: String,
}

impl Members {
    /// All processes in and below a directory of the cgroup2 hierarchy.
    pub(super) fn of_directory(tree: &Tree, directory: PathBuf, place: &str) -> Self {
        let pids = cgroup::processes_below(&directory);
        Self { scope: cgroup::scope(tree, &directory), pids, place: format!("cgroup {place}") }
    }
}

impl Finder<'_> {
    /// Names that a function finds in the directories of all cgroup trees.
    pub(super) fn names_in_trees<T: Ord>(&self, name: impl Fn(&Path) -> Option<T>) -> BTreeSet<T> {
        let trees =
            self.host.unified.iter().map(|tree| &tree.mount).chain(self.host.legacy.iter().map(|tree| &tree.mount));
        trees.flat_map(|root| cgroup::directories(root)).filter_map(|directory| name(&directory)).collect()
    }

    /// The one directory that fits, in the cgroup2 hierarchy or, on hybrid and v1 machines, in a v1 tree.
    /// Errors: several fit.
    pub(super) fn search(
        &self,
        what: &str,
        name: &str,
        fits: impl Fn(&Path) -> bool,
    ) -> Result<Option<Members>, Problem> {
        let find = |root: &Path| -> Vec<PathBuf> {
            cgroup::directories(root).into_iter().filter(|directory| directory != root && fits(directory)).collect()
        };
        let mut empty = None;
        if let Ok(tree) = self.unified()
            && let Some(directory) = only(find(&tree.mount), what, name)?
        {
            let path = below(&tree.mount, &directory);
            let members = Members::of_directory(tree, directory, &path);
            // On a hybrid machine a directory may be there while its processes are only in the v1 tree.
            if !members.pids.is_empty() {
                return Ok(Some(members));
            }
            empty = Some(members);
        }
        for tree in &self.host.legacy {
            if let Some(directory) = only(find(&tree.mount), what, name)? {
                let pids = cgroup::processes_below(&directory);
                let found = !pids.is_empty();
                let members =
                    self.members_by_legacy(pids, format!("cgroup v1 {} ({})", directory.display(), tree.name));
                if found {
                    return Ok(Some(members));
                }
                empty = empty.or(Some(members));
            }
        }
        Ok(empty)
    }

    /// Processes of a v1 cgroup, with the cgroup2 that holds exactly them, if there is one.
    fn members_by_legacy(&self, pids: BTreeSet<i32>, place: String) -> Members {
        let scope = self.unified().ok().and_then(|tree| {
            let first = *pids.first()?;
            let path = self.processes.get(first)?.cgroup.clone();
            let directory = cgroup::of_process(&tree.mount, first, path.as_deref())?;
            (cgroup::processes_below(&directory) == pids).then(|| cgroup::scope(tree, &directory))?
        });
        Members { scope, pids, place }
    }

    /// A bare network namespace.
    pub(super) fn of_namespace(&self, name: &str, netns: NetnsRef) -> Result<Target, Problem> {
        let pids: BTreeSet<i32> = self.processes.in_netns(netns.inode).map(|process| process.pid).collect();
        let host = self.host_netns()?.contains(&netns.inode);
        // The host's own is for --yes to decide; it always holds the runtime.
        if !host {
            self.refuse_runtime(&pids, &format!("network namespace {name}"))?;
        }
        self.target(TargetKind::Netns, name, netns, ScopedBy::Netns, None, pids)
    }

    /// The rule of the scope: who has a namespace to himself is told by that, who shares one by his cgroup.
    pub(super) fn decide(&self, kind: TargetKind, name: &str, members: Members) -> Result<Target, Problem> {
        let guarded = members.scope.as_ref().is_some_and(|scope| scope.shown_level() < 2);
        if guarded && matches!(kind, TargetKind::Cgroup | TargetKind::Unit) {
            return Err(too_large(&members));
        }
        self.refuse_runtime(&members.pids, &members.place)?;
        if self.host.own_pid().is_some_and(|own| members.pids.contains(&own)) {
            return Err(Problem::refused(format!("{} holds this very process; run chaos elsewhere", members.place)));
        }
        if self.needs == Needs::Cgroup {
            return self.by_cgroup(kind, name, members);
        }
        let netns = self.netns_of(&members)?;
        let own = self.owns_netns(netns.inode, &members.pids)?;
        if guarded && !own {
            return Err(too_large(&members));
        }
        let Members { scope, pids, place } = members;
        let (scoped_by, scope) = match scope {
            scope if own => (ScopedBy::Netns, scope.filter(|_| !guarded)),
            Some(scope) => (ScopedBy::Cgroup, Some(scope)),
            None => return Err(self.no_scope(&place, &pids)),
        };
        self.target(kind, name, netns, scoped_by, scope, pids)
    }

    /// Whether a namespace is not the host's and nobody but `pids` is in it.
    pub(super) fn owns_netns(&self, inode: u64, pids: &BTreeSet<i32>) -> Result<bool, Problem> {
        let shared = self.processes.in_netns(inode).any(|process| !pids.contains(&process.pid));
        Ok(!shared && !self.host_netns()?.contains(&inode))
    }

    fn host_netns(&self) -> Result<Vec<u64>, Problem> {
        let inodes = self.host.netns_inodes();
        inodes.map_err(|e| Problem::unsupported(format!("our own network namespace cannot be read: {e}")))
    }

    /// The one namespace of the processes, opened.
    fn netns_of(&self, members: &Members) -> Result<NetnsRef, Problem> {
        let mut by_inode: BTreeMap<u64, Vec<i32>> = BTreeMap::new();
        for process in members.pids.iter().filter_map(|pid| self.processes.get(*pid)) {
            if let Some(inode) = process.netns {
                by_inode.entry(inode).or_default().push(process.pid);
            }
        }
        let place = &members.place;
        if by_inode.len() > 1 {
            let each: Vec<String> = by_inode
                .iter()
                .map(|(inode, pids)| format!("net:[{inode}]: {}", self.processes.names(pids.clone())))
                .collect();
            return Err(Problem::absent(format!(
                "{place} is in {} network namespaces ({}); name one of its parts",
                by_inode.len(),
                each.join("; ")
            )));
        }
        let opened = by_inode.iter().flat_map(|(inode, pids)| pids.iter().map(move |pid| (inode, pid)));
        opened
            .filter_map(|(inode, pid)| {
                // The number may have come to mean another process.
                NetnsRef::open(&self.host.of(*pid, "ns/net")).ok().filter(|netns| netns.inode == *inode)
            })
            .next()
            .ok_or_else(|| self.unreadable(place, &members.pids))
    }

    /// Why no process has a namespace that can be read: there is none, all have ended, or we may not.
    pub(super) fn unreadable(&self, place: &str, pids: &BTreeSet<i32>) -> Problem {
        let forbidden = |pid: &i32| {
            let read = fs::metadata(self.host.of(*pid, "ns/net"));
            read.is_err_and(|e| e.kind() == io::ErrorKind::PermissionDenied)
        };
        if pids.iter().any(forbidden) {
            let remedy = if nix::unistd::geteuid().is_root() {
                "this process lacks CAP_SYS_PTRACE, or a security module forbids it"
            } else {
                "run as root, with CAP_SYS_PTRACE"
            };
            let text = "the network namespaces of its processes may not be read";
            return Problem::unsupported(format!("{place}: {text}: {remedy}"));
        }
        Problem::absent(format!("{place} holds no living process, so its network namespace is unknown: start it first"))
    }

    fn refuse_runtime(&self, pids: &BTreeSet<i32>, place: &str) -> Result<(), Problem> {
        let is_runtime =
            |pid: &&i32| self.processes.get(**pid).is_some_and(|process| runtime::is_runtime(self.host, process));
        let found: Vec<i32> = pids.iter().filter(is_runtime).copied().collect();
        if found.is_empty() {
            return Ok(());
        }
        let names = self.processes.names(found);
        Err(Problem::refused(format!("{place} is protected: it holds {names}, on which every container here depends")))
    }

    /// Why processes in a shared namespace cannot be told apart.
    fn no_scope(&self, place: &str, pids: &BTreeSet<i32>) -> Problem {
        let in_root = pids.iter().filter_map(|pid| self.processes.get(*pid)).find_map(root_only);
        let why = match &self.host.unified {
            Err(why) => why.clone(),
            Ok(_) => in_root.unwrap_or("no cgroup of the cgroup2 hierarchy holds exactly its processes".to_owned()),
        };
        Problem::unsupported(format!(
            "{place} shares its network namespace with other processes and cannot be told apart from them: {why}; start \
             it in a cgroup2 of its own (systemd.unified_cgroup_hierarchy=1) or in a network namespace of its own"
        ))
    }

    /// The refusal of a process among strangers.
    pub(super) fn pid_refused(&self, process: &Process, netns: u64, strangers: &[i32]) -> Problem {
        let others = self.processes.names(strangers.iter().copied());
        let root = root_only(process).map_or(String::new(), |why| format!(" ({why})"));
        let instead = match self.host_netns() {
            Ok(host) if !host.contains(&netns) => ", or name its network namespace as netns",
            _ => "",
        };
        Problem::refused(format!(
            "the cgroup of process {} ({}) also holds processes that are not its descendants: {others}; they would be hit \
             too{root}. Start it with `chaos run FILE -- CMD`, or with `systemd-run --scope -u NAME CMD` and name that as unit: NAME.scope{instead}",
            process.pid, process.comm
        ))
    }

    fn target(
        &self,
        kind: TargetKind,
        name: &str,
        netns: NetnsRef,
        scoped_by: ScopedBy,
        cgroup: Option<CgroupScope>,
        pids: BTreeSet<i32>,
    ) -> Result<Target, Problem> {
        let known = self.interfaces.borrow().get(&netns.inode).cloned();
        let interfaces = match known {
            Some(interfaces) => interfaces,
            None => self.kernel.interfaces(&netns)?,
        };
        self.interfaces.borrow_mut().insert(netns.inode, interfaces.clone());
        Ok(Target {
            kind,
            name: name.to_owned(),
            shares_host_netns: self.host_netns()?.contains(&netns.inode),
            netns,
            scoped_by,
            cgroup,
            interfaces,
            pids: pids.into_iter().collect(),
            wanted: None,
            probed: Probed::default(),
            dice: 0,
        })
    }
}

/// That a process is in the root of the cgroup2 hierarchy, and where it is instead.
fn root_only(process: &Process) -> Option<String> {
    let legacy = process.legacy.as_ref().map_or(String::new(), |path| format!(" and only in cgroup v1 ({path})"));
    let text = format!("process {} ({}) is in the root of the cgroup2 hierarchy{legacy}", process.pid, process.comm);
    process.cgroup.as_deref().is_some_and(|path| path == "/").then_some(text)
}

/// The refusal of levels 0 and 1.
pub(super) fn too_large(members: &Members) -> Problem {
    let level = members.scope.as_ref().map_or(0, CgroupScope::shown_level);
    Problem::refused(format!(
        "{} is at level {level} of the cgroup tree: that is the whole machine or a large part of it; name a cgroup \
         below it",
        members.place
    ))
}

/// The only one of several directories; what users who are logged in have named counts only where nobody else has. Errors: there are more.
fn only(found: Vec<PathBuf>, what: &str, name: &str) -> Result<Option<PathBuf>, Problem> {
    let (users, others): (Vec<PathBuf>, Vec<PathBuf>) =
        found.into_iter().partition(|directory| runtime::is_of_users(directory));
    let found = if others.is_empty() { users } else { others };
    if found.len() > 1 {
        let paths: Vec<String> = found.iter().map(|path| path.display().to_string()).collect();
        let text = format!("{what} {name:?} has several cgroups: {}; name one as cgroup", paths.join(", "));
        return Err(Problem::absent(text));
    }
    Ok(found.into_iter().next())
}

fn below(mount: &Path, directory: &Path) -> String {
    format!("/{}", directory.strip_prefix(mount).unwrap_or(directory).display())
}

//! A target that is followed.

use chaos_engine::{Active, Engine, Owner, made::Made};
use chaos_host::{
    ByNetlink, Host, Target, TargetKind, Wanted, cgroup,
    local::Interfaces,
    target::{CgroupScope, ScopedBy},
};
use chaos_outcome::Gap;
use std::{
    fs, mem,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::{Instant, SystemTime},
};

/// So many gaps of a target stand in the report.
const MOST_GAPS: usize = 100;

/// One of them.
pub(super) struct One {
    pub(super) wanted: Wanted,
    pub(super) kind: TargetKind,
    pub(super) name: String,
    pub(super) dice: u64,
    pub(super) is_host: bool,
    /// The process, where it is one that is meant.
    pub(super) process: Option<Owner>,
    /// Its index among the experiment's targets, while it is under the faults.
    pub(super) index: Option<usize>,
    /// Its cgroup, which is made here while it is gone, and what was missing above that.
    pub(super) made: Vec<Made>,
    /// Its rules stand and mean nobody.
    pub(super) is_gone: bool,
    /// When it was under them last.
    pub(super) seen: SystemTime,
    /// Since when it lives without all of them.
    pub(super) without: Option<(Instant, String)>,
    pub(super) gaps: Vec<Gap>,
}

impl One {
    /// Is it still what was found?
    pub(super) fn is_there(&self, active: &Active, target: &Target, thorough: bool) -> bool {
        if let Some(process) = self.process {
            let lives = || process.is_alive() && netns_of(process.pid.cast_signed()) == Some(target.netns.inode);
            return !thorough || lives();
        }
        if let Wanted::Netns(_) = self.wanted {
            return inode(&target.netns.path) == Some(target.netns.inode);
        }
        let Some(scope) = &target.cgroup else {
            let lives = |pid: &i32| netns_of(*pid) == Some(target.netns.inode);
            return !thorough || target.pids.iter().any(lives);
        };
        if inode(&scope.directory) != Some(scope.id) {
            return false;
        }
        // Calls need no network.
        if !thorough || !active.plan.needs_network() {
            return true;
        }
        let mut places = cgroup::processes_below(&scope.directory).into_iter().filter_map(netns_of).peekable();
        let empty = places.peek().is_none();
        // By its cgroup it is still known while nobody is in it.
        if empty { target.scoped_by == ScopedBy::Cgroup } else { places.any(|inode| inode == target.netns.inode) }
    }

    /// Is it worth to search for it?
    pub(super) fn may_be_there(&self, host: &Host) -> bool {
        match &self.wanted {
            Wanted::Netns(name) if name.contains('/') => Path::new(name).exists(),
            Wanted::Netns(name) => host.netns.join(name).exists(),
            Wanted::Cgroup(path) => host
                .unified
                .as_ref()
                .is_ok_and(|tree| cgroup::join(&tree.mount, path).is_some_and(|directory| directory.is_dir())),
            Wanted::Pid(_) | Wanted::Command(..) => false,
            Wanted::Unit(_) | Wanted::Container(_) => true,
        }
    }

    /// One of which all is known but its next cgroup's id, and whose cgroup has gone.
    pub(super) fn is_known_before(&self, old: &Target) -> bool {
        let is_another = |scope: &CgroupScope| inode(&scope.directory) != Some(scope.id);
        self.process.is_none() && is_by_cgroup(old) && old.cgroup.as_ref().is_some_and(is_another)
    }

    /// The id of the cgroup that is in its place now. A service's cgroup is made as soon as it is gone: systemd takes the one that it finds, and whoever
    /// enters it has the faults already.
    pub(super) fn made_anew(&mut self, old: &Target) -> Option<u64> {
        let scope = old.cgroup.as_ref()?;
        // Systemd removes it when the service has ended again.
        let had_made = !mem::take(&mut self.made).is_empty();
        let is_first = !mem::replace(&mut self.is_gone, true);
        let is_service = matches!(self.wanted, Wanted::Unit(_)) && scope.path.ends_with(".service");
        if is_service && (is_first || had_made) && inode(&scope.directory).is_none() {
            // Where it cannot be, it is found once it is there.
            self.made = Made::with_those_above(&scope.directory).unwrap_or_default();
        }
        inode(&scope.directory)
    }

    /// Somebody may have entered what was made here, or, where a cgroup of its name was made (`host`), it may be elsewhere now.
    pub(super) fn look_inside(&mut self, target: Option<&Target>, host: Option<&Host>) {
        let Some(scope) = target.and_then(|target| target.cgroup.as_ref()).filter(|_| self.is_gone) else { return };
        if cgroup::is_populated(&scope.directory) {
            self.made.drain(..).for_each(Made::leave);
            self.is_back();
        } else if let Some(tree) = host.and_then(|host| host.unified.as_ref().ok()) {
            let is_other =
                |other: &PathBuf| *other != scope.directory && other.file_name() == scope.directory.file_name();
            if cgroup::directories(&tree.mount).iter().any(is_other) {
                self.made.clear();
            }
        }
    }

    /// It is under the faults again. In a cgroup that was made here nobody is yet.
    pub(super) fn is_found(&mut self) {
        self.without = None;
        if self.made.is_empty() {
            self.is_back();
        }
    }

    fn is_back(&mut self) {
        self.is_gone = false;
        self.gap("it went and came again");
    }

    /// Is nobody there who could be hit?
    pub(super) fn is_gone(&self) -> bool {
        self.index.is_none() || self.is_gone
    }

    /// Interfaces that have come or gone.
    pub(super) fn interfaces(&mut self, engine: &Engine, active: &mut Active, index: usize) {
        let acts = active.plan.rules.iter().any(|rule| rule.call.is_none());
        let Some(target) = active.targets.get(index).filter(|_| acts) else {
            self.is_seen();
            return;
        };
        // It may go in this moment: the next look sees that.
        let Ok(interfaces) = ByNetlink.interfaces(&target.netns) else { return };
        let sends = interfaces.iter().any(|one| !one.loopback && one.up);
        match engine.renew(active, index, interfaces) {
            Ok(new) => {
                self.without = None;
                if !new.is_empty() {
                    let names: Vec<String> = new.into_iter().collect();
                    self.gap(&format!("new interface: {}", names.join(", ")));
                }
                self.is_seen();
            }
            Err(error) if sends => self.fails(&error),
            Err(_) => self.without = None,
        }
    }

    fn is_seen(&mut self) {
        if !self.is_gone {
            self.seen = SystemTime::now();
        }
    }

    pub(super) fn fails(&mut self, error: &impl ToString) {
        let since = self.without.as_ref().map_or_else(Instant::now, |(since, _)| *since);
        self.without = Some((since, error.to_string()));
    }

    /// From when it was seen last to now.
    pub(super) fn gap(&mut self, reason: &str) {
        let text = |time| humantime::format_rfc3339_millis(time).to_string();
        let now = SystemTime::now();
        if self.gaps.len() < MOST_GAPS {
            self.gaps.push(Gap { from: text(self.seen), to: text(now), reason: reason.to_owned() });
        }
        self.seen = now;
    }
}

/// So it is of calls, or in the host's network namespace, which lives on whoever goes. Another namespace would be kept alive.
pub(super) fn is_by_cgroup(target: &Target) -> bool {
    target.scoped_by == ScopedBy::Cgroup && (target.netns.inode == 0 || target.shares_host_netns)
}

fn inode(path: &Path) -> Option<u64> {
    fs::metadata(path).ok().map(|found| found.ino())
}

fn netns_of(pid: i32) -> Option<u64> {
    inode(Path::new(&format!("/proc/{pid}/ns/net")))
}

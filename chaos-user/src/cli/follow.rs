//! Targets that go and come again while `chaos run` watches: a name, a path, a unit or a container means what it means now.

mod followed;

pub use followed::Followed;

use super::input::needs;
use chaos_engine::{Active, Engine, Owner, lease, possible::possible, wants};
use chaos_host::{
    ByNetlink, Host, Reason, ResolveError, Selector, Target, TargetKind, Wanted, cgroup, local::Interfaces,
    resolve_local, target::ScopedBy,
};
use chaos_outcome::EngineError;
use chaos_outcome::{FaultReport, Gap};
use std::{
    collections::HashMap,
    fs,
    os::unix::fs::MetadataExt,
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant, SystemTime},
};

/// How often processes and interfaces are looked at; names and paths are at each turn of the watch.
const SLOWLY: Duration = Duration::from_millis(100);
/// So much longer for each target, since each is entered for its interfaces.
const FOR_EACH: Duration = Duration::from_millis(4);
/// So many gaps of a target stand in the report.
const MOST_GAPS: usize = 100;

/// The targets of an experiment.
pub struct Follow {
    host: Option<Host>,
    each: Vec<One>,
    next: Instant,
    /// Where the next look begins, so that each has its turn.
    first: usize,
    /// Counts of what was let go.
    counted: Vec<FaultReport>,
    warnings: Vec<String>,
    /// A target lived for longer than the lease without its faults.
    failed: Option<String>,
}

struct One {
    wanted: Wanted,
    kind: TargetKind,
    name: String,
    dice: u64,
    is_host: bool,
    /// The process, where it is one that is meant.
    process: Option<Owner>,
    /// Its index among the experiment's targets, while it is under the faults.
    index: Option<usize>,
    /// When it was under them last.
    seen: SystemTime,
    /// Since when it lives without all of them.
    without: Option<(Instant, String)>,
    gaps: Vec<Gap>,
}

/// Has a target been taken in by this look?
#[derive(Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// None was there to be.
    Free,
    /// One is under the faults again; others may wait for their turn.
    Joined,
    /// One could not be.
    Failed,
}

impl Follow {
    /// Those of an experiment that is about to start.
    pub fn new(active: &Active) -> Self {
        let each = active.targets.iter().enumerate().filter_map(|(index, target)| {
            let wanted = target.wanted.clone().filter(|wanted| !matches!(wanted, Wanted::Command(..)))?;
            let process = match &wanted {
                Wanted::Pid(pid) => Some(Owner::of(pid.cast_unsigned()).unwrap_or(Owner { pid: 0, start: 0 })),
                _ => None,
            };
            Some(One {
                // A process that is started anew is known by its cgroup, where that is its own.
                wanted: match (&wanted, &target.cgroup) {
                    (Wanted::Pid(_), Some(scope)) => Wanted::Cgroup(scope.path.clone()),
                    _ => wanted,
                },
                kind: target.kind,
                name: target.name.clone(),
                dice: target.dice,
                is_host: target.is_host_netns(),
                process,
                index: Some(index),
                seen: SystemTime::now(),
                without: None,
                gaps: Vec::new(),
            })
        });
        Self {
            host: Host::this().ok(),
            each: each.collect(),
            next: Instant::now(),
            first: 0,
            counted: Vec::new(),
            warnings: Vec::new(),
            failed: None,
        }
    }

    /// Looks once: lets go of what is gone, takes in what has come, at most one: that takes a while, and a `signal` must not wait for all.
    pub fn look(&mut self, engine: &Engine, active: &mut Active, signal: &AtomicUsize) {
        let thorough = Instant::now() >= self.next;
        let (first, many) = (self.first, self.each.len());
        let mut turn = Turn::Free;
        for place in (first..many).chain(0..first.min(many)) {
            if signal.load(Ordering::Relaxed) != 0 {
                return;
            }
            let mut one = self.each.swap_remove(place);
            let was_free = turn == Turn::Free;
            self.one(engine, active, &mut one, thorough, &mut turn);
            // Back into its place, which the last one had taken.
            self.each.push(one);
            let last = self.each.len() - 1;
            self.each.swap(place, last);
            if was_free && turn != Turn::Free {
                self.first = place + 1;
            }
        }
        if turn == Turn::Joined {
            self.next = Instant::now();
        } else if thorough {
            let many = u32::try_from(many).unwrap_or(u32::MAX);
            self.next = Instant::now() + SLOWLY.max(FOR_EACH.saturating_mul(many));
        }
    }

    fn one(&mut self, engine: &Engine, active: &mut Active, one: &mut One, thorough: bool, turn: &mut Turn) {
        if let Some(index) = one.index {
            if active.targets.get(index).is_some_and(|target| one.is_there(active, target, thorough)) {
                if thorough {
                    one.interfaces(engine, active, index);
                    self.judge(one);
                }
                return;
            }
            if !self.let_go(engine, active, one, index) {
                return self.judge(one);
            }
            (one.index, one.without) = (None, None);
        } else if !thorough {
            return;
        }
        if *turn == Turn::Free {
            *turn = self.take_in(engine, active, one);
            self.judge(one);
        }
    }

    /// Lets go of what is gone; false where its rules still stand, as while another process keeps the journal's lock: the next look
    /// tries again.
    fn let_go(&mut self, engine: &Engine, active: &mut Active, one: &mut One, index: usize) -> bool {
        let error = match engine.release(active, index, |_, _| None) {
            Ok(reports) => {
                self.counted.extend(reports);
                return true;
            }
            Err(error) => error,
        };
        let stands = active.holds(index);
        let text = format!("let go of {}: {error}", one.name);
        if !self.warnings.contains(&text) {
            self.warnings.push(text);
        }
        if stands {
            // What has come meanwhile has no faults.
            match self.find(active, one) {
                Ok(None) => one.without = None,
                Ok(Some(_)) => one.fails(&error),
                Err(why) => one.fails(&why),
            }
        }
        !stands
    }

    /// What it is now, if it is there and sends anything. An error is why it is there and yet no target.
    fn find(&self, active: &Active, one: &One) -> Result<Option<Target>, String> {
        let Some(host) = self.host.as_ref().filter(|host| one.may_be_there(host)) else { return Ok(None) };
        let selector = Selector { field: String::new(), wanted: one.wanted.clone() };
        let found = match resolve_local(host, &ByNetlink, needs(&active.plan), &[selector]) {
            Ok(found) => found.targets.into_iter().next(),
            Err(errors) => return not_absent(errors).map_or(Ok(None), Err),
        };
        let target = found.map(|found| Target { kind: one.kind, name: one.name.clone(), dice: one.dice, ..found });
        // One that has no interfaces yet sends nothing.
        Ok(target.filter(|target| is_made(target) && wants::ready(&active.plan, target)))
    }

    /// Finds it again, if it is there.
    fn take_in(&mut self, engine: &Engine, active: &mut Active, one: &mut One) -> Turn {
        // One that is gone lacks nothing.
        let without = one.without.take();
        let target = match self.find(active, one) {
            Ok(Some(target)) => target,
            Ok(None) => return Turn::Free,
            Err(why) => {
                one.without = without;
                one.fails(&why);
                return Turn::Free;
            }
        };
        let index = active.targets.len();
        let joined = if target.is_host_netns() && !one.is_host {
            Err(EngineError::Refused("it is in the host's network namespace now".to_owned()))
        } else {
            possible(&active.plan, std::slice::from_ref(&target))
                .and_then(|()| engine.join(active, vec![target], &HashMap::new()))
        };
        match joined {
            Ok(()) => {
                one.process = None;
                one.index = Some(index);
                one.gap("it went and came again");
                Turn::Joined
            }
            Err(error) => {
                one.without = without;
                one.fails(&error);
                Turn::Failed
            }
        }
    }

    fn judge(&mut self, one: &One) {
        let Some((since, why)) = &one.without else { return };
        if since.elapsed() > lease::LENGTH && self.failed.is_none() {
            let limit = humantime::format_duration(lease::LENGTH);
            self.failed = Some(format!("{} lived for more than {limit} without the faults: {why}", one.name));
        }
    }

    /// Ends it; nothing is looked at any more.
    pub fn finish(mut self) -> Followed {
        let mut followed = Followed { counted: self.counted, failed: self.failed, ..Followed::default() };
        for one in &mut self.each {
            if one.index.is_none() || one.without.is_some() {
                let why = one.without.as_ref().map_or("it was gone until the end", |(_, why)| why.as_str()).to_owned();
                let since = humantime::format_rfc3339_millis(one.seen);
                self.warnings.push(format!(
                    "{} {} was without the faults since {since}: {why}",
                    one.kind.as_str(),
                    one.name
                ));
                one.gap(&why);
            }
        }
        let gone = |one: &One| if one.index.is_none() { Some("Gone") } else { None };
        followed.targets = self.each.into_iter().map(|one| (one.name.clone(), (gone(&one), one.gaps))).collect();
        followed.warnings = self.warnings;
        followed
    }
}

impl One {
    /// Is it still what was found?
    fn is_there(&self, active: &Active, target: &Target, thorough: bool) -> bool {
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
    fn may_be_there(&self, host: &Host) -> bool {
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

    /// Interfaces that have come or gone.
    fn interfaces(&mut self, engine: &Engine, active: &mut Active, index: usize) {
        let acts = active.plan.rules.iter().any(|rule| rule.call.is_none());
        let Some(target) = active.targets.get(index).filter(|_| acts) else {
            self.seen = SystemTime::now();
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
                self.seen = SystemTime::now();
            }
            Err(error) if sends => self.fails(&error),
            Err(_) => self.without = None,
        }
    }

    fn fails(&mut self, error: &impl ToString) {
        let since = self.without.as_ref().map_or_else(Instant::now, |(since, _)| *since);
        self.without = Some((since, error.to_string()));
    }

    /// From when it was seen last to now.
    fn gap(&mut self, reason: &str) {
        let text = |time| humantime::format_rfc3339_millis(time).to_string();
        let now = SystemTime::now();
        if self.gaps.len() < MOST_GAPS {
            self.gaps.push(Gap { from: text(self.seen), to: text(now), reason: reason.to_owned() });
        }
        self.seen = now;
    }
}

/// The first that says more than that nothing is there.
fn not_absent(errors: Vec<ResolveError>) -> Option<String> {
    errors.into_iter().find(|error| error.reason != Reason::Absent).map(|error| error.text)
}

/// Not a unit that is to be started.
fn is_made(target: &Target) -> bool {
    target.cgroup.as_ref().is_none_or(|scope| scope.id != 0)
}

fn inode(path: &Path) -> Option<u64> {
    fs::metadata(path).ok().map(|found| found.ino())
}

fn netns_of(pid: i32) -> Option<u64> {
    inode(Path::new(&format!("/proc/{pid}/ns/net")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_there_lacks_its_faults() {
        let error = |reason| ResolveError { field: String::new(), reason, text: format!("{reason:?}") };
        assert_eq!(not_absent(vec![error(Reason::Absent)]), None);
        assert_eq!(not_absent(vec![error(Reason::Absent), error(Reason::Refused)]), Some("Refused".to_owned()));
        assert_eq!(not_absent(vec![error(Reason::Unsupported)]), Some("Unsupported".to_owned()));
    }
}

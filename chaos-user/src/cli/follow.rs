//! Targets that go and come again while `chaos run` watches: a name, a path, a unit or a container means what it means now.

mod arrivals;
mod followed;
mod one;

pub use followed::Followed;

use arrivals::Arrivals;
use one::{One, is_by_cgroup};

use super::input::needs;
use chaos_engine::{Active, Engine, Owner, lease, possible::possible, wants};
use chaos_host::{ByNetlink, Host, Reason, ResolveError, Selector, Target, Wanted, resolve_local};
use chaos_outcome::{EngineError, FaultReport};
use std::{
    collections::HashMap,
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant, SystemTime},
};

/// How often processes and interfaces are looked at; names and paths are at each turn of the watch.
const SLOWLY: Duration = Duration::from_millis(100);
/// So much longer for each target, since each is entered for its interfaces.
const FOR_EACH: Duration = Duration::from_millis(4);

/// The targets of an experiment.
pub struct Follow {
    host: Option<Host>,
    each: Vec<One>,
    /// Says at once that a cgroup is made that may be one of theirs.
    arrivals: Option<Arrivals>,
    next: Instant,
    /// Where the next look begins, so that each has its turn.
    first: usize,
    /// Counts of what was let go.
    counted: Vec<FaultReport>,
    warnings: Vec<String>,
    /// A target lived for longer than the lease without its faults.
    failed: Option<String>,
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
    /// Those of an experiment that has started.
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
                made: Vec::new(),
                is_gone: false,
                seen: SystemTime::now(),
                without: None,
                gaps: Vec::new(),
            })
        });
        let each: Vec<One> = each.collect();
        Self {
            host: Host::this().ok(),
            arrivals: Arrivals::of(each.iter().filter_map(|one| active.targets.get(one.index?)?.cgroup.as_ref())),
            each,
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
        let hurried = self.arrivals.as_ref().is_some_and(Arrivals::came);
        let (first, many) = (self.first, self.each.len());
        let mut turn = Turn::Free;
        for place in (first..many).chain(0..first.min(many)) {
            if signal.load(Ordering::Relaxed) != 0 {
                return;
            }
            let mut one = self.each.swap_remove(place);
            let was_free = turn == Turn::Free;
            self.one(engine, active, &mut one, [thorough, hurried], &mut turn);
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

    fn one(
        &mut self,
        engine: &Engine,
        active: &mut Active,
        one: &mut One,
        [thorough, hurried]: [bool; 2],
        turn: &mut Turn,
    ) {
        if let Some(index) = one.index {
            let old = active.targets.get(index);
            if old.is_some_and(|target| one.is_there(active, target, thorough)) {
                one.look_inside(old, self.host.as_ref().filter(|_| hurried));
                if thorough {
                    one.interfaces(engine, active, index);
                    self.judge(one);
                }
                return;
            }
            if old.is_some_and(|target| one.is_known_before(target)) {
                if *turn == Turn::Free {
                    *turn = self.anew(engine, active, one, index, thorough || hurried);
                    self.judge(one);
                }
                return;
            }
            if !self.let_go(engine, active, one, index) {
                return self.judge(one);
            }
            (one.index, one.without) = (None, None);
        } else if !thorough && !hurried {
            return;
        }
        if *turn == Turn::Free {
            *turn = self.take_in(engine, active, one);
            self.judge(one);
        }
    }

    /// Of one that is gone: its rules stay while they mean nobody, and follow to what comes in its place.
    fn anew(&mut self, engine: &Engine, active: &mut Active, one: &mut One, index: usize, search: bool) -> Turn {
        if let Some(id) = active.targets.get(index).and_then(|old| one.made_anew(old)) {
            return match engine.follow(active, index, id) {
                Ok(()) => {
                    one.is_found();
                    Turn::Joined
                }
                Err(error) => {
                    one.fails(&error);
                    Turn::Failed
                }
            };
        }
        // It may be elsewhere now.
        let found = if search { self.find(active, one) } else { Ok(None) };
        let Some(target) = found.ok().flatten() else { return Turn::Free };
        if !self.let_go(engine, active, one, index) {
            return Turn::Failed;
        }
        one.index = None;
        self.join(engine, active, one, target)
    }

    fn warn(&mut self, text: String) {
        if !self.warnings.contains(&text) {
            self.warnings.push(text);
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
        self.warn(format!("let go of {}: {error}", one.name));
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
    fn take_in(&self, engine: &Engine, active: &mut Active, one: &mut One) -> Turn {
        // One that is gone lacks nothing.
        let without = one.without.take();
        match self.find(active, one) {
            Ok(Some(target)) => {
                one.without = without;
                self.join(engine, active, one, target)
            }
            Ok(None) => Turn::Free,
            Err(why) => {
                one.without = without;
                one.fails(&why);
                Turn::Free
            }
        }
    }

    /// Puts it under the faults.
    fn join(&self, engine: &Engine, active: &mut Active, one: &mut One, target: Target) -> Turn {
        let index = active.targets.len();
        let joined = if target.is_host_netns() && !one.is_host {
            Err(EngineError::Refused("it is in the host's network namespace now".to_owned()))
        } else {
            possible(&active.plan, std::slice::from_ref(&target))
                .and_then(|()| engine.join(active, vec![target], &HashMap::new()))
        };
        match joined {
            Ok(()) => {
                (one.process, one.index) = (None, Some(index));
                one.is_found();
                foresee(engine, active, index);
                Turn::Joined
            }
            Err(error) => {
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
    pub fn finish(mut self, active: &Active) -> Followed {
        let mut followed = Followed { counted: self.counted, failed: self.failed, ..Followed::default() };
        for one in &mut self.each {
            one.look_inside(one.index.and_then(|index| active.targets.get(index)), None);
            if one.is_gone() || one.without.is_some() {
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
        let gone = |one: &One| if one.is_gone() { Some("Gone") } else { None };
        followed.targets = self.each.into_iter().map(|one| (one.name.clone(), (gone(&one), one.gaps))).collect();
        followed.warnings = self.warnings;
        followed
    }
}

/// Starts experiments. The kernel has been asked before to let their rules follow to their targets' next cgroups, before anybody is in those.
///
/// # Errors
/// As [`Engine::start`].
pub fn start(engine: &Engine, all: &mut [Active]) -> Result<(), EngineError> {
    for active in &*all {
        (0..active.targets.len()).for_each(|index| foresee(engine, active, index));
    }
    engine.start(all)
}

fn foresee(engine: &Engine, active: &Active, index: usize) {
    let is_followed = |target: &&Target| {
        let by_process = matches!(target.wanted, None | Some(Wanted::Pid(_) | Wanted::Command(..)));
        !by_process && is_by_cgroup(target)
    };
    if active.targets.get(index).filter(is_followed).is_some() {
        // Where it cannot, a look does, some milliseconds later.
        let _later = engine.foresee(active, index);
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

//! Where an experiment stands and what is to be done next: from what is known, without effects.

mod hit;
mod newcomers;
mod silence;
mod unread;

use super::{
    aside::{Asides, asides},
    condition,
    fan_out::{self, Common, Sets},
    outcome,
    peers::{MOST_PEERS, peers},
    prober::Seen,
    select::{Chosen, choose, drawn_below, newcomers, untold},
    valid::valid,
    world::World,
};
use crate::{
    api::{
        DEGRADED, Experiment, ExperimentStatus, INJECTED, Injection, InjectionPhase, Phase, REVERTED, SELECTED,
        STARTED_BY, STOP, Stop,
    },
    time::time,
};
use chaos_outcome::Verdict;
use chaos_spec::{ProbePhase, value::Duration as Length};
use kube::ResourceExt;
use std::{
    collections::BTreeSet,
    time::{Duration, SystemTime},
};

/// An Injection that no agent looks at for so long is of a node without a living one.
const ANSWER: Duration = Duration::from_secs(10);
/// Where there is nobody to inject into.
const NOBODY: &str = "spec.selector.pods: no pod agrees with it";
/// Room for warnings in a status.
const MOST_WARNINGS: usize = 32;
/// How often probes that run are looked at.
const LOOK: Duration = Duration::from_millis(200);
/// How long a node without a target is waited for once it was told to end: its agent may have died, and nothing is to be reverted there.
const ENDS: Duration = Duration::from_secs(2);
/// How much later than its end an experiment is given up on nodes that do not say that it is over.
const LATE: Duration = Duration::from_secs(30);

/// What is to be so.
#[derive(Clone, Debug)]
pub struct Decision {
    /// The experiment's status.
    pub status: ExperimentStatus,
    /// Its Injections; empty: leave them as they are.
    pub injections: Vec<Injection>,
    /// Its sets of addresses.
    pub sets: Sets,
    /// The probes that are to run.
    pub probe: Option<ProbePhase>,
    /// Look again after this, whatever happens.
    pub again: Option<Duration>,
}

/// Decides.
#[must_use]
pub fn decide(
    experiment: &Experiment,
    world: &World,
    existing: &[Injection],
    seen: &Seen,
    now: SystemTime,
) -> Decision {
    let status = experiment.status.clone().unwrap_or_default();
    let mut decider = Decider { experiment, world, existing, seen, now, status, probe: None };
    if decider.status.phase.is_over() {
        return decider.nothing(None);
    }
    decider.status.probes.clone_from(&seen.reports);
    decider.status.observed_generation = experiment.metadata.generation;
    match decider.next() {
        Ok(decision) => decision,
        Err((verdict, reason)) => decider.give_up(verdict, reason),
    }
}

struct Decider<'a> {
    experiment: &'a Experiment,
    world: &'a World,
    existing: &'a [Injection],
    seen: &'a Seen,
    now: SystemTime,
    status: ExperimentStatus,
    probe: Option<ProbePhase>,
}

impl Decider<'_> {
    fn next(&mut self) -> Result<Decision, (Verdict, String)> {
        if let Some(why) = self.unread() {
            return Ok(self.without_reading(&why));
        }
        if self.existing.is_empty() {
            valid(self.experiment).map_err(|reason| (Verdict::Invalid, reason))?;
        }
        let own = self.experiment.namespace().unwrap_or_default();
        let seed = self.seed();
        self.status.started_by = self.experiment.annotations().get(STARTED_BY).cloned();
        self.adopt();
        let chosen = self.chosen(&own, seed)?;
        let awaiting = self.awaiting(&own);
        if chosen.is_empty() && awaiting.is_empty() && self.existing.is_empty() {
            let left = self.made() + self.experiment.spec.duration.get();
            return Ok(self.nothing(Some(left.duration_since(self.now).unwrap_or_default().max(LOOK))));
        }
        let asides = asides(&self.experiment.spec, &own, self.world, &chosen, self.existing);
        let (asides, sets, cannot_follow) = self.sets(&own, asides)?;
        if self.existing.is_empty() && !self.passed()? {
            self.probe = Some(ProbePhase::Before);
            self.status.summary.selected = i64::try_from(chosen.len()).unwrap_or(i64::MAX);
            return Ok(self.nothing(Some(LOOK)));
        }
        let silent = self.silent();
        let stop = self.asked_to_stop().or_else(|| self.stop());
        let told = fan_out::is_told(self.existing, &chosen, &asides);
        if self.status.started_at.is_none() && stop.is_none() && told && self.may_start(&silent) {
            self.start();
        }
        let common = Common {
            seed,
            started_by: self.status.started_by.clone(),
            start: self.status.started_at.is_some(),
            ends_at: self.ends_at().and_then(time),
            stop,
            left: self.left(),
            drawn_below: self.drawn_below(),
        };
        let mut injections =
            fan_out::injections(self.experiment, &common, &sets, (&chosen, &awaiting), &asides, self.existing);
        self.tell(stop, &silent);
        if self.status.phase.is_over() {
            // An agent that was away finds that it is over, whenever it comes back.
            for one in &mut injections {
                one.spec.stop = one.spec.stop.or(Some(Stop::Finish));
            }
        }
        if self.probe.is_none() && self.probes(ProbePhase::During) && self.acts() && stop.is_none() {
            self.probe = Some(ProbePhase::During);
        }
        self.status.warnings.extend(hit::warnings(&self.experiment.spec.faults, &sets, &asides));
        self.status.warnings.extend(asides.left);
        self.status.warnings.truncate(MOST_WARNINGS);
        if let Some(reason) = cannot_follow {
            self.set(DEGRADED, true, "CannotFollow", &reason);
        }
        self.status.summary.selected = i64::try_from(chosen.len()).unwrap_or(i64::MAX);
        Ok(Decision { status: self.status.clone(), injections, sets, probe: self.probe, again: Some(self.again(stop)) })
    }

    /// When to look again, where no event comes before.
    fn again(&self, stop: Option<Stop>) -> Duration {
        match self.probe {
            Some(_) => LOOK,
            None if self.seen.running.is_some() => LOOK,
            None if self.status.started_at.is_none() || stop.is_some() => Duration::from_secs(1),
            None => self.until_late(),
        }
    }

    /// Leaves the Injections as they are.
    fn nothing(&self, again: Option<Duration>) -> Decision {
        let status = self.status.clone();
        Decision { status, injections: Vec::new(), sets: Sets::default(), probe: self.probe, again }
    }

    /// There are probes for this phase.
    fn probes(&self, phase: ProbePhase) -> bool {
        self.experiment.spec.probes.iter().any(|probe| probe.when.is_none_or(|when| when == phase))
    }

    /// The faults act, as far as is known here.
    fn acts(&self) -> bool {
        self.status.phase == Phase::Injected && !self.left().get().is_zero()
    }

    /// The probes before the faults have all succeeded.
    fn passed(&self) -> Result<bool, (Verdict, String)> {
        if let Some(name) = &self.seen.failed {
            return Err((Verdict::Fail, format!("probe {name} failed before the faults: nothing was injected")));
        }
        Ok(!self.probes(ProbePhase::Before) || self.seen.done.contains(&ProbePhase::Before))
    }

    /// The peers' addresses. Where they cannot be said any more those of before stay, so that a stop still gets through; third: why.
    fn sets(
        &self,
        own: &str,
        asides: Result<Asides, String>,
    ) -> Result<(Asides, Sets, Option<String>), (Verdict, String)> {
        let found = asides.and_then(|asides| {
            let addresses = peers(&self.experiment.spec, own, self.world, &asides)?;
            match addresses.values().map(BTreeSet::len).max() {
                Some(most) if most > MOST_PEERS => {
                    Err(format!("peers stand for {most} addresses; at most {MOST_PEERS} are possible"))
                }
                _ => Ok((fan_out::sets(self.experiment, &addresses, &asides), asides)),
            }
        });
        match (found, self.existing.iter().find(|one| !one.spec.peers_side)) {
            (Ok((sets, asides)), _) => Ok((asides, sets, None)),
            (Err(reason), None) => Err((Verdict::Invalid, reason)),
            (Err(reason), Some(first)) => Ok((Asides::of_before(self.existing), Sets::of_before(first), Some(reason))),
        }
    }

    fn seed(&mut self) -> u64 {
        let uid = self.experiment.uid().unwrap_or_default();
        let drawn = chaos_abi::mix(chaos_abi::name_hash(uid.as_bytes())) >> 11;
        *self.status.seed.get_or_insert(self.experiment.spec.seed.unwrap_or(drawn))
    }

    /// The pods: those of the first look, and newcomers.
    fn chosen(&mut self, own: &str, seed: u64) -> Result<Vec<Chosen>, (Verdict, String)> {
        let invalid = |reason| (Verdict::Invalid, reason);
        let pods = self.experiment.spec.selector.pods.clone().unwrap_or_default();
        if self.existing.is_empty() {
            let chosen = choose(&pods, own, seed, self.world).map_err(invalid)?;
            if chosen.is_empty() {
                return self.nobody(pods.follows_new());
            }
            self.set(SELECTED, true, "PodsChosen", &format!("{} pods", chosen.len()));
            self.status.drawn_below = drawn_below(&pods, own, seed, &chosen, self.world);
            return Ok(chosen);
        }
        let mut chosen: Vec<Chosen> = Vec::new();
        for one in self.existing.iter().filter(|one| !one.spec.peers_side) {
            let node = &one.spec.node_name;
            chosen.extend(one.spec.targets.iter().map(|target| Chosen { target: target.clone(), node: node.clone() }));
        }
        let known: BTreeSet<String> = chosen.iter().map(|one| one.target.uid.clone()).collect();
        if self.status.started_at.is_none() {
            // No status tells how many: the same dice do.
            let selected = self.status.summary.selected;
            let selected = if selected == 0 { usize::MAX } else { usize::try_from(selected).unwrap_or(0) };
            chosen.extend(untold(&pods, own, seed, selected, &known, self.world));
        } else if !self.left().get().is_zero() {
            // A selector that has lost its Service finds nobody new, and that is all.
            chosen.extend(newcomers(&pods, own, (seed, self.drawn_below()), &known, self.world).unwrap_or_default());
        }
        if known.is_empty() && !chosen.is_empty() {
            self.set(SELECTED, true, "PodsChosen", &format!("{} pods", chosen.len()));
        }
        Ok(chosen)
    }

    /// Where no pod agrees, one that follows new ones waits for the first, as long as the faults would have lasted.
    fn nobody(&mut self, follows: bool) -> Result<Vec<Chosen>, (Verdict, String)> {
        if self.experiment.annotations().contains_key(STOP) {
            return Err((Verdict::Aborted, format!("stopped; {NOBODY}")));
        }
        let waited = self.now.duration_since(self.made()).unwrap_or_default();
        if !follows || waited >= self.experiment.spec.duration.get() {
            return Err((Verdict::NoEffect, NOBODY.to_owned()));
        }
        self.set(SELECTED, false, "NoPods", NOBODY);
        Ok(Vec::new())
    }

    /// When the experiment was made.
    fn made(&self) -> SystemTime {
        self.experiment.creation_timestamp().map_or(self.now, |time| SystemTime::from(time.0))
    }

    fn may_start(&self, silent: &[String]) -> bool {
        let prepared = |one: &&Injection| one.status.as_ref().is_some_and(|s| s.phase == InjectionPhase::Prepared);
        let waiting =
            |one: &&Injection| outcome::takes_part(one) && !prepared(one) && !silent.contains(&one.spec.node_name);
        self.existing.iter().any(|one| prepared(&one)) && !self.existing.iter().any(|one| waiting(&one))
    }

    /// A start of which the nodes have been told, and whose status was not written any more: a controller died, or somebody else wrote.
    fn adopt(&mut self) {
        let started = self.existing.iter().find(|one| one.spec.start).and_then(|one| one.spec.ends_at.as_ref());
        if let (None, Some(end)) = (&self.status.started_at, started) {
            self.status.started_at = time(SystemTime::from(end.0) - self.experiment.spec.duration.get());
        }
    }

    fn start(&mut self) {
        self.status.started_at = time(self.now);
        self.status.ends_at = time(self.now + self.experiment.spec.duration.get());
    }

    fn ends_at(&self) -> Option<SystemTime> {
        let started = SystemTime::from(self.status.started_at.as_ref()?.0);
        Some(started + self.experiment.spec.duration.get())
    }

    fn left(&self) -> Length {
        let whole = self.experiment.spec.duration;
        self.ends_at().map_or(whole, |end| Length::from(end.duration_since(self.now).unwrap_or_default()))
    }

    /// Its deadline has passed.
    fn is_due(&self) -> bool {
        self.ends_at().is_some_and(|end| self.now >= end)
    }

    fn until_late(&self) -> Duration {
        let left = self.ends_at().map_or(LATE, |end| end.duration_since(self.now).unwrap_or_default());
        let least = if left.is_zero() { Duration::from_secs(1) } else { LOOK };
        left.max(least).min(Duration::from_secs(30))
    }

    /// The status, from what the nodes say.
    fn tell(&mut self, stop: Option<Stop>, silent: &[String]) {
        if let Some(end) = self.ends_at() {
            self.status.ends_at = time(end);
        }
        self.status.faults = outcome::sums(self.experiment, self.existing);
        self.count();
        self.status.warnings =
            outcome::troubles(self.existing).into_iter().map(|(_, text)| text).take(MOST_WARNINGS).collect();
        self.degraded(silent);
        let phases: Vec<InjectionPhase> =
            self.existing.iter().map(|one| one.status.as_ref().map(|s| s.phase).unwrap_or_default()).collect();
        let hit = self.hit();
        let late = self.ends_at().is_some_and(|end| self.now > end + LATE);
        let open = self.is_open(&phases, stop, silent);
        if !phases.is_empty() && (!open || late) {
            self.status.phase = Phase::Reverting;
            let after = self.probes(ProbePhase::After) && self.began() && !self.seen.done.contains(&ProbePhase::After);
            match self.seen.running {
                // Ended first, so that what they saw counts.
                Some(ProbePhase::Before | ProbePhase::During) => {}
                _ if after => self.probe = Some(ProbePhase::After),
                _ => self.end(),
            }
            return;
        }
        self.status.phase = if stop.is_some() {
            Phase::Reverting
        } else if self.status.started_at.is_none() || !hit {
            Phase::Injecting
        } else if self.experiment.spec.paused {
            Phase::Paused
        } else {
            Phase::Injected
        };
    }

    /// Some node acts, or may act yet.
    fn is_open(&self, phases: &[InjectionPhase], stop: Option<Stop>, silent: &[String]) -> bool {
        // As long as no node has a target, one may come, and those that answered end what they prepared.
        let nobody = !self.existing.iter().any(outcome::takes_part);
        let waits = nobody && stop.is_none() && !self.is_due() && !phases.iter().all(|phase| phase.is_over());
        waits
            || self.existing.iter().zip(phases).any(|(one, phase)| {
                let given_up = silent.contains(&one.spec.node_name) && (stop.is_some() || self.is_due())
                    || nobody && self.seen.stopping.is_some_and(|since| since > ENDS);
                let answered = *phase != InjectionPhase::Pending;
                (outcome::takes_part(one) || nobody && answered) && !phase.is_over() && !given_up
            })
    }

    /// Some node has begun.
    fn began(&self) -> bool {
        self.existing.iter().any(|one| one.status.as_ref().is_some_and(|status| status.started_at.is_some()))
    }

    fn over(&mut self, verdict: Verdict, reason: String) {
        let as_asked = !matches!(verdict, Verdict::Error | Verdict::Invalid | Verdict::Unsupported | Verdict::Refused);
        self.status.phase = if as_asked { Phase::Finished } else { Phase::Failed };
        self.status.verdict = Some(verdict);
        self.status.reason = crate::text::cut(&reason, 4096);
        self.status.ended_at = time(self.now);
        self.set(REVERTED, true, "Over", "");
    }

    /// Nothing has been made yet.
    fn give_up(&mut self, verdict: Verdict, reason: String) -> Decision {
        self.over(verdict, reason);
        self.nothing(None)
    }

    fn set(&mut self, kind: &str, holds: bool, reason: &str, message: &str) {
        let generation = self.experiment.metadata.generation;
        condition::set(&mut self.status.conditions, self.now, generation, (kind, holds), reason, message);
    }
}

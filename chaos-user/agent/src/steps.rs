//! The life of one part: begin, start, pause, watch, finish, and what is written down of it.

use super::{
    compile,
    notebook::Note,
    part::{DELETED, Member, Part, Stage},
    probed,
    share::Taken,
    worker::Worker,
};
use chaos_abi::STOP_FINISH;
use chaos_engine::{Active, Asker, Remembered, Request, kept, lease::Fate, possible::reduce, queue, taken};
use chaos_host::Target;
use chaos_k8s::api::{InjectionPhase, InjectionSpec, Stop};
use chaos_outcome::EngineError;
use chaos_outcome::{Ending, Gap, Report, TargetReport, condensed, judge, merged, planned};
use chaos_sys::clock::{boot, monotonic};
use std::{
    collections::HashMap,
    time::{Duration, Instant, SystemTime},
};

/// By how much the controller's clock and a node's may differ before that is said.
const SKEW: Duration = Duration::from_secs(5);
/// How long a Halt may take to this agent once another one acts on it.
const HALT: Duration = Duration::from_secs(2);
/// Bytes of a report: the targets and their records take as many again, and no object is to have more than 1 MiB.
const MOST_REPORT: usize = 512 << 10;

impl Worker {
    /// Brings a part to where its spec wants it.
    pub(super) fn step(&mut self, part: &mut Part) {
        // Whoever holds it back by a finalizer holds back no end.
        if part.is_deleted() && !matches!(part.stage, Stage::Over(_)) {
            let note = part.injection.metadata.uid.as_ref().and_then(|uid| self.notebook.parts.get(uid));
            if part.stage != Stage::Waiting || !note.is_some_and(|note| part.recall(note)) {
                self.finish(part, Ending::Aborted(DELETED.to_owned()));
            }
            return;
        }
        if part.stage == Stage::Waiting {
            self.begin(part);
        }
        // One that waits for a set is brought here again by it.
        let waits = part.stage == Stage::Waiting && part.injection.spec.stop.is_none();
        if waits || matches!(part.stage, Stage::Over(_)) {
            return;
        }
        match part.injection.spec.stop {
            Some(Stop::Abort) => return self.finish(part, Ending::Aborted("stopped".to_owned())),
            Some(Stop::Finish) => return self.finish(part, Ending::Finished),
            None => {}
        }
        if let Some(why) = part.misread.take() {
            return self.finish(part, Ending::Error(why));
        }
        self.meet(part);
        self.set_peers(part);
        if part.stage == Stage::Prepared && part.injection.spec.start {
            // Since the order was seen, by a clock that nobody sets: the time of day at the node may be any.
            let since = part.ordered.map_or(Duration::ZERO, |ordered| ordered.elapsed());
            if let Some(text) = clocks_differ(&part.injection.spec, SystemTime::now() - since) {
                tracing::warn!("{}: {text}", part.title());
                part.warn(text);
            }
            self.start(part, part.injection.spec.remaining.get().saturating_sub(since));
        }
        self.adjust(part);
    }

    /// Prepares everything, or says why not.
    fn begin(&mut self, part: &mut Part) {
        let uid = part.injection.metadata.uid.clone().unwrap_or_default();
        if self.notebook.is_foreign(&uid) {
            let why = "its record on this node cannot be read: a later version of chaos wrote it, and what it did is not known";
            return self.give_up(part, &EngineError::Unsupported(why.to_owned()));
        }
        let note = self.notebook.parts.get(&uid).cloned().unwrap_or_default();
        if part.recall(&note) {
            return;
        }
        let resumed = note.deadline != 0;
        if resumed && (note.kills(boot()) || left(note.deadline).is_zero()) {
            let ending = if left(note.deadline).is_zero() {
                Ending::Finished
            } else {
                Ending::Aborted(format!(
                    "the agent was killed {} times within minutes in this experiment",
                    note.restarts + 1
                ))
            };
            return self.finish(part, ending);
        }
        if compile::awaits_sets(&part.injection, &self.sets, &self.unread) {
            return;
        }
        if let Err(error) = self.prepare(part, &note) {
            return self.give_up(part, &error);
        }
        part.stage = Stage::Prepared;
        if resumed {
            self.resume(part, &uid, &note);
        }
    }

    fn prepare(&mut self, part: &mut Part, note: &Note) -> Result<(), EngineError> {
        if let Some(reason) = self.locked() {
            return Err(EngineError::Refused(reason));
        }
        compile::readable(&part.injection, &self.unread).map_err(EngineError::Unsupported)?;
        let mut plan = compile::plan(&part.injection, &self.policy, &self.sets)?;
        let fresh = note.deadline == 0;
        if fresh {
            compile::targets_allowed(&part.injection.spec, &self.policy).map_err(EngineError::Refused)?;
        }
        self.choose(part);
        // What ran before the agent was restarted goes on without those that the policy refuses, as it did.
        let named = |one: &&Member| part.injection.spec.targets.iter().any(|target| target.uid == one.facts.uid);
        if let Some(refused) = part.members.values().filter(named).find(|one| fresh && !one.admitted) {
            return Err(EngineError::Refused(refused.message.clone()));
        }
        self.follow_addresses();
        let targets = self.locate_all(part)?;
        self.has_room(part, Taken::by(&plan, targets.len())).map_err(EngineError::Refused)?;
        let warnings = reduce(&mut plan, &targets)?;
        let started_by = part.injection.spec.started_by.clone().unwrap_or_default();
        let request = Request {
            plan,
            targets,
            warnings,
            asker: Asker::Cluster(started_by),
            probes: Vec::new(),
            node: self.addresses.clone(),
            remembered: note.remembered().collect::<HashMap<(usize, String), Remembered>>(),
        };
        let active = self.engine.add_one(request)?;
        part.message = active.warnings.join("; ");
        part.active = Some(active);
        Ok(())
    }

    fn give_up(&mut self, part: &mut Part, error: &EngineError) {
        self.failed(error);
        tracing::warn!("{}: {error}", part.title());
        let phase = match error {
            EngineError::Unsupported(_) => InjectionPhase::Unsupported,
            EngineError::Refused(_) => InjectionPhase::Refused,
            EngineError::Invalid(_) | EngineError::Failed(_) => InjectionPhase::Failed,
        };
        (part.stage, part.message) = (Stage::Over(phase), error.to_string());
        part.ended_at = now();
    }

    /// Goes on where an earlier process of this agent ended.
    fn resume(&mut self, part: &mut Part, uid: &str, note: &Note) {
        let gap = Gap { from: note.alive.clone(), to: now(), reason: "the agent was restarted".to_owned() };
        for target in part.active.iter().flat_map(|active| &active.targets) {
            part.gaps.entry(target.name.clone()).or_default().push(gap.clone());
        }
        self.notebook.parts.entry(uid.to_owned()).or_default().resumed(boot());
        if let Some(active) = &mut part.active {
            active.began = note.began;
        }
        let started_at = part.started_at.clone();
        self.start(part, left(note.deadline));
        part.started_at = started_at;
    }

    /// Room in the node's tables for this, beside what the other experiments of its namespace take?
    pub(super) fn has_room(&self, part: &Part, more: Taken) -> Result<(), String> {
        let namespace = part.place().0;
        // Those that wait for their first pod take no share from those that have some.
        let others = self.parts.values().filter(|other| other.place().0 == namespace && !other.members.is_empty());
        let taken = others.fold(more, |sum, other| sum + Taken::by_part(other, &self.sets));
        taken.within(self.policy.max_share, &namespace)
    }

    fn start(&mut self, part: &mut Part, remaining: Duration) {
        let Some(active) = &mut part.active else { return };
        if let Err(error) = self.engine.start_for(vec![(active, remaining)]) {
            self.failed(&error);
            return self.finish(part, Ending::Error(error.to_string()));
        }
        part.started_at = humantime::format_rfc3339_millis(active.started).to_string();
        part.stage = Stage::Running;
        for member in part.members.values_mut().filter(|member| !member.indices.is_empty()) {
            member.joined = Some(monotonic());
        }
        tracing::info!("{}: injected, {} targets", part.title(), part.members.len());
    }

    /// Pause, and an earlier end.
    fn adjust(&mut self, part: &mut Part) {
        let (Some(active), Stage::Running | Stage::Paused) = (&part.active, part.stage) else { return };
        let paused = part.injection.spec.paused;
        let (lease, leases) = (active.run.lease, self.engine.leases());
        let result =
            leases.pause(lease, paused).and_then(|()| leases.shorten(lease, part.injection.spec.remaining.get()));
        match result {
            Ok(()) => part.stage = if paused { Stage::Paused } else { Stage::Running },
            Err(error) => {
                self.failed(&error);
                part.message = error.to_string();
            }
        }
    }

    /// Has it ended?
    pub(super) fn watch(&mut self, part: &mut Part) {
        let (Some(active), Stage::Running | Stage::Paused) = (&part.active, part.stage) else { return };
        let lease = active.run.lease;
        let leases = self.engine.leases();
        let ending = match leases.fate(lease) {
            Ok(Fate::Lost) => Some(Ending::Aborted(
                "LeaseLost: the agent could not renew its lease in time (stopped or starved); the faults have been off since"
                    .to_owned(),
            )),
            Ok(Fate::Ended(STOP_FINISH)) => Some(Ending::Finished),
            Ok(Fate::Ended(_)) => self.ended_elsewhere(part),
            Ok(Fate::Held) => match leases.remaining(lease) {
                Ok(left) if left.is_zero() => Some(Ending::Finished),
                Ok(_) => None,
                Err(error) => Some(Ending::Error(error.to_string())),
            },
            Err(error) => Some(Ending::Error(error.to_string())),
        };
        if let Some(ending) = ending {
            self.finish(part, ending);
        }
    }

    /// `chaos stop` has ended it; or a Halt that another agent heard first, where nodes share a kernel as those of kind do.
    /// A Halt is awaited for a moment, since it says why. The faults are off.
    fn ended_elsewhere(&mut self, part: &mut Part) -> Option<Ending> {
        let reason = self.locked().unwrap_or_else(|| "stopped by chaos stop on the node".to_owned());
        let Some(since) = part.ended_elsewhere else {
            part.ended_elsewhere = Some(Instant::now());
            // The next process of this agent does not begin it anew.
            let uid = part.injection.metadata.uid.clone().unwrap_or_default();
            self.notebook.parts.entry(uid).or_default().over = Some((InjectionPhase::Aborted, reason));
            self.save();
            return None;
        };
        (since.elapsed() >= HALT).then_some(Ending::Aborted(reason))
    }

    /// Ends it for good: reverts, reports, remembers that it is over.
    pub(super) fn finish(&mut self, part: &mut Part, ending: Ending) {
        let mut ending = ending;
        if let Some(active) = part.active.take() {
            match self.engine.revert(&active) {
                Ok(reports) => part.counted.extend(reports),
                Err(error) => {
                    self.failed(&error);
                    ending =
                        Ending::Error(format!("{error}; the faults are off, `chaos cleanup` removes what is left"));
                }
            }
            part.counted = merged(std::mem::take(&mut part.counted));
            let named = |target: &Target, pid| {
                let index = active.targets.iter().position(|one| one.name == target.name)?;
                let member = part.members.values().find(|member| member.indices.contains(&index))?;
                self.finder.container_of(&member.facts.place, pid)
            };
            if matches!(ending, Ending::Finished) {
                taken::enter(&active, &mut part.counted, named);
            }
            let report = condensed(report(part, &active, &ending), MOST_REPORT);
            if let Err(error) = kept::keep(Some(&part.place().0), &report) {
                tracing::warn!("{error}");
            }
            part.report = Some(report);
        }
        part.ended_at = now();
        part.message = match &ending {
            Ending::Finished => part.message.clone(),
            Ending::Aborted(text)
            | Ending::Refused(text)
            | Ending::Unsupported(text)
            | Ending::Invalid(text)
            | Ending::Error(text) => text.clone(),
        };
        part.stage = Stage::Over(match ending {
            Ending::Finished => InjectionPhase::Reverted,
            Ending::Aborted(_) => InjectionPhase::Aborted,
            _ => InjectionPhase::Failed,
        });
        self.forget(part);
        let report = part.report.as_ref().map_or(serde_json::Value::Null, |report| serde_json::json!(report));
        tracing::info!(report = %report, "{}: over ({:?})", part.title(), part.stage.phase());
        let uid = part.injection.metadata.uid.clone().unwrap_or_default();
        let over = Some((part.stage.phase(), part.message.clone()));
        let (started_at, ended_at) = (part.started_at.clone(), part.ended_at.clone());
        self.notebook
            .parts
            .insert(uid, Note { over, started_at, ended_at, report: part.report.clone(), ..Note::default() });
        self.save();
    }

    /// Writes down what these parts have counted.
    pub(super) fn note(&mut self, uids: &[String]) {
        for uid in uids {
            let Some(part) = self.parts.get(uid) else { continue };
            let Some(active) = part.active.as_ref().filter(|_| part.stage != Stage::Prepared) else { continue };
            let (Ok(counts), Ok(memory)) = (self.engine.counts(active), self.engine.memory(active)) else { continue };
            let deadline = self.engine.leases().deadline(active.run.lease).unwrap_or(0);
            let note = self.notebook.parts.entry(uid.clone()).or_default();
            note.deadline = deadline;
            note.began = self.engine.leases().began(active.run.lease).unwrap_or(0);
            note.started_at.clone_from(&part.started_at);
            note.alive = now();
            note.counted = merged(part.counted.iter().cloned().chain(counts));
            note.memory = memory.into_iter().map(|(fault, target, m)| (fault, target, m.position, m.hits)).collect();
            note.gaps.clone_from(&part.gaps);
        }
        if !uids.is_empty() {
            self.save();
        }
    }
}

fn report(part: &Part, active: &Active, ending: &Ending) -> Report {
    let planned = planned(&active.plan);
    let (verdict, reason) = judge(ending, active.plan.dry_run, &planned, &part.counted, &[]);
    let target = |target: &Target| TargetReport {
        kind: target.kind.as_str().to_owned(),
        name: target.name.clone(),
        cgroup_id: target.cgroup.as_ref().map(|cgroup| cgroup.id),
        state: "Reverted".to_owned(),
        gaps: part.gaps.get(&target.name).cloned().unwrap_or_default(),
    };
    let mut warnings = active.warnings.clone();
    warnings.extend(probed::warnings(active, &part.counted));
    warnings.extend(queue::overflowed(&active.plan, &part.counted));
    Report {
        experiment: active.plan.name.clone(),
        verdict,
        reason,
        seed: active.plan.seed,
        warnings,
        started_at: part.started_at.clone(),
        ended_at: now(),
        // The experiment itself says it.
        asked: std::collections::BTreeMap::new(),
        command: None,
        targets: active.targets.iter().map(target).collect(),
        faults: part.counted.clone(),
        probes: Vec::new(),
    }
}

/// Says by how much the node's time of day differs from the controller's; `ordered`: when the start was seen here.
fn clocks_differ(spec: &InjectionSpec, ordered: SystemTime) -> Option<String> {
    let given = SystemTime::from(spec.ends_at.as_ref()?.0).checked_sub(spec.remaining.get())?;
    let (difference, word) = match ordered.duration_since(given) {
        Ok(ahead) => (ahead, "ahead of"),
        Err(error) => (error.duration(), "behind"),
    };
    (difference > SKEW).then(|| {
        format!(
            "the clock of node {} differs by {} s: it is {word} the controller's, or the start was seen so late; the duration is \
             counted without it",
            spec.node_name,
            difference.as_secs()
        )
    })
}

/// RFC 3339 in UTC.
fn now() -> String {
    humantime::format_rfc3339_millis(SystemTime::now()).to_string()
}

/// What is left until a time on CLOCK_BOOTTIME.
fn left(deadline: u64) -> Duration {
    Duration::from_nanos(deadline.saturating_sub(boot()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_clock_that_differs_is_told_and_nothing_more() {
        let spec: InjectionSpec = serde_json::from_value(json!({
            "nodeName": "n1", "experiment": "slow", "remaining": "30s", "seed": 7, "start": true,
            "endsAt": "2026-11-30T12:00:30Z", "faults": [],
        }))
        .unwrap();
        let start: SystemTime = humantime::parse_rfc3339("2026-11-30T12:00:00Z").unwrap();
        let told = |seen: SystemTime| clocks_differ(&spec, seen);
        assert_eq!((told(start), told(start + SKEW), told(start - SKEW)), (None, None, None));
        let ahead = told(start + Duration::from_secs(60)).unwrap();
        assert!(ahead.contains("node n1 differs by 60 s: it is ahead of"), "{ahead}");
        assert!(told(start - Duration::from_secs(20)).unwrap().contains("20 s: it is behind"));
        let without = InjectionSpec { ends_at: None, ..spec };
        assert_eq!(clocks_differ(&without, start + Duration::from_secs(600)), None);
    }
}

//! One Injection on this node: where it stands, its pods, what it says.

use super::{compile::REMEDY, notebook::Note, pods::PodFacts};
use chaos_engine::Active;
use chaos_k8s::{
    api::{FaultSum, Injection, InjectionPhase, InjectionStatus, TargetRecord, TargetState},
    text::cut,
};
use chaos_outcome::{FaultReport, Gap, Report, merged};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use std::{collections::BTreeMap, time::Instant};

/// Said of a pod that is a peer.
const PEERS_SIDE: &str =
    "a peer, not a target: packets that targets send to it through a Service are told apart here alone";

/// Why it ends where its Experiment or its Injection is deleted.
pub const DELETED: &str = "the experiment was deleted";

/// Where a part stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Nothing is made yet.
    Waiting,
    /// All is made, the start is awaited.
    Prepared,
    /// The faults act.
    Running,
    /// The faults rest.
    Paused,
    /// Over for good.
    Over(InjectionPhase),
}

impl Stage {
    /// As the API names it.
    #[must_use]
    pub fn phase(self) -> InjectionPhase {
        match self {
            Self::Waiting => InjectionPhase::Pending,
            Self::Prepared => InjectionPhase::Prepared,
            Self::Running => InjectionPhase::Injected,
            Self::Paused => InjectionPhase::Paused,
            Self::Over(phase) => phase,
        }
    }

    /// Where a target stands that is under the faults of a part at this stage.
    #[must_use]
    pub fn of_target(self) -> TargetState {
        match self {
            Self::Waiting => TargetState::Pending,
            Self::Prepared => TargetState::Prepared,
            Self::Running => TargetState::Injected,
            Self::Paused => TargetState::Paused,
            Self::Over(_) => TargetState::Reverted,
        }
    }
}

/// A pod of a part.
#[derive(Debug)]
pub struct Member {
    /// The pod.
    pub facts: PodFacts,
    /// Its targets: indices in [`Active::targets`], one, or one per container.
    pub indices: Vec<usize>,
    /// Inode of its network namespace: another one is another sandbox.
    pub netns: Option<u64>,
    /// Its cgroup whose programs we are told of.
    pub awaited: Option<u64>,
    /// It came while the experiment ran.
    pub followed: bool,
    /// CLOCK_MONOTONIC in ns: when its faults were there.
    pub joined: Option<u64>,
    /// The cgroup of its first program, which is the sandbox's.
    pub sandbox: Option<u64>,
    /// CLOCK_MONOTONIC in ns: when the first program of a container began.
    pub began: Option<u64>,
    /// The node's policy was asked, and has nothing against it.
    pub admitted: bool,
    /// Set where it does not simply stand as the part does.
    pub state: Option<TargetState>,
    /// Why.
    pub message: String,
}

impl Member {
    /// One that is not under the faults yet.
    #[must_use]
    pub fn new(facts: PodFacts, followed: bool) -> Self {
        Self {
            facts,
            indices: Vec::new(),
            netns: None,
            awaited: None,
            followed,
            joined: None,
            sandbox: None,
            began: None,
            admitted: false,
            state: Some(TargetState::Pending),
            message: String::new(),
        }
    }

    /// Milliseconds from the begin of its first program to the faults.
    fn followed_after_ms(&self) -> Option<i64> {
        let (joined, began) = (i128::from(self.joined?), i128::from(self.began?));
        i64::try_from((joined - began) / 1_000_000).ok().filter(|_| self.followed)
    }
}

/// One Injection on this node.
pub struct Part {
    /// As the API server has it.
    pub injection: Injection,
    /// Where it stands.
    pub stage: Stage,
    /// Why.
    pub message: String,
    /// What is applied.
    pub active: Option<Active>,
    /// Its pods by UID.
    pub members: BTreeMap<String, Member>,
    /// Counts of earlier processes of this agent, and of targets that were released.
    pub counted: Vec<FaultReport>,
    /// When targets were without the faults, by name.
    pub gaps: BTreeMap<String, Vec<Gap>>,
    /// When it was seen first that somebody else has ended it.
    pub ended_elsewhere: Option<Instant>,
    /// When the order to start was seen first, on the clock that nobody sets.
    pub ordered: Option<Instant>,
    /// The first injection, RFC 3339.
    pub started_at: String,
    /// The end of the revert, RFC 3339.
    pub ended_at: String,
    /// The generation of what was read of it last: of a later one that cannot be read, the metadata alone is taken.
    read: Option<i64>,
    /// Why what was read of the injection at first was not all of it: what acts is not what was asked.
    pub misread: Option<String>,
    /// The final report.
    pub report: Option<Report>,
    /// What was said last to the API server.
    said: Option<InjectionStatus>,
}

impl Part {
    /// One of which nothing is made yet.
    #[must_use]
    pub fn new(injection: Injection) -> Self {
        let ordered = injection.spec.start.then(Instant::now);
        Self {
            read: injection.metadata.generation,
            injection,
            ordered,
            stage: Stage::Waiting,
            message: String::new(),
            active: None,
            members: BTreeMap::new(),
            counted: Vec::new(),
            gaps: BTreeMap::new(),
            ended_elsewhere: None,
            started_at: String::new(),
            ended_at: String::new(),
            misread: None,
            report: None,
            said: None,
        }
    }

    /// Takes what the API server has now. What cannot be read changes nothing but the end: what acts was readable once.
    pub fn renew(&mut self, new: Injection) {
        match &new.unread {
            Some(why) if self.injection.unread.is_none() => {
                // While definitions change, a watch that began before drops what the older ones do not have.
                if new.metadata.generation.is_some() && new.metadata.generation == self.read && why.narrows() {
                    self.misread = Some(format!("{why}; {REMEDY}"));
                }
                tracing::warn!(
                    "{}: a later version cannot be read, and only its stop is followed: {why}",
                    self.title()
                );
                self.injection.metadata = new.metadata;
                self.injection.spec.stop = self.injection.spec.stop.or(new.spec.stop);
            }
            _ => {
                self.read = new.metadata.generation;
                self.injection = new;
            }
        }
        if self.injection.spec.start {
            self.ordered.get_or_insert_with(Instant::now);
        }
    }

    /// Takes what an earlier process of the agent noted of it; true where it is over.
    pub fn recall(&mut self, note: &Note) -> bool {
        self.started_at.clone_from(&note.started_at);
        self.counted.clone_from(&note.counted);
        self.gaps.clone_from(&note.gaps);
        let Some((phase, message)) = note.over.clone() else { return false };
        (self.stage, self.message, self.report) = (Stage::Over(phase), message, note.report.clone());
        self.ended_at.clone_from(&note.ended_at);
        true
    }

    /// Its Injection is being deleted, or is gone.
    #[must_use]
    pub fn is_deleted(&self) -> bool {
        self.injection.metadata.deletion_timestamp.is_some()
    }

    /// Namespace and name of the Injection.
    #[must_use]
    pub fn place(&self) -> (String, String) {
        let meta = &self.injection.metadata;
        (meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default())
    }

    /// Its experiment as `namespace/name`.
    #[must_use]
    pub fn title(&self) -> String {
        format!("{}/{}", self.place().0, self.injection.spec.experiment)
    }

    /// What it says to the API server; `now`: the counts of its targets that are under the faults.
    #[must_use]
    pub fn status(&self, now: Vec<FaultReport>) -> InjectionStatus {
        let all = merged(self.counted.iter().cloned().chain(now));
        let mut faults: Vec<FaultSum> = Vec::new();
        for report in &all {
            let sum = FaultSum {
                name: report.name.clone(),
                seen: report.seen,
                matched: report.matched,
                injected: report.injected,
                skipped: report.skipped,
                would_inject: report.would_inject,
                skipped_by_lease: report.skipped_by_lease,
            };
            match faults.iter_mut().find(|one| one.name == sum.name) {
                Some(one) => one.add(&sum),
                None => faults.push(sum),
            }
        }
        InjectionStatus {
            observed_generation: self.injection.metadata.generation,
            phase: self.stage.phase(),
            message: cut(&self.message, 4096),
            started_at: time(&self.started_at),
            ended_at: time(&self.ended_at),
            faults,
            targets: self.members.values().flat_map(|member| self.records(member, &all)).take(1000).collect(),
            report: self.report.clone(),
        }
    }

    /// A status that is to be said, unless it was said last: that its node lives is not said here.
    pub fn news(&mut self, status: InjectionStatus) -> Option<InjectionStatus> {
        if self.said.as_ref() == Some(&status) {
            return None;
        }
        self.said = Some(status.clone());
        Some(status)
    }

    /// Says something beside what it says already, in its status and in its report.
    pub fn warn(&mut self, text: String) {
        self.message = if self.message.is_empty() { text.clone() } else { format!("{}; {text}", self.message) };
        if let Some(active) = &mut self.active {
            active.warnings.push(text);
        }
    }

    fn told_of<'a>(&self, member: &'a Member) -> &'a str {
        if self.injection.spec.peers_side && member.message.is_empty() { PEERS_SIDE } else { &member.message }
    }

    fn records(&self, member: &Member, reports: &[FaultReport]) -> Vec<TargetRecord> {
        let place = &member.facts.place;
        let pod = format!("{}/{}", place.namespace, place.name);
        let names: Vec<String> = match &self.active {
            Some(active) if !member.indices.is_empty() => {
                member.indices.iter().filter_map(|index| Some(active.targets.get(*index)?.name.clone())).collect()
            }
            _ => vec![pod.clone()],
        };
        let record = |name: String| {
            let mine: Vec<&FaultReport> = reports.iter().filter(|report| report.target == name).collect();
            TargetRecord {
                namespace: place.namespace.clone(),
                pod: place.name.clone(),
                uid: member.facts.uid.clone(),
                container: name.strip_prefix(&format!("{pod}/")).map(str::to_owned),
                node: self.injection.spec.node_name.clone(),
                state: member.state.unwrap_or(self.stage.of_target()),
                mechanism: mine.first().map(|report| report.mechanism.clone()).unwrap_or_default(),
                matched: mine.iter().map(|report| report.matched).sum(),
                injected: mine.iter().map(|report| report.injected).sum(),
                message: cut(self.told_of(member), 1024),
                gaps: self.gaps.get(&name).cloned().unwrap_or_default(),
                followed_after_ms: member.followed_after_ms(),
            }
        };
        names.into_iter().map(record).collect()
    }
}

/// RFC 3339 as the API's type.
fn time(text: &str) -> Option<Time> {
    (!text.is_empty()).then(|| serde_json::from_value(text.into()).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_has_not_changed_is_said_once() {
        let injection = json!({
            "metadata": { "name": "slow-n1", "namespace": "shop", "generation": 1 },
            "spec": { "nodeName": "n1", "experiment": "slow", "remaining": "30s", "seed": 7, "faults": [] },
        });
        let mut part = Part::new(serde_json::from_value(injection).unwrap());
        let counted = |seen| vec![FaultReport { name: "cut".into(), seen, ..FaultReport::default() }];
        let mut says = |seen| {
            let status = part.status(counted(seen));
            part.news(status).is_some()
        };
        assert_eq!([1, 1, 1, 2, 2].map(&mut says), [true, false, false, true, false]);
    }
}

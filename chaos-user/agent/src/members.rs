//! The pods of a part: chosen by the controller or followed, found on the node, taken in and let go.

use super::{
    compile,
    part::{Member, Part, Stage},
    pods::PodFacts,
    policy::Policy,
    probed,
    share::Taken,
    worker::Worker,
};
use chaos_engine::possible::possible;
use chaos_host::{ByNetlink, Reason, Target};
use chaos_k8s::api::TargetState;
use chaos_outcome::EngineError;
use chaos_spec::OnUnsupported;
use chaos_sys::{births::Event, clock::monotonic};
use std::{
    collections::{BTreeMap, HashMap},
    fs,
    os::unix::fs::MetadataExt,
};

impl Worker {
    /// Which pods are meant, as things stand. The node's policy judges each when it enters, whoever named it.
    pub(super) fn choose(&self, part: &mut Part) {
        let running = matches!(part.stage, Stage::Running | Stage::Paused);
        let spec = &part.injection.spec;
        let named = spec.targets.iter().filter_map(|wanted| self.pods.get(&wanted.uid));
        let follows = |pod: &&PodFacts| spec.follow.as_ref().is_some_and(|follow| pod.is_followed(follow, spec.seed));
        for facts in named.chain(self.pods.values().filter(follows)).filter(|pod| !pod.ended) {
            let new = || Member::new(unclaimed(facts, &self.pods), running);
            part.members.entry(facts.uid.clone()).or_insert_with(new);
        }
        judge(&mut part.members, &self.policy);
    }

    /// Is this pod still one of the part's?
    fn is_meant(&self, part: &Part, uid: &str) -> bool {
        let spec = &part.injection.spec;
        let Some(facts) = self.pods.get(uid).filter(|pod| !pod.ended) else { return false };
        spec.targets.iter().any(|target| target.uid == uid)
            || spec.follow.as_ref().is_some_and(|follow| facts.is_followed(follow, spec.seed))
    }

    /// Finds the pods of a part that is to be prepared. Those without a process are left for later.
    pub(super) fn locate_all(&mut self, part: &mut Part) -> Result<Vec<Target>, EngineError> {
        let mut targets = Vec::new();
        let (containers, skip) =
            (part.injection.spec.containers.clone(), part.injection.spec.on_unsupported == OnUnsupported::Skip);
        for member in part.members.values_mut().filter(|member| member.admitted) {
            self.await_programs(member);
            match self.finder.locate(&ByNetlink, &member.facts.place, &containers) {
                Ok(mut found) => {
                    probed::enter(&mut found, &member.facts.probes);
                    enter(member, targets.len(), &found);
                    targets.extend(found);
                }
                Err(problem) => match problem.reason {
                    Reason::Absent => member.message = problem.text,
                    Reason::Unsupported if !skip => return Err(EngineError::Unsupported(problem.text)),
                    Reason::Refused if !skip => return Err(EngineError::Refused(problem.text)),
                    _ => (member.state, member.message) = (Some(TargetState::Failed), problem.text),
                },
            }
        }
        Ok(targets)
    }

    /// Lets go of pods that are gone, and takes in those that have come.
    pub(super) fn meet(&mut self, part: &mut Part) {
        self.choose(part);
        let uids: Vec<String> = part.members.keys().cloned().collect();
        for uid in uids {
            if !self.is_meant(part, &uid) {
                self.let_go(part, &uid, TargetState::Gone);
            } else if part.members.get(&uid).is_some_and(|member| member.state == Some(TargetState::Pending)) {
                self.take_in(part, &uid);
            }
        }
    }

    /// Tries to put the faults onto a pod that is not under them yet.
    fn take_in(&mut self, part: &mut Part, uid: &str) {
        let (Some(active), Some(member)) = (&mut part.active, part.members.get_mut(uid)) else { return };
        self.await_programs(member);
        let containers = &part.injection.spec.containers;
        let targets = match self.finder.locate(&ByNetlink, &member.facts.place, containers) {
            Ok(targets) => targets,
            Err(problem) => {
                member.message = problem.text;
                member.state =
                    Some(if problem.reason == Reason::Absent { TargetState::Pending } else { TargetState::Failed });
                return;
            }
        };
        // Of several containers some may be there already.
        let known = |target: &Target| {
            member.indices.iter().any(|i| active.targets.get(*i).is_some_and(|t| t.key() == target.key()))
        };
        let mut new: Vec<Target> = targets.into_iter().filter(|target| !known(target)).collect();
        if new.is_empty() {
            return;
        }
        probed::enter(&mut new, &member.facts.probes);
        let rules = Taken::of_rules(&active.plan, new.len());
        if let Err(text) = self.has_room(part, rules + Taken::by_part(part, &self.sets)) {
            if let Some(member) = part.members.get_mut(uid) {
                (member.state, member.message) = (Some(TargetState::Failed), text);
            }
            return;
        }
        let (Some(active), Some(member)) = (&mut part.active, part.members.get_mut(uid)) else { return };
        let first = active.targets.len();
        let joined = possible(&active.plan, &new).and_then(|()| self.engine.join(active, new.clone(), &HashMap::new()));
        match joined {
            Ok(()) => {
                enter(member, first, &new);
                member.joined = Some(monotonic());
            }
            Err(error) => {
                (member.state, member.message) = (Some(TargetState::Failed), error.to_string());
                self.failed(&error);
            }
        }
    }

    /// Takes a pod out; what it has counted stays.
    fn let_go(&mut self, part: &mut Part, uid: &str, state: TargetState) {
        let (Some(active), Some(member)) = (&mut part.active, part.members.get_mut(uid)) else { return };
        if member.state == Some(state) {
            return;
        }
        for index in member.indices.iter().copied() {
            let named = |_: &Target, pid| self.finder.container_of(&member.facts.place, pid);
            match self.engine.release(active, index, named) {
                Ok(reports) => part.counted.extend(reports),
                Err(error) => tracing::warn!("let go of {}: {error}", member.facts.place.name),
            }
        }
        member.state = Some(state);
        member.netns = None;
        if let (Some(births), Some(cgroup)) = (&mut self.births, member.awaited.take()) {
            births.forget(cgroup);
        }
    }

    /// Events of the kernel were dropped: whatever they would have said is looked for.
    pub(super) fn look_again(&mut self) {
        let uids: Vec<String> =
            self.parts.iter().filter(|(_, part)| part.active.is_some()).map(|(u, _)| u.clone()).collect();
        for uid in uids {
            self.with(&uid, |worker, part| {
                let under = |member: &&Member| member.admitted && !member.indices.is_empty();
                let pods: Vec<String> = part.members.values().filter(under).map(|m| m.facts.uid.clone()).collect();
                for pod in pods {
                    worker.found_anew(part, &pod);
                }
            });
        }
        self.look_at_all();
    }

    /// The peers as they are resolved now.
    pub(super) fn set_peers(&mut self, part: &mut Part) {
        // Where a set is gone or has not come, peers and exceptions stay as they are: with fewer exceptions the fault would mean more.
        if part.active.is_none() || compile::awaits_sets(&part.injection, &self.sets, &self.unread) {
            return;
        }
        // Peers may have become many since the entry: those of before stay, and others keep their room.
        if let Err(text) = self.has_room(part, Taken::by_part(part, &self.sets)) {
            part.message = text;
            return;
        }
        let namespace = part.place().0;
        let Some(active) = &mut part.active else { return };
        for (fault, except, addresses) in compile::peers(&part.injection.spec, &namespace, &self.sets) {
            if let Err(error) = self.engine.set_peers(active, fault, except, &addresses) {
                part.message = error.to_string();
                tracing::warn!("peers of {}: {error}", active.plan.name);
            }
        }
    }

    /// Asks to be told of programs that begin in a pod.
    fn await_programs(&mut self, member: &mut Member) {
        let Some(births) = self.births.as_mut().filter(|_| member.awaited.is_none()) else { return };
        let Some(scope) = self.finder.scope(&member.facts.place) else { return };
        match births.await_in(scope.id) {
            Ok(()) => member.awaited = Some(scope.id),
            Err(error) => tracing::warn!("{error}"),
        }
    }

    /// A part that is over needs no news.
    pub(super) fn forget(&mut self, part: &mut Part) {
        let awaited = part.members.values_mut().filter_map(|member| member.awaited.take());
        for cgroup in awaited.collect::<Vec<_>>() {
            if let Some(births) = &mut self.births {
                births.forget(cgroup);
            }
        }
    }

    /// A cgroup was made, or a program began: a pod may be there now, or have been made anew.
    pub(super) fn born(&mut self, event: &Event) {
        match event {
            Event::Cgroup { path } => {
                let plain = path.replace('_', "-");
                let waits = |member: &Member| {
                    member.awaited.is_none() && member.facts.place.uids().any(|uid| plain.contains(uid))
                };
                if self.parts.values().any(|part| part.active.is_some() && part.members.values().any(waits)) {
                    self.look_at_all();
                }
            }
            Event::Program { pid, cgroup, awaited, time } => self.program(*pid, *cgroup, *awaited, *time),
        }
    }

    fn program(&mut self, pid: i32, cgroup: u64, awaited: u64, time: u64) {
        let netns = fs::metadata(format!("/proc/{pid}/ns/net")).map(|m| m.ino()).ok();
        let uids: Vec<String> =
            self.parts.iter().filter(|(_, part)| part.active.is_some()).map(|(u, _)| u.clone()).collect();
        for uid in uids {
            self.with(&uid, |worker, part| {
                let is_meant = |member: &&Member| member.awaited == Some(awaited);
                let pods: Vec<String> = part.members.values().filter(is_meant).map(|m| m.facts.uid.clone()).collect();
                for pod in pods {
                    worker.began(part, &pod, (cgroup, time), netns);
                }
            });
        }
        self.look_at_all();
    }

    fn began(&mut self, part: &mut Part, pod: &str, (cgroup, time): (u64, u64), netns: Option<u64>) {
        let containers = !part.injection.spec.containers.is_empty();
        let Some(member) = part.members.get_mut(pod) else { return };
        if !member.admitted {
            return;
        }
        let elsewhere = !member.facts.place.host_network
            && matches!((member.netns, netns), (Some(old), Some(new)) if old != new && !self.is_own_netns(new));
        let sandbox = *member.sandbox.get_or_insert(cgroup);
        if sandbox != cgroup && member.began.is_none() {
            member.began = Some(time);
        }
        if elsewhere {
            return self.found_anew(part, pod);
        }
        let waits = part.members.get(pod).is_some_and(|member| member.state == Some(TargetState::Pending));
        if waits || containers {
            self.take_in(part, pod);
        }
    }

    /// Looks where a pod is now. A process may have gone to a network of its own: the pod has moved only where it is found elsewhere itself.
    fn found_anew(&mut self, part: &mut Part, pod: &str) {
        let containers = !part.injection.spec.containers.is_empty();
        let Some(member) = part.members.get(pod) else { return };
        let found =
            || self.finder.locate(&ByNetlink, &member.facts.place, &[]).ok()?.first().map(|one| one.netns.inode);
        if !member.facts.place.host_network
            && member.netns.is_some()
            && found().is_some_and(|now| Some(now) != member.netns)
        {
            self.let_go(part, pod, TargetState::Pending);
            if let Some(member) = part.members.get_mut(pod) {
                member.indices.clear();
                member.message = "its sandbox was made anew".to_owned();
            }
        }
        let waits = part.members.get(pod).is_some_and(|member| member.state == Some(TargetState::Pending));
        if waits || containers {
            self.take_in(part, pod);
        }
    }

    fn is_own_netns(&self, inode: u64) -> bool {
        fs::metadata("/proc/self/ns/net").is_ok_and(|own| own.ino() == inode)
    }
}

/// Asks the node's policy about those that it was not asked about, or that it refused: another may have gone meanwhile.
fn judge(members: &mut BTreeMap<String, Member>, policy: &Policy) {
    let is_gone = |member: &Member| member.state == Some(TargetState::Gone);
    let mut count = members.values().filter(|member| member.admitted && !is_gone(member)).count();
    for member in members.values_mut().filter(|member| !member.admitted && !is_gone(member)) {
        let refused = policy.pod(&member.facts.place).and_then(|()| policy.targets(count + 1)).err();
        member.admitted = refused.is_none();
        count += usize::from(member.admitted);
        member.state = Some(if member.admitted { TargetState::Pending } else { TargetState::Failed });
        member.message = refused.unwrap_or_default();
    }
}

/// A pod without the cgroup that it claims to show where another one claims the same: one of them is made up.
fn unclaimed(facts: &PodFacts, pods: &BTreeMap<String, PodFacts>) -> PodFacts {
    let mut facts = facts.clone();
    let claims = |other: &PodFacts, uid: &String| other.uid == *uid || other.place.mirrored.as_ref() == Some(uid);
    let others = || pods.values().filter(|other| other.uid != facts.uid);
    if facts.place.mirrored.as_ref().is_some_and(|uid| others().any(|other| claims(other, uid))) {
        facts.place.mirrored = None;
    }
    facts
}

/// Notes that a pod is under the faults, by the targets from `first` on.
fn enter(member: &mut Member, first: usize, targets: &[Target]) {
    member.indices.extend(first..first + targets.len());
    member.netns = targets.first().map(|target| target.netns.inode);
    member.state = None;
    member.message.clear();
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn members(pods: &[(&str, &str, bool)]) -> BTreeMap<String, Member> {
        let member = |(namespace, name, host_network): &(&str, &str, bool)| {
            let pod = json!({
                "metadata": { "namespace": namespace, "name": name, "uid": name },
                "spec": { "hostNetwork": host_network, "containers": [] },
            });
            let facts = PodFacts::of(serde_json::from_value(pod).unwrap(), "n").unwrap();
            (facts.uid.clone(), Member::new(facts, true))
        };
        pods.iter().map(member).collect()
    }

    fn states(members: &BTreeMap<String, Member>) -> Vec<(&str, Option<TargetState>)> {
        members.iter().map(|(name, member)| (name.as_str(), member.state)).collect()
    }

    #[test]
    fn the_policy_judges_each_pod_when_it_enters() {
        let policy = Policy { max_targets: 2, host_network: false, ..Policy::default() };
        let (pending, failed) = (Some(TargetState::Pending), Some(TargetState::Failed));
        let mut members = members(&[
            ("shop", "a", false),
            ("kube-system", "dns", false),
            ("shop", "host", true),
            ("shop", "z", false),
        ]);
        judge(&mut members, &policy);
        assert_eq!(states(&members), [("a", pending), ("dns", failed), ("host", failed), ("z", pending)]);
        assert!(members["dns"].message.contains("kube-system") && members["host"].message.contains("hostNetwork"));
        members.extend(self::members(&[("shop", "later", false)]));
        judge(&mut members, &policy);
        assert_eq!(members["later"].state, failed);
        assert!(members["later"].message.contains("at most 2 targets"), "{}", members["later"].message);
        // One that has gone makes room.
        members.get_mut("a").unwrap().state = Some(TargetState::Gone);
        judge(&mut members, &policy);
        assert_eq!((members["later"].state, members["later"].message.as_str()), (pending, ""));
        assert_eq!(members["dns"].state, failed);
    }

    #[test]
    fn of_two_that_claim_one_cgroup_none_is_found_by_it() {
        let mut pods: BTreeMap<String, PodFacts> = members(&[("shop", "a", false), ("shop", "b", false)])
            .into_iter()
            .map(|(uid, one)| (uid, one.facts))
            .collect();
        pods.get_mut("a").unwrap().place.mirrored = Some("hash".to_owned());
        assert_eq!(unclaimed(&pods["a"], &pods).place.mirrored.as_deref(), Some("hash"));
        pods.get_mut("a").unwrap().place.mirrored = Some("b".to_owned());
        assert_eq!(unclaimed(&pods["a"], &pods).place.mirrored, None);
    }
}

//! From an Injection to a plan. The agent trusts nobody: what the API server and the controller have checked is checked again.

use super::policy::Policy;
use chaos_k8s::{
    api::{Injection, InjectionSpec},
    text::cut,
};
use chaos_outcome::EngineError;
use chaos_spec::{
    Experiment, ExperimentSpec, PodSelector, PodTargets, Selector,
    plan::{self, PeerAddress, Plan},
};
use std::collections::{BTreeMap, BTreeSet};

/// Resolved addresses by namespace and name of their PeerSet.
pub type PeerSets = BTreeMap<(String, String), BTreeSet<PeerAddress>>;

/// The plan of an Injection, with the peers as they are resolved now.
///
/// # Errors
/// `Invalid` with every problem, `Refused` by the policy, `Unsupported` for what this build cannot do.
pub fn plan(injection: &Injection, policy: &Policy, sets: &PeerSets) -> Result<Plan, EngineError> {
    let spec = &injection.spec;
    let namespace = injection.metadata.namespace.clone().unwrap_or_default();
    let experiment = experiment(spec, &namespace);
    let checked = experiment.check().map_err(|e| EngineError::Invalid(vec![e.to_string()]))?;
    if !checked.errors.is_empty() {
        return Err(EngineError::Invalid(checked.errors.iter().map(ToString::to_string).collect()));
    }
    allowed(spec, policy).map_err(EngineError::Refused)?;
    let mut plan = plan::plan(&experiment, spec.seed)?;
    for rule in &mut plan.rules {
        let network = spec.faults.get(rule.fault).and_then(|fault| fault.network.as_ref());
        // A peer that is named is meant, whose address it has; unless the policy keeps the node out in any case.
        let named = network.is_some_and(|network| !network.matches.packet.peers.is_empty());
        if network.is_some_and(|network| !network.matches.packet.node) && !(named && policy.node_traffic) {
            rule.spare_node();
        }
    }
    for (fault, except, addresses) in peers(spec, &namespace, sets) {
        let Some(rule) = plan.rules.iter_mut().find(|rule| rule.fault == fault) else { continue };
        let condition = match except.map(|entry| rule.except_of.get(entry).copied()) {
            None => Some(&mut rule.condition),
            Some(place) => place.and_then(|place| rule.excepts.get_mut(place)),
        };
        if let Some(condition) = condition {
            // Whatever the list of the spec looks like: a set that is empty by now matches nothing.
            condition.any_peer = false;
            condition.resolved.get_or_insert_default().extend(addresses);
        }
    }
    Ok(plan)
}

/// What is said beside a field that this version does not have.
pub const REMEDY: &str =
    concat!("this agent is chaos ", env!("CARGO_PKG_VERSION"), "; bring it to the controller's version");

/// Whether this version can read the order and the sets that it names: what it cannot read it does not do in part.
///
/// # Errors
/// What it cannot read.
pub fn readable(injection: &Injection, unread: &BTreeMap<(String, String), String>) -> Result<(), String> {
    if let Some(why) = &injection.unread {
        return Err(format!("{why}; {REMEDY}"));
    }
    let namespace = injection.metadata.namespace.clone().unwrap_or_default();
    for name in injection.spec.peer_sets.iter().flat_map(|one| &one.sets) {
        if let Some(why) = unread.get(&(namespace.clone(), name.clone())) {
            return Err(format!("PeerSet {name}: {why}; {REMEDY}"));
        }
    }
    Ok(())
}

/// Whether a set that it names has not come yet: without it a fault would have fewer peers, or fewer exceptions, than were asked for. A set
/// or an order that cannot be read is here, to be refused.
pub fn awaits_sets(injection: &Injection, sets: &PeerSets, unread: &BTreeMap<(String, String), String>) -> bool {
    let namespace = injection.metadata.namespace.clone().unwrap_or_default();
    let mut names = injection.spec.peer_sets.iter().flat_map(|one| &one.sets);
    injection.unread.is_none()
        && names.any(|name| {
            let key = (namespace.clone(), name.clone());
            !sets.contains_key(&key) && !unread.contains_key(&key)
        })
}

/// What the sets of an Injection stand for now: (fault, entry of its `except`, addresses), the sets of one place together.
#[must_use]
pub fn peers(
    spec: &InjectionSpec,
    namespace: &str,
    sets: &PeerSets,
) -> Vec<(usize, Option<usize>, BTreeSet<PeerAddress>)> {
    let mut all: BTreeMap<(usize, Option<usize>), BTreeSet<PeerAddress>> = BTreeMap::new();
    for one in &spec.peer_sets {
        let place = all.entry((one.fault, one.except)).or_default();
        for name in &one.sets {
            place.extend(sets.get(&(namespace.to_owned(), name.clone())).into_iter().flatten());
        }
    }
    all.into_iter().map(|((fault, except), addresses)| (fault, except, addresses)).collect()
}

fn experiment(spec: &InjectionSpec, namespace: &str) -> Experiment {
    let pods = PodTargets { pods: PodSelector { all: true, ..PodSelector::default() }, ..PodTargets::default() };
    let experiment = ExperimentSpec {
        duration: spec.remaining,
        seed: Some(spec.seed),
        start_deadline: None,
        paused: spec.paused,
        dry_run: spec.dry_run,
        on_unsupported: spec.on_unsupported,
        selector: Selector { pods: Some(pods), local: Vec::new() },
        faults: spec.faults.clone(),
        probes: Vec::new(),
        ttl_seconds_after_finished: None,
    };
    Experiment::new(name(spec), Some(namespace.to_owned()), experiment)
}

/// On a node no two share a name, and a peer may be a target's neighbour: `slow.cut.peers`.
fn name(spec: &InjectionSpec) -> String {
    if !spec.peers_side {
        return spec.experiment.clone();
    }
    let fault = spec.faults.first().and_then(|fault| fault.name.as_deref()).unwrap_or_default();
    let own = cut(&spec.experiment, 180);
    format!("{}.{fault}.peers", own.trim_end_matches(['.', '-']))
}

/// What the node's policy says to the targets as a whole. Asked of what is new: later each is judged by itself.
///
/// # Errors
/// A sentence that says why not.
pub fn targets_allowed(spec: &InjectionSpec, policy: &Policy) -> Result<(), String> {
    policy.targets(spec.targets.len())?;
    spec.targets.iter().try_for_each(|target| policy.namespace(&target.namespace))
}

/// What the node's policy says to it.
fn allowed(spec: &InjectionSpec, policy: &Policy) -> Result<(), String> {
    policy.duration(spec.remaining)?;
    if let Some(follow) = &spec.follow {
        follow.namespaces.iter().try_for_each(|namespace| policy.namespace(namespace))?;
    }
    let hits_node = |fault: &chaos_spec::Fault| fault.network.as_ref().is_some_and(|n| n.matches.packet.node);
    if !policy.node_traffic && spec.faults.iter().any(hits_node) {
        return Err("this node's policy forbids faults on a pod's traffic with its node (match.node)".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn injection(changed: impl FnOnce(&mut Value)) -> Injection {
        let mut value = json!({
            "metadata": { "namespace": "shop", "name": "slow-1" },
            "spec": {
                "nodeName": "n", "experiment": "slow", "remaining": "30s", "seed": 7,
                "targets": [{ "namespace": "shop", "name": "web", "uid": "u" }],
                "faults": [{ "network": {
                    "match": { "peers": [{ "service": { "name": "db" } }], "except": [{ "peers": [{ "pods": { "all": true } }] }] },
                    "partition": true,
                } }],
                "peerSets": [
                    { "fault": 0, "sets": ["one", "two"] },
                    { "fault": 0, "except": 0, "sets": ["spared"] },
                ],
            }
        });
        changed(&mut value);
        serde_json::from_value(value).unwrap()
    }

    fn sets() -> PeerSets {
        let address = |text: &str, port| PeerAddress { cidr: text.parse().unwrap(), port };
        let set =
            |name: &str, peers: &[PeerAddress]| (("shop".to_owned(), name.to_owned()), peers.iter().copied().collect());
        PeerSets::from([
            set("one", &[address("10.96.0.7/32", Some(5432))]),
            set("two", &[address("10.1.0.4/32", None)]),
            set("spared", &[address("10.1.0.9/32", None)]),
        ])
    }

    #[test]
    fn an_order_waits_for_the_sets_that_it_names() {
        let (order, mut sets, unread) = (injection(|_| {}), sets(), BTreeMap::new());
        assert!(!awaits_sets(&order, &sets, &unread));
        let key = sets.keys().find(|(_, name)| name == "spared").unwrap().clone();
        sets.remove(&key);
        assert!(awaits_sets(&order, &sets, &unread), "what is spared is not known");
        assert!(!awaits_sets(&order, &sets, &BTreeMap::from([(key, "no".to_owned())])), "it has an answer");
    }

    #[test]
    fn peers_come_from_their_sets() {
        let plan = plan(&injection(|_| {}), &Policy::default(), &sets()).unwrap();
        let rule = &plan.rules[0];
        assert_eq!(rule.condition.resolved.as_ref().unwrap().len(), 2);
        assert_eq!(rule.excepts[0].resolved.as_ref().unwrap().len(), 1);
    }

    #[test]
    fn a_peer_that_is_named_is_not_spared_though_it_is_the_node() {
        let spares = |matches: Value, policy: &Policy| {
            let one = injection(|value| {
                value["spec"]["faults"][0]["network"]["match"] = matches;
                value["spec"]["peerSets"] = json!([]);
            });
            plan(&one, policy, &sets()).unwrap().rules[0].spares_node()
        };
        let (open, closed) = (Policy::default(), Policy { node_traffic: false, ..Policy::default() });
        assert!(spares(json!({ "all": true }), &open) && spares(json!({ "protocol": "tcp" }), &open));
        assert!(!spares(json!({ "all": true, "node": true }), &open));
        let peers = json!({ "peers": [{ "cidr": "192.0.2.1/32" }] });
        assert!(!spares(peers.clone(), &open) && spares(peers, &closed));
    }

    #[test]
    fn what_is_placed_at_peers_has_a_name_of_its_own() {
        let at_peers = |value: &mut Value| {
            value["spec"]["peersSide"] = true.into();
            value["spec"]["faults"][0]["name"] = "cut".into();
        };
        let name = |injection| plan(&injection, &Policy::default(), &sets()).unwrap().name;
        assert_eq!((name(injection(|_| {})), name(injection(at_peers))), ("slow".into(), "slow.cut.peers".into()));
    }

    #[test]
    fn what_an_old_agent_does_not_know_it_does_not_do() {
        let newer = injection(|value| value["spec"]["faults"][0]["network"]["match"]["http"] = json!({ "path": "/" }));
        let why = readable(&newer, &BTreeMap::new()).unwrap_err();
        assert!(why.starts_with("spec.faults[0].network.match.http: unknown field"), "{why}");
        assert!(why.contains("bring it to the controller's version"), "{why}");
        let set = BTreeMap::from([(("shop".to_owned(), "spared".to_owned()), "no".to_owned())]);
        assert!(readable(&injection(|_| {}), &set).unwrap_err().starts_with("PeerSet spared: no"));
        assert_eq!(readable(&injection(|_| {}), &BTreeMap::new()), Ok(()));
    }

    #[test]
    fn a_later_version_that_cannot_be_read_can_still_stop() {
        use crate::part::Part;
        use chaos_k8s::api::Stop;
        let mut part = Part::new(injection(|_| {}));
        let faults = part.injection.spec.faults.clone();
        part.renew(injection(|value| value["spec"]["faults"] = json!("odd")));
        assert_eq!((&part.injection.spec.faults, part.injection.spec.stop), (&faults, None));
        part.renew(injection(|value| {
            value["spec"]["faults"] = json!("odd");
            value["spec"]["stop"] = "abort".into();
        }));
        assert_eq!((&part.injection.spec.faults, part.injection.spec.stop), (&faults, Some(Stop::Abort)));
        assert!(part.injection.unread.is_none());
    }

    #[test]
    fn an_order_of_which_a_part_was_dropped_on_its_way_ends() {
        use crate::part::Part;
        let seen = |generation: i64, later: bool| {
            injection(|value| {
                value["metadata"]["generation"] = generation.into();
                if later {
                    value["spec"]["faults"][0]["network"]["match"]["http"] = json!("/");
                }
            })
        };
        let mut part = Part::new(seen(1, false));
        // Each status that is written of it brings it anew.
        for _ in 0..2 {
            part.renew(seen(2, true));
            assert_eq!(part.misread, None, "another order, of which nothing acts");
        }
        let mut part = Part::new(seen(1, false));
        let mut defaulted = injection(|value| value["spec"]["quietly"] = false.into());
        defaulted.metadata.generation = Some(1);
        part.renew(defaulted);
        assert_eq!(part.misread, None, "what newer definitions add by themselves");
        let mut part = Part::new(seen(1, false));
        part.renew(seen(1, true));
        assert!(part.misread.is_some_and(|why| why.starts_with("spec.faults[0].network.match.http: unknown field")));
    }

    #[test]
    fn peers_that_stand_for_nothing_match_nothing() {
        let without = |value: &mut Value| {
            value["spec"]["faults"][0]["network"]["match"] = json!({ "protocol": "tcp" });
        };
        for injection in [injection(|_| {}), injection(without)] {
            let plan = plan(&injection, &Policy::default(), &PeerSets::new()).unwrap();
            let condition = &plan.rules[0].condition;
            assert!(!condition.any_peer && condition.resolved.as_ref().is_some_and(BTreeSet::is_empty));
        }
    }

    #[test]
    fn the_policy_has_the_last_word() {
        let refused = |changed: fn(&mut Value), policy: Policy| {
            targets_allowed(&injection(changed).spec, &policy).is_err()
                || matches!(plan(&injection(changed), &policy, &sets()), Err(EngineError::Refused(_)))
        };
        assert!(refused(|value| value["spec"]["targets"][0]["namespace"] = "kube-system".into(), Policy::default()));
        assert!(refused(|value| value["spec"]["remaining"] = "2h".into(), Policy::default()));
        assert!(refused(|value| value["spec"]["follow"] = json!({ "namespaces": ["kube-system"] }), Policy::default()));
        let node = |value: &mut Value| value["spec"]["faults"][0]["network"]["match"]["node"] = true.into();
        assert!(refused(node, Policy { node_traffic: false, ..Policy::default() }));
        assert!(!refused(node, Policy::default()));
    }

    #[test]
    fn a_spec_that_no_user_could_write_is_invalid() {
        let widened = injection(|value| value["spec"]["faults"][0]["network"]["match"] = json!({}));
        assert!(matches!(plan(&widened, &Policy::default(), &sets()), Err(EngineError::Invalid(_))));
    }
}

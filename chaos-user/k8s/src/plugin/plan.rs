//! `plan`: what would happen. Nothing is made.

use super::{
    Answer,
    cluster::Cluster,
    nodes::{agents, heard, lives},
    serve::{named, serves},
    submit,
    words::{age, counted, title},
    world,
};
use crate::{
    api::{Experiment, NodeAgent},
    controller::{
        aside::{Asides, asides},
        select::{Chosen, choose},
        world::World,
    },
};
use chaos_outcome::EngineError;
use chaos_outcome::{ExitCode, combined, printable};
use chaos_spec::{self as spec, Fault, OnUnsupported, Parsed, PodTargets, SelectMode, plan};
use kube::ResourceExt;
use std::{collections::BTreeMap, time::SystemTime};

/// Tells of each experiment which pods it would hit, and whether their nodes can do it.
///
/// # Errors
/// What the API server would refuse, and what keeps this from being found out.
pub async fn plan(cluster: &Cluster, parsed: &[Parsed]) -> Result<Answer, EngineError> {
    let objects = submit::objects(cluster, parsed, false)?;
    let (made, existing) = submit::try_anew(cluster, parsed, &objects).await?;
    let (mut text, mut codes) = (String::new(), Vec::new());
    let agents = match agents(cluster).await {
        Ok(agents) => Some(agents),
        // An author of a namespace sees the rest all the same.
        Err(EngineError::Unsupported(why)) => {
            text += &format!("warning: what the nodes can do is not shown: {}\n", printable(&why));
            None
        }
        Err(error) => return Err(error),
    };
    for ((experiment, parsed), exists) in made.iter().zip(parsed).zip(existing) {
        let targets = world::of_targets(cluster, experiment).await?;
        let peers = world::with_peers(cluster, experiment).await;
        let mut sketch = Sketch {
            experiment,
            agents: agents.as_deref(),
            now: SystemTime::now(),
            text: String::new(),
            codes: Vec::new(),
        };
        sketch.draw(&targets, peers);
        text += &sketch.text;
        codes.extend(sketch.codes);
        if exists {
            text += "  exists already, and runs once: kubectl replace --force begins it anew\n";
        }
        parsed.warnings.iter().for_each(|warning| text += &format!("  warning: {warning}\n"));
    }
    Ok(Answer { text, code: combined(codes) })
}

/// The plan of one experiment, as text.
struct Sketch<'a> {
    experiment: &'a Experiment,
    /// None: who asks may not see them.
    agents: Option<&'a [NodeAgent]>,
    now: SystemTime,
    text: String,
    codes: Vec<ExitCode>,
}

impl Sketch<'_> {
    /// `peers`: what is known of them, too, where some of them are pods.
    fn draw(&mut self, world: &World, peers: Option<Result<World, EngineError>>) {
        let spec = &self.experiment.spec;
        let own = self.experiment.namespace().unwrap_or_default();
        let targets = spec.selector.pods.clone().unwrap_or_default();
        let chosen = match candidates(&targets, &own, spec.seed, world) {
            Ok(chosen) => chosen,
            Err(reason) => {
                self.text += &format!("{}\n", title(self.experiment));
                return self.refuse(ExitCode::Invalid, "refused", &reason);
            }
        };
        let mut nodes: BTreeMap<&str, Vec<&Chosen>> = BTreeMap::new();
        for one in &chosen.pods {
            nodes.entry(&one.node).or_default().push(one);
        }
        self.text += &format!(
            "{}: {}{} on {} for {}\n",
            title(self.experiment),
            chosen.number,
            counted(chosen.pods.len(), "pod"),
            counted(nodes.len(), "node"),
            spec.duration
        );
        if chosen.pods.is_empty() {
            let follows = spec.selector.pods.as_ref().is_some_and(spec::PodTargets::follows_new);
            let later = if follows { " now; those that come are hit" } else { "" };
            self.refuse(ExitCode::NoEffect, "no effect", &format!("spec.selector.pods: no pod agrees with it{later}"));
        }
        let whole = spec::Experiment::new(self.experiment.name_any(), Some(own), spec.clone());
        for refusal in plan::plan(&whole, 0).err().unwrap_or_default() {
            self.refuse(ExitCode::Unsupported, "refused", &refusal.to_string());
        }
        for (node, mut pods) in nodes {
            pods.sort_by(|a, b| (&a.target.namespace, &a.target.name).cmp(&(&b.target.namespace, &b.target.name)));
            self.node(node, &pods, None);
        }
        let shown = peers.map(|world| {
            let world = world.map_err(|error| error.to_string())?;
            let own = self.experiment.namespace().unwrap_or_default();
            self.beside(&asides(&self.experiment.spec, &own, &world, &chosen.pods, &[])?);
            Ok::<(), String>(())
        });
        if let Some(Err(why)) = shown {
            let why = printable(&why);
            self.text += &format!("  warning: whether a fault is placed at its peers' own side is not known: {why}\n");
        }
    }

    /// What is placed at the peers' own side, because a Service hides them.
    fn beside(&mut self, found: &Asides) {
        for aside in &found.placed {
            let mut nodes: BTreeMap<&str, Vec<&Chosen>> = BTreeMap::new();
            aside.pods.iter().for_each(|(pod, _)| nodes.entry(&pod.node).or_default().push(pod));
            nodes.into_iter().for_each(|(node, pods)| self.node(node, &pods, Some(&aside.turned)));
        }
        found.left.iter().for_each(|left| self.text += &format!("  warning: {}\n", printable(left)));
    }

    fn refuse(&mut self, code: ExitCode, how: &str, why: &str) {
        self.text += &format!("  {how}: {}\n", printable(why));
        self.codes.push(code);
    }

    /// `turned`: the one fault that is placed there at the side of its peers, as they see it.
    fn node(&mut self, node: &str, pods: &[&Chosen], turned: Option<&Fault>) {
        let of_node = |agents: &[NodeAgent]| agents.iter().find(|agent| agent.name_any() == node)?.status.clone();
        let agent = self.agents.and_then(of_node);
        let head = agent.as_ref().map(|agent| format!(" (kernel {}, chaos {})", agent.kernel, agent.version));
        let side = if turned.is_some() { ", at the peers' own side" } else { "" };
        self.text += &format!("  node {node}{}{side}\n", printable(&head.unwrap_or_default()));
        for pod in pods {
            self.text += &format!("    pod {}/{}\n", pod.target.namespace, pod.target.name);
        }
        if self.agents.is_none() {
            return;
        }
        let Some(agent) = agent else {
            return self.refuse(
                ExitCode::Error,
                "  refused",
                "no agent runs there; see that the DaemonSet's pod is Ready",
            );
        };
        if !lives(&agent, self.now) {
            let heard =
                heard(&agent, self.now).map_or_else(|| "ever".to_owned(), |heard| format!("for {}", age(heard)));
            let why = format!("its agent has not been heard of {heard}; see that the DaemonSet's pod is Ready");
            self.refuse(ExitCode::Error, "  refused", &why);
        }
        if let Some(reason) = &agent.locked {
            self.refuse(ExitCode::Refused, "  refused", &format!("locked: {reason}"));
        }
        let spec = &self.experiment.spec;
        let mut left = 0;
        let faults = turned.map_or(spec.faults.as_slice(), std::slice::from_ref);
        for (index, fault) in faults.iter().enumerate() {
            let line = format!("    fault {}: {}", fault.display_name(index), named(fault));
            match serves(&agent.capabilities, fault) {
                Ok(mechanism) => {
                    self.text += &format!("{line}, by {mechanism}\n");
                    left += 1;
                }
                Err(reason) if spec.on_unsupported == OnUnsupported::Skip => {
                    self.text += &format!("{line}: left out: {}\n", printable(&reason));
                }
                Err(reason) => {
                    self.text += &format!("{line}: refused: {}\n", printable(&reason));
                    self.codes.push(ExitCode::Unsupported);
                }
            }
        }
        if left == 0 && spec.on_unsupported == OnUnsupported::Skip {
            self.refuse(ExitCode::Unsupported, "  refused", "nothing is left to do there");
        }
    }
}

/// Pods that may be hit.
struct Candidates {
    pods: Vec<Chosen>,
    /// How many of them, where which ones cannot be said yet: `1 of `.
    number: String,
}

/// The pods that will be hit if the cluster stays as it is. Without a seed of its own an experiment gets one when it is made, so that of
/// those that are drawn only the number is known.
fn candidates(targets: &PodTargets, own: &str, seed: Option<u64>, world: &World) -> Result<Candidates, String> {
    let drawn = |seed| choose(targets, own, seed, world);
    if let Some(seed) = seed {
        return Ok(Candidates { pods: drawn(seed)?, number: String::new() });
    }
    if targets.mode == SelectMode::All {
        return Ok(Candidates { pods: drawn(0)?, number: String::new() });
    }
    let all = PodTargets { mode: SelectMode::All, value: None, ..targets.clone() };
    let pods = choose(&all, own, 0, world)?;
    let most = if targets.mode == SelectMode::RandomMaxPercent {
        let percent = PodTargets { mode: SelectMode::Percent, ..targets.clone() };
        format!("at most {} of ", choose(&percent, own, 0, world)?.len())
    } else {
        format!("{} of ", drawn(0)?.len())
    };
    Ok(Candidates { pods, number: most })
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::Pod;
    use serde_json::{Value, json};
    use std::sync::Arc;

    fn address(pod: &str) -> String {
        format!("10.0.0.{}", pod.as_bytes()[0])
    }

    fn world() -> World {
        let pod = |name: &str, node: &str| -> Arc<Pod> {
            let value = json!({
                "metadata": { "namespace": "shop", "name": name, "uid": name },
                "spec": { "nodeName": node, "containers": [] }, "status": { "phase": "Running", "podIP": address(name) },
            });
            Arc::new(serde_json::from_value(value).unwrap())
        };
        World { pods: vec![pod("a", "n1"), pod("b", "n1"), pod("c", "n2")], ..World::default() }
    }

    fn experiment(spec: Value) -> Experiment {
        let mut whole = json!({
            "duration": "5s", "selector": { "pods": { "all": true } },
            "faults": [{ "name": "cut", "network": { "match": { "all": true }, "loss": { "percent": 5 } } }],
        });
        for (key, value) in spec.as_object().unwrap() {
            whole[key] = value.clone();
        }
        let metadata = json!({ "namespace": "shop", "name": "cut" });
        serde_json::from_value(json!({ "metadata": metadata, "spec": whole })).unwrap()
    }

    fn agent(name: &str, supported: bool, locked: Option<&str>) -> NodeAgent {
        let capability =
            json!({ "fault": "loss", "scope": "egress", "supported": supported, "mechanism": "tcx", "reason": "so" });
        let status = json!({
            "kernel": "6.12", "version": "0.1.0", "heartbeat": "2026-01-01T00:00:00Z", "locked": locked,
            "capabilities": [capability],
        });
        serde_json::from_value(json!({ "metadata": { "name": name }, "spec": {}, "status": status })).unwrap()
    }

    fn sketch(experiment: &Experiment, agents: &[NodeAgent]) -> (String, ExitCode) {
        sketch_in(&world(), experiment, agents)
    }

    fn sketch_in(world: &World, experiment: &Experiment, agents: &[NodeAgent]) -> (String, ExitCode) {
        let heartbeat = agents[0].status.as_ref().unwrap().heartbeat.as_ref().unwrap().0;
        let now = SystemTime::from(heartbeat);
        let mut sketch = Sketch { experiment, agents: Some(agents), now, text: String::new(), codes: Vec::new() };
        sketch.draw(world, Some(Ok(world.clone())));
        (sketch.text, combined(sketch.codes))
    }

    #[test]
    fn pods_and_faults_by_node() {
        let (text, code) = sketch(&experiment(json!({})), &[agent("n1", true, None), agent("n2", false, None)]);
        let expected = "\
shop/cut: 3 pods on 2 nodes for 5s
  node n1 (kernel 6.12, chaos 0.1.0)
    pod shop/a
    pod shop/b
    fault cut: loss egress, by tcx
  node n2 (kernel 6.12, chaos 0.1.0)
    pod shop/c
    fault cut: loss egress: refused: loss egress: so
";
        assert_eq!((text.as_str(), code), (expected, ExitCode::Unsupported));
    }

    /// Half of a Service's pods: what goes to them through the Service can be told apart at their own side alone.
    #[test]
    fn what_is_placed_at_the_peers_own_side_is_shown() {
        let mut world = world();
        let ready = |name: &str| json!({ "addresses": [address(name)], "conditions": { "ready": true }, "targetRef": { "uid": name } });
        let service = json!({
            "metadata": { "namespace": "shop", "name": "db" }, "spec": { "clusterIPs": ["10.96.0.7"], "ports": [{ "port": 5432 }] },
        });
        let slice = json!({
            "metadata": { "namespace": "shop", "name": "db-x", "labels": { "kubernetes.io/service-name": "db" } },
            "addressType": "IPv4", "ports": [{ "port": 5432 }], "endpoints": [ready("b"), ready("c")],
        });
        world.services.push(Arc::new(serde_json::from_value(service).unwrap()));
        world.slices.push(Arc::new(serde_json::from_value(slice).unwrap()));
        let matches = json!({ "peers": [{ "pods": { "names": ["c"] } }] });
        let cut = experiment(json!({
            "selector": { "pods": { "names": ["a"] } },
            "faults": [{ "name": "cut", "network": { "match": matches, "direction": "egress", "loss": { "percent": 5 } } }],
        }));
        let both = |name: &str| {
            let mut agent = agent(name, true, None);
            let capabilities = &mut agent.status.as_mut().unwrap().capabilities;
            let mut arriving = capabilities[0].clone();
            arriving.scope = "ingress".to_owned();
            capabilities.push(arriving);
            agent
        };
        let (text, code) = sketch_in(&world, &cut, &[both("n1"), both("n2")]);
        let expected = "\
shop/cut: 1 pod on 1 node for 5s
  node n1 (kernel 6.12, chaos 0.1.0)
    pod shop/a
    fault cut: loss egress, by tcx
  node n2 (kernel 6.12, chaos 0.1.0), at the peers' own side
    pod shop/c
    fault cut: loss ingress, by tcx
";
        assert_eq!((text.as_str(), code), (expected, ExitCode::Pass));
    }

    #[test]
    fn what_keeps_a_node_from_it_is_said() {
        let (text, code) = sketch(&experiment(json!({})), &[agent("n1", true, Some("Halt x"))]);
        assert!(text.contains("refused: locked: Halt x") && text.contains("refused: no agent runs there"), "{text}");
        assert_eq!(code, ExitCode::Error);
        let skip = experiment(json!({ "onUnsupported": "skip" }));
        let (text, code) = sketch(&skip, &[agent("n1", true, None), agent("n2", false, None)]);
        assert!(text.contains("left out: loss egress: so\n    refused: nothing is left"), "{text}");
        assert_eq!(code, ExitCode::Unsupported);
        let nobody = experiment(json!({ "selector": { "pods": { "names": ["z"] } } }));
        assert_eq!(sketch(&nobody, &[agent("n1", true, None)]).1, ExitCode::NoEffect);
    }

    #[test]
    fn of_those_that_are_drawn_without_a_seed_the_number_is_known() {
        let targets = |mode: &str, value: Value| -> PodTargets {
            let mut pods = json!({ "all": true, "mode": mode });
            if !value.is_null() {
                pods["value"] = value;
            }
            serde_json::from_value(pods).unwrap()
        };
        let of = |targets: &PodTargets, seed| {
            let found = candidates(targets, "shop", seed, &world()).unwrap();
            (found.number, found.pods.len())
        };
        assert_eq!(of(&targets("one", json!(null)), None), ("1 of ".to_owned(), 3));
        assert_eq!(of(&targets("one", json!(null)), Some(7)), (String::new(), 1));
        assert_eq!(of(&targets("percent", json!(50)), None), ("2 of ".to_owned(), 3));
        assert_eq!(of(&targets("randomMaxPercent", json!(50)), None), ("at most 2 of ".to_owned(), 3));
        assert_eq!(of(&targets("all", json!(null)), None), (String::new(), 3));
    }
}

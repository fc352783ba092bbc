//! `check`: what each node can do, as its agent has found out.

use super::{
    Answer,
    cluster::Cluster,
    nodes::{agents, forgotten, heard, lives},
    words::{age, or_dash},
};
use crate::api::{Capability, NodeAgent, NodeAgentStatus};
use chaos_outcome::EngineError;
use chaos_outcome::{ExitCode, aligned, printable, row};
use k8s_openapi::api::core::v1::{Node, Taint};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use std::time::SystemTime;

/// A node; without status: it has no agent.
struct Row {
    name: String,
    status: Option<NodeAgentStatus>,
    /// Why it has no agent, or why that one may be silent.
    why: Option<String>,
}

/// Nodes by faults. `Unsupported` where no fault works on any node.
///
/// # Errors
/// The API server's.
pub async fn check(cluster: &Cluster, as_json: bool) -> Result<Answer, EngineError> {
    let agents = agents(cluster).await?;
    // Who may not see nodes sees those with agents.
    let nodes = cluster.list::<Node>(&Api::all(cluster.client.clone()), None).await.ok();
    let now = SystemTime::now();
    let (rows, gone) = rows(agents, nodes.as_deref(), now);
    let any = rows.iter().filter_map(|row| row.status.as_ref()).flat_map(|status| &status.capabilities);
    let code = if any.clone().any(|one| one.supported) { ExitCode::Pass } else { ExitCode::Unsupported };
    let text = if as_json { format!("{:#}\n", document(&rows, now)) } else { table(&rows, &gone, now) };
    Ok(Answer { text, code })
}

/// The nodes, and the names of those that have gone while what their agents said is left. `nodes`: None where they cannot be seen.
fn rows(agents: Vec<NodeAgent>, nodes: Option<&[Node]>, now: SystemTime) -> (Vec<Row>, Vec<String>) {
    let of = |name: &str| nodes.into_iter().flatten().find(|node| node.name_any() == name);
    let (mut rows, mut gone) = (Vec::new(), Vec::new());
    for agent in agents {
        let (name, status) = (agent.name_any(), agent.status.unwrap_or_default());
        let silent = !lives(&status, now);
        match of(&name) {
            None if silent && nodes.is_some() => gone.push(name),
            node => {
                let why = node.filter(|_| silent).and_then(why_silent);
                rows.push(Row { name, status: Some(status), why });
            }
        }
    }
    for node in nodes.into_iter().flatten() {
        let name = node.name_any();
        if !rows.iter().any(|row| row.name == name) {
            rows.push(Row { name, status: None, why: Some(why_none(node)) });
        }
    }
    rows.sort_by(|a, b| a.name.cmp(&b.name));
    (rows, gone)
}

fn is_ready(node: &Node) -> bool {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref()).into_iter().flatten();
    conditions.filter(|one| one.type_ == "Ready").any(|one| one.status == "True")
}

/// Why no agent has said anything of a node. One that is cordoned has an agent all the same: a DaemonSet tolerates that.
fn why_none(node: &Node) -> String {
    let label = |key: &str| node.metadata.labels.as_ref().and_then(|labels| labels.get(key)).map(String::as_str);
    // As AKS and others mark them, and as EKS does (eks.amazonaws.com/compute-type).
    let is_virtual =
        label("type") == Some("virtual-kubelet") || label("eks.amazonaws.com/compute-type") == Some("fargate");
    if let Some(os) = label("kubernetes.io/os").filter(|os| *os != "linux") {
        return format!("its system is not Linux, but {}", printable(os));
    }
    if is_virtual || taints(node).any(|one| one.key == "virtual-kubelet.io/provider") {
        return "it is a virtual node, without a kernel to work in".to_owned();
    }
    why_silent(node).unwrap_or_else(|| {
        "no agent has said anything of it; see kubectl -n chaos-system describe daemonset chaos-agent".to_owned()
    })
}

/// What may keep an agent from a node, or has sent it away.
fn why_silent(node: &Node) -> Option<String> {
    if !is_ready(node) {
        return Some("the node is not Ready".to_owned());
    }
    // A DaemonSet tolerates those of Kubernetes' own (its controller adds that).
    let of_site = |one: &&Taint| {
        ["NoSchedule", "NoExecute"].contains(&one.effect.as_str()) && !one.key.starts_with("node.kubernetes.io/")
    };
    let text = |one: &Taint| match one.value.as_deref() {
        Some(value) if !value.is_empty() => format!("{}={value}:{}", one.key, one.effect),
        _ => format!("{}:{}", one.key, one.effect),
    };
    let all: Vec<String> = taints(node).filter(of_site).map(text).collect();
    let named = printable(&all.join(", "));
    (!all.is_empty())
        .then(|| format!("its taints are {named}; a daemonset chaos-agent that does not tolerate them is kept away: see kubectl -n chaos-system describe daemonset chaos-agent"))
}

fn taints(node: &Node) -> impl Iterator<Item = &Taint> {
    node.spec.iter().filter_map(|spec| spec.taints.as_ref()).flatten()
}

fn document(rows: &[Row], now: SystemTime) -> Value {
    let node = |row: &Row| {
        let Some(status) = &row.status else { return json!({ "node": row.name, "agent": false, "reason": row.why }) };
        json!({
            "node": row.name,
            "agent": true,
            "version": status.version,
            "kernel": status.kernel,
            "heartbeat": status.heartbeat,
            "silent": !lives(status, now),
            "reason": row.why,
            "locked": status.locked,
            "active": status.active,
            "capabilities": status.capabilities,
        })
    };
    json!({ "nodes": rows.iter().map(node).collect::<Vec<_>>() })
}

/// The faults that some agent knows, in the order in which they are tried.
fn known(rows: &[Row]) -> Vec<&str> {
    let mut all: Vec<&str> = Vec::new();
    for one in rows.iter().filter_map(|row| row.status.as_ref()).flat_map(|status| &status.capabilities) {
        if !all.contains(&one.fault.as_str()) {
            all.push(&one.fault);
        }
    }
    all
}

fn table(rows: &[Row], gone: &[String], now: SystemTime) -> String {
    if rows.is_empty() && gone.is_empty() {
        return "no node has an agent: kubectl apply -k manifests/\n".to_owned();
    }
    let faults = known(rows);
    let mut head = row(&["NODE", "KERNEL", "AGENT", "HEARTBEAT", "LOCK"]);
    head.extend(faults.iter().map(|fault| fault.to_uppercase()));
    let mut cells = vec![head];
    for one in rows {
        let Some(status) = &one.status else {
            cells.push(row(&[&one.name, "-", "none", "-", "-"]));
            continue;
        };
        let heartbeat = match heard(status, now) {
            None => "never".to_owned(),
            Some(heard) if lives(status, now) => age(heard),
            Some(heard) => format!("{} SILENT", age(heard)),
        };
        let lock = if status.locked.is_some() { "locked" } else { "-" };
        let mut line = row(&[&one.name, &or_dash(&status.kernel), &or_dash(&status.version), &heartbeat, lock]);
        line.extend(faults.iter().map(|fault| cell(&status.capabilities, fault).to_owned()));
        cells.push(line);
    }
    let mut text = aligned(&cells, 0..0);
    let notes = [locks(rows), without(rows), reasons(rows), gone.iter().map(|name| forgotten(name)).collect()].concat();
    if !notes.is_empty() {
        text += &format!("\n{}\n", notes.join("\n"));
    }
    text
}

fn cell(capabilities: &[Capability], fault: &str) -> &'static str {
    let mine: Vec<bool> = capabilities.iter().filter(|one| one.fault == fault).map(|one| one.supported).collect();
    match (mine.contains(&true), mine.contains(&false)) {
        (true, false) => "yes",
        (true, true) => "partly",
        (false, true) => "no",
        (false, false) => "-",
    }
}

fn locks(rows: &[Row]) -> Vec<String> {
    let locked = rows.iter().filter_map(|row| Some((&row.name, row.status.as_ref()?.locked.as_ref()?)));
    let mut all: Vec<(&str, Vec<&str>)> = Vec::new();
    for (name, reason) in locked {
        add(&mut all, reason, name);
    }
    let line = |(reason, nodes): (&str, Vec<&str>)| format!("{}: locked: {}", nodes.join(", "), printable(reason));
    all.into_iter().map(line).collect()
}

/// Nodes without an agent that lives, and why: what several share is said once.
fn without(rows: &[Row]) -> Vec<String> {
    let mut by_reason: Vec<(&str, Vec<&str>)> = Vec::new();
    rows.iter().for_each(|row| row.why.iter().for_each(|why| add(&mut by_reason, why, row.name.as_str())));
    by_reason.into_iter().map(|(why, nodes)| format!("{}: no agent: {why}", nodes.join(", "))).collect()
}

/// What is not there and why: what several nodes or faults share is said once.
fn reasons(rows: &[Row]) -> Vec<String> {
    let mut by_node: Vec<(String, Vec<&str>)> = Vec::new();
    for row in rows {
        let Some(status) = &row.status else { continue };
        let mut by_reason: Vec<(&str, Vec<&Capability>)> = Vec::new();
        for one in status.capabilities.iter().filter(|one| !one.supported) {
            add(&mut by_reason, &one.reason, one);
        }
        for (reason, lacking) in by_reason {
            let text = if lacking.len() == status.capabilities.len() {
                format!("no fault: {}", printable(reason))
            } else {
                format!("no {}: {}", names(&status.capabilities, &lacking).join(", "), printable(reason))
            };
            match by_node.iter_mut().find(|(known, _)| *known == text) {
                Some((_, nodes)) => nodes.push(&row.name),
                None => by_node.push((text, vec![&row.name])),
            }
        }
    }
    by_node.into_iter().map(|(text, nodes)| format!("{}: {text}", nodes.join(", "))).collect()
}

/// By the fault's name alone where all of it is lacking, else with the scopes.
fn names(all: &[Capability], lacking: &[&Capability]) -> Vec<String> {
    let mut by_fault: Vec<(&str, Vec<&str>)> = Vec::new();
    for one in lacking {
        add(&mut by_fault, &one.fault, one.scope.as_str());
    }
    let name = |(fault, scopes): (&str, Vec<&str>)| {
        let whole = all.iter().filter(|one| one.fault == fault).count() == scopes.len();
        if whole { fault.to_owned() } else { format!("{fault} ({})", scopes.join(", ")) }
    };
    by_fault.into_iter().map(name).collect()
}

fn add<'a, T>(to: &mut Vec<(&'a str, Vec<T>)>, key: &'a str, one: T) {
    match to.iter_mut().find(|(known, _)| *known == key) {
        Some((_, all)) => all.push(one),
        None => to.push((key, vec![one])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn agent(name: &str, fq: bool, locked: Option<&str>) -> NodeAgent {
        let can = |fault: &str, scope: &str, supported: bool| json!({ "fault": fault, "scope": scope, "supported": supported, "reason": if supported { "" } else { "no fq" } });
        serde_json::from_value(json!({
            "metadata": { "name": name }, "spec": {},
            "status": {
                "version": "0.1.0", "kernel": "6.12", "heartbeat": "2026-01-01T00:00:00Z", "locked": locked,
                "capabilities": [
                    can("loss", "egress", true), can("loss", "ingress", false), can("latency", "egress", fq),
                    can("latency", "ingress", fq)
                ]
            }
        }))
        .unwrap()
    }

    fn node(name: &str, labels: Value, ready: &str) -> Node {
        let status = json!({ "conditions": [{ "type": "Ready", "status": ready }] });
        serde_json::from_value(json!({ "metadata": { "name": name, "labels": labels }, "status": status })).unwrap()
    }

    fn tainted(name: &str, taints: Value) -> Node {
        let mut node = node(name, json!({}), "True");
        node.spec = Some(serde_json::from_value(json!({ "taints": taints })).unwrap());
        node
    }

    #[test]
    fn nodes_by_faults() {
        let agents = vec![agent("b", false, Some("Halt x")), agent("a", true, None), agent("old", true, None)];
        let nodes = [
            node("a", json!({}), "True"),
            node("b", json!({}), "Unknown"),
            node("c", json!({ "kubernetes.io/os": "linux" }), "True"),
            node("d", json!({ "kubernetes.io/os": "windows" }), "True"),
            node("e", json!({ "type": "virtual-kubelet" }), "True"),
            node("f", json!({}), "False"),
            node("g", json!({ "eks.amazonaws.com/compute-type": "fargate" }), "True"),
            tainted(
                "h",
                json!([{ "key": "dedicated", "value": "gpu", "effect": "NoSchedule" }, { "key": "x", "effect": "NoExecute" }]),
            ),
            tainted("i", json!([{ "key": "virtual-kubelet.io/provider", "value": "azure", "effect": "NoSchedule" }])),
            tainted(
                "j",
                json!([
                    { "key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule" }, { "key": "y", "effect": "PreferNoSchedule" }
                ]),
            ),
        ];
        let heard = SystemTime::from(agents[0].status.as_ref().unwrap().heartbeat.as_ref().unwrap().0);
        let now = heard + Duration::from_secs(31);
        let (rows, gone) = rows(agents.clone(), Some(&nodes), now);
        let expected = "\
NODE  KERNEL  AGENT  HEARTBEAT   LOCK    LOSS    LATENCY
a     6.12    0.1.0  31s SILENT  -       partly  yes
b     6.12    0.1.0  31s SILENT  locked  partly  no
c     -       none   -           -
d     -       none   -           -
e     -       none   -           -
f     -       none   -           -
g     -       none   -           -
h     -       none   -           -
i     -       none   -           -
j     -       none   -           -

b: locked: Halt x
b, f: no agent: the node is not Ready
c, j: no agent: no agent has said anything of it; see kubectl -n chaos-system describe daemonset chaos-agent
d: no agent: its system is not Linux, but windows
e, g, i: no agent: it is a virtual node, without a kernel to work in
h: no agent: its taints are dedicated=gpu:NoSchedule, x:NoExecute; a daemonset chaos-agent that does not tolerate them is kept away: see kubectl -n chaos-system describe daemonset chaos-agent
a: no loss (ingress): no fq
b: no loss (ingress), latency: no fq
old: there is no such node any more; kubectl delete nodeagent old
";
        assert_eq!(table(&rows, &gone, now), expected);
        let json = document(&rows, heard + Duration::from_secs(30));
        assert_eq!((&json["nodes"][0]["silent"], &json["nodes"][2]["agent"]), (&json!(false), &json!(false)));
        assert_eq!(json["nodes"][3]["reason"], "its system is not Linux, but windows");
        let (unseen, gone) = super::rows(agents, None, now);
        assert_eq!((unseen.len(), gone.len()), (3, 0), "who may not see nodes does not know which have gone");
    }
}

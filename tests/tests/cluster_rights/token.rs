//! Whoever has taken a node over has its agent's token. It is worth what the agent does there, and nothing anywhere else.

use std::{process::Command, time::Duration};

use chaos_tests::cluster::{Asked, Cluster, Shop};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::{Value, json};

#[test]
fn the_token_of_a_node_is_worth_that_node() {
    let Some(shop) = Shop::open() else { return };
    let (cluster, own) = (&shop.scene.cluster, shop.scene.namespace.as_str());
    let stolen = Stolen::of_node(cluster, "node1");
    stolen.patch("nodeagents/node1/status", &json!({ "status": { "locked": null } })).expect("its own node");
    let said = stolen.patch("nodeagents/node2/status", &json!({ "status": { "locked": "x" } })).expect_err("another");
    assert!(said.contains("only the agent of node node2"), "{said}");
    let cut = Asked::apply(&shop.scene, "stolen", 120, "web", &Shop::cut());
    cut.await_injected();
    let path = |node: &str| {
        let all = cut.injections();
        let of_node = all.iter().find(|one| one["spec"]["nodeName"] == node).expect("an Injection of each node");
        format!("namespaces/{own}/injections/{}", of_node["metadata"]["name"].as_str().expect("a name"))
    };
    let over = json!({ "status": { "phase": "Refused", "message": "mine" } });
    let said = stolen.patch(&format!("{}/status", path("node2")), &over).expect_err("another node's");
    assert!(said.contains("only the agent of node node2"), "{said}");
    for order in [path("node1"), format!("namespaces/{own}/experiments/stolen"), "halts/x".to_owned()] {
        let said = stolen.patch(&order, &json!({ "spec": { "paused": true } })).expect_err("an order");
        assert!(said.contains("forbidden"), "{order}: {said}");
    }
    // Its own part it may end, whatever it says of the reason; and a name for its own target that is another pod's.
    let agent = shop.install.agent_of("node1");
    kill(Pid::from_raw(agent), Signal::SIGSTOP).expect("the agent");
    let target = |uid: &str| json!({ "uid": uid, "namespace": "kube-system", "pod": "victim", "node": "node2", "state": "Injected", "mechanism": "" });
    let lies = json!({ "status": { "phase": "Refused", "message": "mine", "targets": [target(&shop.web[0].uid), target("foreign")] } });
    stolen.patch(&format!("{}/status", path("node1")), &lies).expect("its own");
    cluster.wait("the controller has heard of it", || cut.status().0["warnings"].to_string().contains("mine"));
    let status = cut.status();
    assert!(status.phase() == "Injected", "the other node's part goes on: {status:?}");
    assert!(!status.0.to_string().contains("victim") && !status.0.to_string().contains("foreign"), "{status:?}");
    assert_eq!(shop.web[1].pings(&shop.db.ip, 5), 0, "the other node's part goes on");
    cut.stop("finish");
    let over = cut.await_over();
    kill(Pid::from_raw(agent), Signal::SIGCONT).expect("the agent");
    assert!(over.reason().contains("node1"), "{over:?}");
    let events = cluster.list("events -n kube-system");
    assert!(!events.iter().any(|one| one.to_string().contains("victim")), "an event on a pod that was no target");
    cut.delete();
    shop.web[0].wait_reaches(&shop.db.ip, true, Duration::from_secs(20));
    shop.install.await_ready();
}

#[test]
fn an_agent_may_nothing_that_it_does_not_do() {
    let Some(shop) = Shop::open() else { return };
    let user = "--as=system:serviceaccount:chaos-system:chaos-agent";
    for right in [
        "get secrets",
        "get configmaps",
        "create pods",
        "delete pods",
        "patch pods",
        "create pods/exec",
        "patch nodes",
        "create events",
        "create experiments.chaos-ebpf.dev",
        "patch experiments.chaos-ebpf.dev",
        "patch experiments.chaos-ebpf.dev/status",
        "create injections.chaos-ebpf.dev",
        "patch injections.chaos-ebpf.dev",
        "delete injections.chaos-ebpf.dev",
        "create peersets.chaos-ebpf.dev",
        "create halts.chaos-ebpf.dev",
        "delete halts.chaos-ebpf.dev",
        "delete nodeagents.chaos-ebpf.dev",
        "update leases.coordination.k8s.io",
        "create serviceaccounts/token",
        "impersonate users",
    ] {
        let words: Vec<&str> = ["auth", "can-i", "-A", user].into_iter().chain(right.split(' ')).collect();
        // `no` is an exit code other than 0.
        let said = shop.scene.cluster.ask(&words, "");
        assert!(said.is_err(), "an agent may {right}");
    }
}

/// An agent's token, as its pod has it.
struct Stolen {
    header: String,
}

impl Stolen {
    #[track_caller]
    fn of_node(cluster: &Cluster, node: &str) -> Self {
        let agents = cluster.list(&format!(
            "pods -n chaos-system -l app.kubernetes.io/component=agent --field-selector spec.nodeName={node}"
        ));
        let text = |key: &str| agents[0]["metadata"][key].as_str().expect("an agent").to_owned();
        let token = cluster.kubectl(&format!(
            "create token chaos-agent -n chaos-system --bound-object-kind Pod --bound-object-name {} --bound-object-uid {}",
            text("name"),
            text("uid")
        ));
        Self { header: format!("Authorization: Bearer {}", token.trim()) }
    }

    /// Merges into an object; what the API server says where it refuses. kubectl would read first, which an agent may not.
    fn patch(&self, path: &str, body: &Value) -> Result<(), String> {
        let url = format!("https://10.240.0.1:6443/apis/chaos-ebpf.dev/v1alpha1/{path}");
        let mut curl = Command::new("curl");
        curl.args(["-sS", "-k", "-X", "PATCH", "-H", &self.header, "-H", "Content-Type: application/merge-patch+json"]);
        let output = curl.args(["-d", &body.to_string(), &url]).output().expect("curl");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let answer: Value = serde_json::from_str(&text).unwrap_or_default();
        if answer["kind"] == "Status" || answer.is_null() { Err(text) } else { Ok(()) }
    }
}

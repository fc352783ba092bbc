//! Strange objects that have no namespace: what agents say of nodes that are not there, and Halts.

use std::{process::Command, time::Duration};

use chaos_tests::{
    cluster::{Asked, Cluster, Shop},
    need,
    product::Chaos,
};
use serde_json::{Value, json};

use super::strange::{Dice, SEED, TEXTS, mutated};

const AGENTS: usize = 24;
const HALTS: usize = 6;

/// NodeAgents of nodes that are not there; they go with this.
pub(super) struct Ghosts<'a> {
    cluster: &'a Cluster,
    /// Strange statuses that were taken.
    pub taken: usize,
}

impl Drop for Ghosts<'_> {
    fn drop(&mut self) {
        let _gone = self.cluster.ask(&["delete", "nodeagents", "-l", "strange=yes"], "");
    }
}

/// Makes them as their agents would write them.
#[track_caller]
pub(super) fn stand(cluster: &Cluster) -> Ghosts<'_> {
    let mut ghosts = Ghosts { cluster, taken: 0 };
    let mut dice = Dice(SEED);
    let can = |fault: &str, supported: bool| json!({ "fault": fault, "scope": "egress", "supported": supported, "mechanism": "tcx", "reason": "x" });
    let base = json!({
        "version": "0.1.0", "kernel": "6.12", "heartbeat": "2999-01-01T00:00:00Z", "startedAt": "1970-01-01T00:00:00Z",
        "capabilities": [can("latency", true), can("loss", false)], "policy": "x", "active": ["shop/slow"],
    });
    for number in 0..AGENTS {
        let ghost = if number == 0 { "g".repeat(253) } else { format!("ghost-{number}") };
        let node = format!("--as-user-extra=authentication.kubernetes.io/node-name={ghost}");
        let agent = ["--as=system:serviceaccount:chaos-system:chaos-agent", "--as-group=system:masters", &node];
        let made = json!({
            "apiVersion": "chaos-ebpf.dev/v1alpha1", "kind": "NodeAgent", "spec": {},
            "metadata": { "name": ghost, "labels": { "strange": "yes" } },
        });
        let words: Vec<&str> = agent.iter().copied().chain(["create", "-f", "-"]).collect();
        cluster.ask(&words, &made.to_string()).unwrap_or_else(|error| panic!("{ghost}: {error}"));
        let said = |status: &Value| {
            let patch = json!({ "status": status }).to_string();
            let words = ["patch", "nodeagent", &ghost, "--subresource=status", "--type=merge", "-p", &patch];
            let words: Vec<&str> = agent.iter().copied().chain(words).collect();
            cluster.ask(&words, "").is_ok()
        };
        if said(&mutated(&base, &mut dice)) {
            ghosts.taken += 1;
        } else {
            assert!(said(&base), "{ghost}");
        }
    }
    ghosts
}

/// A command of the plugin, as the cluster's admin: its exit code and what it printed.
pub(super) fn plugin(cluster: &Cluster, words: &[&str]) -> (Option<i32>, String) {
    let chaos = Chaos::find().expect("the product");
    let mut command = Command::new(chaos.path());
    command.arg("kubectl").args(words).env("KUBECONFIG", cluster.kubeconfig());
    let output = command.output().expect("chaos");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout) + &text(&output.stderr))
}

/// Nothing of these is left for the next test, should this one fail.
struct Lift<'a>(&'a Cluster);

impl Drop for Lift<'_> {
    fn drop(&mut self) {
        let _gone = self.0.ask(&["delete", "halts", "--all"], "");
    }
}

/// A Halt holds by being there, whatever stands in it; and all goes on once it is gone.
#[test]
fn strange_halts_hold_and_are_lifted() {
    let Some(shop) = Shop::open() else { return };
    let cluster = &shop.scene.cluster;
    let mut dice = Dice(SEED);
    let halt = |number: usize| {
        let name = if number == 0 { "h".repeat(253) } else { format!("halt-{number}") };
        let spec = match number {
            0 => json!({}),
            1 => json!({ "reason": "\u{1b}]0;x\u{7}\u{202e}" }),
            2 => json!({ "reason": "\u{1f980}".repeat(1024), "later": { "a": [1] } }),
            _ => json!({ "reason": TEXTS[dice.below(TEXTS.len())] }),
        };
        json!({ "apiVersion": "chaos-ebpf.dev/v1alpha1", "kind": "Halt", "metadata": { "name": name }, "spec": spec })
    };
    let _lifted = Lift(cluster);
    let halts: Vec<Value> = (0..HALTS).map(halt).collect();
    need::measured(&format!("Halts are drawn with seed {SEED}"));
    let locked = |wanted: bool| {
        let agents = cluster.list("nodeagents");
        let real = agents.iter().filter(|one| one["metadata"]["labels"]["strange"].is_null());
        real.into_iter().all(|one| one["status"]["locked"].is_string() == wanted)
    };
    for (number, one) in halts.iter().enumerate() {
        let made = cluster.ask(&["create", "--validate=false", "-f", "-"], &one.to_string());
        made.unwrap_or_else(|error| panic!("{number}: {error}"));
        cluster.wait("every node holds", || locked(true));
        if number < 3 {
            let name = format!("under-{number}");
            let over = Asked::apply(&shop.scene, &name, 20, "web", &Shop::cut()).await_over();
            assert_eq!(over.verdict(), "Refused", "{number}: {over:?}");
            let (code, said) = plugin(cluster, &["check"]);
            assert_eq!(code, Some(0), "{number}: {said}");
            assert!(!said.contains(['\u{1b}', '\u{7}', '\u{202e}']), "{number}: the terminal is steered: {said:?}");
        }
        cluster.kubectl("delete halts --all");
        cluster.wait("no node holds", || locked(false));
    }
    let cut = Asked::apply(&shop.scene, "after-halts", 60, "web", &Shop::cut());
    cut.await_injected();
    shop.only_the_database_is_cut_off();
    cut.delete();
    shop.web[0].wait_reaches(&shop.db.ip, true, Duration::from_secs(20));
}

/// They are the API server's alone: no kubelet is there.
#[test]
fn nodes_that_have_no_agent_are_listed_with_the_reason() {
    let Some(shop) = Shop::open() else { return };
    let cluster = &shop.scene.cluster;
    let node = |name: &str, labels: Value| {
        let taints = json!([{ "key": "away", "effect": "NoSchedule" }]);
        let document = json!({
            "apiVersion": "v1", "kind": "Node", "metadata": { "name": name, "labels": labels }, "spec": { "taints": taints },
        });
        cluster.apply(&document.to_string());
    };
    node("fake-windows", json!({ "kubernetes.io/os": "windows" }));
    node("fake-virtual", json!({ "kubernetes.io/os": "linux", "type": "virtual-kubelet" }));
    let (code, said) = plugin(cluster, &["check"]);
    let json = plugin(cluster, &["check", "-o", "json"]).1;
    cluster.kubectl("delete node fake-windows fake-virtual");
    assert_eq!(code, Some(0), "{said}");
    for line in
        ["fake-windows: no agent: its system is not Linux, but windows", "fake-virtual: no agent: it is a virtual node"]
    {
        assert!(said.contains(line), "{line}: {said}");
    }
    let nodes: Value = serde_json::from_str(&json).unwrap_or_else(|error| panic!("{error}: {json}"));
    let windows = nodes["nodes"].as_array().expect("nodes").iter().find(|one| one["node"] == "fake-windows");
    assert_eq!(windows.expect("it is listed")["agent"], false);
}

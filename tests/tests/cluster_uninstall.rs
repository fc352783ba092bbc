//! On a Kubernetes cluster: other ways to install, and what is left when the product goes. The last of the suites, since it takes the
//! product away.

use std::time::{Duration, Instant};

use chaos_tests::cluster::{Asked, Install, Scene, Shop, container};
use serde_json::json;

const SOON: Duration = Duration::from_secs(20);

/// The agent's container without one capability, or with all of them again.
fn capabilities(install: &Install, without: &str) {
    let all = ["NET_ADMIN", "NET_RAW", "SYS_ADMIN", "SYS_PTRACE"];
    let kept: Vec<&str> = all.into_iter().filter(|one| *one != without).collect();
    let container = json!({ "name": "agent", "securityContext": { "capabilities": { "add": kept } } });
    let patch = json!({ "spec": { "template": { "spec": { "containers": [container] } } } }).to_string();
    let words = ["-n", "chaos-system", "patch", "daemonset", "chaos-agent", "-p", &patch];
    install.cluster.ask(&words, "").expect("patched");
    // One that cannot work is never ready, and then the old ones go on: an update does not harm. Here they are to go.
    let words = "delete pods -n chaos-system -l app.kubernetes.io/component=agent --wait=false";
    install.cluster.kubectl(words);
    install.cluster.wait("an agent is a new one", || {
        let pods = install.cluster.list("pods -n chaos-system -l app.kubernetes.io/component=agent");
        pods.iter().any(|pod| {
            let added = &pod["spec"]["containers"][0]["securityContext"]["capabilities"]["add"];
            let started = &pod["status"]["containerStatuses"][0];
            *added == json!(kept) && (started["ready"] == true || started["restartCount"].as_u64() > Some(0))
        })
    });
}

#[test]
fn a_each_capability_is_needed() {
    let Some(shop) = Shop::open() else { return };
    for missing in ["SYS_ADMIN", "SYS_PTRACE"] {
        capabilities(&shop.install, missing);
        let name = format!("without-{}", missing.to_lowercase().replace('_', "-"));
        let cut = Asked::apply(&shop.scene, &name, 3, "web", &Shop::cut());
        let over = cut.await_over();
        // The other node may still have its old agent.
        let degraded = over.0["conditions"].as_array().into_iter().flatten();
        let degraded = degraded.into_iter().any(|one| one["type"] == "Degraded" && one["status"] == "True");
        assert!(degraded || !["Pass", "NoEffect"].contains(&over.verdict()), "without {missing}: {over:?}");
        cut.delete();
    }
    // What needs them (qdiscs, the veth pair; packets that prove what a kernel can do) not every kernel has.
    for missing in ["NET_ADMIN", "NET_RAW"] {
        capabilities(&shop.install, missing);
        let words = "pods -n chaos-system -l app.kubernetes.io/component=agent";
        let said = |pod: &serde_json::Value| {
            let name = pod["metadata"]["name"].as_str().unwrap_or_default();
            // It may just have been replaced.
            let log = shop.install.cluster.ask(&["logs", "-n", "chaos-system", name], "").unwrap_or_default();
            log.contains(&format!("CAP_{missing}"))
        };
        let says = || shop.install.cluster.list(words).iter().any(said);
        shop.install.cluster.wait("an agent says what it lacks", says);
    }
    capabilities(&shop.install, "");
    shop.install.await_ready();
}

#[test]
fn b_deleting_the_definitions_ends_it() {
    let Some(shop) = Shop::open() else { return };
    let cut = Asked::apply(&shop.scene, "undefined", 120, "web", &Shop::cut());
    cut.await_injected();
    assert!(!shop.web[0].reaches(&shop.db.ip));
    let path = Install::manifests("base/crds.yaml").display().to_string();
    shop.scene.cluster.ask(&["delete", "-f", &path, "--timeout=30s"], "").expect("deleted");
    shop.web[0].wait_reaches(&shop.db.ip, true, SOON);
    shop.install.apply("");
    shop.install.await_ready();
}

#[test]
fn c_an_installation_for_one_namespace_refuses_the_others() {
    let Some(shop) = Shop::open() else { return };
    let cluster = &shop.scene.cluster;
    let path = Install::manifests("").display().to_string();
    cluster.ask(&["delete", "-k", &path, "--timeout=60s"], "").expect("deleted");
    shop.install.apply("overlays/namespaced");
    shop.install.await_ready();
    let here = Scene { cluster: cluster.clone(), namespace: "default".to_owned() };
    let mut host = here.pod("of-host", "of-host", "node1");
    host["spec"]["hostNetwork"] = json!(true);
    host["spec"]["containers"] = json!([container("main", &["pause"])]);
    let pods = here.start(&[here.pod("here", "here", "node1"), host]);
    let away = json!({ "match": { "peers": [{ "cidr": format!("{}/32", shop.db.ip) }] }, "partition": true });
    let cut = Asked::apply(&here, "here", 60, "here", &away);
    cut.await_injected();
    assert!(!pods[0].reaches(&shop.db.ip) && shop.web[0].reaches(&shop.db.ip));
    let selector = json!({ "pods": { "namespaces": [shop.scene.namespace], "all": true } });
    let spec = json!({ "duration": "5s", "selector": selector, "faults": [{ "network": away }] });
    let other = Asked::apply_spec(&here, "there", &spec).await_over();
    assert!(
        other.verdict() == "Invalid" && other.reason().contains("rights over pods of namespace default"),
        "{other:?}"
    );
    let host = Asked::apply(
        &here,
        "of-host",
        5,
        "of-host",
        &json!({ "match": { "all": true }, "direction": "egress", "partition": true }),
    );
    let over = host.await_over();
    assert!(over.verdict() == "Refused" && over.reason().contains("policy"), "{over:?}");
    let unwatched = json!({
        "apiVersion": "chaos-ebpf.dev/v1alpha1", "kind": "Experiment",
        "metadata": { "name": "unwatched", "namespace": shop.scene.namespace }, "spec": spec,
    });
    let said = cluster.ask(&["create", "--dry-run=server", "-f", "-"], &unwatched.to_string());
    assert!(said.is_err_and(|said| said.contains("installed for namespace default alone")));
    for role in ["chaos-author", "chaos-viewer", "chaos-operator", "chaos-cluster-reader"] {
        assert!(cluster.get("clusterrole", "default", role).is_some(), "{role}");
    }
    let path = Install::manifests("overlays/namespaced").display().to_string();
    cluster.ask(&["delete", "-k", &path, "--timeout=60s"], "").expect("deleted");
    pods[0].wait_reaches(&shop.db.ip, true, SOON);
    cluster.kubectl("delete pod here of-host -n default --wait=false");
    std::mem::forget(here);
    shop.install.apply("");
    shop.install.await_ready();
}

#[test]
fn d_uninstalling_under_a_fault_takes_seconds_and_leaves_nothing() {
    let Some(shop) = Shop::open() else { return };
    let cluster = &shop.scene.cluster;
    let cut = Asked::apply(&shop.scene, "uninstalled", 120, "web", &Shop::cut());
    cut.await_injected();
    assert!(!shop.web[0].reaches(&shop.db.ip));
    let begun = Instant::now();
    for overlay in ["started-by", ""] {
        let path = Install::manifests(overlay).display().to_string();
        cluster.ask(&["delete", "-k", &path, "--timeout=60s"], "").expect("deleted");
    }
    // The bound is a promise to users, not a measure of this machine: half a minute, where seconds are usual.
    assert!(begun.elapsed() < Duration::from_secs(30), "it took {:?}", begun.elapsed());
    shop.web[0].wait_reaches(&shop.db.ip, true, SOON);
    assert!(shop.all_is_well());
    for kind in [
        "crd",
        "clusterrole",
        "clusterrolebinding",
        "validatingadmissionpolicy",
        "mutatingadmissionpolicy",
        "namespace",
    ] {
        let names = cluster.kubectl(&format!("get {kind} -o name"));
        assert!(!names.contains("chaos"), "{kind}: {names}");
    }
    assert!(!shop.install.has_agent("node1", 0), "an agent lives");
}

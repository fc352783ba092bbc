//! `kubectl chaos` from within a cluster: in a pod, with its service account and nothing else, as a pipeline would run it.

use std::time::Duration;

use chaos_tests::{
    clock::wait_until,
    cluster::{Asked, Scene, Shop},
};
use serde_json::{Value, json};

/// A command of the product in a pod of its own, which may do what its namespace's service account `author` may: its exit code and what
/// it said.
fn said(scene: &Scene, name: &str, words: &[&str]) -> (i64, String) {
    let container = json!({ "name": "main", "image": "localhost/chaos:dev", "imagePullPolicy": "Never", "args": words,
        "volumeMounts": [{ "name": "files", "mountPath": "/files" }] });
    let files = json!({ "name": "files", "configMap": { "name": "files", "optional": true } });
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name, "namespace": scene.namespace },
        "spec": {
            "nodeName": "node1", "restartPolicy": "Never", "serviceAccountName": "author", "containers": [container], "volumes": [files],
        },
    });
    scene.cluster.apply(&pod.to_string());
    let mut code = None;
    let ended = || {
        let pod = scene.cluster.get("pod", &scene.namespace, name).expect("a pod");
        code = pod["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"].as_i64();
        code.is_some()
    };
    assert!(
        wait_until(Duration::from_secs(60), ended),
        "{:#}",
        scene.cluster.get("pod", &scene.namespace, name).unwrap()
    );
    (code.expect("it has ended"), scene.cluster.kubectl(&format!("logs -n {} {name}", scene.namespace)))
}

/// A namespace with an author.
fn office(shop: &Shop) -> Scene {
    let scene = Scene::new(&shop.scene.cluster);
    let namespace = &scene.namespace;
    scene.cluster.kubectl(&format!("create serviceaccount author -n {namespace}"));
    let words = format!(
        "create rolebinding author -n {namespace} --clusterrole=chaos-author --serviceaccount={namespace}:author"
    );
    scene.cluster.kubectl(&words);
    scene
}

fn experiment(scene: &Scene) -> Value {
    json!({
        "apiVersion": "chaos-ebpf.dev/v1alpha1", "kind": "Experiment",
        "metadata": { "name": "nightly", "namespace": scene.namespace },
        "spec": {
            "duration": "1s", "selector": { "pods": { "labelSelector": { "matchLabels": { "app": "nobody" } } } },
            "faults": [{ "network": { "match": { "all": true }, "partition": true } }],
        },
    })
}

/// The namespace is the pod's own, as no kubeconfig says another one.
#[test]
fn an_author_lists_the_experiments_of_the_pods_namespace() {
    let Some(shop) = Shop::open() else { return };
    let scene = office(shop);
    let (code, text) = said(&scene, "none", &["kubectl", "list"]);
    assert!(
        code == 0 && text.contains(&format!("there are no experiments in namespace {}", scene.namespace)),
        "{code}: {text}"
    );
    scene.cluster.apply(&experiment(&scene).to_string());
    let (code, text) = said(&scene, "one", &["kubectl", "list"]);
    assert!(code == 0 && text.contains("nightly") && text.contains(&scene.namespace), "{code}: {text}");
    let (code, text) = said(&scene, "all", &["kubectl", "list", "--all-namespaces"]);
    assert!(code == 3 && text.contains("you may not list experiments of the cluster"), "{code}: {text}");
    let (code, text) = said(&scene, "ended", &["kubectl", "wait", "nightly", "--for", "ended"]);
    assert_eq!(code, 0, "{text}");
}

#[test]
fn an_author_checks_the_nodes_once_she_may_see_them() {
    let Some(shop) = Shop::open() else { return };
    let scene = office(shop);
    let (code, text) = said(&scene, "blind", &["kubectl", "check"]);
    assert!(code == 3 && text.contains("a ClusterRoleBinding of chaos-cluster-reader"), "{code}: {text}");
    let namespace = &scene.namespace;
    scene.cluster.kubectl(&format!(
        "create clusterrolebinding {namespace} --clusterrole=chaos-cluster-reader --serviceaccount={namespace}:author"
    ));
    let seen = said(&scene, "seeing", &["kubectl", "check"]);
    scene.cluster.kubectl(&format!("delete clusterrolebinding {namespace}"));
    let (code, text) = seen;
    assert!(
        code == 0 && text.contains("node1") && text.contains("node2") && text.contains("PARTITION"),
        "{code}: {text}"
    );
}

#[test]
fn an_author_of_one_namespace_plans_with_what_she_may_see_also_what_is_there_already() {
    let Some(shop) = Shop::open() else { return };
    let scene = office(shop);
    let plan = experiment(&scene).to_string();
    let files = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "files", "namespace": scene.namespace },
        "data": { "plan.json": plan },
    });
    scene.cluster.apply(&files.to_string());
    let (code, text) = said(&scene, "first", &["kubectl", "plan", "/files/plan.json"]);
    assert!(code == 4 && text.contains("no pod agrees with it"), "{code}: {text}");
    assert!(text.contains("a ClusterRoleBinding of chaos-cluster-reader") && !text.contains("exists"), "{text}");
    scene.cluster.apply(&plan);
    let (code, text) = said(&scene, "again", &["kubectl", "plan", "/files/plan.json"]);
    assert!(code == 4 && text.contains("nightly: 0 pods") && text.contains("exists already"), "{code}: {text}");
    // Nor does what is there already hinder kubectl, though its file does not say who made it.
    scene.cluster.ask(&["replace", "-f", "-"], &plan).expect("the same file");
    let kept = scene.cluster.get("experiment", &scene.namespace, "nightly").expect("it is there");
    assert_eq!(kept["metadata"]["annotations"]["chaos-ebpf.dev/started-by"], "admin");
}

/// A NodeAgent without a node, as an older version left it, keeps nobody from locking the cluster.
#[test]
fn a_lock_counts_the_nodes_that_are_there_and_names_what_it_ended() {
    let Some(shop) = Shop::open() else { return };
    let (cluster, namespace) = (&shop.scene.cluster, &shop.scene.namespace);
    let node = cluster.get("node", "default", "node1").expect("a node");
    let owned = cluster.get("nodeagent", "default", "node1").expect("its agent");
    assert_eq!(owned["metadata"]["ownerReferences"][0]["uid"], node["metadata"]["uid"]);
    cluster.kubectl("delete validatingadmissionpolicybinding chaos-statuses");
    let ghost = r#"{"apiVersion":"chaos-ebpf.dev/v1alpha1","kind":"NodeAgent","metadata":{"name":"ghost"},"spec":{}}"#;
    let made = wait_until(Duration::from_secs(60), || cluster.ask(&["apply", "-f", "-"], ghost).is_ok());
    shop.install.apply("");
    assert!(made, "no NodeAgent is taken");
    cluster.kubectl(&format!("create serviceaccount author -n {namespace}"));
    for (kind, role) in [("rolebinding", "chaos-author"), ("clusterrolebinding", "chaos-operator")] {
        let place = if kind == "rolebinding" { format!("-n {namespace}") } else { String::new() };
        let words =
            format!("create {kind} lock-{namespace} {place} --clusterrole={role} --serviceaccount={namespace}:author");
        cluster.kubectl(&words);
    }
    let cut = Asked::apply(&shop.scene, "locked", 120, "web", &Shop::cut());
    cut.await_injected();
    let locked = said(&shop.scene, "lock", &["kubectl", "stop", "--all", "--lock", "drill"]);
    let unlocked = said(&shop.scene, "unlock", &["kubectl", "unlock"]);
    cluster.kubectl("delete nodeagent ghost");
    cluster.kubectl(&format!("delete clusterrolebinding lock-{namespace}"));
    assert_eq!(unlocked.0, 0, "{}", unlocked.1);
    let (code, text) = locked;
    assert!(code == 0 && text.contains("2 nodes locked"), "{code}: {text}");
    assert!(text.contains("kubectl delete nodeagent ghost") && !text.contains("not locked"), "{text}");
    assert!(text.contains("/locked: stopped") && !text.contains("no experiment was active"), "{text}");
    cluster.wait("all is well again", || shop.all_is_well());
}

/// The admission policies name the accounts of one namespace; elsewhere nothing that is written would be taken.
#[test]
fn in_another_namespace_agents_and_controllers_end_with_the_reason() {
    let Some(shop) = Shop::open() else { return };
    let scene = office(shop);
    for words in [&["controller"][..], &["agent", "--node=node1"]] {
        let (code, text) = said(&scene, &format!("misplaced-{}", words[0]), words);
        assert!(code == 3 && text.contains("only chaos-system is supported"), "{words:?}: {code}: {text}");
    }
}

//! `kubectl chaos` from within a cluster: in a pod, with its service account and nothing else, as a pipeline would run it.

use std::time::Duration;

use chaos_tests::{
    clock::wait_until,
    cluster::{Scene, Shop},
};
use serde_json::{Value, json};

/// A command of the product in a pod of its own, which may do what its namespace's service account `author` may: its exit code and what
/// it said.
fn said(scene: &Scene, name: &str, words: &[&str]) -> (i64, String) {
    let container =
        json!({ "name": "main", "image": "localhost/chaos:dev", "imagePullPolicy": "Never", "args": words });
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name, "namespace": scene.namespace },
        "spec": {
            "nodeName": "node1", "restartPolicy": "Never", "serviceAccountName": "author", "containers": [container],
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
    assert!(code == 3 && text.contains("you may not list nodeagents"), "{code}: {text}");
    let namespace = &scene.namespace;
    scene.cluster.kubectl(&format!(
        "create clusterrolebinding {namespace} --clusterrole=chaos-viewer --serviceaccount={namespace}:author"
    ));
    let seen = said(&scene, "seeing", &["kubectl", "check"]);
    let everywhere = said(&scene, "all", &["kubectl", "list", "--all-namespaces"]);
    scene.cluster.kubectl(&format!("delete clusterrolebinding {namespace}"));
    let (code, text) = seen;
    assert!(
        code == 0 && text.contains("node1") && text.contains("node2") && text.contains("PARTITION"),
        "{code}: {text}"
    );
    assert_eq!(everywhere.0, 0, "{}", everywhere.1);
}

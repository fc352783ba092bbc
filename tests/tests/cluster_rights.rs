//! On a Kubernetes cluster: who may do what, what the API server refuses, and which rights and capabilities the product really needs.

#[path = "cluster_rights/author.rs"]
mod author;
#[path = "cluster_rights/strange.rs"]
mod strange;
#[path = "cluster_rights/strange_nodes.rs"]
mod strange_nodes;
#[path = "cluster_rights/token.rs"]
mod token;

use std::{collections::BTreeSet, fs};

use chaos_tests::{
    cluster::{Asked, Cluster, Install, Shop},
    rules::{Case, Cases},
};
use serde_json::{Value, json};

/// Problems that the API server lets through and the controller finds: CEL has a budget there.
const FOR_THE_CONTROLLER: &[&str] = &["tcp: { address: 'db:70000' }", "http: { url: 'http://me@db' }"];

/// What kubectl says of documents that are only looked at, by their names.
fn refusals(cluster: &Cluster, documents: &[(String, String)]) -> Vec<(String, Option<String>)> {
    let ask = |(name, text): &(String, String)| {
        let said = cluster.ask(&["create", "--dry-run=server", "-f", "-"], text);
        (name.clone(), said.err())
    };
    documents.iter().map(ask).collect()
}

/// Networks are judged by the API server; its answer holds the remedy, and no regular expression.
#[test]
fn a_network_is_refused_with_one_that_is_taken() {
    let Some(shop) = Shop::open() else { return };
    let ask = |cidr: &str| {
        let matches = json!({ "peers": [{ "cidr": cidr }] });
        let document = experiment(&shop.scene.namespace, &json!({ "all": true }), &matches, &json!({}));
        shop.scene.cluster.ask(&["create", "--dry-run=server", "-f", "-"], &document)
    };
    for cidr in ["10.0.0.7/8", "fd00::1/16", "10.0.0.0/33", "10.0.0.0", "web"] {
        let said = ask(cidr).expect_err("it is refused");
        assert!(said.contains("write an address and its prefix") && !said.contains("a-f"), "{cidr}: {said}");
    }
    for cidr in ["10.0.0.0/8", "2001:db8::/32", "10.0.0.7/32", "0.0.0.0/0"] {
        ask(cidr).unwrap_or_else(|error| panic!("{cidr}: {error}"));
    }
}

#[test]
fn the_api_server_refuses_what_the_command_line_refuses() {
    let Some(shop) = Shop::open() else { return };
    let cases = Cases::read();
    // Two selectors are said of `local` alone; what is never met is the controller's to find.
    let of_both = |case: &&Case| case.of != "never" && !case.said.is_empty() && !case.to.contains("local:");
    let document = |case: &Case| (case.to.clone(), cases.for_cluster(case, &shop.scene.namespace));
    let documents: Vec<_> = cases.refused.iter().filter(of_both).map(document).collect();
    let answers = refusals(&shop.scene.cluster, &documents);
    let let_through: Vec<&str> =
        answers.iter().filter(|(_, said)| said.is_none()).map(|(name, _)| name.as_str()).collect();
    assert_eq!(let_through, FOR_THE_CONTROLLER);
}

#[test]
fn the_api_server_takes_what_is_only_warned_of() {
    let Some(shop) = Shop::open() else { return };
    let cases = Cases::read();
    let of_both = |case: &&Case| case.of == "warnings" && !case.to.contains("local:") && !case.to.contains("host:");
    let document = |case: &Case| (case.to.clone(), cases.for_cluster(case, &shop.scene.namespace));
    let documents: Vec<_> = cases.warned.iter().filter(of_both).map(document).collect();
    for (name, said) in refusals(&shop.scene.cluster, &documents) {
        assert_eq!(said, None, "{name}");
    }
}

#[test]
fn every_sample_and_every_overlay_is_taken() {
    let Some(shop) = Shop::open() else { return };
    let cluster = &shop.scene.cluster;
    let samples = fs::read_dir(Install::manifests("samples/kubernetes")).expect("samples");
    let mut count = 0;
    for sample in samples {
        let path = sample.expect("a sample").path().display().to_string();
        cluster.ask(&["create", "--dry-run=server", "-f", &path], "").unwrap_or_else(|error| panic!("{path}: {error}"));
        count += 1;
    }
    assert!(count >= 9, "one per fault");
    for overlay in
        ["overlays/cluster", "overlays/namespaced", "overlays/privileged", "overlays/before-5.11", "started-by"]
    {
        let path = Install::manifests(overlay).display().to_string();
        let said = cluster.ask(&["apply", "--dry-run=server", "-k", &path], "");
        said.unwrap_or_else(|error| panic!("{path}: {error}"));
    }
}

fn experiment(namespace: &str, pods: &Value, matches: &Value, annotations: &Value) -> String {
    json!({
        "apiVersion": "chaos-ebpf.dev/v1alpha1", "kind": "Experiment",
        "metadata": { "name": "asked", "namespace": namespace, "annotations": annotations },
        "spec": {
            "duration": "10s", "selector": { "pods": pods },
            "faults": [{ "network": { "match": matches, "partition": true } }],
        },
    })
    .to_string()
}

#[test]
fn an_author_of_one_namespace_reaches_no_other_one() {
    let Some(shop) = Shop::open() else { return };
    let (cluster, own) = (&shop.scene.cluster, shop.scene.namespace.as_str());
    cluster.kubectl(&format!("create rolebinding alice -n {own} --clusterrole=chaos-author --user=alice"));
    let (all, none) = (json!({ "all": true }), json!({}));
    let elsewhere = json!({ "all": true, "namespaces": ["default"] });
    let everywhere = json!({ "all": true, "namespaces": ["*"] });
    let as_alice = |document: &str| cluster.ask(&["--as=alice", "create", "--dry-run=server", "-f", "-"], document);
    let as_admin = |document: &str| cluster.ask(&["create", "--dry-run=server", "-f", "-"], document);
    as_alice(&experiment(own, &all, &all, &none)).expect("her own namespace");
    let refused = [
        experiment(own, &elsewhere, &all, &none),
        experiment(own, &everywhere, &all, &none),
        experiment(own, &all, &json!({ "peers": [{ "pods": elsewhere }] }), &none),
        experiment(own, &all, &json!({ "peers": [{ "service": { "name": "db", "namespace": "default" } }] }), &none),
        experiment(own, &all, &json!({ "all": true, "except": [{ "peers": [{ "pods": everywhere }] }] }), &none),
    ];
    let call = |matches: &Value| {
        let mut document: Value = serde_json::from_str(&experiment(own, &all, &all, &none)).expect("JSON");
        document["spec"]["faults"] =
            json!([{ "syscall": { "calls": ["connect"], "match": matches, "errno": "ECONNREFUSED" } }]);
        document.to_string()
    };
    as_alice(&call(&json!({ "peers": [{ "service": { "name": "db" } }] }))).expect("her own namespace");
    let calls = [
        call(&json!({ "peers": [{ "pods": everywhere }] })),
        call(&json!({ "peers": [{ "service": { "name": "db", "namespace": "default" } }] })),
    ];
    for document in refused.into_iter().chain(calls) {
        let said = as_alice(&document).expect_err("another namespace");
        assert!(said.contains("alice may in"), "{said}");
        as_admin(&document).expect("who may everywhere");
    }
    let said = as_alice(&experiment("default", &all, &all, &none)).expect_err("no right at all");
    assert!(said.contains("cannot create"), "{said}");
}

#[test]
fn nobody_signs_with_another_name() {
    let Some(shop) = Shop::open() else { return };
    let (cluster, own) = (&shop.scene.cluster, shop.scene.namespace.as_str());
    let signed = |name: &str| json!({ "chaos-ebpf.dev/started-by": name });
    let all = json!({ "all": true });
    let words =
        ["create", "--dry-run=server", "-f", "-", "-o", "jsonpath={.metadata.annotations.chaos-ebpf\\.dev/started-by}"];
    let made = cluster.ask(&words, &experiment(own, &all, &all, &signed("bob"))).expect("made");
    assert_eq!(made, "admin", "a forged name is overwritten");
    let cut = Asked::apply(&shop.scene, "signed", 20, "web", &Shop::cut());
    cut.await_injected();
    assert_eq!(cut.status().0["startedBy"], "admin");
    let patch = json!({ "metadata": { "annotations": signed("bob") } }).to_string();
    let said = cluster.ask(&["patch", "experiment", "signed", "-n", own, "--type=merge", "-p", &patch], "");
    assert!(said.expect_err("afterwards").contains("names who made the experiment"));
    cut.delete();
}

#[test]
fn only_the_controller_gives_orders() {
    let Some(shop) = Shop::open() else { return };
    let cluster = &shop.scene.cluster;
    let order = json!({
        "apiVersion": "chaos-ebpf.dev/v1alpha1", "kind": "Injection",
        "metadata": { "name": "forged", "namespace": shop.scene.namespace },
        "spec": { "nodeName": "node1", "experiment": "none", "remaining": "1s", "seed": 1, "faults": [] },
    });
    let said =
        cluster.ask(&["create", "--dry-run=server", "-f", "-"], &order.to_string()).expect_err("an order by admin");
    assert!(said.contains("only the controller"), "{said}");
}

/// Values that the API server takes and nobody can read: each experiment is Invalid by itself, and the next one is served as ever.
#[test]
fn an_experiment_that_cannot_be_read_harms_itself_alone() {
    let Some(shop) = Shop::open() else { return };
    let all = json!({ "all": true });
    let partition = |matches: Value| json!({ "network": { "match": matches, "partition": true } });
    let spared = json!({ "all": true, "except": [{ "peers": [{ "cidr": "10.0.0.7/8" }] }] });
    let bad = [
        ("spec.faults[0].network.match.except[0].peers[0].cidr", partition(spared)),
        ("spec.faults[0].network.match.ports[0]", partition(json!({ "protocol": "tcp", "ports": ["9-1"] }))),
        ("spec.faults[0].network.match.peers[0].host", partition(json!({ "peers": [{ "host": "a..b" }] }))),
        (
            "spec.faults[0].syscall.errno",
            json!({ "syscall": { "calls": ["connect"], "match": all, "errno": "ENOPE" } }),
        ),
        (
            "spec.faults[0].network.bandwidth.rate",
            json!({ "network": { "match": all, "bandwidth": { "rate": ".bit" } } }),
        ),
    ];
    let ask = |index: usize, fault: &Value| {
        let spec = json!({ "duration": "30s", "selector": { "pods": { "all": true } }, "faults": [fault] });
        Asked::apply_spec(&shop.scene, &format!("unread-{index}"), &spec)
    };
    let asked: Vec<_> = bad.iter().enumerate().map(|(index, (path, fault))| (path, ask(index, fault))).collect();
    let cut = Asked::apply(&shop.scene, "beside", 60, "web", &Shop::cut());
    cut.await_injected();
    shop.only_the_database_is_cut_off();
    for (path, one) in &asked {
        let over = one.await_over();
        assert_eq!(over.verdict(), "Invalid", "{over:?}");
        assert!(over.reason().starts_with(*path), "{over:?}");
        assert!(one.injections().is_empty());
    }
    cut.delete();
    asked.iter().for_each(|(_, one)| one.delete());
    shop.web[0].wait_reaches(&shop.db.ip, true, std::time::Duration::from_secs(20));
}

/// Also of one that has not counted yet: kinds that are newer than its last look are counted minutes later.
fn is_of_a_quota(text: &str) -> bool {
    text.contains("exceeded quota") || text.contains("status unknown for quota")
}

/// What the API server says is in the status while it lasts, and when it ends later than the deadline nothing begins.
#[test]
fn what_may_not_be_written_is_said_and_never_begins_later() {
    let Some(shop) = Shop::open() else { return };
    let (cluster, own) = (&shop.scene.cluster, shop.scene.namespace.as_str());
    cluster.kubectl(&format!("create quota none -n {own} --hard=count/injections.chaos-ebpf.dev=0"));
    let pods = json!({ "labelSelector": { "matchLabels": { "app": "web" } } });
    let spec = json!({
        "duration": "60s", "startDeadline": "4s", "selector": { "pods": pods }, "faults": [{ "network": Shop::cut() }],
    });
    let cut = Asked::apply_spec(&shop.scene, "quota", &spec);
    cluster.wait("the quota is in the condition", || {
        let status = cut.status().0;
        let said = |one: &Value| {
            one["type"] == "Injected" && one["status"] == "False" && one["message"].as_str().is_some_and(is_of_a_quota)
        };
        status["conditions"].as_array().is_some_and(|all| all.iter().any(said))
    });
    let over = cut.await_over();
    cluster.kubectl(&format!("delete quota none -n {own}"));
    assert_eq!(over.verdict(), "Error", "{over:?}");
    assert!(over.reason().contains("startDeadline") && is_of_a_quota(over.reason()), "{over:?}");
    assert!(cut.injections().is_empty());
    assert!(shop.all_is_well());
    cut.delete();
}

#[test]
fn what_is_over_is_deleted_after_its_time_to_live() {
    let Some(shop) = Shop::open() else { return };
    let pods = json!({ "labelSelector": { "matchLabels": { "app": "web" } } });
    let faults = json!([{ "network": Shop::cut() }]);
    let spec =
        json!({ "duration": "1s", "ttlSecondsAfterFinished": 1, "selector": { "pods": pods }, "faults": faults });
    let short = Asked::apply_spec(&shop.scene, "short", &spec);
    shop.scene.cluster.wait("it is gone", || short.status().0.is_null());
}

/// The API server bounds the names of events, too, which are made of those of their objects.
#[test]
fn an_experiment_of_the_longest_name_has_events() {
    let Some(shop) = Shop::open() else { return };
    let name = "e".repeat(253);
    let pods = json!({ "labelSelector": { "matchLabels": { "app": "web" } } });
    let spec = json!({ "duration": "1s", "selector": { "pods": pods }, "faults": [{ "network": Shop::cut() }] });
    let long = Asked::apply_spec(&shop.scene, &name, &spec);
    long.await_over();
    let (cluster, own) = (&shop.scene.cluster, shop.scene.namespace.as_str());
    cluster.wait("its events", || {
        let reasons = cluster.kubectl(&format!(
            "get events.events.k8s.io -n {own} --field-selector regarding.name={name} -o jsonpath={{.items[*].reason}}"
        ));
        reasons.contains("Injected") && reasons.contains("Finished")
    });
    long.delete();
}

/// Each right that a role gives was used by what the other tests did, and nothing was asked for without a right.
#[test]
fn zz_no_right_is_missing_and_none_is_idle() {
    let Some(shop) = Shop::open() else { return };
    let cluster = &shop.scene.cluster;
    let log = cluster.audit();
    for account in ["chaos-agent", "chaos-controller"] {
        let user = format!("system:serviceaccount:chaos-system:{account}");
        // Not the test that speaks with its token.
        let is_its = |line: &&Value| {
            let program = line["userAgent"].as_str().unwrap_or_default();
            line["user"]["username"] == user.as_str() && !program.starts_with("curl") && !program.starts_with("kubectl")
        };
        let mine: Vec<&Value> = log.iter().filter(is_its).collect();
        let refused: Vec<_> = mine.iter().filter(|line| line["responseStatus"]["code"] == 403).collect();
        // What races with the end of a namespace is forbidden there (admission plugin NamespaceLifecycle).
        // And a quota that a test sets is no right.
        let is_of_rights = |line: &str| !line.contains("being terminated") && !is_of_a_quota(line);
        let refused: Vec<_> = refused.iter().filter(|line| is_of_rights(&line.to_string())).collect();
        assert!(refused.is_empty(), "{account} was refused: {:#}", refused[0]);
        let used: BTreeSet<(String, String)> = mine.iter().map(|line| used(line)).collect();
        let role = cluster.get("clusterrole", "default", account).expect("a role");
        let idle: Vec<(String, String)> = granted(&role).into_iter().filter(|right| !used.contains(right)).collect();
        assert!(idle.is_empty(), "{account} never used {idle:?}");
    }
}

fn used(line: &Value) -> (String, String) {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let object = &line["objectRef"];
    let sub = text(&object["subresource"]);
    let resource =
        if sub.is_empty() { text(&object["resource"]) } else { format!("{}/{sub}", text(&object["resource"])) };
    (text(&line["verb"]), resource)
}

/// Verbs and resources; without those that the audit log does not show: a server-side apply of what is not there takes `create`, too,
/// and is logged as a patch.
fn granted(role: &Value) -> BTreeSet<(String, String)> {
    let mut rights = BTreeSet::new();
    for rule in role["rules"].as_array().into_iter().flatten() {
        let words = |name: &str| -> Vec<String> {
            rule[name].as_array().into_iter().flatten().filter_map(|word| word.as_str().map(str::to_owned)).collect()
        };
        for resource in words("resources") {
            let verbs = words("verbs");
            let applies = verbs.iter().any(|verb| verb == "patch") && resource != "events";
            rights.extend(
                verbs.into_iter().filter(|verb| !(applies && verb == "create")).map(|verb| (verb, resource.clone())),
            );
        }
    }
    rights
}

/// The experiments in the examples of pipelines.
#[test]
fn the_experiments_of_pipelines_are_taken() {
    let Some(shop) = Shop::open() else { return };
    let read = |name: &str| fs::read_to_string(Install::manifests("ci").join(name)).expect(name);
    let workflow = read("argo-workflow.yaml");
    let embedded = workflow.split("manifest: |\n").nth(1).expect("a manifest").replace("          ", "");
    let stage: Value = serde_json::from_str(&read("spinnaker-stage.json")).expect("JSON");
    let stage = stage["manifests"][0].to_string().replace("${execution.id.toLowerCase()}", "1");
    for document in [embedded.as_str(), stage.as_str()] {
        let words = ["create", "--dry-run=server", "-f", "-", "-n", "default"];
        shop.scene.cluster.ask(&words, document).unwrap_or_else(|error| panic!("{error}\n{document}"));
    }
    for name in ["github-actions.yaml", "Jenkinsfile"] {
        assert!(
            read(name).contains("manifests/samples/kubernetes/partition.yaml"),
            "{name} names a sample that is there"
        );
    }
}

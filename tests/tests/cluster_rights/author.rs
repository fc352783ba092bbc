//! An attacker who may do all in one namespace, and nothing in any other: what he tries, and that nobody else is reached.
//! CONTRIBUTING lists the attempts.

use std::{sync::OnceLock, time::Duration};

use chaos_tests::{
    clock::wait_until,
    cluster::{Asked, Cluster, Pod, Scene, Shop},
};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(20);

/// The attacker's namespace, with a pod of his on the first node.
struct Den {
    scene: Scene,
    pod: Pod,
}

static DEN: OnceLock<Den> = OnceLock::new();

impl Den {
    /// Made once for all tests.
    fn open(shop: &Shop) -> &'static Self {
        DEN.get_or_init(|| Self::new(&shop.scene.cluster))
    }

    fn new(cluster: &Cluster) -> Self {
        let scene = Scene::new(cluster);
        let own = &scene.namespace;
        let rules = json!([{ "apiGroups": ["*"], "resources": ["*"], "verbs": ["*"] }]);
        let metadata = json!({ "name": "all", "namespace": own });
        cluster.apply(&json!({ "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": metadata, "rules": rules }).to_string());
        cluster.kubectl(&format!("create rolebinding mallory -n {own} --role=all --user=mallory"));
        let pod = scene.start(&[scene.pod("own", "own", "node1")]).remove(0);
        Self { scene, pod }
    }

    fn cluster(&self) -> &Cluster {
        &self.scene.cluster
    }

    /// kubectl as the attacker.
    fn asks(&self, words: &[&str], input: &str) -> Result<String, String> {
        let words: Vec<&str> = ["--as=mallory"].iter().chain(words).copied().collect();
        self.cluster().ask(&words, input)
    }

    #[track_caller]
    fn makes(&self, document: &Value) {
        self.asks(&["create", "-f", "-"], &document.to_string())
            .unwrap_or_else(|error| panic!("{error}\n{document:#}"));
    }

    fn document(&self, kind: &str, name: &str, spec: &Value) -> Value {
        json!({
            "apiVersion": "chaos-ebpf.dev/v1alpha1", "kind": kind, "spec": spec,
            "metadata": { "name": name, "namespace": self.scene.namespace },
        })
    }

    fn experiment(&self, name: &str, faults: &Value) -> Value {
        let pods = json!({ "labelSelector": { "matchLabels": { "app": "own" } } });
        self.document("Experiment", name, &json!({ "duration": "60s", "selector": { "pods": pods }, "faults": faults }))
    }

    /// A Service without a selector, and endpoints that he has written; its address.
    #[track_caller]
    fn trap(&self, name: &str, to: &str, port: u16, target: &Value) -> String {
        let metadata = |name: &str| json!({ "name": name, "namespace": self.scene.namespace, "labels": { "kubernetes.io/service-name": name } });
        let ports = json!([{ "name": "p", "port": port }]);
        let service =
            json!({ "apiVersion": "v1", "kind": "Service", "metadata": metadata(name), "spec": { "ports": ports } });
        let slice = json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": metadata(name), "addressType": "IPv4",
            "endpoints": [{ "addresses": [to], "conditions": { "ready": true }, "targetRef": target }], "ports": ports,
        });
        self.makes(&service);
        self.makes(&slice);
        let made = self.cluster().get("service", &self.scene.namespace, name).expect("a Service");
        made["spec"]["clusterIP"].as_str().expect("an address").to_owned()
    }

    fn status(&self, name: &str) -> Value {
        let found = self.cluster().get("experiment", &self.scene.namespace, name);
        found.map(|one| one["status"].clone()).unwrap_or_default()
    }

    #[track_caller]
    fn over(&self, name: &str) -> Value {
        let over = || matches!(self.status(name)["phase"].as_str(), Some("Finished" | "Failed"));
        assert!(wait_until(Duration::from_secs(60), over), "{name}: {:#}", self.status(name));
        self.status(name)
    }

    #[track_caller]
    fn injected(&self, name: &str) {
        let acts = || self.status(name)["phase"] == "Injected";
        assert!(wait_until(Duration::from_secs(60), acts), "{name}: {:#}", self.status(name));
    }

    #[track_caller]
    fn deletes(&self, what: &str) {
        let words: Vec<&str> = ["delete", "-n", &self.scene.namespace].into_iter().chain(what.split(' ')).collect();
        self.asks(&words, "").unwrap_or_else(|error| panic!("{what}: {error}"));
    }
}

fn partition(matches: &Value) -> Value {
    json!([{ "name": "fault", "network": { "direction": "both", "match": matches, "partition": true } }])
}

#[test]
fn an_author_writes_and_reads_nothing_but_his_own_experiments() {
    let Some(shop) = Shop::open() else { return };
    let cluster = &shop.scene.cluster;
    let (own, other) = (Scene::new(cluster), &shop.scene.namespace);
    let namespace = &own.namespace;
    cluster.kubectl(&format!("create rolebinding author -n {namespace} --clusterrole=chaos-author --user=author"));
    let may = |words: &str| {
        let words: Vec<&str> = ["auth", "can-i", "--as=author"].into_iter().chain(words.split(' ')).collect();
        cluster.ask(&words, "").is_ok()
    };
    assert!(may(&format!("create experiments.chaos-ebpf.dev -n {namespace}")), "his own");
    for verb in ["create", "update", "patch", "delete"] {
        for kind in ["injections", "injections/status", "peersets", "experiments/status"] {
            let (kind, sub) = kind.split_once('/').map_or((kind, ""), |(kind, _)| (kind, " --subresource=status"));
            assert!(!may(&format!("{verb} {kind}.chaos-ebpf.dev -n {namespace}{sub}")), "{verb} {kind}{sub}");
        }
        for kind in ["halts", "nodeagents"] {
            assert!(!may(&format!("{verb} {kind}.chaos-ebpf.dev")), "{verb} {kind}");
        }
        assert!(!may(&format!("{verb} experiments.chaos-ebpf.dev -n {other}")), "{verb} in another namespace");
    }
    for read in
        ["experiments.chaos-ebpf.dev", "injections.chaos-ebpf.dev", "peersets.chaos-ebpf.dev", "pods", "services"]
    {
        assert!(!may(&format!("list {read} -n {other}")) && !may(&format!("list {read} -A")), "{read} of others");
    }
    for read in ["list nodes", "list nodeagents.chaos-ebpf.dev", "list halts.chaos-ebpf.dev"] {
        assert!(!may(read), "{read}");
    }
    for right in ["get secrets", "create pods/exec", "patch pods", "create pods"] {
        assert!(!may(&format!("{right} -n {namespace}")), "{right}");
    }
}

/// Whatever RBAC gives him there.
#[test]
fn an_owner_of_a_namespace_forges_no_order_and_no_status() {
    let Some(shop) = Shop::open() else { return };
    let den = Den::open(shop);
    let own = den.scene.namespace.as_str();
    let order = json!({
        "nodeName": "node1", "experiment": "x", "remaining": "60s", "seed": 1, "start": true,
        "faults": partition(&json!({ "all": true })),
        "targets": [{ "namespace": shop.scene.namespace, "name": shop.web[0].name, "uid": shop.web[0].uid }],
    });
    let set = json!({ "addresses": [{ "cidr": "0.0.0.0/0" }] });
    for document in [den.document("Injection", "forged", &order), den.document("PeerSet", "forged", &set)] {
        let said = den.asks(&["create", "-f", "-"], &document.to_string()).expect_err("an order of his");
        assert!(said.contains("only the controller makes and changes"), "{said}");
    }
    den.makes(&den.experiment("running", &partition(&json!({ "all": true }))));
    den.injected("running");
    let injection = den.cluster().list(&format!("injections -n {own}"));
    let injection = injection.iter().find(|one| one["spec"]["targets"].as_array().is_some_and(|all| !all.is_empty()));
    let name = injection.expect("an Injection")["metadata"]["name"].as_str().expect("a name").to_owned();
    let patch = |words: &[&str], patch: &Value| {
        let patch = patch.to_string();
        let words: Vec<&str> =
            ["patch", "-n", own, "--type=merge", "-p", &patch].iter().chain(words).copied().collect();
        den.asks(&words, "").expect_err("it is refused")
    };
    let victim = json!([{ "namespace": shop.scene.namespace, "name": shop.web[0].name, "uid": shop.web[0].uid }]);
    let said = patch(&["injection", &name], &json!({ "spec": { "targets": victim } }));
    assert!(said.contains("only the controller makes and changes"), "{said}");
    let lies = json!({ "status": { "phase": "Refused", "message": "x" } });
    let said = patch(&["injection", &name, "--subresource=status"], &lies);
    assert!(said.contains("only the agent of node"), "{said}");
    // The order to hit others, once it runs.
    let elsewhere =
        json!({ "spec": { "selector": { "pods": { "all": true, "namespaces": [shop.scene.namespace] } } } });
    let said = patch(&["experiment", "running"], &elsewhere);
    assert!(
        said.contains("may be selected") || said.contains("immutable") || said.contains("cannot be changed"),
        "{said}"
    );
    let longer = patch(&["experiment", "running"], &json!({ "spec": { "duration": "24h" } }));
    assert!(longer.contains("duration"), "{longer}");
    for (key, value) in [("reach", "cluster"), ("started-by", "admin")] {
        let said = patch(
            &["experiment", "running"],
            &json!({ "metadata": { "annotations": { format!("chaos-ebpf.dev/{key}"): value } } }),
        );
        assert!(said.contains(&format!("chaos-ebpf.dev/{key}")), "{said}");
    }
    assert!(shop.all_is_well(), "another namespace is hit");
    den.deletes("experiment running");
}

/// The agent finds a pod's cgroup by what the kubelet says of it, and not by what the pod says of itself.
#[test]
fn a_pod_that_claims_anothers_cgroup_is_hit_itself() {
    let Some(shop) = Shop::open() else { return };
    let den = Den::open(shop);
    let mut claims = den.scene.pod("claims", "claims", "node1");
    let uid = &shop.web[0].uid;
    claims["metadata"]["annotations"] =
        json!({ "kubernetes.io/config.hash": uid, "kubernetes.io/config.source": "file" });
    claims["metadata"]["labels"] = json!({ "app": "own" });
    den.makes(&claims);
    let claims = den.scene.running("claims");
    assert!(claims.reaches(&shop.db.ip));
    let call = json!({ "calls": ["connect"], "match": { "all": true }, "errno": "ECONNREFUSED" });
    den.makes(&den.experiment(
        "claimed",
        &json!([
            { "name": "cut", "network": { "direction": "both", "match": { "all": true }, "partition": true } },
            { "name": "calls", "optional": true, "syscall": call },
        ]),
    ));
    claims.wait_reaches(&shop.db.ip, false, SOON);
    den.pod.wait_reaches(&shop.db.ip, false, SOON);
    assert!(shop.all_is_well(), "the pod whose UID is claimed is hit");
    den.deletes("experiment claimed");
    claims.wait_reaches(&shop.db.ip, true, SOON);
}

/// Endpoints of Services can be written by hand; they name any address, and any pod.
#[test]
fn endpoints_of_his_make_no_peer_and_no_target_of_others() {
    let Some(shop) = Shop::open() else { return };
    let den = Den::open(shop);
    let reference =
        |pod: &Pod| json!({ "kind": "Pod", "namespace": shop.scene.namespace, "name": pod.name, "uid": pod.uid });
    let (db, web) = (&shop.db, &shop.web[0]);
    // A way to the database that an experiment of others on the database does not mean.
    let detour = den.trap("detour", &db.ip, 80, &reference(db));
    let trap = den.trap("trap", &web.ip, 80, &reference(web));
    let asks = || web.asks(&detour).is_some();
    assert!(wait_until(SOON, asks), "the Service does not work");
    let cut = Asked::apply(&shop.scene, "peers-of-shop", 120, "web", &Shop::cut());
    cut.await_injected();
    shop.only_the_database_is_cut_off();
    assert!(asks(), "a Service of another namespace became a peer");
    cut.delete();
    web.wait_reaches(&db.ip, true, SOON);
    // And his own fault on such a peer is one of his pod alone.
    assert!(wait_until(SOON, || den.pod.asks(&trap).is_some()), "the Service does not work");
    den.makes(&den.experiment("trapped", &partition(&json!({ "peers": [{ "service": { "name": "trap" } }] }))));
    let cut_off = || den.pod.asks(&trap).is_none();
    assert!(wait_until(SOON, cut_off), "it has no effect: {:#}", den.status("trapped"));
    let injections = den.cluster().list(&format!("injections -n {}", den.scene.namespace));
    assert!(!injections.iter().any(|one| one["spec"]["targets"].to_string().contains(&web.uid)), "a target of others");
    assert!(shop.all_is_well(), "a pod of another namespace is hit");
    den.deletes("experiment trapped");
}

/// The controller asks for him, past every policy of networks.
#[test]
fn probes_through_services_of_his_reach_nobody_else() {
    let Some(shop) = Shop::open() else { return };
    let den = Den::open(shop);
    let cluster = den.cluster();
    let api = cluster.list("endpointslices -n default -l kubernetes.io/service-name=kubernetes");
    let api = api[0]["endpoints"][0]["addresses"][0].as_str().expect("an address").to_owned();
    den.trap("to-pod", &shop.db.ip, 80, &Value::Null);
    den.trap("to-api", &api, 6443, &Value::Null);
    let names =
        [("to-name", format!("web.{}.svc.cluster.local", shop.scene.namespace)), ("to-host", "localhost".to_owned())];
    for (name, host) in &names {
        den.makes(&json!({
            "apiVersion": "v1", "kind": "Service", "metadata": { "name": name, "namespace": den.scene.namespace },
            "spec": { "type": "ExternalName", "externalName": host },
        }));
    }
    let probes = [
        json!({ "tcp": { "address": "to-pod:80" } }),
        json!({ "http": { "url": "http://to-pod:80/" } }),
        json!({ "http": { "url": "https://to-api:6443/", "insecureSkipVerify": true } }),
        json!({ "http": { "url": "https://169.254.169.254/latest", "insecureSkipVerify": true } }),
        json!({ "http": { "url": format!("https://{api}:6443/version"), "insecureSkipVerify": true } }),
        json!({ "http": { "url": "http://[::1]:9469/metrics" } }),
        json!({ "tcp": { "address": "to-name:80" } }),
        json!({ "tcp": { "address": "to-host:9469" } }),
    ];
    for (index, probe) in probes.iter().enumerate() {
        let name = format!("probe-{index}");
        let mut document = den.experiment(&name, &partition(&json!({ "all": true })));
        let mut probe = probe.clone();
        (probe["name"], probe["when"], probe["failures"]) = (json!("p"), json!("before"), json!(1));
        document["spec"]["probes"] = json!([probe]);
        den.makes(&document);
        let over = den.over(&name);
        assert_eq!(over["verdict"], "Refused", "{probe}: {over:#}");
        // Alike for what is there and what is not.
        let reason = over["reason"].as_str().unwrap_or_default();
        assert!(reason.contains("is not reached by probes") && over["probes"].is_null(), "{probe}: {over:#}");
        den.deletes(&format!("experiment {name}"));
    }
}

/// The controller finds what is an experiment's by labels and owners: neither makes his what is another's.
#[test]
fn names_labels_and_owners_of_his_end_nothing_of_others() {
    let Some(shop) = Shop::open() else { return };
    let den = Den::open(shop);
    let cut = Asked::apply(&shop.scene, "theirs", 120, "web", &Shop::cut());
    cut.await_injected();
    let uid = |kind: &str, name: &str| {
        let found = shop.scene.cluster.get(kind, &shop.scene.namespace, name).expect("an object");
        found["metadata"]["uid"].as_str().expect("a UID").to_owned()
    };
    let theirs = cut.injections()[0]["metadata"]["name"].as_str().expect("a name").to_owned();
    let owner = |kind: &str, name: &str| json!({ "apiVersion": "chaos-ebpf.dev/v1alpha1", "kind": kind, "name": name, "uid": uid(kind, name) });
    for (index, name) in ["theirs".to_owned(), "a".repeat(253)].iter().enumerate() {
        let mut document = den.experiment(name, &partition(&json!({ "all": true })));
        document["spec"]["ttlSecondsAfterFinished"] = json!(0);
        document["spec"]["duration"] = json!("1s");
        document["metadata"]["labels"] =
            json!({ "chaos-ebpf.dev/experiment": "theirs", "app.kubernetes.io/component": "agent" });
        document["metadata"]["annotations"] =
            json!({ "chaos-ebpf.dev/stop": if index == 0 { "abort" } else { "never" } });
        if index == 0 {
            document["metadata"]["ownerReferences"] =
                json!([owner("Experiment", "theirs"), owner("Injection", &theirs)]);
        }
        // An owner of another namespace may be taken away by the garbage collector, with what it owns.
        den.makes(&document);
        let gone =
            || den.status(name).is_null() || matches!(den.status(name)["phase"].as_str(), Some("Finished" | "Failed"));
        assert!(wait_until(Duration::from_secs(60), gone), "{:#}", den.status(name));
        let _gone = den.asks(&["delete", "experiment", name, "-n", &den.scene.namespace, "--ignore-not-found"], "");
    }
    assert_eq!(cut.status().phase(), "Injected", "{:?}", cut.status());
    assert_eq!(cut.injections().len(), 2, "orders of others are gone");
    shop.only_the_database_is_cut_off();
    cut.delete();
    shop.web[0].wait_reaches(&shop.db.ip, true, SOON);
}

/// What a node has for all is shared by namespaces, and what is huge is his own affair.
#[test]
fn a_flood_takes_a_share_and_leaves_the_rest() {
    let Some(shop) = Shop::open() else { return };
    let den = Den::open(shop);
    let fault = |number: u16| {
        let matches = json!({ "protocol": "tcp", "ports": [1000 + number], "localPorts": [2000 + number] });
        json!({ "optional": true, "network": { "match": matches, "partition": true } })
    };
    let half = |from: u16| Value::Array((from..from + 8).map(fault).collect());
    den.makes(&den.experiment("flood-0", &half(0)));
    den.injected("flood-0");
    den.makes(&den.experiment("flood-1", &half(8)));
    let over = den.over("flood-1");
    let reason = over["reason"].as_str().unwrap_or_default();
    assert!(over["verdict"] == "Refused" && reason.contains("sets of ports"), "{over:#}");
    let peers: Vec<Value> =
        (0..1000).map(|n| json!({ "cidr": format!("198.{}.{}.{}/32", 18 + n / 65_536, n / 256, n % 256) })).collect();
    let huge = Value::Array(
        (0..16)
            .map(|_| json!({ "optional": true, "network": { "match": { "peers": peers }, "partition": true } }))
            .collect(),
    );
    let mut document = den.experiment("huge", &huge);
    document["metadata"]["annotations"] = json!({ "x": "x".repeat(200 << 10) });
    let _refused = den.asks(&["create", "-f", "-"], &document.to_string());
    // Many that are all refused, none of which waits for another.
    let list: Vec<Value> = (0..40).map(|n| den.experiment(&format!("crowd-{n}"), &half(8))).collect();
    den.makes(&json!({ "apiVersion": "v1", "kind": "List", "items": list }));
    let spec = json!({
        "duration": "60s", "selector": { "pods": { "labelSelector": { "matchLabels": { "app": "web" } } } },
        "faults": [{ "name": "fault", "network": { "match": { "protocol": "icmp", "peers": Shop::cut()["match"]["peers"] }, "partition": true } }, fault(0)],
    });
    let theirs = Asked::apply_spec(&shop.scene, "beside-a-flood", &spec);
    theirs.await_injected();
    shop.only_the_database_is_cut_off();
    theirs.delete();
    shop.web[0].wait_reaches(&shop.db.ip, true, SOON);
    den.deletes("experiments --all");
}

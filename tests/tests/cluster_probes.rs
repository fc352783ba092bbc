//! On a Kubernetes cluster: whom the probes of an author of one namespace reach. The controller asks for him, past every policy.

use std::process::{Child, Command, Stdio};

use chaos_tests::cluster::{Cluster, Shop};
use serde_json::{Value, json};

/// Made by alice, whose rights are in this namespace alone; its status when it is over.
fn probed(shop: &Shop, user: Option<&str>, name: &str, probe: &Value) -> Value {
    let (cluster, namespace) = (&shop.scene.cluster, shop.scene.namespace.as_str());
    let pods = json!({ "labelSelector": { "matchLabels": { "app": "web" } } });
    let mut probe = probe.clone();
    (probe["name"], probe["when"], probe["failures"], probe["timeout"]) =
        (json!("up"), json!("before"), json!(1), json!("5s"));
    let document = json!({
        "apiVersion": "chaos-ebpf.dev/v1alpha1", "kind": "Experiment", "metadata": { "name": name, "namespace": namespace },
        "spec": {
            "duration": "100ms", "selector": { "pods": pods }, "probes": [probe],
            "faults": [{ "optional": true, "network": Shop::cut() }],
        },
    });
    let user = user.map(|user| format!("--as={user}"));
    let words: Vec<&str> = user.as_deref().into_iter().chain(["create", "-f", "-"]).collect();
    cluster.ask(&words, &document.to_string()).unwrap_or_else(|error| panic!("{name}: {error}"));
    let over = |status: &Value| matches!(status["phase"].as_str(), Some("Finished" | "Failed"));
    let status = || cluster.get("experiment", namespace, name).map(|one| one["status"].clone()).unwrap_or_default();
    cluster.wait("it is over", || over(&status()));
    let last = status();
    cluster.kubectl(&format!("delete experiment -n {namespace} {name}"));
    last
}

fn tcp(address: &str) -> Value {
    json!({ "tcp": { "address": address } })
}

/// A Service of this namespace, and its address.
fn service(cluster: &Cluster, namespace: &str, name: &str, app: &str) -> String {
    let document = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": { "name": name, "namespace": namespace },
        "spec": { "selector": { "app": app }, "ports": [{ "name": "p80", "port": 80 }, { "name": "p443", "port": 8443 }] },
    });
    cluster.apply(&document.to_string());
    let made = cluster.get("service", namespace, name).expect("a Service");
    made["spec"]["clusterIP"].as_str().expect("an address").to_owned()
}

#[test]
fn an_author_of_one_namespace_asks_no_other_one_and_not_the_cluster() {
    let Some(shop) = Shop::open() else { return };
    let (cluster, own) = (&shop.scene.cluster, shop.scene.namespace.as_str());
    cluster.kubectl(&format!("create rolebinding prober -n {own} --clusterrole=chaos-author --user=prober"));
    let foreign = service(cluster, "default", "foreign", "nobody");
    service(cluster, own, "shopfront", "db");
    let node = cluster.list("nodes")[0]["status"]["addresses"][0]["address"].as_str().unwrap_or_default().to_owned();
    let api = cluster.get("service", "default", "kubernetes").expect("a Service");
    let api = api["spec"]["clusterIP"].as_str().unwrap_or_default().to_owned();
    let refused = [
        format!("{foreign}:80"),
        "foreign.default:80".to_owned(),
        "no-such.default:80".to_owned(),
        "kubernetes.default.svc:443".to_owned(),
        format!("{api}:443"),
        format!("{node}:10250"),
        "127.0.0.1:9469".to_owned(),
        "localhost:9469".to_owned(),
        "169.254.169.254:80".to_owned(),
        "0.0.0.0:9469".to_owned(),
        "[::ffff:127.0.0.1]:9469".to_owned(),
        "192.0.2.1:80".to_owned(),
    ];
    for (index, address) in refused.iter().enumerate() {
        let status = probed(shop, Some("prober"), &format!("attack-{index}"), &tcp(address));
        assert_eq!(status["verdict"], "Refused", "{address}: {status:#}");
        let reason = status["reason"].as_str().unwrap_or_default();
        let alike = format!("is not reached by probes: they reach pods and Services of namespace {own}");
        assert!(reason.contains(&alike) && status["probes"].is_null(), "{address}: {status:#}");
    }
    for address in ["shopfront:80".to_owned(), format!("shopfront.{own}.svc:80"), format!("{}:80", shop.db.ip)] {
        let status = probed(shop, Some("prober"), "own", &tcp(&address));
        assert_eq!(status["probes"][0]["phases"][0]["failed"], false, "{address}: {status:#}");
    }
    // Who may everywhere reaches other namespaces, and yet not the cluster itself.
    let status = probed(shop, None, "admin", &tcp(&format!("{foreign}:80")));
    assert_ne!(status["verdict"], "Refused", "{status:#}");
    for address in [format!("{node}:10250"), format!("{api}:443"), "127.0.0.1:9469".to_owned()] {
        assert_eq!(probed(shop, None, "admin", &tcp(&address))["verdict"], "Refused", "{address}");
    }
    // Nobody gives himself that reach.
    let document = json!({
        "apiVersion": "chaos-ebpf.dev/v1alpha1", "kind": "Experiment",
        "metadata": { "name": "forged", "namespace": own, "annotations": { "chaos-ebpf.dev/reach": "cluster" } },
        "spec": { "duration": "1s", "selector": { "pods": { "all": true } }, "faults": [{ "network": Shop::cut() }] },
    });
    let said = cluster.ask(&["--as=prober", "create", "--dry-run=server", "-f", "-"], &document.to_string());
    assert!(said.expect_err("forged").contains("chaos-ebpf.dev/reach is for who may create experiments in all"));
    cluster.kubectl("delete service -n default foreign");
}

/// Ends its program with itself.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _code = self.0.wait();
    }
}

#[test]
fn https_is_asked_of_a_real_server_whose_certificate_counts() {
    let Some(shop) = Shop::open() else { return };
    let (cluster, own) = (&shop.scene.cluster, shop.scene.namespace.as_str());
    let folder = std::env::temp_dir().join(format!("chaos-probe-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let file = |name: &str| folder.join(name).display().to_string();
    let mut made = Command::new("openssl");
    made.args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=secure"]);
    // Not that of an authority: such a one is none of a server.
    made.args(["-extensions", "usr_cert"]);
    made.args(["-addext", "subjectAltName=DNS:secure", "-keyout", &file("key"), "-out", &file("certificate")]);
    assert!(made.stderr(Stdio::null()).status().expect("openssl").success());
    let mut server = shop.other[0].inside("openssl");
    server.args(["s_server", "-quiet", "-www", "-accept", "8443", "-key", &file("key"), "-cert", &file("certificate")]);
    let server = server.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let _server = Server(server.expect("a server"));
    cluster.kubectl(&format!("label pod -n {own} {} tls=yes --overwrite", shop.other[0].name));
    service(cluster, own, "secure", "other");
    service(cluster, own, "wrong", "other");
    for name in ["secure", "wrong"] {
        cluster.kubectl(&format!(
            "patch service -n {own} {name} --type=merge -p {{\"spec\":{{\"selector\":{{\"tls\":\"yes\"}}}}}}"
        ));
    }
    let bundle = std::fs::read_to_string(file("certificate")).expect("a certificate");
    let asked = |name: &str, host: &str, bundle: Option<&str>, skip: bool| {
        let mut http = json!({ "url": format!("https://{host}:8443/"), "insecureSkipVerify": skip });
        bundle.into_iter().for_each(|bundle| http["caBundle"] = json!(bundle));
        let status = probed(shop, None, name, &json!({ "http": http }));
        status["probes"][0]["phases"][0].clone()
    };
    // Until the proxies of the nodes know the Service.
    cluster.wait("the server answers", || asked("skip", "secure", None, true)["failed"] == false);
    assert_eq!(asked("right", "secure", Some(&bundle), false)["failed"], false);
    let wrong = asked("wrong", "wrong", Some(&bundle), false);
    assert!(wrong["lastError"].as_str().unwrap_or_default().contains("certificate"), "{wrong:#}");
    let _gone = std::fs::remove_dir_all(&folder);
}

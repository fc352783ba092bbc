//! On a Kubernetes cluster: what an Experiment does to the pods that it means, and to no others. Seen from inside the pods and from
//! their peers on both nodes.

use std::{
    collections::BTreeMap,
    io::Read as _,
    process::{Command, Stdio},
    time::Duration,
};

use chaos_tests::{
    cluster::{Asked, Pod, Shop, container},
    stats::binomial::interval,
};
use serde_json::{Value, json};

#[test]
fn a_partition_cuts_the_selected_pods_from_the_named_ones_and_ends() {
    let Some(shop) = Shop::open() else { return };
    let cut = Asked::apply(&shop.scene, "cut", 6, "web", &Shop::cut());
    cut.await_injected();
    shop.only_the_database_is_cut_off();
    let over = cut.await_over();
    assert_eq!((over.phase(), over.verdict()), ("Finished", "Pass"), "{}", over.reason());
    assert!(shop.all_is_well(), "it has not ended");
    assert_eq!(over.count("injected"), 10, "each of the lost pings was counted, and nothing else");
}

#[test]
fn loss_has_the_share_that_was_asked() {
    let Some(shop) = Shop::open() else { return };
    let network = json!({ "match": { "protocol": "icmp" }, "direction": "egress", "loss": { "percent": 30 } });
    let lossy = Asked::apply(&shop.scene, "lossy", 60, "web", &network);
    lossy.await_injected();
    let (web, count) = (&shop.web[0], 500);
    let lost = u64::from(count - web.pings(&shop.db.ip, count));
    assert!(interval(u64::from(count), 0.3).contains(&lost), "{lost} of {count} pings were lost where 30 % was asked");
    assert_eq!(shop.other[0].pings(&shop.db.ip, 20), 20, "a neighbour loses packets");
    lossy.stop("finish");
    let over = lossy.await_over();
    assert_eq!((over.verdict(), over.count("injected")), ("Pass", lost), "{}", over.reason());
}

#[test]
fn a_reset_is_seen_by_connect() {
    let Some(shop) = Shop::open() else { return };
    let network = json!({ "match": { "protocol": "tcp", "ports": [80] }, "reset": { "percent": 100 } });
    let reset = Asked::apply(&shop.scene, "reset", 60, "web", &network);
    reset.await_injected();
    let connect = |pod: &Pod| {
        let script = format!("exec 3<>/dev/tcp/{}/80", shop.db.ip);
        let output = pod.inside("timeout").args(["2", "bash", "-c", &script]).output().expect("bash");
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (connected, said) = connect(&shop.web[0]);
    assert!(!connected && said.contains("refused"), "connect says: {said}");
    assert!(connect(&shop.other[0]).0, "a neighbour is refused");
    reset.delete();
}

#[test]
fn duplicates_come_twice() {
    let Some(shop) = Shop::open() else { return };
    let network = json!({ "match": { "protocol": "icmp" }, "direction": "egress", "duplicate": { "percent": 100 } });
    let twice = Asked::apply(&shop.scene, "twice", 60, "web", &network);
    twice.await_injected();
    let output = shop.web[0].inside("ping").args(["-n", "-q", "-i", "0.05", "-c", "10", &shop.db.ip]).output();
    let text = String::from_utf8_lossy(&output.expect("ping").stdout).into_owned();
    assert!(text.contains("duplicates"), "{text}");
    twice.delete();
}

/// Pods behind a Service: the target's packets carry its address, not theirs.
#[test]
fn a_service_is_cut_off_with_all_behind_it() {
    let Some(shop) = Shop::open() else { return };
    let namespace = &shop.scene.namespace;
    shop.scene.cluster.apply(
        &json!({
            "apiVersion": "v1", "kind": "Service", "metadata": { "name": "db", "namespace": namespace },
            "spec": { "selector": { "app": "db" }, "ports": [{ "port": 80 }] },
        })
        .to_string(),
    );
    let service = shop.scene.cluster.get("service", namespace, "db").expect("a Service");
    let ip = service["spec"]["clusterIP"].as_str().expect("an address").to_owned();
    shop.scene.cluster.wait("the Service answers", || shop.web[0].asks(&ip).as_deref() == Some("db"));
    let network = json!({ "match": { "peers": [{ "service": { "name": "db" } }] }, "partition": true });
    let cut = Asked::apply(&shop.scene, "no-service", 60, "web", &network);
    cut.await_injected();
    assert_eq!(shop.web[0].asks(&ip), None, "through the Service");
    assert_eq!(shop.web[0].asks(&shop.db.ip), None, "past the Service");
    assert_eq!(shop.other[0].asks(&ip).as_deref(), Some("db"), "a neighbour is cut off");
    cut.delete();
    shop.scene.cluster.kubectl(&format!("delete service db -n {namespace}"));
}

/// How often each pod answered, and how often nobody did.
fn answers(pod: &Pod, ip: &str, times: usize) -> BTreeMap<Option<String>, usize> {
    let mut counts = BTreeMap::new();
    (0..times).for_each(|_| *counts.entry(pod.asks_at(ip, 8080)).or_default() += 1);
    counts
}

/// Through the Service as well as past it, although the target's packets do not say which half they are for.
#[test]
fn half_of_a_service_is_cut_off() {
    let Some(shop) = Shop::open() else { return };
    let (namespace, cluster) = (&shop.scene.namespace, &shop.scene.cluster);
    cluster.apply(
        &json!({
            "apiVersion": "v1", "kind": "Service", "metadata": { "name": "halves", "namespace": namespace },
            "spec": { "selector": { "app": "other" }, "ports": [{ "port": 8080, "targetPort": 80 }] },
        })
        .to_string(),
    );
    let service = cluster.get("service", namespace, "halves").expect("a Service");
    let ip = service["spec"]["clusterIP"].as_str().expect("an address").to_owned();
    let (cut_off, left) = (Some(shop.other[0].name.clone()), Some(shop.other[1].name.clone()));
    let both = |pod: &Pod| {
        let seen = answers(pod, &ip, 24);
        seen.contains_key(&cut_off) && seen.contains_key(&left) && !seen.contains_key(&None)
    };
    cluster.wait("both halves answer", || both(&shop.web[0]));
    let peers = json!([{ "pods": { "names": [shop.other[0].name] } }]);
    let network = json!({ "match": { "peers": peers, "protocol": "tcp", "ports": [80, 8080] }, "partition": true });
    let cut = Asked::apply(&shop.scene, "half", 120, "web", &network);
    cut.await_injected();
    for web in &shop.web {
        let seen = answers(web, &ip, 24);
        assert!(seen.len() == 2 && seen.contains_key(&None) && seen.contains_key(&left), "{}: {seen:?}", web.name);
        assert_eq!(web.asks(&shop.other[0].ip), None, "{}: past the Service", web.name);
        assert_eq!(web.asks(&shop.other[1].ip), left, "{}: past the Service", web.name);
    }
    assert!(both(&shop.db), "a neighbour is cut off");
    cut.stop("finish");
    let over = cut.await_over();
    assert_eq!(over.verdict(), "Pass", "{}", over.reason());
    let records = over.0["targets"].as_array().expect("targets");
    let peer = records.iter().find(|one| one["pod"] == json!(shop.other[0].name)).expect("where it was placed");
    assert!(peer["message"].as_str().is_some_and(|text| text.contains("a peer, not a target")), "{peer}");
    assert!(shop.web.iter().all(both), "it has not ended");
    cluster.kubectl(&format!("delete service halves -n {namespace}"));
}

/// A ping from a container's cgroup, in its pod's network namespace.
fn ping_as(pid: i32, address: &str) -> bool {
    let table = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("a cgroup");
    let path = table.lines().find_map(|line| line.strip_prefix("0::")).expect("a cgroup of version 2");
    let mount = chaos_tests::net::cgroup::find_mount().expect("a cgroup2 mount");
    let procs = format!("{}{path}/cgroup.procs", mount.display());
    let script = format!("echo $$ >{procs} && exec nsenter --net -t {pid} -- ping -n -q -i 0.02 -W 1 -c 3 {address}");
    Command::new("sh").args(["-c", &script]).stdout(Stdio::null()).status().is_ok_and(|status| status.success())
}

fn pid_of(shop: &Shop, pod: &str, number: usize) -> i32 {
    let pod = shop.scene.cluster.get("pod", &shop.scene.namespace, pod).expect("a pod");
    let id = pod["status"]["containerStatuses"][number]["containerID"].as_str().expect("an id");
    chaos_tests::cluster::first_process(id.rsplit('/').next().unwrap_or_default()).expect("a process")
}

/// On the first node the whole tree of cgroups is seen, on the second that below the node's own, as where nodes are containers (kind).
#[test]
fn one_container_of_two_is_hit() {
    let Some(shop) = Shop::open() else { return };
    ["node1", "node2"].iter().for_each(|node| one_container_is_hit(shop, node));
}

fn one_container_is_hit(shop: &Shop, node: &str) {
    let name = format!("two-{node}");
    let mut two = shop.scene.pod(&name, &name, node);
    two["spec"]["containers"] = json!([container("first", &["serve", "80"]), container("second", &["pause"])]);
    let _two = shop.scene.start(&[two]);
    let pods = json!({ "labelSelector": { "matchLabels": { "app": name } }, "containers": ["second"] });
    let network = json!({ "match": { "peers": [{ "cidr": format!("{}/32", shop.db.ip) }] }, "partition": true });
    let spec = json!({ "duration": "60s", "selector": { "pods": pods }, "faults": [{ "network": network }] });
    let cut = Asked::apply_spec(&shop.scene, "container", &spec);
    cut.await_injected();
    let pod = shop.scene.cluster.get("pod", &shop.scene.namespace, &name).expect("a pod");
    let names = &pod["status"]["containerStatuses"];
    let (second, first) = if names[0]["name"] == "second" { (0, 1) } else { (1, 0) };
    assert!(!ping_as(pid_of(shop, &name, second), &shop.db.ip), "the container that was named");
    assert!(ping_as(pid_of(shop, &name, first), &shop.db.ip), "its neighbour in the pod");
    cut.delete();
}

/// What connect(2) says to a process of a container's cgroup, in its pod's network namespace.
fn connect_as(pid: i32, address: &str) -> String {
    let table = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("a cgroup");
    let path = table.lines().find_map(|line| line.strip_prefix("0::")).expect("a cgroup of version 2");
    let mount = chaos_tests::net::cgroup::find_mount().expect("a cgroup2 mount");
    let procs = format!("{}{path}/cgroup.procs", mount.display());
    let connect = format!("exec 3<>/dev/tcp/{address}/80");
    let script = format!("echo $$ >{procs} && exec nsenter --net -t {pid} -- bash -c '{connect}'");
    let output = Command::new("bash").args(["-c", &script]).output().expect("bash");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// By the cgroup's hooks, which every kernel of a node has from Linux 5.18 on.
#[test]
fn calls_of_one_container_fail_and_its_neighbours_do_not() {
    let Some(shop) = Shop::open() else { return };
    ["node1", "node2"].iter().for_each(|node| calls_of_one_container_fail(shop, node));
}

fn calls_of_one_container_fail(shop: &Shop, node: &str) {
    let name = format!("calls-{node}");
    let mut pod = shop.scene.pod(&name, &name, node);
    pod["spec"]["containers"] = json!([container("first", &["pause"]), container("second", &["pause"])]);
    shop.scene.start(&[pod]);
    let pods = json!({ "labelSelector": { "matchLabels": { "app": name } }, "containers": ["second"] });
    let syscall = json!({ "calls": ["connect"], "errno": "EHOSTDOWN", "match": { "ports": [80] } });
    let spec = json!({ "duration": "60s", "selector": { "pods": pods }, "faults": [{ "syscall": syscall }] });
    let asked = Asked::apply_spec(&shop.scene, &name, &spec);
    asked.await_injected();
    let pod = shop.scene.cluster.get("pod", &shop.scene.namespace, &name).expect("a pod");
    let (second, first) = if pod["status"]["containerStatuses"][0]["name"] == "second" { (0, 1) } else { (1, 0) };
    let hit = connect_as(pid_of(shop, &name, second), &shop.db.ip);
    assert!(hit.contains("Host is down"), "the container that was named: {hit}");
    let spared = connect_as(pid_of(shop, &name, first), &shop.db.ip);
    assert_eq!(spared, "", "its neighbour in the pod");
    assert_eq!(shop.web[0].asks(&shop.db.ip).as_deref(), Some("db"), "another pod");
    asked.stop("finish");
    let over = asked.await_over();
    assert_eq!((over.verdict(), over.count("injected")), ("Pass", 1), "{}", over.reason());
}

/// It shares the network with the node's own programs: only its own traffic is hit.
#[test]
fn a_pod_in_the_nodes_network_is_hit_alone() {
    let Some(shop) = Shop::open() else { return };
    ["node1", "node2"].iter().zip(&shop.other).for_each(|(node, pod)| a_pod_of_the_host_is_hit_alone(shop, node, pod));
}

/// `other` is a pod of that node, too.
fn a_pod_of_the_host_is_hit_alone(shop: &Shop, node: &str, other: &Pod) {
    let (host, beside) = (format!("host-{node}"), format!("beside-{node}"));
    let of_host = |name: &str| {
        let mut pod = shop.scene.pod(name, name, node);
        pod["spec"]["hostNetwork"] = json!(true);
        pod["spec"]["containers"] = json!([container("main", &["pause"])]);
        pod
    };
    shop.scene.start(&[of_host(&host), of_host(&beside)]);
    let network = json!({
        "match": { "peers": [{ "cidr": format!("{}/32", shop.db.ip) }] }, "direction": "egress", "partition": true,
    });
    let cut = Asked::apply(&shop.scene, &host, 60, &host, &network);
    cut.await_injected();
    assert!(!ping_as(pid_of(shop, &host, 0), &shop.db.ip), "the pod that was named");
    assert!(ping_as(pid_of(shop, &beside, 0), &shop.db.ip), "another pod in the node's network");
    let mut ping = shop.scene.cluster.in_node(node);
    let ping = ping.args(["ping", "-n", "-q", "-c", "2", "-i", "0.05", "-W", "1", &shop.db.ip]).stdout(Stdio::null());
    assert!(ping.status().is_ok_and(|status| status.success()), "the node itself");
    assert!(other.reaches(&shop.db.ip), "a pod of the node");
    cut.delete();
}

#[test]
fn two_experiments_on_one_pod_act_together_and_end_one_by_one() {
    let Some(shop) = Shop::open() else { return };
    let to = |pod: &Pod| json!({ "match": { "peers": [{ "cidr": format!("{}/32", pod.ip) }] }, "partition": true });
    let one = Asked::apply(&shop.scene, "one", 60, "web", &to(&shop.db));
    let two = Asked::apply(&shop.scene, "two", 60, "web", &to(&shop.other[1]));
    one.await_injected();
    two.await_injected();
    let web = &shop.web[0];
    assert!(!web.reaches(&shop.db.ip) && !web.reaches(&shop.other[1].ip) && web.reaches(&shop.other[0].ip));
    one.delete();
    web.wait_reaches(&shop.db.ip, true, Duration::from_secs(5));
    assert!(!web.reaches(&shop.other[1].ip), "the second one ended with the first");
    two.stop("abort");
    let over = two.await_over();
    assert_eq!(over.verdict(), "Aborted");
    assert!(web.reaches(&shop.other[1].ip));
}

#[test]
fn a_pause_and_a_kill_switch_hold_it() {
    let Some(shop) = Shop::open() else { return };
    let (web, db, cluster) = (&shop.web[0], &shop.db.ip, &shop.scene.cluster);
    let cut = Asked::apply(&shop.scene, "held", 60, "web", &Shop::cut());
    cut.await_injected();
    let patch = |paused: bool| {
        let patch = json!({ "spec": { "paused": paused } }).to_string();
        let words = ["patch", "experiment", "held", "-n", &shop.scene.namespace, "--type=merge", "-p", &patch];
        cluster.ask(&words, "").expect("patched");
    };
    patch(true);
    web.wait_reaches(db, true, Duration::from_secs(5));
    patch(false);
    web.wait_reaches(db, false, Duration::from_secs(5));
    let halt = json!({
        "apiVersion": "chaos-ebpf.dev/v1alpha1", "kind": "Halt", "metadata": { "name": "all" }, "spec": { "reason": "an outage" },
    });
    cluster.apply(&halt.to_string());
    web.wait_reaches(db, true, Duration::from_secs(5));
    let over = cut.await_over();
    assert!(over.verdict() == "Aborted" && over.reason().contains("an outage"), "{:?}", over);
    let refused = Asked::apply(&shop.scene, "not-now", 60, "web", &Shop::cut()).await_over();
    assert!(refused.verdict() == "Refused" && refused.reason().contains("an outage"), "{:?}", refused);
    cluster.kubectl("delete halt all");
    assert!(shop.all_is_well());
}

#[test]
fn probes_decide() {
    let Some(shop) = Shop::open() else { return };
    let pods = json!({ "labelSelector": { "matchLabels": { "app": "web" } } });
    let spec = |probe: Value| {
        json!({
            "duration": "30s", "selector": { "pods": pods }, "probes": [probe],
            "faults": [{ "name": "cut", "network": { "match": { "all": true }, "partition": true } }],
        })
    };
    let tcp = |pod: &Pod, port: u16, when: &str| {
        json!({
            "name": "answers", "tcp": { "address": format!("{}:{port}", pod.ip) }, "every": "100ms", "timeout": "300ms",
            "failures": 2, "when": when,
        })
    };
    let before = Asked::apply_spec(&shop.scene, "before", &spec(tcp(&shop.web[0], 81, "before"))).await_over();
    assert_eq!((before.verdict(), before.0["startedAt"].is_null()), ("Fail", true), "{:?}", before);
    let during = Asked::apply_spec(&shop.scene, "during", &spec(tcp(&shop.web[0], 80, "during")));
    during.await_injected();
    let over = during.await_over();
    assert_eq!(
        (over.verdict(), over.0["probes"][0]["phases"][0]["phase"].as_str()),
        ("Fail", Some("during")),
        "{:?}",
        over
    );
    assert!(shop.web[0].reaches(&shop.db.ip), "a probe that failed has not ended it");
}

#[test]
fn what_a_kernel_cannot_do_is_refused_on_all_nodes() {
    let Some(shop) = Shop::open() else { return };
    if chaos_tests::need::has_fq() {
        return;
    }
    let network = json!({ "match": { "all": true }, "latency": { "delay": "50ms" } });
    let slow = Asked::apply(&shop.scene, "slow", 30, "web", &network).await_over();
    assert_eq!((slow.phase(), slow.verdict()), ("Failed", "Unsupported"));
    assert!(slow.reason().contains("node") && slow.reason().contains("fq"), "{}", slow.reason());
}

#[test]
fn health_and_metrics_are_told() {
    let Some(shop) = Shop::open() else { return };
    let cut = Asked::apply(&shop.scene, "measured", 60, "web", &Shop::cut());
    cut.await_injected();
    shop.web[0].pings(&shop.db.ip, 5);
    let get = |path: &str| {
        let mut curl = shop.scene.cluster.in_node("node1");
        let script = format!("exec 3<>/dev/tcp/127.0.0.1/9469; printf 'GET {path} HTTP/1.0\\r\\n\\r\\n' >&3; cat <&3");
        let mut child = curl.args(["bash", "-c", &script]).stdout(Stdio::piped()).spawn().expect("bash");
        let mut text = String::new();
        child.stdout.take().expect("stdout").read_to_string(&mut text).expect("text");
        let _ended = child.wait();
        text
    };
    assert!(get("/healthz").contains("200 OK") && get("/readyz").contains("200 OK"));
    let labels = format!(r#"{{experiment="{}/measured",fault="fault"}}"#, shop.scene.namespace);
    let line = format!("chaos_agent_injected_total{labels} 5");
    shop.scene.cluster.wait("the metrics have the five pings", || get("/metrics").contains(&line));
    let age =
        get("/metrics").lines().find_map(|line| line.strip_prefix("chaos_agent_lease_age_seconds ").map(str::to_owned));
    assert!(age.is_some_and(|age| age.parse::<f64>().is_ok_and(|age| age < 2.0)));
    cut.delete();
}

#[test]
fn an_experiment_that_is_held_back_while_it_is_deleted_is_off() {
    let Some(shop) = Shop::open() else { return };
    let (cluster, namespace) = (&shop.scene.cluster, &shop.scene.namespace);
    let cut = Asked::apply(&shop.scene, "held-back", 120, "web", &Shop::cut());
    cut.await_injected();
    let patch = |finalizers: &str| {
        let patch = format!("{{\"metadata\":{{\"finalizers\":{finalizers}}}}}");
        cluster.kubectl(&format!("patch experiment -n {namespace} held-back --type=merge -p {patch}"));
    };
    patch("[\"example.com/held\"]");
    cluster.kubectl(&format!("delete experiment -n {namespace} held-back --wait=false"));
    let over = || cut.status().verdict() == "Aborted";
    cluster.wait("its faults are off", || shop.all_is_well() && over());
    patch("null");
    cluster.wait("it is gone", || cluster.get("experiment", namespace, "held-back").is_none());
}

//! On a Kubernetes cluster: what becomes of a fault when pods, agents, controllers or the API server come and go.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::UdpSocket,
    process::{Child, Command},
    time::{Duration, Instant},
};

use chaos_tests::{
    clock::wait_until,
    cluster::{Asked, Pod, Shop, container},
    need,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::json;

/// How long a change in the cluster may take to reach a pod.
const SOON: Duration = Duration::from_secs(20);

fn signal(pid: i32, signal: Signal) {
    kill(Pid::from_raw(pid), signal).expect("a process that lives");
}

#[test]
fn a_killed_agent_is_replaced_and_the_fault_goes_on_to_its_old_end() {
    let Some(shop) = Shop::open() else { return };
    let cut = Asked::apply(&shop.scene, "killed", 20, "web", &Shop::cut());
    cut.await_injected();
    let begun = Instant::now();
    let agent = shop.install.agent_of("node1");
    signal(agent, Signal::SIGKILL);
    // Nothing outlives the lease, and the next agent puts it back.
    shop.scene.cluster.wait("a new agent runs", || shop.install.has_agent("node1", agent));
    shop.web[0].wait_reaches(&shop.db.ip, false, SOON);
    assert!(!shop.web[1].reaches(&shop.db.ip), "the other node's agent lives");
    let over = cut.await_over();
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(28), "its end has moved: {took:?}");
    assert_eq!(over.verdict(), "Pass", "{over:?}");
    let gaps = |status: &chaos_tests::cluster::Status| {
        let targets = status.0["targets"].as_array().cloned().unwrap_or_default();
        targets.iter().filter_map(|one| one["gaps"].as_array()).map(Vec::len).sum::<usize>()
    };
    assert_eq!(gaps(&over), 1, "{over:?}");
    assert!(shop.all_is_well());
}

#[test]
fn a_stopped_agent_leaves_no_fault_behind_its_lease() {
    let Some(shop) = Shop::open() else { return };
    let cut = Asked::apply(&shop.scene, "stopped", 30, "web", &Shop::cut());
    cut.await_injected();
    let agent = shop.install.agent_of("node1");
    signal(agent, Signal::SIGSTOP);
    shop.web[0].wait_reaches(&shop.db.ip, true, Duration::from_secs(5));
    signal(agent, Signal::SIGCONT);
    let over = cut.await_over();
    assert!(over.verdict() == "Aborted" && over.reason().contains("LeaseLost"), "{over:?}");
    assert!(shop.web[0].reaches(&shop.db.ip), "it came back");
}

/// Busy loops beside the agent, on all processors and far more of them than there are.
struct Hogs(Vec<Child>);

impl Hogs {
    fn new(count: usize) -> Self {
        let hog = |_| Command::new("sh").args(["-c", "while :; do :; done"]).spawn().expect("a shell");
        Self((0..count).map(hog).collect())
    }
}

impl Drop for Hogs {
    fn drop(&mut self) {
        for hog in &mut self.0 {
            let _ended = (hog.kill(), hog.wait());
        }
    }
}

/// Whether the agent renews its lease in time is the machine's affair. But no packet gets through and nobody is told.
#[test]
fn a_starved_agent_keeps_the_fault_on_or_says_that_it_lapsed() {
    let Some(shop) = Shop::open() else { return };
    let (web, seconds) = (&shop.web[0], 25);
    let cut = Asked::apply(&shop.scene, "starved", seconds, "web", &Shop::cut());
    cut.await_injected();
    let begun = Instant::now();
    let hogs = Hogs::new(24);
    let (mut sent, mut through) = (0, 0);
    while begun.elapsed() < Duration::from_secs(15) {
        (sent, through) = (sent + 5, through + web.pings(&shop.db.ip, 5));
    }
    // The kernel ends it, whether or not the agent comes to do so; the rest is for pings that are late themselves.
    web.wait_reaches(&shop.db.ip, true, Duration::from_secs(u64::from(seconds)));
    let took = begun.elapsed();
    drop(hogs);
    let over = cut.await_over();
    let lapsed = over.count("skippedByLease");
    let said = format!(
        "{sent} pings beside 24 busy loops, {through} got through, {lapsed} packets were told as passed without a lease"
    );
    need::measured(&format!("{said}; it ended after {took:.1?}; {}", over.verdict()));
    assert!(took < Duration::from_secs(u64::from(seconds) + 10), "it goes on after its end: {took:?}");
    let conditions = over.0["conditions"].as_array().cloned().unwrap_or_default();
    let told = conditions
        .iter()
        .any(|one| one["type"] == "Degraded" && one["status"] == "True" && one["reason"] == "LeaseLapsed");
    let lost = over.verdict() == "Aborted" && over.reason().contains("LeaseLost");
    assert!(told || lost || (through == 0 && over.verdict() == "Pass"), "{through} of {sent} got through: {over:?}");
    assert!(lapsed == 0 || told || lost, "{over:?}");
    assert!(shop.all_is_well());
    shop.install.await_ready();
}

#[test]
fn a_rolled_agent_goes_on_with_the_counts() {
    let Some(shop) = Shop::open() else { return };
    let cut = Asked::apply(&shop.scene, "rolled", 40, "web", &Shop::cut());
    cut.await_injected();
    assert_eq!(shop.web[0].pings(&shop.db.ip, 7), 0);
    let agent = shop.install.agent_of("node1");
    let pings = shop.web[0].begin_pings(&shop.db.ip);
    shop.scene.cluster.kubectl("-n chaos-system rollout restart daemonset/chaos-agent");
    shop.scene.cluster.kubectl("-n chaos-system rollout status daemonset/chaos-agent --timeout=60s");
    assert!(shop.install.has_agent("node1", agent));
    let (sent, answered) = pings.end();
    need::measured(&format!(
        "an update of the agents on two nodes: {answered} of {sent} pings got through, one every 20 ms"
    ));
    // One process after the other, instead of beside it, lets a third of them through.
    assert!(answered * 20 < sent, "{answered} of {sent} got through");
    let over = cut.await_over();
    assert_eq!(over.verdict(), "Pass", "{over:?}");
    assert!(over.count("injected") >= 8, "the seven of the agent before are counted: {over:?}");
}

#[test]
fn another_controller_takes_over() {
    let Some(shop) = Shop::open() else { return };
    let cut = Asked::apply(&shop.scene, "led", 60, "web", &Shop::cut());
    cut.await_injected();
    let leader = shop.install.leader();
    shop.scene.cluster.kubectl(&format!("-n chaos-system delete pod {leader} --grace-period=0 --force"));
    shop.scene.cluster.wait("another one leads", || ![leader.as_str(), ""].contains(&shop.install.leader().as_str()));
    assert!(!shop.web[0].reaches(&shop.db.ip), "no node needs a controller");
    cut.stop("finish");
    assert_eq!(cut.await_over().verdict(), "Pass");
    shop.install.await_ready();
}

/// The API server is away until the fault is over; what was counted is told when it is back.
#[test]
fn it_ends_on_time_without_an_api_server() {
    let Some(shop) = Shop::open() else { return };
    let cut = Asked::apply(&shop.scene, "alone", 8, "web", &Shop::cut());
    cut.await_injected();
    let server = chaos_tests::cluster::process_named("kube-apiserver").expect("an API server");
    signal(server, Signal::SIGSTOP);
    assert!(!shop.web[0].reaches(&shop.db.ip));
    let ended = wait_until(Duration::from_secs(15), || shop.web.iter().all(|web| web.reaches(&shop.db.ip)));
    signal(server, Signal::SIGCONT);
    assert!(ended, "it goes on without an API server");
    let over = cut.await_over();
    assert!(over.verdict() == "Pass" && over.count("injected") >= 3, "{over:?}");
    shop.install.await_ready();
}

#[test]
fn a_pod_that_is_deleted_is_let_go() {
    let Some(shop) = Shop::open() else { return };
    let [gone] = <[Pod; 1]>::try_from(shop.scene.start(&[shop.scene.pod("gone", "gone", "node1")])).expect("a pod");
    let cut = Asked::apply(&shop.scene, "gone", 60, "gone", &Shop::cut());
    cut.await_injected();
    assert_eq!(gone.pings(&shop.db.ip, 3), 0);
    shop.scene.cluster.kubectl(&format!("delete pod gone -n {} --wait=true", shop.scene.namespace));
    shop.scene.cluster.wait("its record says so", || {
        cut.injections().iter().any(|one| one["status"]["targets"][0]["state"] == "Gone")
    });
    cut.stop("finish");
    let over = cut.await_over();
    assert!(over.verdict() == "Pass" && over.count("injected") >= 3, "{over:?}");
}

#[test]
fn a_container_that_is_restarted_and_a_sandbox_made_anew_stay_under_it() {
    let Some(shop) = Shop::open() else { return };
    let [pod] = <[Pod; 1]>::try_from(shop.scene.start(&[shop.scene.pod("again", "again", "node1")])).expect("a pod");
    let cut = Asked::apply(&shop.scene, "again", 120, "again", &Shop::cut());
    cut.await_injected();
    signal(pod.pid, Signal::SIGKILL);
    shop.scene.cluster.wait("the container was restarted", || {
        shop.scene.cluster.get("pod", &shop.scene.namespace, "again").is_some_and(|pod| {
            let status = &pod["status"]["containerStatuses"][0];
            status["restartCount"] == 1 && status["ready"] == true
        })
    });
    let restarted = shop.scene.running("again");
    assert_eq!(restarted.pings(&shop.db.ip, 3), 0, "a new container of the old pod");
    let sandbox = chaos_tests::cluster::sandbox_of(&restarted).expect("a sandbox");
    signal(sandbox, Signal::SIGKILL);
    shop.scene.cluster.wait("the sandbox was made anew", || {
        shop.scene.cluster.get("pod", &shop.scene.namespace, "again").is_some_and(|now| {
            let other = now["status"]["podIP"].as_str().is_some_and(|ip| ip != restarted.ip);
            other && now["status"]["containerStatuses"][0]["ready"] == true
        })
    });
    let anew = shop.scene.running("again");
    anew.wait_reaches(&shop.db.ip, false, SOON);
    cut.delete();
    anew.wait_reaches(&shop.db.ip, true, SOON);
}

#[test]
fn deleting_the_namespace_ends_it() {
    let Some(shop) = Shop::open() else { return };
    let other = chaos_tests::cluster::Scene::new(&shop.scene.cluster);
    let spec = json!({
        "duration": "120s",
        "selector": { "pods": { "namespaces": [shop.scene.namespace], "labelSelector": { "matchLabels": { "app": "web" } } } },
        "faults": [{ "network": { "match": { "peers": [{ "cidr": format!("{}/32", shop.db.ip) }] }, "partition": true } }],
    });
    Asked::apply_spec(&other, "elsewhere", &spec).await_injected();
    assert!(!shop.web[0].reaches(&shop.db.ip));
    shop.scene.cluster.kubectl(&format!("delete namespace {} --timeout=30s", other.namespace));
    shop.web[0].wait_reaches(&shop.db.ip, true, SOON);
}

#[test]
fn a_kubelet_that_hangs_changes_nothing() {
    let Some(shop) = Shop::open() else { return };
    let kubelet = chaos_tests::cluster::process_of_node("kubelet", "node1").expect("a kubelet");
    signal(kubelet, Signal::SIGSTOP);
    let cut = Asked::apply(&shop.scene, "hung", 6, "web", &Shop::cut());
    cut.await_injected();
    assert!(!shop.web[0].reaches(&shop.db.ip));
    let over = cut.await_over();
    signal(kubelet, Signal::SIGCONT);
    assert_eq!(over.verdict(), "Pass", "{over:?}");
    assert!(shop.all_is_well());
}

/// The datagrams that come in within a while, by their sender's address.
fn counted(socket: &UdpSocket, quiet: Duration) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    socket.set_read_timeout(Some(quiet)).expect("a timeout");
    let mut buffer = [0; 64];
    while let Ok((_, from)) = socket.recv_from(&mut buffer) {
        *counts.entry(from.ip().to_string()).or_default() += 1;
    }
    counts
}

/// A socket in a pod's network namespace.
fn listen(pod: &Pod, port: u16) -> UdpSocket {
    pod.in_network(|| UdpSocket::bind(("0.0.0.0", port)).expect("bind"))
}

/// Pods that send from their first moment on, while an experiment that follows new pods runs: what gets through before the fault.
#[test]
fn new_pods_are_followed_from_their_begin() {
    let Some(shop) = Shop::open() else { return };
    let [first] = <[Pod; 1]>::try_from(shop.scene.start(&[shop.scene.pod("first", "crowd", "node1")])).expect("a pod");
    let cut = Asked::apply(&shop.scene, "follow", 120, "crowd", &Shop::cut());
    cut.await_injected();
    let socket = listen(&shop.db, 7777);
    let count = 20;
    let pods: Vec<_> = (0..count)
        .map(|number| {
            let mut pod =
                shop.scene.pod(&format!("crowd-{number}"), "crowd", if number % 2 == 0 { "node1" } else { "node2" });
            pod["spec"]["containers"] = json!([container("main", &["knock", &shop.db.ip, "7777"])]);
            pod
        })
        .collect();
    let started = shop.scene.start(&pods);
    let early = counted(&socket, Duration::from_secs(1));
    let mut through: Vec<u64> = started.iter().map(|pod| early.get(&pod.ip).copied().unwrap_or(0)).collect();
    through.sort_unstable();
    need::measured(&format!(
        "datagrams (one per ms) of {count} new pods before the fault: p50 {} max {}",
        through[count / 2],
        through[count - 1]
    ));
    assert!(
        first.pings(&shop.db.ip, 3) == 0 && started.iter().all(|pod| !pod.reaches(&shop.db.ip)),
        "some pod is not followed"
    );
    assert!(through[count / 2] < 1000, "the fault comes a second late: {through:?}");
    let status = cut.status();
    assert_eq!(status.0["summary"]["injected"].as_u64(), Some(21), "{status:?}");
    cut.delete();
    for pod in &pods {
        let name = pod["metadata"]["name"].as_str().unwrap_or_default();
        shop.scene
            .cluster
            .kubectl(&format!("delete pod {name} -n {} --wait=false --grace-period=0", shop.scene.namespace));
    }
}

/// Where the network is there before the pod, its cgroup is enough, and that is made before its first program: nothing gets through.
#[test]
fn new_pods_in_the_nodes_network_are_followed_before_their_first_packet() {
    let Some(shop) = Shop::open() else { return };
    let of_host = |name: &str, node: &str, words: &[&str]| {
        let mut pod = shop.scene.pod(name, "hosts", node);
        pod["spec"]["hostNetwork"] = json!(true);
        pod["spec"]["containers"] = json!([container("main", words)]);
        pod
    };
    shop.scene.start(&["node1", "node2"].map(|node| of_host(&format!("hosts-{node}"), node, &["pause"])));
    let mut network = Shop::cut();
    network["direction"] = json!("egress");
    let cut = Asked::apply(&shop.scene, "hosts", 120, "hosts", &network);
    cut.await_injected();
    let socket = listen(&shop.db, 7779);
    let pods: Vec<_> = (0..8)
        .map(|number| {
            let node = if number % 2 == 0 { "node1" } else { "node2" };
            of_host(&format!("hosts-{number}"), node, &["knock", &shop.db.ip, "7779"])
        })
        .collect();
    shop.scene.start(&pods);
    let under = counted(&socket, Duration::from_secs(1));
    assert_eq!(under, BTreeMap::new(), "datagrams, by sender");
    cut.delete();
    let mut senders = BTreeSet::new();
    let both = || {
        senders.extend(socket.recv_from(&mut [0; 64]).map(|(_, from)| from.ip()));
        senders.len() == 2
    };
    assert!(wait_until(SOON, both), "the pods of both nodes do send");
    shop.scene
        .cluster
        .kubectl(&format!("delete pod -n {} -l app=hosts --wait=false --grace-period=0", shop.scene.namespace));
}

/// A pod's first containers send before it runs, and a node may have had no pod that is meant: nothing gets through.
#[test]
fn the_first_pod_of_a_node_is_followed_from_its_first_container_on() {
    let Some(shop) = Shop::open() else { return };
    let (scene, socket) = (&shop.scene, listen(&shop.db, 7780));
    let pod = |name: &str, app: &str, node: &str, count: &str| {
        let mut pod = scene.pod(name, app, node);
        pod["spec"]["initContainers"] = json!([container("knock", &["knock", &shop.db.ip, "7780", "5", count])]);
        pod
    };
    let senders = || counted(&socket, Duration::from_millis(500)).values().copied().collect::<Vec<u64>>();
    // Nobody agrees yet, on either node.
    let cut = Asked::apply(scene, "firsts", 120, "firsts", &Shop::cut());
    let acts = || {
        let orders = cut.injections();
        orders.len() >= 2 && orders.iter().all(|one| one["status"]["phase"] == "Injected")
    };
    scene.cluster.wait("both nodes wait for the first", acts);
    scene.start(&[pod("first-1", "firsts", "node1", "300"), pod("first-2", "firsts", "node2", "300")]);
    assert_eq!(senders(), Vec::<u64>::new(), "datagrams got through");
    // Agents tell their counts now and then.
    scene.cluster.wait("each was counted", || cut.status().count("injected") == 600);
    assert_eq!(cut.status().0["summary"]["injected"], 2);
    cut.delete();
    scene.start(&[pod("second", "firsts", "node1", "300")]);
    assert!(senders()[0] > 100, "without a fault they are heard");

    // One that is in its first container when the experiment begins.
    let busy = pod("busy", "busy", "node2", "1000000");
    scene.cluster.apply(&busy.to_string());
    let heard = || socket.recv_from(&mut [0; 64]).is_ok();
    assert!(wait_until(SOON, heard), "it does send");
    let cut = Asked::apply(scene, "busy", 120, "busy", &Shop::cut());
    cut.await_injected();
    socket.set_nonblocking(true).expect("a mode");
    while heard() {}
    socket.set_nonblocking(false).expect("a mode");
    assert!(!heard(), "datagrams got through");
    cut.delete();
    assert!(wait_until(SOON, heard), "it is not let go");
    scene.cluster.kubectl(&format!("delete pod busy -n {} --wait=false --grace-period=0", scene.namespace));
}

//! On a Kubernetes cluster: what of a pod's traffic with its own node a fault spares. Seen from pods of both nodes and from the node itself.

use std::{
    fs::File,
    net::UdpSocket,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use chaos_tests::{
    cluster::{Asked, Install, Pod, Scene, container},
    need,
};
use nix::sched::{CloneFlags, setns};
use serde_json::{Value, json};

const NODE: &str = "node1";
/// Of the pod's main container: probed, and served by a NodePort and a hostPort, too.
const PROBED: u16 = 80;
/// Of another container: not probed.
const OTHER: u16 = 81;
const HOST_PORT: u16 = 18080;
/// Of a pod in the node's network.
const IN_NODE: u16 = 18081;
/// A node's cache of the DNS (k8s.io/dns, node-cache) stands there.
const DNS_CACHE: &str = "169.254.20.10";

/// Devices of the node that hold addresses of Services; they go with their owner.
struct Devices;

impl Devices {
    fn new(service: &str) -> Self {
        for (name, address) in [("kube-ipvs0", service), ("nodelocaldns", DNS_CACHE)] {
            ip(&format!("link add {name} type bridge"));
            ip(&format!("addr add {address}/32 dev {name}"));
            ip(&format!("link set {name} up"));
        }
        Self
    }
}

impl Drop for Devices {
    fn drop(&mut self) {
        for name in ["kube-ipvs0", "nodelocaldns"] {
            let _gone = Command::new("ip").args(["-n", &format!("cluster-{NODE}"), "link", "del", name]).status();
        }
    }
}

fn ip(words: &str) {
    let space = format!("cluster-{NODE}");
    let status = Command::new("ip").args(["-n", &space]).args(words.split_whitespace()).status().expect("ip(8)");
    assert!(status.success(), "ip {words}");
}

/// Sends back what comes to the address of the DNS cache, until it is dropped.
struct Cache(Arc<AtomicBool>);

impl Cache {
    fn new() -> Self {
        let bound = || {
            let space = File::open(format!("/run/netns/cluster-{NODE}")).expect("the node's network");
            setns(space, CloneFlags::CLONE_NEWNET).expect("setns");
            UdpSocket::bind((DNS_CACHE, 53)).expect("bind")
        };
        let socket = thread::scope(|scope| scope.spawn(bound).join()).expect("a thread");
        socket.set_read_timeout(Some(Duration::from_millis(50))).expect("a timeout");
        let over = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&over);
        thread::spawn(move || {
            let mut buffer = [0; 64];
            while !seen.load(Ordering::Relaxed) {
                if let Ok((length, from)) = socket.recv_from(&mut buffer) {
                    let _unreachable = socket.send_to(&buffer[..length], from);
                }
            }
        });
        Self(over)
    }
}

impl Drop for Cache {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Whether one of three questions to the cache is answered.
fn resolves(pod: &Pod) -> bool {
    pod.in_network(|| {
        let socket = UdpSocket::bind(("0.0.0.0", 0)).expect("bind");
        socket.set_read_timeout(Some(Duration::from_millis(300))).expect("a timeout");
        (0..3).any(|_| {
            socket.send_to(b"who", (DNS_CACHE, 53)).is_ok() && socket.recv_from(&mut [0; 8]).is_ok_and(|got| got.0 == 3)
        })
    })
}

/// What the node itself is answered.
fn node_asks(address: &str, port: u16) -> bool {
    let script = format!("exec 3<>/dev/tcp/{address}/{port} && cat <&3");
    let words = ["netns", "exec", &format!("cluster-{NODE}"), "timeout", "1", "bash", "-c", &script];
    Command::new("ip").args(words).output().is_ok_and(|output| output.stdout.starts_with(b"web"))
}

struct Street {
    scene: Scene,
    web: Pod,
    /// On the same node, and on the other.
    clients: [Pod; 2],
    /// The node's address.
    node: String,
    /// Of a Service for a pod of the other node.
    service: String,
    node_port: u16,
}

impl Street {
    fn new() -> Option<Self> {
        let cluster = need::cluster()?;
        Install::here(&cluster);
        let scene = Scene::new(&cluster);
        let mut web = scene.pod("web", "web", NODE);
        let probe =
            |more: u32| json!({ "tcpSocket": { "port": "http" }, "periodSeconds": 1, "failureThreshold": more });
        web["spec"]["containers"][0]["ports"] =
            json!([{ "name": "http", "containerPort": PROBED, "hostPort": HOST_PORT }]);
        web["spec"]["containers"][0]["readinessProbe"] = probe(1);
        web["spec"]["containers"][0]["livenessProbe"] = probe(10);
        let more = container("more", &["serve", &OTHER.to_string()]);
        web["spec"]["containers"].as_array_mut().expect("containers").push(more);
        let mut host = scene.pod("host", "host", NODE);
        host["spec"]["hostNetwork"] = true.into();
        host["spec"]["containers"] = json!([container("main", &["serve", &IN_NODE.to_string()])]);
        let pods = [web, host, scene.pod("near", "client", NODE), scene.pod("far", "client", "node2")];
        let [web, _host, near, far] = <[Pod; 4]>::try_from(scene.start(&pods)).expect("four pods");
        let namespace = &scene.namespace;
        let service = |name: &str, app: &str, kind: &str| {
            json!({
                "apiVersion": "v1", "kind": "Service", "metadata": { "name": name, "namespace": namespace },
                "spec": { "type": kind, "selector": { "app": app }, "ports": [{ "port": 80 }] },
            })
        };
        let both = [service("web", "web", "NodePort"), service("far", "client", "ClusterIP")];
        cluster.apply(&json!({ "apiVersion": "v1", "kind": "List", "items": both }).to_string());
        let of = |name: &str| cluster.get("service", namespace, name).expect("a Service")["spec"].clone();
        let port = of("web")["ports"][0]["nodePort"].as_u64().and_then(|port| u16::try_from(port).ok());
        let nodes = cluster.list("nodes");
        let node = nodes.iter().find(|one| one["metadata"]["name"] == NODE).expect("the node");
        let addresses = node["status"]["addresses"].as_array().expect("addresses");
        let internal = addresses.iter().find(|one| one["type"] == "InternalIP").expect("its own");
        Some(Self {
            web,
            clients: [near, far],
            node: internal["address"].as_str().expect("a text").to_owned(),
            service: of("far")["clusterIP"].as_str().expect("a text").to_owned(),
            node_port: port.expect("a port"),
            scene,
        })
    }

    /// Of the ways between the pod and its node those that are open, by name.
    fn open(&self) -> Vec<&'static str> {
        let [near, far] = &self.clients;
        let ways = [
            ("a Service's address on the node", self.web.asks(&self.service).is_some()),
            ("the node's DNS cache", resolves(&self.web)),
            ("a pod in the node's network", self.web.asks_at(&self.node, IN_NODE).is_some()),
            ("its NodePort by its own node, from outside", far.asks_at(&self.node, self.node_port).is_some()),
            ("its hostPort from its own node", near.asks_at(&self.node, HOST_PORT).is_some()),
            ("the node, at a port that is not probed", node_asks(&self.web.ip, OTHER)),
            ("the node, at a port that is probed", node_asks(&self.web.ip, PROBED)),
        ];
        ways.into_iter().filter_map(|(name, is_open)| is_open.then_some(name)).collect()
    }

    /// Its containers are ready, and how often they were started again.
    fn health(&self) -> (bool, u64) {
        let pod = self.scene.cluster.get("pod", &self.scene.namespace, "web").expect("the pod");
        let containers = pod["status"]["containerStatuses"].as_array().expect("containers").clone();
        let restarts = containers.iter().filter_map(|one| one["restartCount"].as_u64()).sum();
        (containers.iter().all(|one| one["ready"] == true), restarts)
    }

    fn fault(&self, name: &str, matches: &Value) -> Asked {
        let network = json!({ "match": matches, "direction": "both", "partition": true });
        let asked = Asked::apply(&self.scene, name, 120, "web", &network);
        asked.await_injected();
        asked
    }
}

#[test]
fn a_pod_that_is_cut_off_from_everything_answers_its_probes_and_nobody_else() {
    let Some(street) = Street::new() else { return };
    let _devices = Devices::new(&street.service);
    let _cache = Cache::new();
    let all_is_well = || street.open().len() == 7;
    street.scene.cluster.wait("all ways are open", all_is_well);
    let cut = street.fault("all", &json!({ "all": true }));
    assert_eq!(street.open(), ["the node, at a port that is probed"]);
    assert_eq!(street.health(), (true, 0), "its probes");
    cut.stop("finish");
    let over = cut.await_over();
    assert_eq!(over.verdict(), "Pass", "{}", over.reason());
    let orders = cut.injections();
    let own = orders.iter().find(|one| one["spec"]["nodeName"] == NODE).expect("the node's own");
    let report = &own["status"]["report"];
    assert!(report["faults"][0]["rejectedBy"]["node"].as_u64().is_some_and(|spared| spared > 0), "{report:#}");
    let warned = |text: &str| report["warnings"].to_string().contains(text);
    assert!(warned("spared as traffic with the node") && warned("match.node: true hits them"), "{report:#}");
    street.scene.cluster.wait("all ways are open again", all_is_well);

    // Named, and of the node's own address.
    let named = json!({ "peers": [{ "pods": { "names": ["host"] } }], "protocol": "tcp", "ports": [IN_NODE] });
    let cut = street.fault("named", &named);
    let open = street.open();
    assert!(open.len() == 6 && !open.contains(&"a pod in the node's network"), "{open:?}");
    cut.delete();

    // Asked for, its probes are cut as well.
    let cut = street.fault("node", &json!({ "all": true, "node": true }));
    assert!(!node_asks(&street.web.ip, PROBED), "match.node");
    street.scene.cluster.wait("the pod is not ready", || !street.health().0);
    cut.delete();
    street.scene.cluster.wait("the pod is ready again", || street.health() == (true, 0));
}

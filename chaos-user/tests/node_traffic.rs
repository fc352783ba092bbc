//! What a node begins towards its pod, and what it only forwards under its own address, on bridged and on routed pods.
#![allow(missing_docs, reason = "tests")]

mod common;

use chaos_abi::{ACTION_PARTITION, AddrKey, Counters, PROTO_ANY, REJECT_NODE, RULE_SPARE_NODE, Rule, SET_NODE, SET_V6};
use chaos_sys::{bpf, filter, link, netlink::Rtnl, netns::Netns, netns_id, qdisc};
use common::{EGRESS, INGRESS, Stage, always, privileged};
use std::{
    io::{Read as _, Write as _},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::fd::{AsFd, OwnedFd},
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::Duration,
};

static NEXT: AtomicU32 = AtomicU32::new(0);
/// Probed by the node.
const PROBED: u16 = 8080;
/// Served, not probed.
const OTHER: u16 = 8081;
/// Of the node, which forwards it to [`PROBED`].
const FORWARDED: u16 = 30080;
/// Long for a veth, short for a test.
const PATIENCE: Duration = Duration::from_millis(300);

fn run(program: &str, words: &str) {
    let status = Command::new(program).args(words.split_whitespace()).status().expect(program);
    assert!(status.success(), "{program} {words}");
}

/// A node, a pod on it, a client beyond it.
struct Scene {
    names: [String; 3],
    node: Netns,
    pod: Netns,
    client: Netns,
    stage: Stage,
    links: Vec<OwnedFd>,
    /// Where the pod is, as the node sees it.
    at: IpAddr,
    /// Filters stand there.
    attached: bool,
    /// The node forwards what comes to it at [`FORWARDED`].
    forwards: bool,
}

impl Scene {
    fn new(bridged: bool, v6: bool) -> Self {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let names = ["node", "pod", "client"].map(|name| format!("cn{}x{number}{name}", std::process::id()));
        names.iter().for_each(|name| run("ip", &format!("netns add {name}")));
        let [node, pod, client] = names.each_ref().map(|name| Netns::by_name(name).unwrap());
        let (at, stage) = (address(v6, "10.77.0.2"), Stage::new());
        let mut scene =
            Self { names, node, pod, client, stage, links: Vec::new(), at, attached: false, forwards: false };
        scene.forwards = scene.wire(bridged, v6);
        scene
    }

    fn ip(&self, place: usize, words: &str) {
        run("ip", &format!("-n {} {words}", self.names[place]));
    }

    fn wire(&self, bridged: bool, v6: bool) -> bool {
        let [own, pod, far, beyond] =
            ["10.77.0.1", "10.77.0.2", "10.78.0.1", "10.78.0.2"].map(|text| address(v6, text));
        let host = if v6 { 128 } else { 32 };
        let (family, net) = if v6 { ("-6", 64) } else { ("-4", 24) };
        let nodad = if v6 { "nodad" } else { "" };
        for name in self.names.iter().filter(|_| v6) {
            run("ip", &format!("netns exec {name} sysctl -qw net.ipv6.conf.default.accept_dad=0"));
        }
        self.ip(0, &format!("link add pod0 type veth peer name eth0 netns {}", self.names[1]));
        self.ip(0, &format!("link add far0 type veth peer name eth0 netns {}", self.names[2]));
        for place in 0..3 {
            self.ip(place, "link set lo up");
        }
        self.ip(0, "link set pod0 up");
        self.ip(0, "link set far0 up");
        self.ip(0, &format!("addr add {far}/{net} dev far0 {nodad}"));
        self.ip(1, "link set eth0 up");
        self.ip(2, "link set eth0 up");
        self.ip(2, &format!("addr add {beyond}/{net} dev eth0 {nodad}"));
        if bridged {
            self.ip(0, "link add br0 type bridge");
            self.ip(0, "link set pod0 master br0");
            self.ip(0, "link set br0 up");
            self.ip(0, &format!("addr add {own}/{net} dev br0 {nodad}"));
            self.ip(1, &format!("addr add {pod}/{net} dev eth0 {nodad}"));
        } else {
            // The node's address is on another device, and the pod has a network of one address.
            self.ip(0, &format!("addr add {own}/{host} dev lo {nodad}"));
            self.ip(0, &format!("{family} route add {pod}/{host} dev pod0 src {own}"));
            self.ip(1, &format!("addr add {pod}/{host} dev eth0 {nodad}"));
        }
        let gateway = if v6 && !bridged {
            self.ip(0, "addr add fe80::1/64 dev pod0 nodad");
            "fe80::1".parse().unwrap()
        } else {
            own
        };
        self.ip(1, &format!("{family} route add default via {gateway} dev eth0 onlink"));
        self.forward(if v6 { "ip6" } else { "ip" }, pod, own)
    }

    /// A NodePort, where this can be: whoever asks the node at [`FORWARDED`] is answered by the pod, and the node stands for the client.
    fn forward(&self, family: &str, pod: IpAddr, own: IpAddr) -> bool {
        let sysctl = if family == "ip6" { "net.ipv6.conf.all.forwarding=1" } else { "net.ipv4.ip_forward=1" };
        run("ip", &format!("netns exec {} sysctl -qw {sysctl}", self.names[0]));
        let to = SocketAddr::new(pod, PROBED);
        let rules = [
            format!("add table {family} t"),
            format!("add chain {family} t pre {{ type nat hook prerouting priority -100 ; }}"),
            format!("add chain {family} t post {{ type nat hook postrouting priority 100 ; }}"),
            format!("add rule {family} t pre tcp dport {FORWARDED} dnat to {to}"),
            format!("add rule {family} t post oifname != far0 snat to {own}"),
        ];
        let nft = |rule: &String| {
            let words = format!("netns exec {} nft {rule}", self.names[0]);
            Command::new("ip").args(words.split_whitespace()).status().is_ok_and(|status| status.success())
        };
        let forwards = rules.iter().all(nft);
        assert!(forwards || std::env::var_os("CI").is_none(), "needs nft(8) and nf_nat");
        if !forwards {
            println!("SKIPPED: clients that the node masquerades: needs nft(8) and nf_nat");
        }
        forwards
    }

    /// Puts a rule onto the pod's interface, both ways.
    fn cut(&mut self, rule: Rule) {
        self.links.clear();
        self.stage.rules(&[rule]);
        let own = match self.at {
            IpAddr::V4(_) => address(false, "10.77.0.1"),
            IpAddr::V6(_) => address(true, "10.77.0.1"),
        };
        self.stage.datapath.addrs.insert(key(own), 0, 0).unwrap();
        let stage = &self.stage;
        // A filter stays, and its rules are others now.
        if std::mem::replace(&mut self.attached, !stage.datapath.ids().tcx) {
            return;
        }
        let attach = || {
            let mut rtnl = Rtnl::open().unwrap();
            let eth0 = link::list(&mut rtnl).unwrap().into_iter().find(|one| one.name == "eth0").unwrap().index;
            let one = |id: u32| {
                let (stub, ingress) = (&stage.stub(id), id == INGRESS);
                if stage.datapath.ids().tcx {
                    return Some(bpf::attach_tcx(stub.as_fd(), eth0, ingress, "eth0").unwrap());
                }
                let mut rtnl = Rtnl::open().unwrap();
                qdisc::add_clsact(&mut rtnl, eth0).unwrap();
                let direction = if ingress { filter::Direction::Ingress } else { filter::Direction::Egress };
                let place = filter::Place { interface: eth0, direction, pref: 1, handle: 7 };
                filter::add(&mut rtnl, place, "test", stub.as_fd()).unwrap();
                None
            };
            [EGRESS, INGRESS].into_iter().filter_map(one).collect::<Vec<_>>()
        };
        self.links = self.pod.enter(attach).unwrap();
    }

    fn count(&self) -> Counters {
        self.stage.count(1)
    }

    /// Serves one word at these ports of the pod for as long as the test runs.
    fn serve(&self) {
        for port in [PROBED, OTHER] {
            let listener = self.pod.enter(|| TcpListener::bind((self.at, port)).unwrap()).unwrap();
            thread::spawn(move || {
                for stream in listener.incoming() {
                    // A client that has gone is another one's matter.
                    let _gone = stream.and_then(|mut stream| stream.write_all(b"well"));
                }
            });
        }
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        for name in &self.names {
            let _gone = Command::new("ip").args(["netns", "del", name]).status();
        }
    }
}

/// The same place in a network of the other family.
fn address(v6: bool, text: &str) -> IpAddr {
    let last: Vec<&str> = text.split('.').collect();
    if v6 { format!("fd00:{}::{}", last[1], last[3]).parse().unwrap() } else { text.parse().unwrap() }
}

fn key(ip: IpAddr) -> AddrKey {
    let mut addr = [0; 16];
    let set = match ip {
        IpAddr::V4(ip) => {
            addr[..4].copy_from_slice(&ip.octets());
            SET_NODE
        }
        IpAddr::V6(ip) => {
            addr = ip.octets();
            SET_NODE | SET_V6
        }
    };
    AddrKey { set: set.to_be(), addr }
}

/// Is somebody there who answers?
fn asks(from: &Netns, to: SocketAddr) -> bool {
    from.enter(|| {
        let Ok(mut stream) = TcpStream::connect_timeout(&to, PATIENCE) else { return false };
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut word = String::new();
        stream.read_to_string(&mut word).is_ok() && word == "well"
    })
    .unwrap()
}

/// Both ways, all that is meant is dropped; what the node begins to its probes is spared.
fn sparing(node: u32) -> Rule {
    let mut rule = Rule { protocol: PROTO_ANY, node, ..always(ACTION_PARTITION, [0; 8]) };
    rule.flags |= RULE_SPARE_NODE;
    (rule.probes[0], rule.probes[15]) = (PROBED, 1);
    rule
}

#[test]
fn probes_are_spared_and_forwarded_clients_are_hit() {
    if !privileged() {
        return;
    }
    for (bridged, v6) in [(true, false), (false, false), (true, true), (false, true)] {
        let what = format!("bridged: {bridged}, v6: {v6}");
        let mut scene = Scene::new(bridged, v6);
        scene.serve();
        let (probe, other) = (SocketAddr::new(scene.at, PROBED), SocketAddr::new(scene.at, OTHER));
        let by_node = SocketAddr::new(address(v6, "10.78.0.1"), FORWARDED);
        let seen = |scene: &Scene| (asks(&scene.node, probe), asks(&scene.node, other), asks(&scene.client, by_node));
        assert_eq!(seen(&scene), (true, true, scene.forwards), "{what}: without a fault");
        let id = netns_id::id(&scene.pod, &scene.node).unwrap().expect("a veth's other end has an id");
        scene.cut(sparing(id + 1));
        assert_eq!(seen(&scene), (true, false, false), "{what}: all is cut but the probe");
        let counters = scene.count();
        assert!(
            counters.rejected[REJECT_NODE] >= 8 && counters.lost > u64::from(scene.forwards),
            "{what}: {counters:?}"
        );
        // What is not TCP is no probe, whoever sends it.
        let before = scene.count().lost;
        let send = || UdpSocket::bind((address(v6, "10.77.0.1"), 0)).unwrap().send_to(b"x", probe).unwrap();
        scene.node.enter(send).unwrap();
        assert_eq!(scene.count().lost, before + 1, "{what}");
        // Without an id for the node's network its address is all that can be gone by.
        scene.cut(sparing(0));
        assert_eq!(seen(&scene), (true, false, scene.forwards), "{what}: without a way to ask");
        // One way alone: the answers of a forwarded connection are no answers to a probe either.
        scene.cut(sparing(id + 1));
        scene.links.pop();
        if scene.stage.datapath.ids().tcx {
            assert_eq!(seen(&scene), (true, false, false), "{what}: on the way out");
        }
    }
}

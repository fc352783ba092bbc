//! Peers by host name: who is meant is learned from the answers that the target receives, before it can use them.

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::Duration;

use chaos_tests::lab::Lab;
use chaos_tests::net::Family;
use chaos_tests::net::nameserver::{NETWORKS, Nameserver, forged, question, resolve};
use chaos_tests::product::{Experiment, Running};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};

#[path = "host_names/asked.rs"]
mod asked;

const ZONES: &[&str] = &["db.example.com", "wild.example.com", "other.example.com", "fixed.example.com"];
const PORT: u16 = 7000;

/// Host `b` has every address that its nameserver gives out, and notes what arrives.
struct World {
    lab: Lab,
    sinks: Vec<UdpSocket>,
    process: Process,
    _nameserver: Nameserver,
}

/// A process in the namespace of `a`, with files of its own by which it finds names.
struct Process {
    child: Child,
    folder: PathBuf,
}

impl Process {
    fn start(lab: &Lab) -> Self {
        let folder = std::env::temp_dir().join(lab.hosts.a.ns.name());
        fs::create_dir_all(&folder).expect("a folder");
        let files = ["resolv.conf", "hosts"].map(|name| folder.join(name));
        files.iter().for_each(|file| fs::write(file, "").expect("a file"));
        let netns = fs::File::open(lab.hosts.a.ns.path()).expect("the namespace");
        let mut command = Command::new("sleep");
        command.arg("1000");
        let prepare = move || {
            setns(&netns, CloneFlags::CLONE_NEWNET)?;
            unshare(CloneFlags::CLONE_NEWNS)?;
            let none = None::<&str>;
            mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
            for (file, place) in files.iter().zip(["/etc/resolv.conf", "/etc/hosts"]) {
                mount(Some(file), place, none, MsFlags::MS_BIND, none)?;
            }
            Ok(())
        };
        // SAFETY: system calls and short allocations between fork and exec.
        let child = unsafe { command.pre_exec(prepare) }.spawn().expect("sleep(1)");
        Self { child, folder }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

impl World {
    fn open() -> Option<Self> {
        let lab = Lab::open()?;
        let servers = Family::BOTH.map(|family| lab.hosts.b.at(family, 53));
        let nameserver = Nameserver::start(&lab.hosts.b.ns, &servers, ZONES);
        for (network, via) in NETWORKS.iter().zip([IpAddr::from(lab.hosts.b.v4), lab.hosts.b.v6.into()]) {
            lab.hosts.a.ns.ip(&format!("route add {network} via {via}"));
            lab.hosts.b.ns.ip(&format!("route add local {network} dev lo"));
        }
        let sink = |family: Family| {
            let socket = lab.hosts.b.ns.run(|| UdpSocket::bind(family.any(PORT))).expect("a sink");
            socket.set_read_timeout(Some(Duration::from_millis(300))).expect("a timeout");
            socket
        };
        let sinks = vec![sink(Family::V4), lab.hosts.b.ns.run(v6_only)];
        let process = Process::start(&lab);
        let world = Self { lab, sinks, process, _nameserver: nameserver };
        world.file("resolv.conf", "nameserver 10.77.0.2\n");
        world.file("hosts", "127.0.0.1 localhost\n");
        Some(world)
    }

    fn file(&self, name: &str, text: &str) {
        fs::write(self.process.folder.join(name), text).expect("a file");
    }

    /// Cuts `a` off from what a match means.
    #[track_caller]
    fn partition(&self, matches: &str) -> Running {
        let fault = format!("name: f, network: {{ direction: egress, match: {{ {matches} }}, partition: true }}");
        self.lab.chaos.run(&Experiment::on(&format!("pid: {}", self.process.child.id())).fault(&fault))
    }

    fn client(&self, family: Family) -> UdpSocket {
        self.lab.hosts.a.ns.run(|| UdpSocket::bind(family.any(0))).expect("a socket")
    }

    /// Resolves a name in `a` and sends to the new address at once, some times over each family.
    fn visit(&self, name: &str, times: usize) {
        for family in Family::BOTH {
            let socket = self.client(family);
            let server = self.lab.hosts.b.at(family, 53);
            for _ in 0..times {
                let ip = resolve(&socket, server, name, family);
                socket.send_to(name.as_bytes(), (ip, PORT)).expect("a datagram");
            }
        }
    }

    /// What has arrived at `b`, by payload.
    fn arrived(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        let mut buffer = [0; 512];
        for sink in &self.sinks {
            while let Ok(size) = sink.recv(&mut buffer) {
                *counts.entry(String::from_utf8_lossy(&buffer[..size]).into_owned()).or_default() += 1;
            }
        }
        counts
    }
}

fn v6_only() -> UdpSocket {
    use nix::sys::socket::{
        AddressFamily, SockFlag, SockType, SockaddrIn6, bind, setsockopt, socket, sockopt::Ipv6V6Only,
    };
    use std::os::fd::AsRawFd;
    let fd = socket(AddressFamily::Inet6, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None).expect("a socket");
    setsockopt(&fd, Ipv6V6Only, &true).expect("IPv6 alone");
    let any = SockaddrIn6::from(std::net::SocketAddrV6::new(std::net::Ipv6Addr::UNSPECIFIED, PORT, 0, 0));
    bind(fd.as_raw_fd(), &any).expect("a sink");
    let socket = UdpSocket::from(fd);
    socket.set_read_timeout(Some(Duration::from_millis(300))).expect("a timeout");
    socket
}

fn counts(entries: &[(&str, usize)]) -> BTreeMap<String, usize> {
    entries.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
}

const DB: &str = "db.example.com";
const BELOW: &str = "a.b.wild.example.com";
const WILD: &str = "wild.example.com";
const OTHER: &str = "other.example.com";

#[test]
fn the_first_packet_to_each_new_address_is_met() {
    let Some(world) = World::open() else { return };
    let all = [DB, BELOW, WILD, OTHER];
    all.iter().for_each(|name| world.visit(name, 5));
    assert_eq!(world.arrived(), counts(&all.map(|name| (name, 10))), "before");
    let running = world.partition("peers: [ { host: DB.Example.com }, { host: \"*.wild.example.com\" } ]");
    for _ in 0..10 {
        all.iter().for_each(|name| world.visit(name, 10));
    }
    assert_eq!(world.arrived(), counts(&[(WILD, 200), (OTHER, 200)]));
    let report = running.finish();
    let fault = report.only_fault();
    assert_eq!(fault.injected(), 400, "{}", report.json);
    // Datagrams and questions; the kernel's own reports of multicast groups (MLD) are looked at too.
    assert!((1_200..1_220).contains(&fault.count("rejectedBy.peer")), "{}", report.json);
    let hosts = fault.json["hosts"].as_array().expect("hosts");
    let listed: Vec<_> = hosts.iter().map(|host| (&host["host"], host["addresses"].as_array().map(Vec::len))).collect();
    // Two more than were used: our own look-ups of the exact name.
    assert_eq!(listed, [(&DB.into(), Some(202)), (&"*.wild.example.com".into(), Some(200))], "{}", report.json);
    all.iter().for_each(|name| world.visit(name, 5));
    assert_eq!(world.arrived(), counts(&all.map(|name| (name, 10))), "after");
}

#[test]
fn names_spare_too() {
    let Some(world) = World::open() else { return };
    let running = world.partition(&format!("ports: [{PORT}], except: [ {{ peers: [ {{ host: {DB} }} ] }} ]"));
    world.visit(DB, 20);
    world.visit(OTHER, 20);
    assert_eq!(world.arrived(), counts(&[(DB, 40)]));
    running.finish();
}

#[test]
fn what_the_targets_files_and_nameservers_know_is_met_without_an_answer() {
    let Some(world) = World::open() else { return };
    world.file("resolv.conf", "nameserver 10.77.0.4\nnameserver 10.77.0.2\n");
    world.file("hosts", "10.83.9.9 filed.example.com filed # comment\nfd80:3::99 filed.example.com\n");
    let names = ["fixed.example.com", "filed.example.com", "nowhere.example.com"];
    let peers: Vec<String> = names.iter().map(|name| format!("{{ host: {name} }}")).collect();
    let running = world.partition(&format!("peers: [ {} ]", peers.join(", ")));
    // The nameserver's first two answers were to us.
    let targets = ["10.83.0.0", "10.83.0.1", "10.83.9.9", "fd80:3::99", "10.83.0.2"];
    let sockets = Family::BOTH.map(|family| world.client(family));
    for ip in targets {
        let to = SocketAddr::new(ip.parse().expect("an address"), PORT);
        let socket = &sockets[usize::from(to.is_ipv6())];
        for _ in 0..5 {
            socket.send_to(ip.as_bytes(), to).expect("a datagram");
        }
    }
    let arrived = world.arrived();
    let report = running.finish();
    let addresses = &report.only_fault().json["hosts"];
    assert_eq!(addresses[1]["addresses"], serde_json::json!(["10.83.9.9", "fd80:3::99"]), "{}", report.json);
    let fixed: Vec<&str> =
        addresses[0]["addresses"].as_array().expect("a list").iter().filter_map(|a| a.as_str()).collect();
    assert_eq!(fixed.len(), 2, "{}", report.json);
    for ip in targets {
        let known = fixed.contains(&ip) || ip == "10.83.9.9" || ip == "fd80:3::99";
        assert_eq!(arrived.contains_key(ip), !known, "{ip}: {arrived:?} {}", report.json);
    }
    let warnings = report.json["warnings"].to_string();
    assert!(warnings.contains("nowhere.example.com: no address known to 10.77.0.4, 10.77.0.2"), "{warnings}");
    assert!(warnings.contains("host nowhere.example.com stood for no address"), "{warnings}");
}

#[test]
fn silent_nameservers_are_a_warning() {
    let Some(world) = World::open() else { return };
    world.file("resolv.conf", "nameserver 10.77.0.77\n");
    let running = world.partition(&format!("peers: [ {{ host: {DB} }} ]"));
    world.visit(DB, 3);
    assert_eq!(world.arrived(), counts(&[]));
    let report = running.finish();
    let warnings = report.json["warnings"].to_string();
    assert!(warnings.contains("db.example.com: no answer from 10.77.0.77"), "{warnings}");
    assert!(!warnings.contains("stood for no address"), "{warnings}");
}

#[test]
fn answers_of_a_resolver_on_loopback_are_read() {
    let Some(world) = World::open() else { return };
    let server: SocketAddr = ([127, 0, 0, 53], 53).into();
    let _stub = Nameserver::start(&world.lab.hosts.a.ns, &[server], ZONES);
    let running = world.partition("peers: [ { host: \"*.example.com\" } ]");
    let socket = world.client(Family::V4);
    for _ in 0..20 {
        let ip = resolve(&socket, server, DB, Family::V4);
        socket.send_to(b"x", (ip, PORT)).expect("a datagram");
    }
    assert_eq!(world.arrived(), counts(&[]));
    assert_eq!(running.finish().only_fault().injected(), 20);
}

/// The stub of an attach point that was made without names serves those of a later run, and the first run goes on without.
#[test]
fn names_join_a_run_without_names() {
    let Some(world) = World::open() else { return };
    let first = world
        .lab
        .inject("name: f, network: { direction: both, match: { ports: [9] }, partition: true }, optional: true");
    let second = world.partition(&format!("peers: [ {{ host: {DB} }} ]"));
    world.visit(DB, 5);
    assert_eq!(world.arrived(), counts(&[]));
    assert_eq!(second.finish().only_fault().injected(), 10);
    world.visit(DB, 5);
    assert_eq!(world.arrived(), counts(&[(DB, 10)]));
    first.finish();
}

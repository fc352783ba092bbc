//! Targets: network namespaces with one wire each to a hub.
#![allow(dead_code, reason = "shared with a benchmark, which uses another part")]

use std::{
    collections::{BTreeSet, HashMap},
    io::Write as _,
    net::UdpSocket,
    process::{Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use chaos_engine::{Asker, Request};
use chaos_host::{ByNetlink, Host, Needs, Selector, Wanted, resolve_local};
use chaos_spec::{self as spec, plan};
use chaos_sys::netns::Netns;
use chaos_tests::net::mounts;

static NEXT: AtomicU32 = AtomicU32::new(0);

/// The namespaces; they go with the mount namespace that names them.
pub struct Stage {
    names: Vec<String>,
    /// From the last target to the hub.
    wire: (UdpSocket, UdpSocket),
}

fn ip(args: &[&str], input: &str) {
    let mut child = Command::new("ip").args(args).stdin(Stdio::piped()).spawn().expect("ip(8)");
    child.stdin.take().expect("its input").write_all(input.as_bytes()).expect("written");
    assert!(child.wait().expect("its end").success(), "ip {args:?}: {input}");
}

impl Stage {
    /// So many targets; None without root.
    pub fn with_targets(count: usize) -> Option<Self> {
        let root = nix::unistd::geteuid().is_root();
        assert!(root || std::env::var_os("CI").is_none(), "needs root, and nothing is skipped in CI");
        if !root {
            eprintln!("skipped: needs root");
            return None;
        }
        mounts::own(&["/run/chaos", "/run/netns"]);
        let prefix = format!("ce{}x{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let hub = format!("{prefix}-hub");
        let names: Vec<String> = (0..count).map(|number| format!("{prefix}-{number}")).collect();
        let added: String = names.iter().chain([&hub]).map(|name| format!("netns add {name}\n")).collect();
        ip(&["-batch", "-"], &added);
        let mut links = String::new();
        for (number, name) in names.iter().enumerate() {
            links += &format!("link add v{number} type veth peer name eth0 netns {name}\n");
            links += &format!("addr add 10.99.{number}.1/24 dev v{number}\nlink set v{number} up\n");
        }
        ip(&["-n", &hub, "-batch", "-"], &links);
        for (number, name) in names.iter().enumerate() {
            ip(&["-n", name, "-batch", "-"], &format!("addr add 10.99.{number}.2/24 dev eth0\nlink set eth0 up\n"));
        }
        let last = count - 1;
        let bind = |name: &str, host: u8| {
            let netns = Netns::by_name(name).expect("a namespace");
            let socket = netns
                .enter(|| UdpSocket::bind(format!("10.99.{last}.{host}:7000")))
                .expect("entered")
                .expect("a socket");
            socket.set_read_timeout(Some(Duration::from_millis(20))).expect("a timeout");
            socket
        };
        let wire = (bind(&names[last], 2), bind(&hub, 1));
        let stage = Self { names, wire };
        assert!((0..100).any(|_| stage.passes()), "the wire works");
        Some(stage)
    }

    /// The targets' names.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Whether a datagram passes from the last target to the hub.
    pub fn passes(&self) -> bool {
        let (target, hub) = &self.wire;
        let mut buffer = [0; 16];
        let _ = target.send_to(b"x", hub.local_addr().expect("an address"));
        hub.recv(&mut buffer).is_ok()
    }

    /// The sockets at the two ends of the wire from the last target to the hub.
    pub fn wire(&self) -> (&UdpSocket, &UdpSocket) {
        (&self.wire.0, &self.wire.1)
    }

    /// An experiment on all targets.
    pub fn request(&self, faults: &str) -> Request {
        Self::request_for(self.names.iter().map(String::as_str), faults)
    }

    /// An experiment on namespaces of these names.
    pub fn request_for<'a>(names: impl Iterator<Item = &'a str>, faults: &str) -> Request {
        Self::request_on(names.map(|name| Wanted::Netns(name.to_owned())).collect(), faults)
    }

    /// An experiment on these.
    pub fn request_on(all: Vec<Wanted>, faults: &str) -> Request {
        let local = match &all[0] {
            Wanted::Cgroup(path) => format!("cgroup: {path}"),
            Wanted::Netns(name) => format!("netns: {name}"),
            other => panic!("{other} is no target of these tests"),
        };
        let text = format!(
            "apiVersion: chaos-ebpf.dev/v1alpha1\nkind: Experiment\nmetadata: {{ name: endurance }}\nspec:\n  duration: 60s\n  \
             selector: {{ local: [ {{ {local} }} ] }}\n  faults:{faults}\n"
        );
        let parsed = spec::parse("endurance", &text).unwrap_or_else(|problems| panic!("{problems:?}"));
        let plan = plan::plan(&parsed[0].experiment, 42).unwrap_or_else(|refusals| panic!("{refusals:?}"));
        let selectors: Vec<Selector> =
            all.into_iter().map(|wanted| Selector { field: wanted.to_string(), wanted }).collect();
        let host = Host::this().unwrap_or_else(|problem| panic!("{}", problem.text));
        let resolution =
            resolve_local(&host, &ByNetlink, Needs::Network, &selectors).unwrap_or_else(|errors| panic!("{errors:?}"));
        Request {
            plan,
            targets: resolution.targets,
            warnings: Vec::new(),
            asker: Asker::Command("a test".into()),
            node: BTreeSet::new(),
            remembered: HashMap::new(),
            probes: Vec::new(),
        }
    }
}

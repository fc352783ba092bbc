//! Two hosts, an experiment that uses as much of the product as the kernel allows, and what must be as before after it.

use std::collections::BTreeSet;
use std::net::UdpSocket;
use std::os::unix::process::CommandExt;
use std::process::{Child, Stdio};
use std::time::Duration;

use chaos_tests::clock::{now_ns, wait_until};
use chaos_tests::command::{run, try_run};
use chaos_tests::need;
use chaos_tests::net::{Family, Hosts, mounts};
use chaos_tests::product::binary::Output;
use chaos_tests::product::{Chaos, Experiment};

use super::{binary, host, orphans::orphans};

/// Ports: of what is cut off, of what is lost now and then, and of what the run beside it cuts off.
const PORTS: [u16; 3] = [7000, 8000, 9000];
const CUT: usize = 0;
const LOSSY: usize = 1;
const BESIDE: usize = 2;
/// The lease of two seconds and half a second to look.
pub const LEASE: Duration = Duration::from_millis(2500);

/// What befalls a run.
#[derive(Clone, Copy, Debug)]
pub enum Strike {
    /// Nothing.
    None,
    /// SIGKILL right after this operation.
    Crash(u64),
    /// This operation fails with EIO.
    Fail(u64),
}

/// Something to strike.
pub trait Stage {
    /// The operations of a whole run, in order: `12 attach tcx link to eth0 egress`.
    fn operations(&self) -> Vec<String>;
    /// Runs the experiment to its end while it is met; so that it ends with Pass, nothing else.
    fn run(&self, strike: Strike) -> Output;
    /// Why the effect is still there after the time that a lease takes; `None` where it is gone.
    fn effect_left(&self) -> Option<String>;
    /// The product with crash points.
    fn chaos(&self) -> &Chaos;
    /// What is there now and was not before, and the other way round.
    fn left_behind(&self) -> Vec<String>;
}

/// Two hosts.
pub struct Scene {
    hosts: Hosts,
    chaos: Chaos,
    before: BTreeSet<String>,
    orphans_before: BTreeSet<String>,
    delays: bool,
    sockets: [(UdpSocket, UdpSocket); 3],
}

impl Scene {
    /// Two hosts in a mount namespace of the calling thread with a `/run/chaos` of its own.
    pub fn open() -> Option<Self> {
        if !need::root() {
            return None;
        }
        let chaos = binary::find().unwrap_or_else(|why| panic!("{why}"));
        mounts::own(&["/run/chaos", "/run/netns"]);
        let hosts = Hosts::new();
        // Three devices in two directions: enough for the way that many attach points take.
        hosts.a.ns.ip("link add w0 type veth peer name w1");
        for name in ["w0", "w1"] {
            hosts.a.ns.ip(&format!("link set {name} up"));
        }
        let sockets = PORTS.map(|port| {
            let socket = |host: &chaos_tests::net::Host| {
                host.ns.run(|| UdpSocket::bind(host.at(Family::V4, port)).expect("a socket"))
            };
            let both = (socket(&hosts.a), socket(&hosts.b));
            for socket in [&both.0, &both.1] {
                socket.set_read_timeout(Some(Duration::from_millis(30))).expect("a timeout");
            }
            both
        });
        let mut scene =
            Self { hosts, chaos, before: BTreeSet::new(), orphans_before: orphans(), delays: need::has_fq(), sockets };
        // The first run makes what stays: the folder and its lock.
        scene.run(Strike::None);
        scene.before = scene.now();
        Some(scene)
    }

    fn experiment(&self) -> Experiment {
        let [cut, lossy, beside] = PORTS;
        let peers = "peers: [ { cidr: 10.77.0.2/32 }, { cidr: fd77::/64 } ]";
        let cut =
            format!("match: {{ {peers}, protocol: udp, ports: [{cut}, {}-{}] }}, partition: true", cut + 1, cut + 50);
        let except =
            format!("except: [ {{ peers: [ {{ cidr: 10.77.0.4/32 }} ] }}, {{ protocol: udp, ports: [{beside}] }} ]");
        let network = "peers: [ { cidr: 10.77.0.0/24 } ]";
        let experiment = self
            .on_a("crash-points")
            .duration("300ms")
            .fault(&format!("name: cut, network: {{ direction: both, {cut} }}"))
            .fault(&format!(
                "name: lossy, network: {{ direction: both, match: {{ {network}, {except} }}, loss: {{ percent: 80 }} }}"
            ));
        if !self.delays {
            return experiment;
        }
        let slow =
            format!("match: {{ {peers}, protocol: udp, ports: [{lossy}] }}, latency: {{ delay: 20ms, jitter: 5ms }}");
        experiment.fault(&format!("name: slow, optional: true, network: {{ direction: both, {slow} }}"))
    }

    fn on_a(&self, name: &str) -> Experiment {
        Experiment::on_netns(self.hosts.a.ns.name()).named(name)
    }

    fn run_with(&self, strike: Strike, log: Option<&str>) -> Output {
        binary::run(&self.chaos, &self.experiment(), strike, log, || {
            self.exchange(CUT);
            self.exchange(LOSSY);
        })
    }

    /// One datagram each way, on the ports of a pair; whether both came.
    fn exchange(&self, pair: usize) -> bool {
        let (a, b) = &self.sockets[pair];
        let there = pass(a, b);
        pass(b, a) && there
    }

    fn now(&self) -> BTreeSet<String> {
        let mut things = BTreeSet::new();
        for host in [&self.hosts.a, &self.hosts.b] {
            let name = host.ns.name();
            let links = run(&format!("ip -n {name} -o link show"));
            let links: Vec<&str> =
                links.lines().filter_map(|line| line.split(": ").nth(1)?.split('@').next()).collect();
            for link in links {
                for place in ["ingress", "egress"] {
                    let filters = try_run(&format!("tc -n {name} filter show dev {link} {place}")).unwrap_or_default();
                    things.extend(filters.lines().map(|line| format!("filter {name} {link} {place}: {line}")));
                }
                things.insert(format!("link {name} {link}"));
            }
            let qdiscs = run(&format!("tc -n {name} qdisc show"));
            things.extend(qdiscs.lines().map(|line| format!("qdisc {name}: {}", line.trim())));
        }
        things.extend(host::things());
        things
    }

    /// A run beside that cuts another port off, both ways.
    pub fn bystander(&self) -> Bystander<'_> {
        let cut = format!("direction: both, match: {{ protocol: udp, ports: [{}] }}, partition: true", PORTS[BESIDE]);
        let file = self.on_a("bystander").duration("2h").fault(&format!("name: cut, network: {{ {cut} }}")).write();
        let mut command = binary::command(self.chaos.path(), Strike::None);
        let child =
            command.arg("run").arg(file.path()).stdin(Stdio::null()).stdout(Stdio::null()).process_group(0).spawn();
        let bystander = Bystander { scene: self, child: child.expect("chaos run") };
        assert!(wait_until(Duration::from_secs(10), || bystander.harmed().is_none()), "the bystander acts");
        bystander
    }
}

impl Stage for Scene {
    fn operations(&self) -> Vec<String> {
        binary::operations(|log| self.run_with(Strike::None, Some(log)))
    }

    fn run(&self, strike: Strike) -> Output {
        self.run_with(strike, None)
    }

    fn effect_left(&self) -> Option<String> {
        let begin = now_ns();
        // Most packets would be lost: 20 of 20 each way do not pass by chance.
        let gone = wait_until(LEASE, || (0..20).all(|_| self.exchange(CUT) && self.exchange(LOSSY)));
        (!gone).then(|| format!("packets are still lost {} ms later", (now_ns() - begin) / 1_000_000))
    }

    fn chaos(&self) -> &Chaos {
        &self.chaos
    }

    fn left_behind(&self) -> Vec<String> {
        host::difference(&self.before, &self.orphans_before, || self.now())
    }
}

/// An experiment beside the one that is struck.
pub struct Bystander<'a> {
    scene: &'a Scene,
    child: Child,
}

impl Bystander<'_> {
    /// Why it does not act as it should.
    pub fn harmed(&self) -> Option<String> {
        let (a, b) = &self.scene.sockets[BESIDE];
        let through = pass(a, b) || pass(b, a);
        let ended = try_run(&format!("kill -0 {}", self.child.id())).is_err();
        (through || ended).then(|| "the run beside it lets packets through".to_owned())
    }

    /// Ends it.
    pub fn end(mut self) {
        self.scene.chaos.command(&["stop", "bystander"]).expect_code(0);
        assert_eq!(self.child.wait().expect("its end").code(), Some(5));
    }
}

impl Drop for Bystander<'_> {
    fn drop(&mut self) {
        // Only a failed test leaves it running.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends one datagram; whether it came.
fn pass(from: &UdpSocket, to: &UdpSocket) -> bool {
    let (mark, mut buffer) = (now_ns().to_ne_bytes(), [0; 16]);
    let _ = from.send_to(&mark, to.local_addr().expect("an address"));
    // An earlier one that was held back is not the one.
    while let Ok(length) = to.recv(&mut buffer) {
        if buffer[..length] == mark {
            return true;
        }
    }
    false
}

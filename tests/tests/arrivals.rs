//! What arrives for a target that shares its network namespace: the sockets of its cgroup are hit, all others are not.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use chaos_tests::lab::Lab;
use chaos_tests::need;
use chaos_tests::net::{Cgroup, Family, NetNs};
use chaos_tests::product::{Experiment, Leftovers};
use chaos_tests::stats::binomial::interval;
use chaos_tests::traffic::sink::{Sink, send};

const COUNT: u64 = 2_000;

fn sink(cgroup: &Cgroup, ns: &NetNs, port: u16) -> Sink {
    Sink::start(cgroup.command(Some(ns), &[env!("CARGO_BIN_EXE_chaos-sink"), &port.to_string()]))
}

/// Two hosts; on `a` a process in the target cgroup, one below it, and one in a cgroup beside it.
struct Stage {
    inside: Sink,
    below: Sink,
    beside: Sink,
    target: Cgroup,
    _others: [Cgroup; 2],
    _slice: Cgroup,
    lab: Lab,
}

impl Stage {
    fn open(lab: impl FnOnce() -> Option<Lab>) -> Option<Self> {
        let lab = lab()?;
        if !need::cgroup2() {
            return None;
        }
        let slice = Cgroup::new("slice");
        let (target, other) = (slice.child("target"), slice.child("beside"));
        let deeper = target.child("below");
        let ns = &lab.hosts.a.ns;
        let (inside, below, beside) = (sink(&target, ns, 7000), sink(&deeper, ns, 7001), sink(&other, ns, 7002));
        Some(Self { inside, below, beside, target, _others: [deeper, other], _slice: slice, lab })
    }

    fn experiment(&self) -> Experiment {
        Experiment::on(&format!("cgroup: {}", self.target.name()))
    }

    fn at(&self, family: Family, port: u16) -> SocketAddr {
        self.lab.hosts.a.at(family, port)
    }

    /// Sends from `b` to all three; how many arrived at each.
    fn round(&mut self, family: Family) -> [u64; 3] {
        for port in 7000..=7002 {
            send(&self.lab.hosts.b.ns, self.at(family, port), COUNT);
        }
        [self.inside.count(), self.below.count(), self.beside.count()]
    }
}

#[test]
fn loss_hits_the_cgroup_and_all_below_it_and_counts_exactly() {
    let Some(mut stage) = Stage::open(Lab::open) else { return };
    for family in Family::BOTH {
        let fault = "name: f, network: { direction: ingress, match: { protocol: udp }, loss: { percent: 30 } }";
        let running = stage.lab.chaos.run(&stage.experiment().fault(fault));
        let [inside, below, beside] = stage.round(family);
        let report = running.finish();
        assert_eq!(beside, COUNT, "{family}: a neighbour was hit");
        let fault = report.only_fault();
        fault.assert_adds_up();
        assert_eq!(fault.matched(), 2 * COUNT, "{family}: {}", fault.json);
        assert_eq!(fault.injected(), 2 * COUNT - inside - below, "{family}: {}", fault.json);
        assert_eq!(fault.action("lost"), fault.injected(), "{family}");
        assert!(interval(2 * COUNT, 0.3).contains(&fault.injected()), "{family}: {}", fault.json);
        assert_eq!(fault.mechanism(), "cgroup_skb");
        assert_eq!(stage.round(family), [COUNT; 3], "{family}: after the end");
    }
}

#[test]
fn one_fault_both_ways_counts_what_comes_and_what_goes() {
    let Some(mut stage) = Stage::open(Lab::open) else { return };
    let fault = "name: f, network: { direction: both, match: { protocol: udp, peers: [{ cidr: 10.77.0.2/32 }] }, partition: true }";
    let running = stage.lab.chaos.run(&stage.experiment().fault(fault));
    assert_eq!(stage.round(Family::V4), [0, 0, COUNT]);
    assert_eq!(stage.round(Family::V6), [COUNT; 3], "another peer");
    let report = running.finish();
    assert_eq!((report.only_fault().matched(), report.only_fault().injected()), (2 * COUNT, 2 * COUNT));
    assert_eq!(report.only_fault().count("rejectedBy.peer"), 2 * COUNT);
    assert!(report.only_fault().mechanism().ends_with("+cgroup_skb"), "{}", report.only_fault().mechanism());
}

#[test]
fn triggers_and_exceptions_work_there_too() {
    let Some(mut stage) = Stage::open(Lab::open) else { return };
    let fault = "name: f, when: { first: 10 }, network: { direction: ingress, match: { protocol: udp, except: [{ localPorts: \
                 [7001] }] }, partition: true }";
    let running = stage.lab.chaos.run(&stage.experiment().fault(fault));
    assert_eq!(stage.round(Family::V4), [COUNT - 10, COUNT, COUNT]);
    let report = running.finish();
    assert_eq!(report.only_fault().injected(), 10);
    assert_eq!(report.only_fault().count("rejectedBy.except"), COUNT);
}

#[test]
fn a_dry_run_counts_and_harms_nothing() {
    let Some(mut stage) = Stage::open(Lab::open) else { return };
    let fault = "name: f, network: { direction: ingress, match: { protocol: udp }, partition: true }";
    let running = stage.lab.chaos.run(&stage.experiment().setting("dryRun: true").fault(fault));
    assert_eq!(stage.round(Family::V4), [COUNT; 3]);
    let ended = running.finish_any();
    let fault = ended.report().only_fault();
    assert_eq!((fault.matched(), fault.injected(), fault.count("wouldInject")), (2 * COUNT, 0, 2 * COUNT));
}

#[test]
fn loopback_is_left_alone_unless_named() {
    let Some(mut stage) = Stage::open(Lab::open) else { return };
    let local = |port| SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
    let rounds = [
        ("{ protocol: udp }", [COUNT, 0]),
        ("{ protocol: udp, peers: [{ cidr: 127.0.0.1/32 }] }", [0, COUNT]),
        ("{ protocol: udp, interfaces: [lo] }", [0, COUNT]),
        ("{ protocol: udp, interfaces: [eth0] }", [COUNT, 0]),
        ("{ protocol: udp, except: [{ interfaces: [eth0] }], interfaces: [lo, eth0] }", [0, COUNT]),
    ];
    for (matches, expected) in rounds {
        let fault = format!("name: f, network: {{ direction: ingress, match: {matches}, partition: true }}");
        let running = stage.lab.chaos.run(&stage.experiment().fault(&fault));
        send(&stage.lab.hosts.a.ns, local(7000), COUNT);
        let by_lo = stage.inside.count();
        send(&stage.lab.hosts.b.ns, stage.at(Family::V4, 7000), COUNT);
        assert_eq!([by_lo, stage.inside.count()], expected, "{matches}");
        running.finish();
    }
}

#[test]
fn two_runs_on_one_cgroup_act_together_and_either_may_go_first() {
    let Some(mut stage) = Stage::open(Lab::alone) else { return };
    let fault = |port: u16| {
        format!("name: f, network: {{ direction: ingress, match: {{ localPorts: [{port}] }}, partition: true }}")
    };
    let before = Leftovers::now(&[&stage.lab.hosts.a.ns]);
    for killed in [false, true] {
        for first_goes in [true, false] {
            let first = stage.lab.chaos.run(&stage.experiment().fault(&fault(7000)));
            let second = stage.lab.chaos.run(&stage.experiment().fault(&fault(7001)));
            assert_eq!(stage.round(Family::V4), [0, 0, COUNT]);
            let (goes, stays) = if first_goes { (first, second) } else { (second, first) };
            if killed {
                goes.kill9();
                // Its rules are off when its lease is.
                std::thread::sleep(Duration::from_secs(3));
            } else {
                assert_eq!(goes.finish().only_fault().injected(), COUNT);
            }
            let left = if first_goes { [COUNT, 0, COUNT] } else { [0, COUNT, COUNT] };
            assert_eq!(stage.round(Family::V4), left, "killed: {killed}, the first went: {first_goes}");
            assert_eq!(stays.finish().only_fault().injected(), 2 * COUNT);
            stage.lab.chaos.command(&["cleanup"]).expect_code(0);
            assert_eq!(stage.round(Family::V4), [COUNT; 3]);
        }
    }
    // The journal's files stay; a program or link does not.
    let left = Leftovers::now(&[&stage.lab.hosts.a.ns]).difference(&before);
    let left: Vec<_> = left.iter().filter(|thing| !thing.contains("file ")).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn what_the_hook_cannot_do_is_refused_before_anything_is_attached() {
    let Some(stage) = Stage::open(Lab::alone) else { return };
    let before = Leftovers::now(&[&stage.lab.hosts.a.ns]);
    let actions = ["duplicate: { percent: 1 }", "corrupt: { percent: 1 }", "latency: { delay: 1ms }"];
    for action in actions {
        for direction in ["ingress", "both"] {
            let fault = format!("name: f, network: {{ direction: {direction}, match: {{ protocol: udp }}, {action} }}");
            let output = stage.lab.chaos.run_to_end(&stage.experiment().duration("1s").fault(&fault), &[]);
            // Without fq, latency is refused for that.
            if !action.starts_with("latency") {
                let text = output.text();
                assert!(text.contains("spec.faults[0].network.direction") && text.contains("at the peer"), "{text}");
            }
            output.expect_code(3);
        }
    }
    before.assert_restored(&[&stage.lab.hosts.a.ns]);
}

#[test]
fn behind_a_bridge_the_bridge_is_the_interface() {
    let Some(mut stage) = Stage::open(Lab::bridged) else { return };
    for (matches, inside) in [("{ protocol: udp }", 0), ("{ protocol: udp, interfaces: [br0] }", 0)] {
        let fault = format!("name: f, network: {{ direction: ingress, match: {matches}, partition: true }}");
        let running = stage.lab.chaos.run(&stage.experiment().fault(&fault));
        assert_eq!(stage.round(Family::V4), [inside, inside, COUNT], "{matches}");
        assert_eq!(running.finish().only_fault().injected(), 2 * COUNT, "{matches}");
    }
    let fault =
        "name: f, network: { direction: ingress, match: { protocol: udp, interfaces: [eth0] }, partition: true }";
    let output = stage.lab.chaos.run_to_end(&stage.experiment().duration("1s").fault(fault), &[]);
    assert!(output.text().contains("br0"), "the bridge is named: {}", output.text());
    output.expect_code(2);
}

#[test]
fn a_process_by_its_number() {
    let Some(mut stage) = Stage::open(Lab::open) else { return };
    let fault = "name: f, network: { direction: ingress, match: { protocol: udp }, partition: true }";
    // The cgroup of the process beside it holds it alone.
    let experiment = Experiment::on(&format!("pid: {}", stage.beside.pid())).fault(fault);
    let running = stage.lab.chaos.run(&experiment);
    assert_eq!(stage.round(Family::V4), [COUNT, COUNT, 0]);
    running.finish();
}

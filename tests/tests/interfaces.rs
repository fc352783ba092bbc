//! Which interfaces a fault acts on: loopback only where it is meant, others by name.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use chaos_tests::lab::Lab;
use chaos_tests::net::Family;
use chaos_tests::scene::PORT;
use chaos_tests::traffic::Flow;

const COUNT: u64 = 200;

/// How much is lost of what `a` sends to itself at an address, and to `b`.
fn lost(lab: &Lab, to_itself: IpAddr) -> [u64; 2] {
    let a = &lab.hosts.a.ns;
    let to_b = lab.hosts.b.at(Family::of(to_itself), PORT);
    [
        Flow::to(SocketAddr::new(to_itself, PORT)).count(COUNT).run(a, a).lost(),
        Flow::to(to_b).count(COUNT).run(a, &lab.hosts.b.ns).lost(),
    ]
}

#[test]
fn loopback_is_meant_by_a_local_peer_or_its_name() {
    let Some(lab) = Lab::open() else { return };
    let (v4, v6) = (IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST));
    let other = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 9));
    let own = lab.hosts.a.ip(Family::V4);
    let rounds = [
        ("{ protocol: udp }", v4, [0, COUNT]),
        ("{ all: true }", v6, [0, COUNT]),
        ("{ protocol: udp, interfaces: [eth0] }", v4, [0, COUNT]),
        ("{ protocol: udp, peers: [{ cidr: 10.77.0.2/32 }] }", v4, [0, COUNT]),
        ("{ protocol: udp, peers: [{ cidr: 0.0.0.0/0 }] }", v4, [0, COUNT]),
        ("{ protocol: udp, peers: [{ cidr: 127.0.0.1/32 }] }", v4, [COUNT, 0]),
        ("{ protocol: udp, peers: [{ cidr: 127.0.0.9/32 }] }", other, [COUNT, 0]),
        ("{ protocol: udp, peers: [{ cidr: 127.0.0.1/32 }] }", other, [0, 0]),
        ("{ protocol: udp, peers: [{ cidr: 10.77.0.1/32 }] }", own, [COUNT, 0]),
        ("{ protocol: udp, peers: [{ cidr: '::1/128' }] }", v6, [COUNT, 0]),
        ("{ protocol: udp, interfaces: [lo] }", v4, [COUNT, 0]),
        ("{ protocol: udp, interfaces: [lo] }", v6, [COUNT, 0]),
        ("{ protocol: udp, interfaces: [lo, eth0] }", v4, [COUNT, COUNT]),
    ];
    for (matches, address, expected) in rounds {
        let running = lab.inject(&format!("name: f, network: {{ match: {matches}, partition: true }}"));
        assert_eq!(lost(&lab, address), expected, "{matches}, to {address}");
        running.finish_any();
    }
}

#[test]
fn an_exception_may_be_for_one_interface() {
    let Some(lab) = Lab::open() else { return };
    let (a, b) = (&lab.hosts.a.ns, &lab.hosts.b.ns);
    a.ip(&format!("link add eth1 type veth peer name eth1 netns {}", b.name()));
    for (ns, number) in [(a, 1), (b, 2)] {
        ns.ip("link set eth1 up");
        ns.ip(&format!("addr add 10.80.0.{number}/24 dev eth1"));
    }
    let by_second = SocketAddr::from(([10, 80, 0, 2], PORT));
    let by_first = lab.hosts.b.at(Family::V4, PORT);
    let rounds = [
        ("except: [{ interfaces: [eth1] }]", [COUNT, 0]),
        ("except: [{ interfaces: [eth0] }]", [0, COUNT]),
        ("except: [{ interfaces: [eth1], ports: [1] }]", [COUNT, COUNT]),
        ("except: [{ interfaces: [eth0] }, { protocol: udp, interfaces: [eth1] }, { protocol: tcp }]", [0, 0]),
        ("interfaces: [eth1]", [0, COUNT]),
    ];
    for (matches, expected) in rounds {
        let fault = format!("name: f, network: {{ match: {{ protocol: udp, {matches} }}, partition: true }}");
        let running = lab.inject(&fault);
        let found = [by_first, by_second].map(|to| Flow::to(to).count(COUNT).run(a, b).lost());
        assert_eq!(found, expected, "{matches}");
        let ended = running.finish_any();
        assert_eq!(ended.report().only_fault().injected(), expected.iter().sum::<u64>(), "{matches}");
    }
}

#[test]
fn an_interface_that_is_not_there_is_named() {
    let Some(lab) = Lab::open() else { return };
    let fault = "name: f, network: { match: { protocol: udp, interfaces: [eth7] }, partition: true }";
    let output = lab.chaos.run_to_end(&lab.experiment().duration("1s").fault(fault), &[]);
    let text = output.text();
    assert!(text.contains("match.interfaces") && text.contains("eth7") && text.contains("eth0"), "{text}");
    output.expect_code(2);
}

//! Stacks of devices, most of which a test machine's kernel lacks.

use super::{carries, twice};
use chaos_host::{Interface, NetnsRef, Probed, ScopedBy, Target, TargetKind};
use std::path::Path;

fn target(interfaces: Vec<Interface>) -> Target {
    Target {
        kind: TargetKind::Netns,
        name: "t".to_owned(),
        netns: NetnsRef::open(Path::new("/dev/null")).unwrap(),
        shares_host_netns: false,
        scoped_by: ScopedBy::Netns,
        cgroup: None,
        interfaces,
        pids: Vec::new(),
        wanted: None,
        probed: Probed::default(),
        dice: 0,
    }
}

fn device(index: u32, name: &str, kind: &str) -> Interface {
    Interface { index, name: name.to_owned(), kind: Some(kind.to_owned()), ..Interface::default() }
}

/// Names of those that carry, and of two that carry the same packets.
fn judged(interfaces: Vec<Interface>) -> (Vec<String>, Option<(String, String)>) {
    let target = target(interfaces);
    let carrying = target.interfaces.iter().filter(|one| carries(&target, one)).map(|one| one.name.clone()).collect();
    (carrying, twice(&target).map(|(upper, lower)| (upper.name.clone(), lower.name.clone())))
}

fn lo() -> Interface {
    Interface { index: 1, name: "lo".to_owned(), loopback: true, ..Interface::default() }
}

#[test]
fn a_bridge_or_bond_stands_for_its_ports() {
    let port = |index, name, master| Interface { master: Some(master), ..device(index, name, "veth") };
    let bridged = vec![lo(), port(2, "eth0", 4), port(3, "tap0", 4), device(4, "br0", "bridge")];
    assert_eq!(judged(bridged), (vec!["br0".to_owned()], None));
    let bond = Interface { master: Some(5), ..device(4, "bond0", "bond") };
    let bonded = vec![port(2, "eth0", 4), port(3, "eth1", 4), bond, device(5, "br0", "bridge")];
    assert_eq!(judged(bonded), (vec!["br0".to_owned()], None));
}

#[test]
fn a_device_stands_for_those_on_it() {
    let vlan = Interface { lower: Some(2), ..device(3, "eth0.100", "vlan") };
    let stacked = Interface { lower: Some(3), ..device(4, "eth0.100.7", "vlan") };
    let all = vec![lo(), device(2, "eth0", "veth"), vlan.clone(), stacked];
    assert_eq!(judged(all), (vec!["eth0".to_owned()], None));
    // Where the device below is in another namespace, nothing here does.
    let alone = Interface { lower: None, link_netnsid: Some(0), ..vlan };
    assert_eq!(judged(vec![lo(), alone]), (vec!["eth0.100".to_owned()], None));
}

#[test]
fn a_bridge_over_a_vlan_carries_what_the_device_below_carries() {
    let vlan = Interface { lower: Some(2), master: Some(4), ..device(3, "eth0.100", "vlan") };
    let all = vec![device(2, "eth0", "veth"), vlan, device(4, "br1", "bridge")];
    let both = Some(("br1".to_owned(), "eth0".to_owned()));
    assert_eq!(judged(all), (vec!["eth0".to_owned(), "br1".to_owned()], both));
}

#[test]
fn a_vrf_does_not_stand_for_its_ports() {
    let port = Interface { master: Some(3), ..device(2, "eth0", "veth") };
    assert_eq!(judged(vec![port, device(3, "blue", "vrf")]), (vec!["eth0".to_owned()], None));
}

#[test]
fn our_own_devices_carry_nothing() {
    let ours =
        Interface { alias: Some("chaos: delays packets of eth0 egress".to_owned()), ..device(3, "chq2", "veth") };
    assert_eq!(judged(vec![device(2, "eth0", "veth"), ours]), (vec!["eth0".to_owned()], None));
}

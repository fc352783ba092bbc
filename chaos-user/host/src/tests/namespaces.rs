//! Targets that are network namespaces.
use super::fake::Machine;
use crate::{Reason, ScopedBy, Wanted};

fn netns(name: &str) -> Wanted {
    Wanted::Netns(name.to_owned())
}

#[test]
fn by_name_and_by_path() {
    let machine = Machine::unified();
    machine.process(10, 1, "nginx", "/system.slice/web.service", "web");
    let path = machine.name_netns("web");
    let target = machine.target(netns("web"));
    assert_eq!((target.name.as_str(), target.netns.inode), ("web", machine.netns_inode("web")));
    assert_eq!((target.scoped_by, target.scope(), target.pids.as_slice()), (ScopedBy::Netns, None, &[10][..]));
    assert!(!target.shares_host_netns && !target.is_host_netns());
    assert_eq!(target.interfaces[0].name, "eth0");
    assert_eq!(machine.target(netns(path.to_str().unwrap())).netns.inode, target.netns.inode);
}

#[test]
fn the_hosts_own_is_flagged() {
    let machine = Machine::unified();
    machine.process(20, 1, "containerd", "/system.slice/containerd.service", "host");
    machine.name_netns("host");
    assert!(machine.target(netns("host")).is_host_netns());
}

#[test]
fn absent_ones_name_near_matches() {
    let machine = Machine::unified();
    machine.name_netns("web");
    let words = ["spec.selector.local[0].netns: no network namespace \"wbe\"", "did you mean \"web\"?"];
    machine.refuses(netns("wbe"), Reason::Absent, &words);
    machine.refuses(netns("/nowhere/x"), Reason::Absent, &["/nowhere/x: No such file"]);
    machine.refuses(netns(".."), Reason::Absent, &["this is no name"]);
    machine.refuses(netns(""), Reason::Absent, &["this is no name"]);
}

#[test]
fn what_is_no_namespace_is_absent() {
    let machine = Machine::unified();
    machine.name_netns("no-netns");
    machine.refuses(netns("no-netns"), Reason::Absent, &["local[0].netns: this is not a network namespace"]);
}

#[test]
fn one_that_holds_a_runtime_is_protected() {
    let machine = Machine::unified();
    machine.process(30, 1, "kubelet", "/system.slice/kubelet.service", "node");
    machine.name_netns("node");
    machine.refuses(netns("node"), Reason::Refused, &["protected", "30 (kubelet)"]);
}

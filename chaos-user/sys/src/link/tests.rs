//! On real interfaces in scratch namespaces.
use std::{fs, thread, time::Duration};

use super::*;
use crate::{
    interface::uppers,
    testing::{self, in_scratch},
};

fn pair(mtu: u32) -> VethPair {
    let names = ["chaosA".to_owned(), "chaosB".to_owned()];
    VethPair { names, mtu, queues: 2, txqlen: 1000, alias: "chaos test".to_owned() }
}

#[test]
fn pair_is_as_asked_and_goes_as_a_whole() {
    testing::root_or_return!();
    in_scratch(|rtnl| {
        let [a, b] = create_veth(rtnl, &pair(9000)).unwrap();
        assert_eq!((a.name.as_str(), b.name.as_str()), ("chaosA", "chaosB"));
        assert_eq!((a.peer, b.peer, a.link_netnsid, a.lower), (Some(b.index), Some(a.index), None, None));
        for end in [&a, &b] {
            assert_eq!((end.mtu, end.up, end.header_len()), (9000, true, Some(14)));
            assert_eq!((end.kind.as_deref(), end.alias.as_deref()), (Some("veth"), Some("chaos test")));
            assert_eq!(&get(rtnl, end.index).unwrap(), end);
        }
        let shown = testing::ip(&["-d", "link", "show", "dev", "chaosA"]);
        for wanted in ["numtxqueues 2", "numrxqueues 2", "qlen 1000", "addrgenmode none", "NOARP"] {
            assert!(shown.contains(wanted), "{wanted} is not in {shown}");
        }
        assert!(!shown.contains("MULTICAST"), "{shown}");
        delete(rtnl, &a).unwrap();
        assert_eq!(find_by_name(rtnl, "chaosB").unwrap(), None);
        assert_eq!(delete(rtnl, &b).unwrap_err().category(), "absent");
    });
}

/// Packets that a device sent, from /proc/net/dev of the thread's namespace.
fn sent(name: &str) -> u64 {
    let table = fs::read_to_string("/proc/thread-self/net/dev").unwrap();
    let row = table.lines().find_map(|line| line.trim().strip_prefix(name)?.strip_prefix(':')).unwrap();
    row.split_whitespace().nth(9).unwrap().parse().unwrap()
}

#[test]
fn pair_sends_nothing_even_where_a_plain_one_talks() {
    testing::root_or_return!();
    in_scratch(|rtnl| {
        // Forwarding makes a plain device report the all-routers group.
        for key in ["all", "default"] {
            fs::write(format!("/proc/sys/net/ipv6/conf/{key}/forwarding"), "1").unwrap();
        }
        testing::ip(&["link", "add", "plainA", "type", "veth", "peer", "name", "plainB"]);
        create_veth(rtnl, &pair(1500)).unwrap();
        testing::ip(&["link", "set", "plainA", "up"]);
        testing::ip(&["link", "set", "plainB", "up"]);
        // Reports come within 1 s, router solicitations and duplicate address detection within 2.
        thread::sleep(Duration::from_millis(2500));
        assert_ne!(sent("plainA") + sent("plainB"), 0, "the test would not have noticed anything");
        assert_eq!((sent("chaosA"), sent("chaosB")), (0, 0));
        let addresses = crate::address::list(rtnl).unwrap();
        let ours = find_by_name(rtnl, "chaosA").unwrap().unwrap().index;
        assert!(addresses.iter().all(|a| a.interface != ours), "{addresses:?}");
    });
}

#[test]
fn small_mtu_without_ipv6_is_taken() {
    testing::root_or_return!();
    in_scratch(|rtnl| assert_eq!(create_veth(rtnl, &pair(576)).unwrap().map(|end| end.mtu), [576, 576]));
}

#[test]
fn a_taken_name_is_left_alone_and_a_bad_mtu_leaves_nothing() {
    testing::root_or_return!();
    in_scratch(|rtnl| {
        testing::ip(&["link", "add", "chaosA", "type", "bridge"]);
        let error = create_veth(rtnl, &pair(1500)).unwrap_err();
        assert_eq!(error.category(), "exists", "{error}");
        let theirs = find_by_name(rtnl, "chaosA").unwrap().unwrap();
        assert_eq!((theirs.kind.as_deref(), theirs.alias.as_deref(), theirs.up), (Some("bridge"), None, false));
        assert_eq!(find_by_name(rtnl, "chaosB").unwrap(), None);
        delete(rtnl, &theirs).unwrap();
        let error = create_veth(rtnl, &pair(100_000)).unwrap_err();
        assert!(
            error.to_string().contains("configure veth end chaosA: Invalid argument (EINVAL): mtu greater"),
            "{error}"
        );
        assert_eq!(find_by_name(rtnl, "chaosA").unwrap(), None);
    });
}

#[test]
fn names_that_the_kernel_would_replace_are_refused() {
    testing::root_or_return!();
    in_scratch(|rtnl| {
        for name in ["", "a%d", "a b", "a/b", "0123456789abcdef"] {
            let names = ["chaosA".to_owned(), name.to_owned()];
            let error = create_veth(rtnl, &VethPair { names, ..pair(1500) }).unwrap_err();
            assert_eq!(error.category(), "invalid", "{error}");
        }
        let alias = "x".repeat(300);
        assert!(create_veth(rtnl, &VethPair { alias, ..pair(1500) }).is_err());
        assert!(list(rtnl).unwrap().iter().all(|i| i.kind.as_deref() != Some("veth")), "something was left");
    });
}

#[test]
fn a_socket_keeps_to_the_namespace_it_was_opened_in() {
    testing::root_or_return!();
    let netns = crate::netns::Netns::scratch().unwrap();
    let mut rtnl = Rtnl::open_in(&netns).unwrap();
    create_veth(&mut rtnl, &pair(1500)).unwrap();
    let seen = netns.enter(|| list(&mut Rtnl::open().unwrap()).unwrap()).unwrap();
    assert_eq!(seen, list(&mut rtnl).unwrap());
    assert!(seen.iter().any(|i| i.name == "chaosA"));
}

#[test]
fn kinds_masters_and_stacks_are_told_apart() {
    testing::root_or_return!();
    in_scratch(|rtnl| {
        for args in [
            "link add br0 type bridge",
            "link add v0 type veth peer name v1",
            "link set v0 master br0",
            "tuntap add dev t0 mode tun",
        ] {
            testing::ip(&args.split(' ').collect::<Vec<_>>());
        }
        let all = list(rtnl).unwrap();
        let named = |name: &str| all.iter().find(|i| i.name == name).unwrap();
        assert_eq!(named("lo").header_len(), Some(14));
        assert!(named("lo").loopback && named("lo").up && !named("v0").up);
        assert_eq!((named("t0").kind.as_deref(), named("t0").header_len()), (Some("tun"), Some(0)));
        assert_eq!(named("v0").master, Some(named("br0").index));
        assert_eq!(uppers(&all, named("v0").index), [named("br0")]);
        assert_eq!(uppers(&all, named("v1").index), Vec::<&Interface>::new());
        assert!(named("v0").mac.is_some() && named("t0").mac.is_none());
    });
}

#[test]
fn alias_and_segments_are_set_and_reset() {
    testing::root_or_return!();
    in_scratch(|rtnl| {
        let [a, _] = create_veth(rtnl, &pair(1500)).unwrap();
        let before = a.gso_max_segs.unwrap();
        set_gso_max_segs(rtnl, a.index, 1).unwrap();
        set_alias(rtnl, a.index, "another").unwrap();
        let changed = get(rtnl, a.index).unwrap();
        assert_eq!((changed.gso_max_segs, changed.alias.as_deref()), (Some(1), Some("another")));
        set_gso_max_segs(rtnl, a.index, before).unwrap();
        set_alias(rtnl, a.index, "").unwrap();
        let restored = get(rtnl, a.index).unwrap();
        assert_eq!((restored.gso_max_segs, restored.alias), (Some(before), None));
        assert_eq!(set_gso_max_segs(rtnl, a.index, 1 << 20).unwrap_err().category(), "invalid");
        assert_eq!(set_up(rtnl, 9999, true).unwrap_err().category(), "absent");
    });
}

/// One socket per visit: a namespace's worth of pairs must not cost a dump each.
#[test]
fn many_pairs_are_quick() {
    testing::root_or_return!();
    in_scratch(|rtnl| {
        let start = std::time::Instant::now();
        for i in 0..50 {
            let names = [format!("cA{i}"), format!("cB{i}")];
            create_veth(rtnl, &VethPair { names, ..pair(1500) }).unwrap();
        }
        let each = start.elapsed() / 50;
        let first = find_by_name(rtnl, "cA0").unwrap().unwrap();
        let start = std::time::Instant::now();
        delete(rtnl, &first).unwrap();
        eprintln!("a veth pair takes {each:?}, its deletion {:?}", start.elapsed());
        assert!(each < Duration::from_millis(20), "{each:?}");
    });
}

#[test]
fn many_namespaces_are_cleared_together() {
    testing::root_or_return!();
    let netns: Vec<_> = (0..40).map(|_| crate::netns::Netns::scratch().unwrap()).collect();
    let start = std::time::Instant::now();
    let mut places: Vec<_> = netns
        .iter()
        .map(|netns| {
            let mut rtnl = Rtnl::open_in(netns).unwrap();
            let [a, _] = create_veth(&mut rtnl, &pair(1500)).unwrap();
            (rtnl, a)
        })
        .collect();
    places[7].1.index = 9999;
    let made = start.elapsed();
    let outcomes = delete_all(&mut places).unwrap();
    eprintln!("40 namespaces: made in {made:?}, deleted in {:?}", start.elapsed().saturating_sub(made));
    assert_eq!(outcomes.len(), 40);
    for (i, outcome) in outcomes.iter().enumerate() {
        assert_eq!(outcome.as_ref().map_err(KernelError::category).err(), (i == 7).then_some("absent"));
        assert_eq!(find_by_name(&mut places[i].0, "chaosA").unwrap().is_some(), i == 7);
    }
}

//! The fixtures proved without the product: a fixture that lies makes every other test worthless.

use std::io::BufRead as _;
use std::net::UdpSocket;
use std::path::Path;
use std::process::{Command, Stdio};

use chaos_tests::clock::wait_until;
use chaos_tests::lab::NodeLock;
use chaos_tests::need;
use chaos_tests::net::{Cgroup, Counters, Family, Hosts, NetNs, Onlooker, offload};
use chaos_tests::product::Leftovers;
use chaos_tests::traffic::{Flow, Ping};
use std::time::Duration;

#[test]
fn a_namespace_is_left_by_its_closure_and_removed_with_its_owner() {
    if !need::root() {
        return;
    }
    let path = {
        let ns = NetNs::new("x");
        let here = std::fs::read_link("/proc/thread-self/ns/net").unwrap();
        let inside = ns.run(|| std::fs::read_link("/proc/thread-self/ns/net").unwrap());
        assert_ne!(here, inside);
        assert_eq!(inside.to_string_lossy(), format!("net:[{}]", ns.inode()));
        assert_eq!(std::fs::read_link("/proc/thread-self/ns/net").unwrap(), here);
        ns.path()
    };
    assert!(!path.exists());
}

#[test]
fn a_panic_removes_the_namespace_too() {
    if !need::root() {
        return;
    }
    let (tell, told) = std::sync::mpsc::channel();
    let result = std::thread::spawn(move || {
        let ns = NetNs::new("x");
        tell.send(ns.path()).unwrap();
        ns.run(|| panic!("on purpose"));
    })
    .join();
    assert!(result.is_err(), "a panic inside reaches the caller");
    assert!(!told.recv().unwrap().exists());
}

#[test]
fn hosts_reach_each_other_and_a_cut_wire_loses_all() {
    if !need::root() {
        return;
    }
    let hosts = Hosts::new();
    for family in Family::BOTH {
        for number in 2..=4 {
            let answers = Ping::to(hosts.b_number(family, number)).count(5).run(&hosts.a.ns);
            assert_eq!((answers.sent, answers.received(), answers.duplicates), (5, 5, 0));
        }
        let outcome = Flow::to(hosts.b.at(family, 7000)).run(&hosts.a.ns, &hosts.b.ns);
        assert_eq!((outcome.sent, outcome.lost(), outcome.duplicates, outcome.damaged), (1_000, 0, 0, 0));
    }
    hosts.forget_neighbours();
    assert_eq!(Ping::to(hosts.b.v4.into()).count(1).run(&hosts.a.ns).received(), 1, "ARP resolves again");
    hosts.a.ns.ip("link set eth0 down");
    let cut = Ping::to(hosts.b.v4.into()).count(2).patience(Duration::from_millis(50)).run(&hosts.a.ns);
    assert_eq!(cut.received(), 0);
}

#[test]
fn the_wire_itself_loses_nothing_at_full_speed() {
    if !need::root() {
        return;
    }
    let hosts = Hosts::new();
    for family in Family::BOTH {
        let outcome = Flow::to(hosts.b.at(family, 7000)).count(20_000).flat_out().run(&hosts.a.ns, &hosts.b.ns);
        assert_eq!((outcome.sent, outcome.lost(), outcome.reordered), (20_000, 0, 0), "{family}");
    }
}

#[test]
fn a_neighbour_has_a_wire_of_its_own() {
    if !need::root() {
        return;
    }
    let hosts = Hosts::new();
    let neighbour = hosts.neighbour();
    hosts.a.ns.ip("link set eth0 down");
    for family in Family::BOTH {
        let outcome = Flow::to(neighbour.b_at(family, 7000)).count(100).run(&neighbour.host.ns, &hosts.b.ns);
        assert_eq!((outcome.sent, outcome.lost()), (100, 0));
    }
}

#[test]
fn behind_a_bridge_each_packet_passes_two_devices() {
    if !need::root() {
        return;
    }
    let hosts = Hosts::bridged();
    assert_eq!(hosts.interface, "br0");
    let packets = |link: &str| -> u64 {
        let text = hosts.a.ns.ip(&format!("-s -j link show {link}"));
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        json[0]["stats64"]["tx"]["packets"].as_u64().unwrap_or_else(|| panic!("{text}"))
    };
    let before = (packets("br0"), packets("eth0"));
    Flow::to(hosts.b.at(Family::V4, 7000)).count(500).run(&hosts.a.ns, &hosts.b.ns);
    assert!(packets("br0") - before.0 >= 500 && packets("eth0") - before.1 >= 500);
}

#[test]
fn offloads_switch_off_and_on() {
    if !need::root() {
        return;
    }
    let hosts = Hosts::new();
    // `set` itself verifies what the device says afterwards.
    offload::set_all(&hosts.a.ns, "eth0", false);
    offload::set_all(&hosts.a.ns, "eth0", true);
    offload::Offload::Gro.set(&hosts.b.ns, "eth0", true);
}

#[test]
fn counters_move_in_their_own_namespace_only() {
    if !need::root() {
        return;
    }
    let hosts = Hosts::new();
    let (a, b) = (Counters::of(&hosts.a.ns), Counters::of(&hosts.b.ns));
    // Nobody listens on this port.
    let socket = hosts.a.ns.run(|| UdpSocket::bind("10.77.0.1:0").unwrap());
    socket.send_to(&[0; 8], "10.77.0.2:9").unwrap();
    let arrived = || Counters::of(&hosts.b.ns).since(&b).get("UdpNoPorts") == 1;
    assert!(wait_until(Duration::from_secs(2), arrived));
    assert_eq!(Counters::of(&hosts.a.ns).since(&a).get("UdpNoPorts"), 0);
}

#[test]
fn a_cgroup_holds_the_process_that_was_started_in_it() {
    if !need::root() || !need::cgroup2() {
        return;
    }
    let (name, pid) = {
        let cgroup = Cgroup::new("x");
        let inner = cgroup.child("inner");
        let mut child = inner.command(None, &["sleep", "60"]).spawn().unwrap();
        let inside = || inner.processes() == [child.id() as i32];
        assert!(wait_until(Duration::from_secs(5), inside), "{:?}", inner.processes());
        let text = std::fs::read_to_string(format!("/proc/{}/cgroup", child.id())).unwrap();
        assert!(text.lines().any(|line| line == format!("0::{}", inner.name())), "{text}");
        assert_ne!(inner.id(), cgroup.id());
        drop(inner);
        child.wait().unwrap();
        (cgroup.name(), child.id())
    };
    assert!(!Path::new(&format!("/proc/{pid}")).exists());
    assert!(!chaos_tests::net::cgroup::mount_point().join(&name[1..]).exists());
}

/// Tells this program which part it plays below.
const ROLE: &str = "CHAOS_TEST_ROLE";

#[test]
fn what_a_killed_program_leaves_goes_with_the_next() {
    if !need::root() || !need::cgroup2() {
        return;
    }
    let itself = |role: &str| {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "what_a_killed_program_leaves_goes_with_the_next", "--nocapture"]).env(ROLE, role);
        command
    };
    let things = || (NetNs::new("killed"), Cgroup::new("killed"));
    match std::env::var(ROLE).as_deref() {
        Ok("leave") => {
            let (ns, cgroup) = things();
            let mut resident = cgroup.resident(Some(&ns));
            println!("left {} {} {}", ns.path().display(), cgroup.name(), resident.id());
            resident.wait().unwrap();
        }
        Ok(_) => drop(things()),
        Err(_) => {
            let mut killed = itself("leave").stdout(Stdio::piped()).spawn().unwrap();
            let lines = std::io::BufReader::new(killed.stdout.take().unwrap()).lines().map_while(Result::ok);
            let left = lines
                .filter_map(|line| line.split_once("left ").map(|(_, rest)| rest.to_owned()))
                .next()
                .expect("a line");
            let left: Vec<&str> = left.split(' ').collect();
            let cgroup = format!("{}{}", chaos_tests::net::cgroup::mount_point().display(), left[1]);
            let paths = [left[0].to_owned(), cgroup, format!("/proc/{}", left[2])];
            killed.kill().unwrap();
            killed.wait().unwrap();
            assert!(paths.iter().all(|path| Path::new(path).exists()), "{paths:?}");
            assert!(itself("sweep").stdout(Stdio::null()).status().unwrap().success());
            let gone = || paths.iter().all(|path| !Path::new(path).exists());
            assert!(wait_until(Duration::from_secs(5), gone), "{paths:?}");
        }
    }
}

#[test]
fn leftovers_are_noticed_and_their_removal_too() {
    if !need::root() {
        return;
    }
    let _lock = NodeLock::exclusive();
    let ns = NetNs::new("x");
    let before = Leftovers::now(&[&ns]);
    ns.ip("link add left0 type veth peer name left1");
    ns.tc("qdisc add dev left0 root pfifo");
    let after = Leftovers::now(&[&ns]);
    assert_eq!(after.with(&format!("link {} left", ns.name())).len(), 2);
    let difference = after.difference(&before);
    assert!(difference.iter().any(|thing| thing.contains("pfifo")), "{difference:?}");
    ns.ip("link del left0");
    before.assert_restored(&[&ns]);
}

#[test]
fn an_onlooker_counts_its_flow_and_nothing_else() {
    if !need::root() {
        return;
    }
    let hosts = Hosts::new();
    let _lock = NodeLock::shared();
    let onlooker = Onlooker::attach(&hosts.a.ns, "eth0", true, 7000);
    let Ok(onlooker) = onlooker.map_err(|error| need::absent(&format!("no tcx: {error}"))) else { return };
    for (port, family) in [(7000, Family::V4), (7001, Family::V4), (7000, Family::V6)] {
        Flow::to(hosts.b.at(family, port)).count(50).run(&hosts.a.ns, &hosts.b.ns);
    }
    assert_eq!(onlooker.count(), 50);
}

use super::{overflowed, possible, rate, spared};
use crate::{lookup::Known, wants::Around};
use chaos_host::{Interface, NetnsRef, Probed, ScopedBy, Target, TargetKind};
use chaos_outcome::FaultReport;
use chaos_spec::plan::{Plan, plan};
use std::{net::IpAddr, path::Path};

pub fn planned(matches: &str, action: &str) -> Plan {
    let text = format!(
        "apiVersion: chaos-ebpf.dev/v1alpha1\nkind: Experiment\nmetadata: {{ name: one }}\nspec:\n  duration: 10s\n  \
         selector: {{ local: [{{ netns: web }}] }}\n  faults: [{{ name: f, network: {{ match: {{ {matches} }}, {action} }} }}]\n"
    );
    let parsed = chaos_spec::parse("a test", &text).unwrap_or_else(|problems| panic!("{matches}: {problems:?}"));
    plan(&parsed[0].experiment, 7).unwrap()
}

pub fn web() -> Target {
    Target {
        kind: TargetKind::Netns,
        name: "web".to_owned(),
        netns: NetnsRef::open(Path::new("/dev/null")).unwrap(),
        shares_host_netns: false,
        scoped_by: ScopedBy::Netns,
        cgroup: None,
        interfaces: vec![
            Interface { index: 1, name: "lo".to_owned(), loopback: true, ..Interface::default() },
            Interface { index: 2, name: "eth0".to_owned(), ..Interface::default() },
        ],
        pids: Vec::new(),
        wanted: None,
        dice: 0,
        probed: Probed::default(),
    }
}

#[test]
fn nothing_is_held_back_on_loopback_and_that_is_refused() {
    let latency = "latency: { delay: 5ms }";
    for (matches, action, field) in [
        ("interfaces: [lo]", latency, Some("interfaces: lo")),
        ("interfaces: [eth0, lo]", "bandwidth: { rate: 1mbit }", Some("interfaces: lo")),
        ("peers: [{ cidr: 127.0.0.1/32 }]", latency, Some("peers: a loopback")),
        ("peers: [{ cidr: 10.0.0.0/8 }, { cidr: '::1/128' }]", latency, Some("peers: a loopback")),
        ("all: true", latency, None),
        ("peers: [{ cidr: 10.0.0.0/8 }]", latency, None),
        ("interfaces: [eth0]", latency, None),
        ("interfaces: [lo]", "partition: true", None),
    ] {
        let refused = possible(&planned(matches, action), &web()).err();
        assert_eq!(refused.is_some(), field.is_some(), "{matches} {action}: {refused:?}");
        let text = refused.unwrap_or_default();
        assert!(text.contains(field.unwrap_or_default()), "{text}");
    }
}

#[test]
fn peers_that_cover_own_addresses_are_warned_of() {
    let local: [IpAddr; 2] = ["127.0.0.1".parse().unwrap(), "10.1.2.3".parse().unwrap()];
    let around = Around { local: &local, known: &Known::default() };
    let covering = "peers: [{ cidr: 10.0.0.0/8 }]";
    assert_eq!(spared(&planned(covering, "latency: { delay: 5ms }"), &web(), around).len(), 1);
    for (matches, action) in [(covering, "partition: true"), ("all: true", "latency: { delay: 5ms }")] {
        assert!(spared(&planned(matches, action), &web(), around).is_empty(), "{matches} {action}");
    }
}

#[test]
fn a_limit_is_met_at_a_rate() {
    let of = |action| rate(&planned("all: true", action).rules[0]);
    assert_eq!(of("latency: { delay: 2s, limit: 100 }"), Some(50));
    assert_eq!(of("latency: { delay: 100ms }"), Some(100_000));
    assert_eq!((of("bandwidth: { rate: 1mbit }"), of("partition: true")), (None, None));
}

#[test]
fn what_a_queue_lost_is_said_with_the_remedy() {
    let plan = planned("all: true", "latency: { delay: 2s, limit: 100 }");
    let fault = FaultReport { name: "f".to_owned(), target: "web".to_owned(), overflow: 500, ..FaultReport::default() };
    let said = overflowed(&plan, std::slice::from_ref(&fault));
    assert_eq!(
        said,
        [
            "fault f on web: 500 packets found 100 others waiting, and were lost; raise latency.limit, or match fewer packets"
        ]
    );
    assert!(overflowed(&plan, &[FaultReport { overflow: 0, ..fault }]).is_empty());
}

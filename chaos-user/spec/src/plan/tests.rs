//! Specs beside what they become.

use super::{Plan, Refusal, plan};
use crate::{Direction, Experiment};
use chaos_abi::{
    ALWAYS, CONN_ESTABLISHED, CONN_NEW, PER_CONNECTION, PER_EVENT, PER_PEER, PROTO_ANY, PROTO_ICMP, PROTO_PORTS,
    RULE_DRY_RUN, RULE_SPARE_NODE, RULE_TRIGGER, RULE_WINDOW, Rule,
};

fn experiment(faults: &str) -> Experiment {
    let text = format!(
        "apiVersion: chaos-ebpf.dev/v1alpha1\nkind: Experiment\nmetadata: {{ name: one }}\nspec:\n  duration: 10s\n  \
         selector: {{ local: [{{ netns: web }}] }}\n  faults: {faults}\n"
    );
    let parsed = crate::parse("a test", &text).unwrap_or_else(|problems| panic!("{faults}: {problems:?}"));
    parsed.into_iter().next().unwrap().experiment
}

fn planned(faults: &str) -> Plan {
    plan(&experiment(faults), 7).unwrap()
}

/// The rule of a loss under a trigger.
fn when(when: &str) -> Rule {
    let faults = format!("[{{ when: {{ {when} }}, network: {{ match: {{ all: true }}, loss: {{ percent: 5 }} }} }}]");
    planned(&faults).rules[0].rule(1)
}

#[test]
fn faults_act_in_the_fixed_order_and_are_told_in_that_of_the_file() {
    let all = "[{ network: { match: { all: true }, bandwidth: { rate: 1mbit } } },
        { network: { match: { all: true }, latency: { delay: 5ms } } },
        { network: { match: { all: true }, corrupt: { percent: 1, mode: detected } } },
        { network: { match: { all: true }, duplicate: { percent: 1 } } },
        { network: { match: { protocol: tcp }, reset: { percent: 1 } } },
        { name: second, network: { match: { protocol: icmp }, loss: { percent: 2 } } },
        { name: third, optional: true, network: { match: { protocol: udp }, loss: { percent: 3 } } },
        { network: { match: { peers: [{ cidr: 10.0.0.0/8 }] }, partition: true } }]";
    let plan = planned(all);
    let kinds: Vec<&str> = plan.rules.iter().map(|rule| rule.kind).collect();
    assert_eq!(kinds, ["partition", "loss", "loss", "reset", "duplicate", "corrupt", "latency", "bandwidth"]);
    assert_eq!((plan.rules[1].fault, plan.rules[2].fault), (5, 6), "of one kind, in the order of the file");
    let names: Vec<&str> = plan.faults.iter().map(|fault| fault.name.as_str()).collect();
    assert_eq!((names[0], names[5], names[6], names[7]), ("fault-0", "second", "third", "fault-7"));
    assert!(plan.faults[6].optional && !plan.faults[5].optional);
    let queued: Vec<&str> = plan.rules.iter().filter(|rule| rule.queue.is_some()).map(|rule| rule.kind).collect();
    assert_eq!(queued, ["latency", "bandwidth"], "what holds packets back, and nothing else");
    assert_eq!(plan.rules[6].requested_delay, Some(5_000_000));
}

#[test]
fn triggers_become_numbers_and_a_flag_that_says_there_are_some() {
    let none = when("per: event");
    assert_eq!((none.flags & (RULE_TRIGGER | RULE_WINDOW), none.percent, none.per), (0, ALWAYS, PER_EVENT));
    // What is found in the rule, and what is wanted there.
    type Number = fn(&Rule) -> (u64, u64);
    let cases: [(&str, Number); 8] = [
        ("every: 3", |rule| (rule.every, 3)),
        ("nth: 4", |rule| (rule.nth, 4)),
        ("first: 5", |rule| (rule.first, 5)),
        ("budget: 6", |rule| (rule.budget, 6)),
        ("percent: 100", |rule| (u64::from(rule.percent), u64::from(ALWAYS))),
        ("percent: 25", |rule| (u64::from(rule.percent), u64::from(ALWAYS / 4))),
        ("percent: 25, per: connection", |rule| (rule.per.into(), PER_CONNECTION.into())),
        ("percent: 25, per: peer", |rule| (rule.per.into(), PER_PEER.into())),
    ];
    for (text, of) in cases {
        let rule = when(text);
        let (found, wanted) = of(&rule);
        // A quarter of a number that is no multiple of four is rounded.
        assert!(found.abs_diff(wanted) <= 1, "{text}: {found}, not {wanted}");
        assert_eq!(rule.flags & RULE_TRIGGER != 0, text != "percent: 100", "{text}");
    }
}

#[test]
fn a_window_is_counted_from_the_start_and_ends_after_its_length() {
    for (text, after, until) in [
        ("after: 2s", 2_000_000_000, 0),
        ("for: 3s", 0, 3_000_000_000),
        ("after: 2s, for: 3s", 2_000_000_000, 5_000_000_000),
    ] {
        let rule = when(text);
        assert_eq!((rule.after, rule.until, rule.flags & RULE_WINDOW), (after, until, RULE_WINDOW), "{text}");
    }
}

#[test]
fn conditions_are_what_was_matched() {
    let of = |matches: &str| {
        let faults = format!("[{{ network: {{ match: {{ {matches} }}, partition: true }} }}]");
        planned(&faults).rules[0].condition.clone()
    };
    for (matches, protocol) in [
        ("all: true", PROTO_ANY),
        ("ports: [80]", PROTO_PORTS),
        ("localPorts: [80-90]", PROTO_PORTS),
        ("protocol: icmp", PROTO_ICMP),
        ("protocol: tcp, ports: [80]", 6),
        ("protocol: 47", 47),
    ] {
        let condition = of(matches);
        assert_eq!(condition.protocol, protocol, "{matches}");
        assert!(condition.any_peer && condition.resolved.is_none(), "{matches}");
    }
    assert_eq!(of("protocol: tcp, connections: new").connections, CONN_NEW);
    assert_eq!(of("protocol: tcp, connections: established").connections, CONN_ESTABLISHED);
    let peers = of("peers: [{ cidr: 10.0.0.1/32 }, { cidr: 'fd00::/8' }, { host: db.example }]");
    assert_eq!((peers.any_peer, peers.peers.len(), peers.hosts.len()), (false, 2, 1));
    let device = of("interfaces: [eth0]");
    assert!(device.wants_interface("eth0") && !device.wants_interface("eth1"));
    assert!(of("all: true").wants_interface("eth1"));
}

#[test]
fn directions_are_seen_from_the_target() {
    for (text, direction) in [
        ("", Direction::Egress),
        ("direction: egress,", Direction::Egress),
        ("direction: ingress,", Direction::Ingress),
        ("direction: both,", Direction::Both),
    ] {
        let plan = planned(&format!("[{{ network: {{ {text} match: {{ all: true }}, partition: true }} }}]"));
        assert_eq!(plan.rules[0].direction, direction, "{text}");
    }
}

#[test]
fn exceptions_that_differ_in_their_peers_alone_are_one() {
    let with =
        |except: &str| format!("[{{ network: {{ match: {{ all: true, except: [{except}] }}, partition: true }} }}]");
    let peers = "{ peers: [{ cidr: 10.0.0.1/32 }] }, { peers: [{ cidr: 10.0.0.2/32 }] }, { ports: [53] }";
    let plan = planned(&with(peers));
    let rule = &plan.rules[0];
    assert_eq!((rule.excepts.len(), rule.except_of.as_slice()), (2, [0, 0, 1].as_slice()));
    assert_eq!(rule.excepts[0].peers.len(), 2);
    assert_eq!(rule.conditions().count(), 3, "the exceptions first, then the match");
    let many: Vec<String> = (1..=9).map(|port| format!("{{ ports: [{port}] }}")).collect();
    let refused: Vec<Refusal> = plan_of(&with(&many.join(", "))).unwrap_err();
    assert_eq!((refused.len(), refused[0].path.as_str()), (1, "spec.faults[0].network.match.except"));
    assert!(plan_of(&with(&many[..8].join(", "))).is_ok());
}

fn plan_of(faults: &str) -> Result<Plan, Vec<Refusal>> {
    plan(&experiment(faults), 7)
}

#[test]
fn the_same_seed_is_the_same_dice_and_no_two_faults_or_targets_share_them() {
    let two = "[{ network: { match: { all: true }, loss: { percent: 5 } } },
        { network: { match: { all: true }, loss: { percent: 5 } } }]";
    let seeds = |seed, dice| -> Vec<u64> {
        plan(&experiment(two), seed).unwrap().rules.iter().map(|rule| rule.rule(dice).seed).collect()
    };
    assert_eq!(seeds(7, 1), seeds(7, 1));
    let mut all: Vec<u64> = [seeds(7, 1), seeds(7, 2), seeds(8, 1)].concat();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), 6);
}

#[test]
fn flags_of_the_whole_reach_each_rule() {
    let mut one = experiment("[{ network: { match: { all: true }, partition: true } }]");
    one.spec.dry_run = true;
    let mut plan = plan(&one, 7).unwrap();
    assert_eq!(plan.rules[0].rule(1).flags, RULE_DRY_RUN);
    plan.rules[0].spare_node();
    assert_eq!(plan.rules[0].rule(1).flags, RULE_DRY_RUN | RULE_SPARE_NODE);
}

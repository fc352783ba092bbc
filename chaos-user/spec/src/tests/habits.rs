//! What people write out of habit is refused with one line, and its remedy is taken.

use super::cases::Cases;
use super::problems;
use crate::parse;

/// What is changed, into what, the whole message, and what the remedy says to write in its place.
type Habit = (&'static str, &'static str, &'static str, &'static str);

const DURATION: &str = "duration: 30s";
const LOCAL: &str = "local: [ { netns: web } ]";
const PROTOCOL: &str = "protocol: tcp }";
const LOSS: &str = "loss: { percent: 1 }";

const HABITS: &[Habit] = &[
    (DURATION, "duration: 90", "5 spec.duration: \"90\" has no unit; write \"90s\"", "duration: \"90s\""),
    (DURATION, "duration: '90'", "5 spec.duration: \"90\" has no unit; write \"90s\"", "duration: \"90s\""),
    (
        DURATION,
        "duration: 5000000",
        "5 spec.duration: \"5000000\" has no unit; write \"5000000ms\"",
        "duration: \"5000000ms\"",
    ),
    (DURATION, "duration: 10 s", "5 spec.duration: \"10 s\" is no duration; write \"10s\"", "duration: \"10s\""),
    (DURATION, "duration: 1d", "5 spec.duration: \"1d\" is no duration; write \"24h\"", "duration: \"24h\""),
    (
        DURATION,
        "duration: 5 Minutes",
        "5 spec.duration: \"5 Minutes\" is no duration; write \"5m\"",
        "duration: \"5m\"",
    ),
    (
        PROTOCOL,
        "protocol: icmpv6 }",
        "12 spec.faults[0].network.match.protocol: \"icmpv6\" is no protocol here; write icmp, which is both ICMP and ICMPv6",
        "protocol: icmp }",
    ),
    (
        PROTOCOL,
        "protocol: HTTPS }",
        "12 spec.faults[0].network.match.protocol: \"HTTPS\" is no protocol here; write tcp, with ports: [443]",
        "protocol: tcp, ports: [443] }",
    ),
    (
        LOSS,
        "delay: 10ms",
        "13 spec.faults[0].network.delay: unknown field; write latency: { delay: 10ms }",
        "latency: { delay: 10ms }",
    ),
    (
        LOSS,
        "delay: { time: 10ms }",
        "13 spec.faults[0].network.delay: unknown field; write latency: { delay: 100ms }",
        "latency: { delay: 100ms }",
    ),
    (
        LOSS,
        "drop: 10%",
        "13 spec.faults[0].network.drop: unknown field; write loss: { percent: 10 }",
        "loss: { percent: 10 }",
    ),
    (
        LOSS,
        "blackhole: true",
        "13 spec.faults[0].network.blackhole: unknown field; write partition: true",
        "partition: true",
    ),
    (
        LOSS,
        "latency: { latency: 10ms }",
        "13 spec.faults[0].network.latency.latency: unknown field; write delay: 10ms",
        "latency: { delay: 10ms }",
    ),
    (
        LOSS,
        "latency: 10ms",
        "13 spec.faults[0].network.latency: needs fields below it, not the string \"10ms\"; write latency: { delay: 10ms }",
        "latency: { delay: 10ms }",
    ),
    (
        LOSS,
        "loss: 10",
        "13 spec.faults[0].network.loss: needs fields below it, not the number 10; write loss: { percent: 10 }",
        "loss: { percent: 10 }",
    ),
    (
        LOSS,
        "loss: { percent: 10% }",
        "13 spec.faults[0].network.loss.percent: needs a number, not the string \"10%\"; write 10",
        "loss: { percent: 10 }",
    ),
    (
        LOSS,
        "bandwidth: { rate: 1Mbps }",
        "13 spec.faults[0].network.bandwidth.rate: \"1Mbps\" has two meanings; write \"1mbit\" (bits) or \"1MBps\" (bytes)",
        "bandwidth: { rate: \"1mbit\" }",
    ),
    (
        LOSS,
        "bandwidth: { rate: 2.5 GBPS }",
        "13 spec.faults[0].network.bandwidth.rate: \"2.5 GBPS\" has two meanings; write \"2.5gbit\" (bits) or \"2.5GBps\" (bytes)",
        "bandwidth: { rate: \"2.5GBps\" }",
    ),
    (LOCAL, "pid: 1", "6 spec.selector.pid: unknown field; write local: [ { pid: 1 } ]", "local: [ { pid: 1 } ]"),
    (
        LOCAL,
        "netns: web",
        "6 spec.selector.netns: unknown field; write local: [ { netns: web } ]",
        "local: [ { netns: web } ]",
    ),
];

#[test]
fn one_line_with_a_remedy_that_is_taken() {
    let base = Cases::read().base();
    for (from, to, said, remedy) in HABITS {
        assert!(base.contains(from), "{from:?} is not in the document");
        assert_eq!(problems(&base.replacen(from, to, 1)), [*said], "with {to:?}");
        let taken = parse("f", &base.replacen(from, remedy, 1));
        assert!(taken.is_ok(), "{remedy:?} is refused, too: {:#?}", taken.err());
    }
}

#[test]
fn hostile_values_give_no_remedy_of_theirs() {
    let base = Cases::read().base();
    for value in ["{ a: b }", "'} , x: {'", "[1]", "'10ms\\n# '"] {
        let said = problems(&base.replacen(LOSS, &format!("delay: {value}"), 1)).join(" ");
        assert!(said.contains("write latency: { delay: 100ms }"), "{said}");
    }
}

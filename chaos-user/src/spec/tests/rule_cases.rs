//! The cases of the rules: what is changed in a valid document, and what is said to it.

/// A document in which every case changes one text; its lines are counted in the expectations.
pub(super) const BASE: &str = "apiVersion: chaos-ebpf.dev/v1alpha1
kind: Experiment
metadata: { name: t }
spec:
  duration: 30s
  selector: { local: [ { netns: web } ] }
  probes: [ { name: up, tcp: { address: 'db:5432' } } ]
  faults:
    - name: a
      when: { percent: 100 }
      network:
        match: { protocol: tcp }
        loss: { percent: 1 }
    - name: b
      syscall:
        calls: [openat]
        errno: EIO
        match: { all: true }
";

const SELECTOR: &str = "local: [ { netns: web } ]";
pub(super) const MATCH: &str = "match: { protocol: tcp }";
pub(super) const LOSS: &str = "loss: { percent: 1 }";
pub(super) const WHEN: &str = "{ percent: 100 }";
pub(super) const SELECTS_BY_NOTHING: &str = "selects by nothing; add peers, protocol, ports, localPorts, connections or interfaces, or \
                                  write all: true for all packets";
pub(super) const PODS_BY_NOTHING: &str = "selects by nothing; add labelSelector, annotationSelector, names, nodes, nodeSelector, service \
                               or workload, or write all: true for every pod of the namespaces";

/// What is changed, into what, and the problems as `LINE PATH: MESSAGE`.
pub(super) type Case = (&'static str, &'static str, &'static [&'static str]);

pub(super) const OF_SELECTORS: &[Case] = &[
    (SELECTOR, "", &["6 spec.selector: selects nobody; add pods (in a cluster) or local (on this machine)"]),
    (
        SELECTOR,
        "local: [ { netns: web } ], pods: { all: true }",
        &["6 spec.selector: has pods and local; keep one of them"],
    ),
    (
        SELECTOR,
        "local: [ {} ]",
        &["6 spec.selector.local[0]: names no target; write one of cgroup, netns, pid, unit, container and command"],
    ),
    (SELECTOR, "local: [ { command: true } ]", &[]),
    (
        SELECTOR,
        "local: [ { command: false } ]",
        &["6 spec.selector.local[0].command: only true has a meaning; write command: true, or remove it"],
    ),
    (
        SELECTOR,
        "local: [ { pid: 1 }, { netns: web, pid: 1, unit: a.service } ]",
        &["6 spec.selector.local[1]: has netns, pid and unit; write each as an entry of its own"],
    ),
    (
        SELECTOR,
        "pods: { labelSelector: {} }",
        &["6 spec.selector.pods.labelSelector: is empty; give it at least one entry or remove it"],
    ),
    (
        SELECTOR,
        "pods: { labelSelector: { matchExpressions: [ { key: a, operator: Exists } ] }, all: true }",
        &["6 spec.selector.pods.all: contradicts labelSelector; remove all: true, or remove the rest"],
    ),
    (
        SELECTOR,
        "pods: { all: true, mode: one, value: 1 }",
        &["6 spec.selector.pods.value: mode: one takes no value; remove it, or write mode: percent or mode: fixed"],
    ),
    (
        SELECTOR,
        "pods: { all: true, value: 1 }",
        &["6 spec.selector.pods.value: mode: all takes no value; remove it, or write mode: percent or mode: fixed"],
    ),
    (
        SELECTOR,
        "pods: { all: true, mode: fixed }",
        &["6 spec.selector.pods.value: mode: fixed needs a count; add value: 1"],
    ),
    (
        SELECTOR,
        "pods: { all: true, mode: fixed, value: 1.5 }",
        &["6 spec.selector.pods.value: 1.5 is no count; write a whole number of at least 1"],
    ),
    (
        SELECTOR,
        "pods: { all: true, mode: randomMaxPercent }",
        &["6 spec.selector.pods.value: mode: randomMaxPercent needs a percentage; add value: 30"],
    ),
    (
        SELECTOR,
        "pods: { all: true, mode: percent, value: 101 }",
        &["6 spec.selector.pods.value: 101 is no percentage; write a number from 0 to 100"],
    ),
    (
        SELECTOR,
        "pods: { all: true, namespaces: [ a, '*' ] }",
        &["6 spec.selector.pods.namespaces[1]: \"*\" is all namespaces already; write it alone, or remove it"],
    ),
    (
        SELECTOR,
        "pods: { labelSelector: { matchExpressions: [ { key: a, operator: In } ] } }",
        &[
            "6 spec.selector.pods.labelSelector.matchExpressions[0].values: operator: In needs values; add values: [...]",
        ],
    ),
    (
        SELECTOR,
        "pods: { labelSelector: { matchExpressions: [ { key: a, operator: Exists, values: [b] } ] } }",
        &[
            "6 spec.selector.pods.labelSelector.matchExpressions[0].values: operator: Exists takes no values; remove them, or \
         write operator: In",
        ],
    ),
];

pub(super) const OF_FAULTS: &[Case] = &[
    (
        "      syscall:",
        "      network: { match: { all: true }, partition: true }\n      syscall:",
        &["14 spec.faults[1]: has network and syscall; write each as an entry of its own"],
    ),
    ("    - name: b\n", "    - name: c\n    - name: b\n", &["14 spec.faults[1]: is no fault; add network or syscall"]),
    (
        "name: b",
        "name: a",
        &["14 spec.faults[1].name: \"a\" is the name of spec.faults[0] already; give each fault its own"],
    ),
    ("name: b", "name: fault-1", &[]),
    (
        WHEN,
        "{ per: connection }",
        &["10 spec.faults[0].when.per: per: connection needs percent beside it; add percent: 10, or remove per"],
    ),
    (WHEN, "{ percent: 1, per: peer }", &[]),
    (
        WHEN,
        "{ percent: 100.5, every: 0, nth: 0, first: 0, budget: 0 }",
        &[
            "10 spec.faults[0].when.percent: 100.5 is out of range; write 0 to 100",
            "10 spec.faults[0].when.every: 0 is out of range; write 1 to 9007199254740992",
            "10 spec.faults[0].when.nth: 0 is out of range; write 1 to 9007199254740992",
            "10 spec.faults[0].when.first: 0 is out of range; write 1 to 9007199254740992",
            "10 spec.faults[0].when.budget: 0 is out of range; write 1 to 9007199254740992",
        ],
    ),
    (
        WHEN,
        "{ after: 30s }",
        &["10 spec.faults[0].when.after: 30s is not before the experiment's end; write less than its duration of 30s"],
    ),
    (
        WHEN,
        "{ after: 20s, for: 11s }",
        &["10 spec.faults[0].when.for: ends behind the experiment, which lasts 30s; write at most 10s, or remove it"],
    ),
    (WHEN, "{ after: 20s, for: 10s }", &[]),
    (WHEN, "{ for: 0s }", &["10 spec.faults[0].when.for: 0s would hit nothing; write a time above 0, or remove it"]),
    (
        "duration: 30s",
        "duration: 30s\n  startDeadline: 999ms",
        &["6 spec.startDeadline: 999ms is out of range; write 1s to 24h"],
    ),
    ("duration: 30s", "duration: 99ms", &["5 spec.duration: 99ms is out of range; write 100ms to 24h"]),
    ("duration: 30s", "duration: 24h1ns", &["5 spec.duration: 24h0.000000001s is out of range; write 100ms to 24h"]),
    (
        "tcp: {",
        "http: { url: 'http://a' }, tcp: {",
        &["7 spec.probes[0]: has http and tcp; write each as an entry of its own"],
    ),
    ("[ { name: up,", "[ { name: idle }, { name: up,", &["7 spec.probes[0]: asks nothing; add http or tcp"]),
    (
        "[ { name: up,",
        "[ { name: up, tcp: { address: 'a:1' } }, { name: up,",
        &["7 spec.probes[1].name: \"up\" is the name of spec.probes[0] already; give each probe its own"],
    ),
    (
        "{ name: up,",
        "{ name: up, every: 1ms, timeout: 2m,",
        &[
            "7 spec.probes[0].every: 1ms is out of range; write 100ms to 1h",
            "7 spec.probes[0].timeout: 2m is out of range; write 10ms to 1m",
        ],
    ),
    (
        "tcp: { address: 'db:5432' }",
        "tcp: { address: 'db:70000' }",
        &["7 spec.probes[0].tcp.address: \"70000\" is no port; write 1 to 65535"],
    ),
    (
        "tcp: { address: 'db:5432' }",
        "http: { url: 'http://me@db' }",
        &["7 spec.probes[0].http.url: a name or password in a URL is not sent; leave it out"],
    ),
];

pub(super) const OF_MATCHES: &[Case] = &[
    (
        MATCH,
        "match: { connections: any, node: true, all: false }",
        &["12 spec.faults[0].network.match: SELECTS_BY_NOTHING"],
    ),
    (MATCH, "match: { all: true, except: [ {} ] }", &["12 spec.faults[0].network.match.except[0]: SELECTS_BY_NOTHING"]),
    (MATCH, "match: { except: [ { protocol: udp } ] }", &["12 spec.faults[0].network.match: SELECTS_BY_NOTHING"]),
    (
        MATCH,
        "match: { all: true, protocol: tcp, ports: [1] }",
        &["12 spec.faults[0].network.match.all: contradicts protocol and ports; remove all: true, or remove the rest"],
    ),
    (MATCH, "match: { all: true, node: true, except: [ { protocol: icmp } ] }", &[]),
    (
        MATCH,
        "match: { all: true, except: [ { all: true } ] }",
        &[
            "12 spec.faults[0].network.match.except[0].all: leaves no packet to hit; remove it, and say what is to be spared",
        ],
    ),
    (
        MATCH,
        "match: { ports: [80], connections: new }",
        &["12 spec.faults[0].network.match.connections: connections: new is of TCP only; add protocol: tcp"],
    ),
    (
        MATCH,
        "match: { protocol: udp, connections: established }",
        &[
            "12 spec.faults[0].network.match.connections: connections: established is of TCP only; write protocol: tcp, not udp",
        ],
    ),
    (MATCH, "match: { protocol: 6, connections: new }", &[]),
    (
        MATCH,
        "match: { protocol: icmp, ports: [80], localPorts: ['1-2'] }",
        &[
            "12 spec.faults[0].network.match.ports: protocol icmp has no ports; remove them, or write protocol: tcp, udp or sctp",
            "12 spec.faults[0].network.match.localPorts: protocol icmp has no ports; remove them, or write protocol: tcp, udp or \
         sctp",
        ],
    ),
    (
        MATCH,
        "match: { peers: [ {} ] }",
        &["12 spec.faults[0].network.match.peers[0]: names no peer; write one of cidr, host, service and pods"],
    ),
    (
        MATCH,
        "match: { peers: [ { cidr: 10.0.0.0/8, host: a.b } ] }",
        &["12 spec.faults[0].network.match.peers[0]: has cidr and host; write each as an entry of its own"],
    ),
    (
        MATCH,
        "match: { peers: [ { pods: { namespaces: [a] } } ] }",
        &["12 spec.faults[0].network.match.peers[0].pods: PODS_BY_NOTHING"],
    ),
    (
        MATCH,
        "match: { peers: [ { cidr: 10.0.0.7/8 } ] }",
        &[
            "12 spec.faults[0].network.match.peers[0].cidr: \"10.0.0.7/8\" has bits set behind its prefix; write \"10.0.0.0/8\" for \
         the network or \"10.0.0.7/32\" for the host",
        ],
    ),
];

pub(super) const OF_ACTIONS: &[Case] = &[
    (
        LOSS,
        "",
        &[
            "11 spec.faults[0].network: has no action; add one of latency, loss, duplicate, corrupt, reorder, bandwidth, partition \
         and reset",
        ],
    ),
    (
        LOSS,
        "loss: { percent: 1 }\n        duplicate: { percent: 1 }",
        &[
            "11 spec.faults[0].network: has the actions loss and duplicate; an entry takes one: give each an entry of its own",
        ],
    ),
    (LOSS, "latency: { delay: 50ms }\n        reorder: { percent: 25 }", &[]),
    (
        LOSS,
        "latency: { delay: 50ms }\n        reorder: { percent: 25 }\n        loss: { percent: 1 }",
        &[
            "11 spec.faults[0].network: has the actions latency, loss and reorder; an entry takes one: give each an entry of its own",
        ],
    ),
    (
        LOSS,
        "reorder: { percent: 25 }",
        &[
            "13 spec.faults[0].network.reorder: needs latency beside it, which holds the packets that others overtake; add latency: \
         { delay: 50ms }",
        ],
    ),
    (
        LOSS,
        "partition: false",
        &["13 spec.faults[0].network.partition: only true has a meaning; write partition: true, or remove it"],
    ),
    (LOSS, "loss: {}", &["13 spec.faults[0].network.loss: loses nothing; add percent or gilbertElliott"]),
    (
        LOSS,
        "loss: { percent: 1, correlation: 1, gilbertElliott: { p: 1 } }",
        &[
            "13 spec.faults[0].network.loss.percent: contradicts gilbertElliott, which has its own probabilities; keep one of them",
            "13 spec.faults[0].network.loss.correlation: contradicts gilbertElliott, which has its own memory; remove correlation",
        ],
    ),
    (
        LOSS,
        "latency: { delay: 10ms, jitter: 20ms }",
        &[
            "13 spec.faults[0].network.latency.jitter: 20ms is more than the delay; write at most 10ms, or a longer delay",
        ],
    ),
    (LOSS, "latency: { delay: 10ms, jitter: 10ms }", &[]),
    (
        LOSS,
        "latency: { delay: 10ms, distribution: normal }",
        &["13 spec.faults[0].network.latency.distribution: is a distribution of the jitter; add jitter, or remove it"],
    ),
    (
        LOSS,
        "latency: { delay: 61s }",
        &["13 spec.faults[0].network.latency.delay: 1m1s is out of range; write more than 0s and at most 60s"],
    ),
    (
        LOSS,
        "latency: { delay: 0s }",
        &["13 spec.faults[0].network.latency.delay: 0s is out of range; write more than 0s and at most 60s"],
    ),
    (
        "match: { protocol: tcp }\n        loss: { percent: 1 }",
        "match: { protocol: udp }\n        reset: { percent: 1 }",
        &["12 spec.faults[0].network.match.protocol: protocol udp knows no reset; write protocol: tcp"],
    ),
    ("        errno: EIO\n", "", &["15 spec.faults[1].syscall: does nothing to the calls; add errno, latency or both"]),
    (
        "errno: EIO",
        "latency: { delay: 1ms, jitter: 2ms }",
        &["17 spec.faults[1].syscall.latency.jitter: 2ms is more than the delay; write at most 1ms, or a longer delay"],
    ),
    (
        "[openat]",
        "['@fille', '@x']",
        &[
            "16 spec.faults[1].syscall.calls[0]: \"@fille\" is no group of calls; did you mean @file?",
            "16 spec.faults[1].syscall.calls[1]: \"@x\" is no group of calls; write one of @file, @network, @memory and @process",
        ],
    ),
    (
        "{ all: true }",
        "{}",
        &[
            "18 spec.faults[1].syscall.match: selects by nothing; add paths, fd, ports, peers, comm or uid, or write all: true for \
         all calls",
        ],
    ),
    (
        "{ all: true }",
        "{ all: true, uid: 0 }",
        &["18 spec.faults[1].syscall.match.all: contradicts uid; remove all: true, or remove the rest"],
    ),
];

//! The rules of `spec/rules` once more, in CEL, so that the API server says at once what the command line would.
//!
//! Each is placed where its fields are. The API server bounds the estimated cost of a rule, which grows with the number of places
//! (16 faults, 1,000 peers, 1,000 exceptions): what would stand in the peers of exceptions is said by the schema alone there
//! (`oneOf`), and by the controller.

use chaos_spec::{ACTIONS, ONE_ACTION, no_action};

/// (CEL, what is said where it does not hold).
type Rule = (&'static str, &'static str);

/// Places in the schema below `spec`, and what holds there.
pub const RULES: &[(&[&str], &[Rule])] = &[
    (&[""], OF_SPEC),
    (
        &["duration"],
        &[(
            "duration(self) >= duration('100ms') && duration(self) <= duration('24h')",
            "is out of range; write 100ms to 24h",
        )],
    ),
    (
        &["startDeadline"],
        &[(
            "duration(self) >= duration('1s') && duration(self) <= duration('24h')",
            "is out of range; write 1s to 24h",
        )],
    ),
    (
        &["selector"],
        &[
            (
                "!has(self.local)",
                "local targets are of one machine, and this is a cluster; use chaos run on that machine, or select by pods",
            ),
            ("has(self.pods) || has(self.local)", "selects nobody; add pods"),
        ],
    ),
    (PODS, OF_PODS),
    (&["selector.pods"], OF_MODE),
    (
        REQUIREMENTS,
        &[
            (
                "!(self.operator in ['In', 'NotIn']) || has(self.values)",
                "operator: In and NotIn need values; add values: [...]",
            ),
            (
                "!(self.operator in ['Exists', 'DoesNotExist']) || !has(self.values)",
                "operator: Exists and DoesNotExist take no values; remove them, or write operator: In",
            ),
        ],
    ),
    (
        &["faults"],
        &[(
            "self.all(f, !has(f.name) || self.exists_one(g, has(g.name) && g.name == f.name))",
            "two faults have the same name; give each fault its own",
        )],
    ),
    (
        &["faults[]"],
        &[
            ("has(self.network) || has(self.syscall)", "is no fault; add network or syscall"),
            ("!has(self.network) || !has(self.syscall)", "has network and syscall; write each as an entry of its own"),
        ],
    ),
    (
        &["faults[].when"],
        &[(
            "!has(self.per) || self.per == 'event' || has(self.percent)",
            "per: connection and per: peer need percent beside it; add percent: 10, or remove per",
        )],
    ),
    (PACKETS, OF_PACKETS),
    (
        &["faults[].network.match.except[]"],
        &[("!has(self.all) || !self.all", "leaves no packet to hit; remove it, and say what is to be spared")],
    ),
    (
        &["faults[].network.match.peers[]", "faults[].syscall.match.peers[]"],
        &[
            (
                "has(self.cidr) || has(self.host) || has(self.service) || has(self.pods)",
                "names no peer; write one of cidr, host, service and pods",
            ),
            (
                "[has(self.cidr), has(self.host), has(self.service), has(self.pods)].filter(x, x).size() <= 1",
                "has several of cidr, host, service and pods; write each as an entry of its own",
            ),
        ],
    ),
    (&[ACTION], OF_NETWORK),
    (
        &["faults[].network.loss"],
        &[
            ("has(self.percent) || has(self.gilbertElliott)", "loses nothing; add percent or gilbertElliott"),
            (
                "!has(self.percent) || !has(self.gilbertElliott)",
                "percent contradicts gilbertElliott, which has its own probabilities; keep one of them",
            ),
            (
                "!has(self.correlation) || !has(self.gilbertElliott)",
                "correlation contradicts gilbertElliott, which has its own memory; remove correlation",
            ),
        ],
    ),
    (
        &["faults[].network.latency", "faults[].syscall.latency"],
        &[
            (
                "duration(self.delay) > duration('0s') && duration(self.delay) <= duration('60s')",
                "delay is out of range; write more than 0s and at most 60s",
            ),
            (
                "!has(self.jitter) || duration(self.jitter) <= duration(self.delay)",
                "jitter is more than the delay; write at most the delay, or a longer delay",
            ),
            (
                "!has(self.distribution) || has(self.jitter)",
                "distribution is one of the jitter; add jitter, or remove it",
            ),
        ],
    ),
    (
        &["faults[].syscall"],
        &[("has(self.errno) || has(self.latency)", "does nothing to the calls; add errno, latency or both")],
    ),
    (
        &["faults[].syscall.calls[]"],
        &[(
            "!self.startsWith('@') || self in ['@file', '@network', '@memory', '@process']",
            "is no group of calls; write one of @file, @network, @memory and @process",
        )],
    ),
    (
        &["faults[].syscall.match"],
        &[
            (
                "has(self.paths) || has(self.fd) || has(self.ports) || has(self.peers) || has(self.comm) || has(self.uid) || \
          (has(self.all) && self.all)",
                "selects by nothing; add paths, fd, ports, peers, comm or uid, or write all: true for all calls",
            ),
            (
                "!has(self.all) || !self.all || !(has(self.paths) || has(self.fd) || has(self.ports) || has(self.peers) || \
          has(self.comm) || has(self.uid))",
                "all: true contradicts the other properties; remove all: true, or remove the rest",
            ),
        ],
    ),
    (
        &["probes"],
        &[(
            "self.all(p, self.exists_one(q, q.name == p.name))",
            "two probes have the same name; give each probe its own",
        )],
    ),
    (
        &["probes[]"],
        &[
            ("has(self.http) || has(self.tcp)", "asks nothing; add http or tcp"),
            ("!has(self.http) || !has(self.tcp)", "has http and tcp; write each as an entry of its own"),
            (
                "!has(self.every) || (duration(self.every) >= duration('100ms') && duration(self.every) <= duration('1h'))",
                "every is out of range; write 100ms to 1h",
            ),
            (
                "!has(self.timeout) || (duration(self.timeout) >= duration('10ms') && duration(self.timeout) <= duration('1m'))",
                "timeout is out of range; write 10ms to 1m",
            ),
        ],
    ),
];

/// Networks: the message holds the remedy, which a pattern of the schema could not. In the peers of exceptions the rule would
/// cost too much, and so would a message that is computed.
pub const NETWORKS: &[&str] = &["faults[].network.match.peers[].cidr", "faults[].syscall.match.peers[].cidr"];

/// kubernetes.io/docs/reference/using-api/cel: the libraries of IP addresses and networks.
pub const IS_NETWORK: &str = "isCIDR(self) && cidr(self) == cidr(self).masked()";

/// What is said where it does not hold.
pub const NO_NETWORK: &str =
    "is no network; write an address and its prefix, the bits behind it zero: 10.0.0.0/8, 2001:db8::/32";

/// Where exactly one of some fields must stand, and CEL would cost too much: `oneOf` of the schema.
pub const ONE_OF: &[(&str, &[&str])] =
    &[("faults[].network.match.except[].peers[]", &["cidr", "host", "service", "pods"])];

const PODS: &[&str] = &["selector.pods", "faults[].network.match.peers[].pods", "faults[].syscall.match.peers[].pods"];

const PACKETS: &[&str] = &["faults[].network.match", "faults[].network.match.except[]"];

const REQUIREMENTS: &[&str] =
    &["selector.pods.labelSelector.matchExpressions[]", "selector.pods.annotationSelector.matchExpressions[]"];

/// Where CEL would cost too much.
pub const REQUIREMENTS_OF_PEERS: &[&str] = &[
    "faults[].network.match.peers[].pods.labelSelector.matchExpressions[]",
    "faults[].network.match.peers[].pods.annotationSelector.matchExpressions[]",
    "faults[].network.match.except[].peers[].pods.labelSelector.matchExpressions[]",
    "faults[].network.match.except[].peers[].pods.annotationSelector.matchExpressions[]",
    "faults[].syscall.match.peers[].pods.labelSelector.matchExpressions[]",
    "faults[].syscall.match.peers[].pods.annotationSelector.matchExpressions[]",
];

const OF_SPEC: &[(&str, &str)] = &[
    (
        "self.faults.all(f, !has(f.when) || !has(f.when.after) || duration(f.when.after) < duration(self.duration))",
        "when.after is not before the experiment's end; write less than its duration",
    ),
    (
        "self.faults.all(f, !has(f.when) || !has(f.when.__for__) || duration(f.when.__for__) > duration('0s'))",
        "when.for of 0s would hit nothing; write a time above 0, or remove it",
    ),
    (
        "self.faults.all(f, !has(f.when) || !has(f.when.__for__) || \
      (has(f.when.after) ? duration(f.when.after) : duration('0s')) + duration(f.when.__for__) <= duration(self.duration))",
        "when.for ends behind the experiment; write a shorter time, or remove it",
    ),
    (
        "duration(self.duration) <= duration(oldSelf.duration)",
        "duration may only become shorter; write a new experiment",
    ),
    ("self.selector == oldSelf.selector", "selector is immutable; write a new experiment"),
    ("self.faults == oldSelf.faults", "faults are immutable; write a new experiment"),
    (
        "has(self.probes) == has(oldSelf.probes) && (!has(self.probes) || self.probes == oldSelf.probes)",
        "probes are immutable; write a new experiment",
    ),
    (
        "has(self.seed) == has(oldSelf.seed) && (!has(self.seed) || self.seed == oldSelf.seed)",
        "seed is immutable; write a new experiment",
    ),
    (
        "has(self.startDeadline) == has(oldSelf.startDeadline) && \
      (!has(self.startDeadline) || self.startDeadline == oldSelf.startDeadline)",
        "startDeadline is immutable; write a new experiment",
    ),
    (
        "(has(self.dryRun) && self.dryRun) == (has(oldSelf.dryRun) && oldSelf.dryRun)",
        "dryRun is immutable; write a new experiment",
    ),
    (
        "has(self.onUnsupported) == has(oldSelf.onUnsupported) && \
      (!has(self.onUnsupported) || self.onUnsupported == oldSelf.onUnsupported)",
        "onUnsupported is immutable; write a new experiment",
    ),
];

const OF_PODS: &[(&str, &str)] = &[
    (
        "has(self.labelSelector) || has(self.annotationSelector) || has(self.names) || has(self.nodes) || \
      has(self.nodeSelector) || has(self.service) || has(self.workload) || (has(self.all) && self.all)",
        "selects by nothing; add labelSelector, annotationSelector, names, nodes, nodeSelector, service or workload, or write \
      all: true for every pod of the namespaces",
    ),
    (
        "!has(self.all) || !self.all || !(has(self.labelSelector) || has(self.annotationSelector) || has(self.names) || \
      has(self.service) || has(self.workload))",
        "all: true contradicts the other properties; remove all: true, or remove the rest",
    ),
    (
        "!has(self.namespaces) || self.namespaces.size() == 1 || !('*' in self.namespaces)",
        "namespaces: \"*\" is all namespaces already; write it alone, or remove it",
    ),
];

const OF_MODE: &[(&str, &str)] = &[
    ("!has(self.mode) || self.mode != 'fixed' || has(self.value)", "mode: fixed needs a count; add value: 1"),
    (
        "!has(self.mode) || !(self.mode in ['percent', 'randomMaxPercent']) || has(self.value)",
        "mode: percent and randomMaxPercent need a percentage; add value: 30",
    ),
    (
        "!has(self.value) || (has(self.mode) && self.mode in ['fixed', 'percent', 'randomMaxPercent'])",
        "mode: all and one take no value; remove it, or write mode: percent or mode: fixed",
    ),
    (
        "!has(self.value) || !has(self.mode) || self.mode != 'fixed' || \
      (self.value >= 1.0 && double(int(self.value)) == self.value)",
        "value is no count; write a whole number of at least 1",
    ),
    (
        "!has(self.value) || !has(self.mode) || !(self.mode in ['percent', 'randomMaxPercent']) || self.value <= 100.0",
        "value is no percentage; write a number from 0 to 100",
    ),
];

const OF_PACKETS: &[(&str, &str)] = &[
    (
        "has(self.peers) || has(self.protocol) || has(self.ports) || has(self.localPorts) || has(self.interfaces) || \
      (has(self.connections) && self.connections != 'any') || (has(self.all) && self.all)",
        "selects by nothing; add peers, protocol, ports, localPorts, connections or interfaces, or write all: true for all packets",
    ),
    (
        "!has(self.all) || !self.all || !(has(self.peers) || has(self.protocol) || has(self.ports) || has(self.localPorts) || \
      has(self.interfaces) || (has(self.connections) && self.connections != 'any'))",
        "all: true contradicts the other properties; remove all: true, or remove the rest",
    ),
    (
        "!has(self.connections) || self.connections == 'any' || (has(self.protocol) && (self.protocol == 'tcp' || self.protocol == 6))",
        "connections: new and established are of TCP only; write protocol: tcp",
    ),
    (
        "!has(self.protocol) || !(has(self.ports) || has(self.localPorts)) || self.protocol in [dyn('tcp'), dyn('udp'), dyn('sctp'), dyn(6), dyn(17), dyn(132)]",
        "this protocol has no ports; remove them, or write protocol: tcp, udp or sctp",
    ),
];

/// Where there is one action.
pub const ACTION: &str = "faults[].network";

/// The rules about it, from the table of actions.
pub fn one_action() -> [(String, String); 2] {
    let has = |names: &mut dyn Iterator<Item = &&str>, between: &str| {
        names.map(|name| format!("has(self.{name})")).collect::<Vec<_>>().join(between)
    };
    let any = has(&mut ACTIONS.iter(), " || ");
    // It stands beside latency.
    let alone = has(&mut ACTIONS.iter().filter(|name| **name != "reorder"), ", ");
    let several = format!("has several actions; {ONE_ACTION}");
    [(any, no_action()), (format!("[{alone}].filter(x, x).size() <= 1"), several)]
}

const OF_NETWORK: &[(&str, &str)] = &[
    (
        "!has(self.reorder) || has(self.latency)",
        "reorder needs latency beside it, which holds the packets that others overtake; add latency: { delay: 50ms }",
    ),
    (
        "!has(self.partition) || self.partition",
        "partition: only true has a meaning; write partition: true, or remove it",
    ),
    (
        "!has(self.reset) || !has(self.match.protocol) || self.match.protocol == 'tcp' || self.match.protocol == 6",
        "only TCP knows a reset; write protocol: tcp",
    ),
];

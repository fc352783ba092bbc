//! The cases of warnings, as in `rule_cases`.

use super::rule_cases::{Case, LOSS, MATCH, WHEN};

/// What is changed, into what, and the warnings.
pub(super) const WARNINGS: &[Case] = &[
    (
        LOSS,
        "loss: { percent: 0 }",
        &["spec.faults[0].network.loss.percent: 0 hits nothing; write a number above 0, up to 100"],
    ),
    (WHEN, "{ percent: 0 }", &["spec.faults[0].when.percent: 0 hits nothing; write a number above 0, up to 100"]),
    (
        MATCH,
        "direction: ingress\n        match: { ports: [80] }",
        &[
            "spec.faults[0].network.match.ports: on ingress this is the client's source port; the server's own port is localPorts",
        ],
    ),
    (MATCH, "direction: ingress\n        match: { localPorts: [80] }", &[]),
    (
        "match: { protocol: tcp }\n        loss:",
        "match: { ports: [80] }\n        reset:",
        &["spec.faults[0].network.reset: only TCP packets are reset; protocol: tcp says so"],
    ),
    (
        LOSS,
        "latency: { delay: 10ms, correlation: 25 }",
        &["spec.faults[0].network.latency.correlation: has no effect without jitter"],
    ),
    (
        "[openat]",
        "[openat, brk]",
        &["spec.faults[1].syscall.calls[1]: programs that get no memory mostly end, and new ones do not begin"],
    ),
];

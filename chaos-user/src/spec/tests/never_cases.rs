//! Cases of values that are never met; as in `rule_cases`.

use super::rule_cases::Case;

const ALL: &str = "{ all: true }";
const MATCH: &str = "match: { protocol: tcp }";

pub(super) const OF_NEVER: &[Case] = &[
    (
        ALL,
        "{ comm: a-name-of-16-chr }",
        &[
            "18 spec.faults[1].syscall.match.comm: no thread has this name: the kernel keeps 15 bytes of it; write those",
        ],
    ),
    (ALL, "{ comm: a-name-of-15-ch* }", &[]),
    (
        ALL,
        "{ paths: [/a/../b, /a/**] }",
        &[
            "18 spec.faults[1].syscall.match.paths[0]: no file has this path: write it without \".\", \"..\", \"//\" and a final \"/\"",
        ],
    ),
    (
        "loss: { percent: 1 }",
        "loss: { percent: 1e-300 }",
        &[
            "13 spec.faults[0].network.loss.percent: is less than one in 4,294,967,296 and hits nothing; write a larger number",
        ],
    ),
    (
        "netns: web",
        "netns: \"we\\0b\"",
        &["6 spec.selector.local[0].netns: has a byte of 0, which no name has; remove it"],
    ),
    (
        "errno: EIO",
        "errno: 513",
        &[
            "17 spec.faults[1].syscall.errno: \"513\" is the kernel's own, and no call returns it; write a name of errno(3), such as EIO",
        ],
    ),
    (
        MATCH,
        "match: { peers: [ { cidr: '::ffff:10.0.0.1/128' } ] }",
        &[
            "12 spec.faults[0].network.match.peers[0].cidr: \"::ffff:10.0.0.1/128\" is an IPv4 address in IPv6 form, which no packet has; \
             write \"10.0.0.1/32\"",
        ],
    ),
];

pub(super) const WIDE: &[Case] = &[(
    MATCH,
    "match: { peers: [ { host: '*.com' } ] }",
    &[
        "spec.faults[0].network.match.peers[0].host: means every name below \"com\"; name a domain, such as \"*.example.com\"",
    ],
)];

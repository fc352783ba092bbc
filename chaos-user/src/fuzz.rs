//! Every parser of what others write, by name: processes name themselves, pods and files come from anybody, answers from the network.
//! `cargo test` feeds each with mutated samples; `cargo xtask fuzz` with inputs that libFuzzer derives from the coverage.

use chaos_engine::Journal;
use chaos_host::fuzz::{dns, names, procfs};
use chaos_k8s::api::{Experiment, Halt, Injection, NodeAgent, PeerSet};
use chaos_spec::{self as spec, Endpoint, Url, plan::glob};
use serde::de::DeserializeOwned;

/// A parser, and samples of what it reads.
pub struct Target {
    /// Its name for `cargo xtask fuzz`.
    pub name: &'static str,
    /// Feeds it. It panics where the parser, or a promise about its result, fails.
    pub feed: fn(&[u8]),
    /// Texts or messages from which inputs are derived.
    pub samples: &'static [&'static [u8]],
}

/// All of them.
pub const TARGETS: [Target; 8] = [
    Target {
        name: "spec",
        feed: specs,
        samples: &[
            include_bytes!("../../tests/golden/every-fault.yaml"),
            include_bytes!("../../tests/golden/checkout-slow-db.yaml"),
            include_bytes!("../../manifests/samples/syscall.yaml"),
            include_bytes!("../../manifests/samples/kubernetes/hypothesis.yaml"),
        ],
    },
    Target {
        name: "resources",
        feed: resources,
        samples: &[
            include_bytes!("../../tests/golden/every-fault.json"),
            include_bytes!("../../tests/golden/checkout-slow-db.json"),
            br#"{"metadata":{"name":"a"},"spec":{"reason":"r"},"status":{"targets":[]}}"#,
        ],
    },
    Target { name: "policy", feed: policy, samples: &[include_bytes!("../../manifests/base/policy.yaml")] },
    Target {
        name: "journal",
        feed: journal,
        samples: &[br#"{"boot":"b","runs":[],"points":[],"pairs":[],"parts":{"uid":{"deadline":1,"gaps":{}}}}"#],
    },
    Target { name: "dns", feed: dns, samples: &[DNS] },
    Target { name: "netlink", feed: netlink, samples: &[&[0; 64], &LINK] },
    Target {
        name: "procfs",
        feed: procfs,
        samples: &[
            b"4711 (a) b) S 1 4711 4711 0 -1\n0::/system.slice/a.service\n2:cpu,cpuacct:/x\n",
            b"37 31 0:34 / /sys/fs/my\\040cg rw,nosuid shared:9 - cgroup2 cgroup rw,nsdelegate\n",
        ],
    },
    Target {
        name: "files",
        feed: files,
        samples: &[
            b"nameserver fe80::1%eth0\n10.0.0.1\tdb.example.com db\n",
            b"/var/lib/**/[a-c]?*.db",
            b"https://[::1]:8443/a?b",
            b"db.shop.svc:5432",
        ],
    },
];

/// An answer with one A record for db.example.com.
const DNS: &[u8] = b"\x12\x34\x81\x80\0\x01\0\x01\0\0\0\0\x02db\x07example\x03com\0\0\x01\0\x01\xc0\x0c\0\x01\0\x01\0\0\0\x3c\0\x04\x0a\0\0\x01";

/// `struct ifinfomsg` and IFLA_IFNAME "eth0" (rtnetlink(7)).
const LINK: [u8; 28] = [0, 0, 1, 0, 2, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 9, 0, 3, 0, b'e', b't', b'h', b'0', 0, 0, 0, 0];

/// What was read as valid is valid when it is read again, as the controller and the agent do.
fn specs(input: &[u8]) {
    let Ok(text) = str::from_utf8(input) else { return };
    for parsed in spec::parse("input.yaml", text).into_iter().flatten() {
        let again = serde_json::to_value(&parsed.experiment).map(|document| spec::check(&document).errors);
        assert!(again.as_ref().is_ok_and(Vec::is_empty), "valid once, not twice: {again:?}");
    }
}

/// What can be read can be written and read again.
fn resources(input: &[u8]) {
    fn both_ways<T: DeserializeOwned + serde::Serialize>(input: &[u8]) {
        let Ok(object) = serde_json::from_slice::<T>(input) else { return };
        let text = serde_json::to_vec(&object).unwrap_or_default();
        assert!(serde_json::from_slice::<T>(&text).is_ok(), "{}", String::from_utf8_lossy(&text));
    }
    both_ways::<Experiment>(input);
    both_ways::<Injection>(input);
    both_ways::<PeerSet>(input);
    both_ways::<NodeAgent>(input);
    both_ways::<Halt>(input);
    if let Ok(document) = serde_json::from_slice(input) {
        let _ = spec::check(&document);
    }
}

fn policy(input: &[u8]) {
    let Ok(text) = str::from_utf8(input) else { return };
    chaos_agent::fuzz::policy(text);
}

fn journal(input: &[u8]) {
    let _ = serde_json::from_slice::<Journal>(input);
    chaos_agent::fuzz::notebook(input);
}

fn netlink(input: &[u8]) {
    chaos_sys::fuzz::parse(input);
}

fn files(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    names(&text);
    let (path, address) = (Url::parse(&text), Endpoint::parse(&text));
    let _ = (path.is_ok(), address.is_ok());
    let patterns: Vec<String> = text.lines().take(4).map(|line| line.chars().take(64).collect()).collect();
    let _ = glob::compile(&patterns, glob::Text::Path);
}

#[cfg(test)]
mod tests {
    use super::*;
    use chaos_abi::mix;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    /// Inputs per sample.
    const ROUNDS: u64 = 1500;

    /// A sample with one to eight places changed: a bit, a byte, a piece taken away, or a piece of another place put in.
    fn mutated(sample: &[u8], round: u64) -> Vec<u8> {
        let mut bytes = sample.to_vec();
        let mut state = mix(round);
        let mut draw = |below: usize| {
            state = mix(state);
            (state % below.max(1) as u64) as usize
        };
        for _ in 0..=draw(8) {
            let (at, from, length) = (draw(bytes.len()), draw(bytes.len()), draw(24));
            let end = |begin: usize, bytes: &[u8]| (begin + length).min(bytes.len());
            match draw(4) {
                0 => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << draw(8)),
                1 => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte = draw(256) as u8),
                2 => drop(bytes.drain(at..end(at, &bytes))),
                _ => {
                    let piece = bytes[from..end(from, &bytes)].to_vec();
                    bytes.splice(at..at, piece);
                }
            }
        }
        bytes
    }

    #[test]
    fn mutated_samples_do_no_harm() {
        for target in &TARGETS {
            for (number, sample) in target.samples.iter().enumerate() {
                (target.feed)(sample);
                for round in 0..ROUNDS {
                    let input = mutated(sample, round);
                    let fed = catch_unwind(AssertUnwindSafe(|| (target.feed)(&input)));
                    let shown = String::from_utf8_lossy(&input);
                    assert!(fed.is_ok(), "{} {number}, round {round}: {input:?}\n{shown}", target.name);
                }
            }
        }
    }
}

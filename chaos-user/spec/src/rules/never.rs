//! Values that are read and never met: a fault with one would be NoEffect, and nobody would know why.

use super::Found;
use super::node::{Node, faults, networks, packets, peers, syscalls};
use crate::value::{HostPattern, Percent};

/// Longest name of a thread (include/linux/sched.h, `TASK_COMM_LEN` with its end).
const COMM: usize = 15;

/// A thread's name has at most 15 bytes.
pub(super) fn names_of_threads(spec: &Node<'_>, found: &mut Found) {
    for matches in syscalls(spec).iter().filter_map(|syscall| syscall.get("match")) {
        let Some(comm) = matches.text("comm") else { continue };
        if comm.bytes().filter(|byte| *byte != b'*').count() > COMM {
            found.error_at(&matches, "comm", "no thread has this name: the kernel keeps 15 bytes of it; write those");
        }
    }
}

/// The kernel's paths have neither `.` nor `..` nor two slashes, and end in a name.
pub(super) fn paths_of_files(spec: &Node<'_>, found: &mut Found) {
    for path in
        syscalls(spec).iter().filter_map(|syscall| syscall.get("match")).flat_map(|matches| matches.items("paths"))
    {
        let Some(text) = path.as_text().filter(|text| text.len() > 1) else { continue };
        if text.split('/').skip(1).any(|part| matches!(part, "" | "." | "..")) {
            found.error(&path, "no file has this path: write it without \".\", \"..\", \"//\" and a final \"/\"");
        }
    }
}

/// No name of a file has a byte of 0.
pub(super) fn zero_bytes(spec: &Node<'_>, found: &mut Found) {
    let mut all: Vec<Node<'_>> = Vec::new();
    for target in spec.get("selector").map(|selector| selector.items("local")).unwrap_or_default() {
        all.extend(["netns", "cgroup", "unit", "container"].iter().filter_map(|name| target.get(name)));
    }
    let matches = || syscalls(spec).into_iter().filter_map(|syscall| syscall.get("match"));
    all.extend(matches().flat_map(|matches| matches.items("paths")));
    all.extend(matches().filter_map(|matches| matches.get("comm")));
    all.extend(packets(spec).iter().flat_map(|packets| packets.items("interfaces")));
    for text in all.iter().filter(|text| text.as_text().is_some_and(|text| text.contains('\0'))) {
        found.error(text, "has a byte of 0, which no name has; remove it");
    }
}

/// A share below one in 2^32 is none.
pub(super) fn tiny_shares(spec: &Node<'_>, found: &mut Found) {
    let actions = networks(spec).into_iter().flat_map(|network| {
        ["loss", "duplicate", "corrupt", "reorder", "reset"].into_iter().filter_map(move |action| network.get(action))
    });
    let whens = faults(spec).into_iter().filter_map(|fault| fault.get("when"));
    for share in whens.chain(actions) {
        let scaled =
            share.number("percent").filter(|percent| *percent > 0.0).and_then(|percent| Percent::new(percent).ok());
        if scaled.is_some_and(|percent| percent.scaled() == 0) {
            found.error_at(
                &share,
                "percent",
                "is less than one in 4,294,967,296 and hits nothing; write a larger number",
            );
        }
    }
}

/// `*.com` is half of the Internet.
pub(super) fn wide_hosts(spec: &Node<'_>, found: &mut Found) {
    for peer in peers(spec) {
        let Some(host) = peer.parse::<HostPattern>("host") else { continue };
        if host.is_wildcard() && !host.name().contains('.') {
            found.warn_at(
                &peer,
                "host",
                format!("means every name below {:?}; name a domain, such as \"*.example.com\"", host.name()),
            );
        }
    }
}

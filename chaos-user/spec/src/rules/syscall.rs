//! Rules of syscall faults.

use super::Found;
use super::node::{Node, enumerated, syscalls};
use crate::suggest::closest;

const GROUPS: [&str; 4] = ["@file", "@network", "@memory", "@process"];

/// What says which calls are meant.
const SELECTING: [&str; 6] = ["paths", "fd", "ports", "peers", "comm", "uid"];

/// An error, a delay or both.
pub(super) fn errno_or_latency(spec: &Node<'_>, found: &mut Found) {
    for syscall in syscalls(spec).iter().filter(|syscall| syscall.is_object()) {
        if syscall.present(&["errno", "latency"]).is_empty() {
            found.error(syscall, "does nothing to the calls; add errno, latency or both");
        }
    }
}

/// A group is one of the four.
pub(super) fn known_groups(spec: &Node<'_>, found: &mut Found) {
    for call in syscalls(spec).iter().flat_map(|syscall| syscall.items("calls")) {
        let Some(name) = call.as_text().filter(|name| name.starts_with('@') && !GROUPS.contains(name)) else {
            continue;
        };
        let remedy = match closest(name, GROUPS.into_iter()) {
            Some(close) => format!("did you mean {close}?"),
            None => format!("write one of {}", enumerated(&GROUPS)),
        };
        found.error(&call, format!("{name:?} is no group of calls; {remedy}"));
    }
}

/// Programs do not survive everything.
pub(super) fn deadly(spec: &Node<'_>, found: &mut Found) {
    const DEADLY: [(&[&str], &str); 2] = [
        (&["mmap", "brk", "mprotect", "@memory"], "programs that get no memory mostly end, and new ones do not begin"),
        (
            &["execve", "execveat", "clone", "clone3", "@process"],
            "what the target starts meanwhile, it does not start: a shell ends",
        ),
    ];
    for syscall in syscalls(spec).iter().filter(|syscall| syscall.has("errno")) {
        for call in syscall.items("calls") {
            let risk = DEADLY.iter().find(|(calls, _)| call.as_text().is_some_and(|name| calls.contains(&name)));
            if let Some((_, risk)) = risk {
                found.warn(&call, *risk);
            }
        }
    }
}

/// A match names calls by a property, or says `all: true`.
pub(super) fn selects_something(spec: &Node<'_>, found: &mut Found) {
    for matches in syscalls(spec).iter().filter_map(|syscall| syscall.get("match")).filter(Node::is_object) {
        if matches.present(&SELECTING).is_empty() && matches.narrowing(&["all"]).is_empty() {
            let message =
                "selects by nothing; add paths, fd, ports, peers, comm or uid, or write all: true for all calls";
            found.error(&matches, message);
        }
    }
}

/// `all: true` beside a property is a contradiction.
pub(super) fn all_stands_alone(spec: &Node<'_>, found: &mut Found) {
    for matches in syscalls(spec).iter().filter_map(|syscall| syscall.get("match")).filter(|m| m.is_true("all")) {
        let others = matches.present(&SELECTING);
        if !others.is_empty() {
            let message = format!("contradicts {}; remove all: true, or remove the rest", enumerated(&others));
            found.error_at(&matches, "all", message);
        }
    }
}

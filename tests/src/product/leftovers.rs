//! What is on the machine and could be left behind, to compare before and after.

use std::collections::BTreeSet;
use std::fs;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::Duration;

use crate::clock::wait_until;
use crate::command::try_run;
use crate::net::NetNs;
use crate::sys::{self, BpfKind};

/// A snapshot: links, qdiscs and filters of namespaces, and the machine's BPF objects, mounts and `/run/chaos`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leftovers {
    things: BTreeSet<String>,
}

impl Leftovers {
    /// Looks now.
    pub fn now(namespaces: &[&NetNs]) -> Self {
        let mut things = BTreeSet::new();
        for ns in namespaces {
            look_at_namespace(ns, &mut things);
        }
        for kind in [BpfKind::Program, BpfKind::Map, BpfKind::Link] {
            things.extend(all(kind));
        }
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        things.extend(
            mounts
                .lines()
                .filter_map(|line| line.split(' ').nth(4))
                .filter(|at| !at.starts_with("/run/netns"))
                .map(|at| format!("mount {at}")),
        );
        list_files(Path::new("/run/chaos"), &mut things);
        // The reports of the last experiments are kept on purpose, a bounded number of them: `tests/output.rs` and the product's own tests.
        things.retain(|thing| !thing.starts_with("file /run/chaos/reports"));
        let expedited = fs::read_to_string("/sys/kernel/rcu_expedited").unwrap_or_default();
        things.insert(format!("rcu_expedited {}", expedited.trim()));
        Self { things }
    }

    /// What is there now and was not then, and what was then and is gone.
    pub fn difference(&self, earlier: &Self) -> Vec<String> {
        // Looking at a table of tail calls while its last owner lets go of it leaks it, empty. The likely cause, not proven: the
        // second `schedule_work` finds the work queued and its reference is never put (kernel/bpf/arraymap.c,
        // `prog_array_map_clear`). A set of maps that is really left has many others.
        let added = self.things.difference(&earlier.things).filter(|thing| !thing.ends_with(" CHAOS_PROGS"));
        let added = added.map(|thing| format!("left: {thing}"));
        // A BPF object that went was another process's: nothing of ours was there before.
        let removed = earlier.things.difference(&self.things).filter(|thing| !thing.starts_with("bpf "));
        let removed = removed.map(|thing| format!("gone: {thing}"));
        added.chain(removed).collect()
    }

    /// Panics unless the machine returns to this state; the kernel frees BPF objects a little after their last user.
    #[track_caller]
    pub fn assert_restored(&self, namespaces: &[&NetNs]) {
        let mut difference = Vec::new();
        let restored = wait_until(Duration::from_secs(5), || {
            difference = Self::now(namespaces).difference(self);
            difference.is_empty()
        });
        assert!(restored, "the machine is not as before: {difference:#?}");
    }

    /// The things of which a word is part, for messages and for proving that there was something to clean.
    pub fn with(&self, word: &str) -> Vec<&str> {
        self.things.iter().map(String::as_str).filter(|thing| thing.contains(word)).collect()
    }
}

fn look_at_namespace(ns: &NetNs, things: &mut BTreeSet<String>) {
    let links = link_names(ns);
    for link in &links {
        for place in ["ingress", "egress"] {
            let filters = try_run(&format!("tc -n {} filter show dev {link} {place}", ns.name())).unwrap_or_default();
            let filters = filters.lines().map(|line| format!("filter {} {link} {place}: {}", ns.name(), line.trim()));
            things.extend(filters);
        }
        things.insert(format!("link {} {link}", ns.name()));
    }
    let qdiscs = try_run(&format!("tc -n {} qdisc show", ns.name())).unwrap_or_default();
    things.extend(qdiscs.lines().map(|line| format!("qdisc {}: {}", ns.name(), line.trim())));
}

/// The names of all links, those whose peer is elsewhere too ("eth0@if7").
fn link_names(ns: &NetNs) -> Vec<String> {
    let text = try_run(&format!("ip -n {} -o link show", ns.name())).unwrap_or_default();
    let names = text.lines().filter_map(|line| line.split(": ").nth(1));
    names.map(|name| name.split('@').next().unwrap_or(name).to_owned()).collect()
}

fn list_files(folder: &Path, things: &mut BTreeSet<String>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        things.insert(format!("file {}", entry.path().display()));
        list_files(&entry.path(), things);
    }
}

/// Every BPF object of a kind, with its name where the kind has one.
fn all(kind: BpfKind) -> Vec<String> {
    let mut found = Vec::new();
    let mut id = 0;
    while let Ok(next) = kind.next_id(id) {
        id = next;
        // Gone since we learned its id: then it is not left.
        let Ok(object) = kind.open(id) else { continue };
        let mut info = [0u8; 128];
        let _ = sys::bpf_object_info(object.as_fd(), &mut info);
        found.push(format!("bpf {kind:?} {id} {}", name(kind, &info)));
    }
    found
}

/// The name in `struct bpf_prog_info` and `struct bpf_map_info`; a link has none.
fn name(kind: BpfKind, info: &[u8]) -> String {
    let at = match kind {
        BpfKind::Program => 64,
        BpfKind::Map => 24,
        BpfKind::Link => return String::new(),
    };
    String::from_utf8_lossy(&info[at..at + 16]).trim_end_matches('\0').to_owned()
}

//! What is on the machine and could be left behind, to compare before and after.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::clock::wait_until;
use crate::command::try_run;
use crate::net::NetNs;
use crate::sys;

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
            things.extend(kind.all());
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
        let expedited = fs::read_to_string("/sys/kernel/rcu_expedited").unwrap_or_default();
        things.insert(format!("rcu_expedited {}", expedited.trim()));
        Self { things }
    }

    /// What is there now and was not then, and what was then and is gone.
    pub fn difference(&self, earlier: &Self) -> Vec<String> {
        let added = self.things.difference(&earlier.things).map(|thing| format!("left: {thing}"));
        let removed = earlier.things.difference(&self.things).map(|thing| format!("gone: {thing}"));
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

#[derive(Clone, Copy, Debug)]
enum BpfKind {
    Program,
    Map,
    Link,
}

impl BpfKind {
    /// The commands of bpf(2) that give the next id and open one.
    fn commands(self) -> (u32, u32) {
        match self {
            Self::Program => (11, 13),
            Self::Map => (12, 14),
            Self::Link => (31, 30),
        }
    }

    /// Every object of this kind, with its name where the kind has one.
    fn all(self) -> Vec<String> {
        let (next, open) = self.commands();
        let mut found = Vec::new();
        let mut id = 0u32;
        loop {
            let mut attribute = [0u8; 16];
            attribute[0..4].copy_from_slice(&id.to_ne_bytes());
            if sys::bpf(next, &mut attribute).is_err() {
                return found;
            }
            id = u32::from_ne_bytes(attribute[4..8].try_into().expect("four bytes"));
            let mut attribute = [0u8; 16];
            attribute[0..4].copy_from_slice(&id.to_ne_bytes());
            // Gone since we learned its id: then it is not left.
            let Ok(object) = sys::bpf_open(open, &mut attribute) else { continue };
            let mut info = [0u8; 128];
            let _ = sys::bpf_object_info(std::os::fd::AsFd::as_fd(&object), &mut info);
            found.push(format!("bpf {self:?} {id} {}", self.name(&info)));
        }
    }

    /// The name in `struct bpf_prog_info` and `struct bpf_map_info`; a link has none.
    fn name(self, info: &[u8]) -> String {
        let at = match self {
            Self::Program => 64,
            Self::Map => 24,
            Self::Link => return String::new(),
        };
        String::from_utf8_lossy(&info[at..at + 16]).trim_end_matches('\0').to_owned()
    }
}

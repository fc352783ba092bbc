//! BPF objects of the product that no process holds: of these a machine is never rid. Objects of runs beside the test have a
//! holder, so they do not count.

use std::collections::BTreeSet;
use std::fs;
use std::os::fd::AsFd;

use chaos_tests::sys::{self, BpfKind};

/// What a living process holds by descriptors: other maps are held by programs only. If one program stays, so do its maps, and
/// the stubs stand for the links.
///
/// Not the table of tail calls: who opens one by its id while its last holder goes, as this test does to learn the names, makes
/// the kernel lose a reference (prog_array_map_clear in kernel/bpf/arraymap.c takes one per schedule_work, queued or not;
/// likely, not proven).
const NAMES: [&str; 9] = [
    "CHAOS_CONTROL",
    "CHAOS_LEASES",
    "CHAOS_POINTS",
    "CHAOS_RULES",
    "CHAOS_COUNTERS",
    "CHAOS_CALLS",
    "CHAOS_CALLSTATE",
    "CHAOS_SLEEPER",
    "chaos_stub",
];

/// The objects of those names without a holder.
pub fn orphans() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (kind, field) in [(BpfKind::Program, "prog_id:"), (BpfKind::Map, "map_id:")] {
        let ours = ours(kind);
        if ours.is_empty() {
            continue;
        }
        let held = held(field);
        found.extend(
            ours.into_iter().filter(|(id, _)| !held.contains(id)).map(|(id, name)| format!("{kind:?} {id} {name}")),
        );
    }
    found
}

fn ours(kind: BpfKind) -> Vec<(u32, String)> {
    let mut found = Vec::new();
    let mut id = 0;
    while let Ok(next) = kind.next_id(id) {
        id = next;
        let Ok(object) = kind.open(id) else { continue };
        let mut info = [0u8; 128];
        let _ = sys::bpf_object_info(object.as_fd(), &mut info);
        // `name` in struct bpf_prog_info and struct bpf_map_info (linux/bpf.h).
        let at = if matches!(kind, BpfKind::Program) { 64 } else { 24 };
        let name = String::from_utf8_lossy(&info[at..at + 16]).trim_end_matches('\0').to_owned();
        if NAMES.contains(&name.as_str()) {
            found.push((id, name));
        }
    }
    found
}

/// The ids in the descriptors of all processes; a link's descriptor names its program.
fn held(field: &str) -> BTreeSet<u32> {
    let mut ids = BTreeSet::new();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten().map(|entry| entry.path());
    let folders = processes.filter_map(|process| fs::read_dir(process.join("fdinfo")).ok());
    for entry in folders.flatten().flatten() {
        let text = fs::read_to_string(entry.path()).unwrap_or_default();
        let values = text.lines().filter_map(|line| line.strip_prefix(field));
        ids.extend(values.filter_map(|value| value.trim().parse::<u32>().ok()));
    }
    ids
}

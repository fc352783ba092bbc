//! The maps of every chaos on this kernel, found without opening the maps of others.
//!
//! A map that is opened by its id counts as used by a process while it is open. For a table of tail calls that is not free of effects: its
//! last user's close has the kernel empty it later and takes a reference for that, also where it is to be emptied already; then the
//! reference is never given back, and the table stays (kernel/bpf/arraymap.c, `prog_array_map_clear`). Programs have no such count. So programs
//! are opened, and of maps only those that chaos's own programs use, which are no tables.

use super::{
    bpf::map_ids,
    datapath::{load_error, map_error},
    error::KernelError,
};
use aya::maps::MapInfo;
use chaos_abi::maps as names;
use nix::errno::Errno;
use std::collections::BTreeSet;

/// The programs that together use all maps which are searched for; that is part of their being found by chaos of other versions.
const PROGRAMS: [&str; 3] = ["fault", "fault_legacy", "clock"];

/// Ids of the maps that programs use, of those with a name that is `wanted`.
fn used(wanted: impl Fn(&str) -> bool) -> Result<BTreeSet<u32>, KernelError> {
    let mut used = BTreeSet::new();
    for program in aya::programs::loaded_programs() {
        let maps = program.and_then(|program| match program.name_as_str() {
            Some(name) if wanted(name) => program.map_ids(),
            _ => Ok(None),
        });
        match maps.map_err(|e| load_error("find", "programs", &e)) {
            Ok(maps) => used.extend(maps.into_iter().flatten()),
            // Gone between two steps of the search.
            Err(error) if error.errno == Errno::ENOENT => {}
            Err(error) => return Err(error),
        }
    }
    Ok(used)
}

/// Those of these maps whose name is `wanted`. It opens them.
fn called(ids: impl IntoIterator<Item = u32>, wanted: &[&str]) -> Result<Vec<u32>, KernelError> {
    let mut found = Vec::new();
    for id in ids {
        match MapInfo::from_id(id).map_err(|e| map_error("find", "maps", &e)) {
            Ok(info) if wanted.iter().any(|name| info.name() == name.as_bytes()) => found.push(id),
            Ok(_) => {}
            Err(error) if error.errno == Errno::ENOENT => {}
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

/// Ids of the maps of a name, whoever owns them.
///
/// # Errors
/// EPERM where we may not look for programs; the kernel's answer for one of ours.
pub(super) fn maps_named(name: &str) -> Result<Vec<u32>, KernelError> {
    called(used(|program| PROGRAMS.contains(&program))?, &[name])
}

/// Ids of the tables of tail calls that the kernel keeps for nobody: see above. Only what no program uses and no process holds is opened.
///
/// # Errors
/// EPERM without CAP_BPF or CAP_SYS_ADMIN.
pub fn lost_tables() -> Result<Vec<u32>, KernelError> {
    let ours = [names::PROGS, names::CGROUP_PROGS];
    let mut taken = used(|_| true)?;
    let processes = procfs::process::all_processes().into_iter().flatten().flatten();
    for info in processes.filter_map(|process| std::fs::read_dir(format!("/proc/{}/fdinfo", process.pid())).ok()) {
        let texts = info.flatten().filter_map(|entry| std::fs::read_to_string(entry.path()).ok());
        taken.extend(texts.filter_map(|text| {
            text.lines().find_map(|line| line.strip_prefix("map_id:")).and_then(|id| id.trim().parse::<u32>().ok())
        }));
    }
    let lost = map_ids()?.into_iter().filter(|id| !taken.contains(id));
    called(lost, &ours)
}

/// What all maps of a name hold, whoever owns them, as `of` reads it from a map's id.
///
/// # Errors
/// As [`maps_named`]; what the kernel says of one.
pub(super) fn in_maps<T>(name: &str, of: impl Fn(u32) -> Result<Vec<T>, KernelError>) -> Result<Vec<T>, KernelError> {
    let mut found = Vec::new();
    for id in maps_named(name)? {
        match of(id) {
            // Gone meanwhile, or of a chaos whose maps are made otherwise.
            Err(error) if matches!(error.errno, Errno::ENOENT | Errno::EIO) => {}
            other => found.extend(other?),
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::{datapath::Datapath, testing::root_or_return};

    #[test]
    fn our_maps_are_found_but_for_the_tables() {
        root_or_return!();
        let datapath = Datapath::load().unwrap();
        for name in [names::CONTROL, names::LEASES, names::STOPS, names::NAMES] {
            assert!(maps_named(name).unwrap().contains(&datapath.ids().maps[name]), "{name}");
        }
        for name in [names::PROGS, names::CGROUP_PROGS] {
            assert!(!maps_named(name).unwrap().contains(&datapath.ids().maps[name]), "{name} is never opened");
            assert!(!lost_tables().unwrap().contains(&datapath.ids().maps[name]), "{name} has a holder");
        }
    }
}

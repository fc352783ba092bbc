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

/// What a search has found, and what was in its way first: it goes on past that.
pub(super) struct Found<T> {
    pub(super) these: T,
    pub(super) error: Option<KernelError>,
}

impl<T> Found<T> {
    /// All of it, or the error.
    fn whole(self) -> Result<T, KernelError> {
        self.error.map_or(Ok(self.these), Err)
    }
}

/// Those that could be looked at. What is gone between two steps of the search is no error.
fn gather<T, C: Default + Extend<T>>(all: impl Iterator<Item = Result<Option<T>, KernelError>>) -> Found<C> {
    let mut found = Found { these: C::default(), error: None };
    for one in all {
        match one {
            Ok(one) => found.these.extend(one),
            Err(error) if error.errno == Errno::ENOENT => {}
            Err(error) => found.error = found.error.or(Some(error)),
        }
    }
    found
}

/// The maps of each program with a name that is `wanted`.
fn used(wanted: impl Fn(&str) -> bool) -> Found<Vec<Vec<u32>>> {
    gather(aya::programs::loaded_programs().map(|program| {
        let maps = program.and_then(|program| match program.name_as_str() {
            Some(name) if wanted(name) => program.map_ids(),
            _ => Ok(None),
        });
        maps.map_err(|e| load_error("find", "programs", &e))
    }))
}

/// Those of these maps whose name is `wanted`. It opens them.
fn called(ids: impl IntoIterator<Item = u32>, wanted: &[&str]) -> Found<Vec<u32>> {
    gather(ids.into_iter().map(|id| {
        let info = MapInfo::from_id(id).map_err(|e| map_error("find", "maps", &e))?;
        Ok(wanted.iter().any(|name| info.name() == name.as_bytes()).then_some(id))
    }))
}

/// Ids of the maps of a name, whoever owns them, as far as they can be looked at. Error: EPERM where we may not look for programs; the
/// kernel's answer for one.
pub(super) fn seen(name: &str) -> Found<Vec<u32>> {
    let programs = used(|program| PROGRAMS.contains(&program));
    let ids: BTreeSet<u32> = programs.these.into_iter().flatten().collect();
    let maps = called(ids, &[name]);
    Found { these: maps.these, error: programs.error.or(maps.error) }
}

/// The same, all of them.
///
/// # Errors
/// As of [`seen`].
pub(super) fn maps_named(name: &str) -> Result<Vec<u32>, KernelError> {
    seen(name).whole()
}

/// The maps of a name that stand beside this one: a program uses both.
///
/// # Errors
/// As [`maps_named`].
pub(super) fn beside(map: u32, name: &str) -> Result<Vec<u32>, KernelError> {
    let mut programs = used(|program| PROGRAMS.contains(&program)).whole()?;
    programs.retain(|maps| maps.contains(&map));
    called(programs.into_iter().flatten().collect::<BTreeSet<u32>>(), &[name]).whole()
}

/// Ids of the tables of tail calls that the kernel keeps for nobody: see above. Only what no program uses and no process holds is opened.
///
/// # Errors
/// EPERM without CAP_BPF or CAP_SYS_ADMIN.
pub fn lost_tables() -> Result<Vec<u32>, KernelError> {
    let ours = [names::PROGS, names::CGROUP_PROGS];
    // First: what is made after this is not among them, and is not taken for lost.
    let all = map_ids()?;
    let mut taken: BTreeSet<u32> = used(|_| true).whole()?.into_iter().flatten().collect();
    let processes = procfs::process::all_processes().into_iter().flatten().flatten();
    for info in processes.filter_map(|process| std::fs::read_dir(format!("/proc/{}/fdinfo", process.pid())).ok()) {
        let texts = info.flatten().filter_map(|entry| std::fs::read_to_string(entry.path()).ok());
        taken.extend(texts.filter_map(|text| {
            text.lines().find_map(|line| line.strip_prefix("map_id:")).and_then(|id| id.trim().parse::<u32>().ok())
        }));
    }
    called(all.into_iter().filter(|id| !taken.contains(id)), &ours).whole()
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
    use crate::{datapath::Datapath, testing::root_or_return};

    #[test]
    fn a_search_goes_on_past_what_is_refused() {
        let refused = |errno| Err(KernelError::new("find", "maps", errno));
        let answers = || [refused(Errno::EPERM), Ok(Some(3)), Ok(None), refused(Errno::EACCES), Ok(Some(5))];
        let found: Found<Vec<u32>> = gather(answers().into_iter());
        assert_eq!((found.these.as_slice(), found.error.as_ref().map(|e| e.errno)), (&[3, 5][..], Some(Errno::EPERM)));
        assert!(found.whole().is_err(), "and is not whole");
        let found: Found<Vec<u32>> = gather([refused(Errno::ENOENT), Ok(Some(7))].into_iter());
        assert_eq!(found.whole(), Ok(vec![7]), "what is gone is no error");
    }

    #[test]
    fn our_maps_are_found_but_for_the_tables() {
        root_or_return!();
        let datapath = Datapath::load(chaos_objects::NET).unwrap();
        for name in [names::CONTROL, names::LEASES, names::STOPS, names::NAMES] {
            assert!(maps_named(name).unwrap().contains(&datapath.ids().maps[name]), "{name}");
        }
        let ids = |name| datapath.ids().maps[name];
        assert_eq!(beside(ids(names::LEASES), names::CONTROL).unwrap(), [ids(names::CONTROL)]);
        for name in [names::PROGS, names::CGROUP_PROGS] {
            assert!(!maps_named(name).unwrap().contains(&datapath.ids().maps[name]), "{name} is never opened");
            assert!(!lost_tables().unwrap().contains(&datapath.ids().maps[name]), "{name} has a holder");
        }
    }
}

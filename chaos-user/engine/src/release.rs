//! Taking back: what a run wrote into the maps, and attach points that nobody uses any more.

use super::{EngineError, Locked, PointEntry, PointKind, RunEntry, attach, clsact, hosts, limit, sets, walk};
use chaos_abi::{LEASE_FREE, Lease, POINT_DNS, Point, Rule, maps};
use chaos_host::Interface;
use chaos_sys::{
    datapath::{Datapath, map_error},
    error::KernelError,
    filter::{self, Direction, Place},
    link, names,
    netlink::Rtnl,
    netns::Netns,
    seam,
};
use nix::errno::Errno;
use std::collections::HashMap;

/// Clears what a run wrote: its lease, its rules at their points, its sets.
///
/// # Errors
/// The first that the kernel refused.
pub fn clear(datapath: &mut Datapath, run: &RunEntry) -> Result<(), KernelError> {
    seam::run("clear rules of", &run.name, || {
        let lease = Lease { state: LEASE_FREE, ..Lease::zeroed() };
        datapath.leases.set(run.lease, lease, 0).map_err(|e| map_error("write map", maps::LEASES, &e))?;
        names::remove(datapath, run.lease)?;
        sets::remove(datapath, &run.sets)?;
        take_rules(datapath, &run.points, &run.rules).map(drop)
    })
}

/// Takes rules from attach points and clears them; those points on which none is left that counts.
///
/// # Errors
/// The first that the kernel refused.
pub fn take_rules(datapath: &mut Datapath, points: &[u32], gone: &[u32]) -> Result<Vec<u32>, KernelError> {
    let empty = take_off(datapath, points, gone)?;
    for id in gone {
        datapath.rules.set(*id, Rule::zeroed(), 0).map_err(|e| map_error("write map", maps::RULES, &e))?;
    }
    samples(datapath, gone);
    Ok(empty)
}

/// Takes rules from attach points, and leaves them what they are; those points on which none is left that counts.
///
/// # Errors
/// The first that the kernel refused.
pub fn take_off(datapath: &mut Datapath, points: &[u32], gone: &[u32]) -> Result<Vec<u32>, KernelError> {
    let mut empty = Vec::new();
    for id in points {
        let point_error = |e| map_error("write map", maps::POINTS, &e);
        let mut point: Point = datapath.points.get(id, 0).map_err(point_error)?;
        let left = walk::remove(walk::groups(&attach::rules_of(&point), |id| attach::phase_of(datapath, id)), gone);
        let ids = walk::ids(&left);
        attach::set_rules(datapath, &mut point, &ids)?;
        if point.flags & POINT_DNS != 0 && !hosts::followed(datapath, point.netns) {
            point.flags &= !POINT_DNS;
        }
        if point.count == 0 && point.flags & POINT_DNS == 0 {
            empty.push(*id);
        }
        datapath.points.set(*id, point, 0).map_err(point_error)?;
    }
    Ok(empty)
}

/// Samples of rules that are gone would pass for those of the next rule with that id.
fn samples(datapath: &mut Datapath, ids: &[u32]) {
    let keys: Vec<_> = datapath.hits.keys().filter_map(Result::ok).filter(|key| ids.contains(&key.rule)).collect();
    for key in keys {
        let _gone_already = datapath.hits.remove(&key);
    }
    let keys: Vec<_> = datapath.missed.keys().filter_map(Result::ok).filter(|key| ids.contains(&key.rule)).collect();
    for key in keys {
        let _gone_already = datapath.missed.remove(&key);
    }
    let keys: Vec<_> = datapath.delays.keys().filter_map(Result::ok).filter(|key| ids.contains(&key.rule)).collect();
    for key in keys {
        let _gone_already = datapath.delays.remove(&key);
    }
}

/// Takes away the attach points and limits that no run uses, and forgets them. `netns` holds those that are at hand.
///
/// # Errors
/// Every point and limit that could not be taken away, in one text; the others are gone, and these stay in the journal.
pub fn unused_points(
    locked: &mut Locked,
    datapath: Option<&mut Datapath>,
    netns: &HashMap<u64, Netns>,
) -> Result<(), EngineError> {
    let used = |id: u32| locked.journal.runs.iter().any(|run| run.points.contains(&id));
    let (gone, _): (Vec<_>, Vec<_>) = locked.journal.points.iter().cloned().partition(|entry| !used(entry.id));
    let mut failed = limit::restore_unused(locked, netns);
    let mut datapath = datapath;
    let mut by_netns: HashMap<u64, Vec<PointEntry>> = HashMap::new();
    for entry in gone {
        by_netns.entry(entry.netns).or_default().push(entry);
    }
    for (inode, entries) in by_netns {
        let result = match netns.get(&inode).cloned().or_else(|| Netns::find_by_inode(inode)) {
            Some(netns) => remove_all(&netns, &entries),
            // A netns that nobody can enter any more took its devices with it.
            None => Ok(()),
        };
        if let Err(error) = result {
            failed.push(error.to_string());
            continue;
        }
        for entry in &entries {
            if let Some(datapath) = datapath.as_deref_mut() {
                let _map_may_be_gone = datapath.points.set(entry.id, Point::zeroed(), 0);
            }
            locked.journal.points.retain(|one| one.id != entry.id);
        }
    }
    if failed.is_empty() { Ok(()) } else { Err(EngineError::Failed(failed.join("\n"))) }
}

fn remove_all(netns: &Netns, entries: &[PointEntry]) -> Result<(), KernelError> {
    let lasting = |entry: &&PointEntry| {
        entry.kind == PointKind::Interface && (entry.pair.is_some() || entry.filter.is_some() || entry.link.is_none())
    };
    let entries: Vec<_> = entries.iter().filter(lasting).collect();
    if entries.is_empty() {
        return Ok(());
    }
    netns.enter(|| {
        let mut rtnl = Rtnl::open()?;
        for entry in entries {
            remove(&mut rtnl, entry)?;
        }
        Ok(())
    })?
}

/// What outlives its process: the filter below clsact, and the veth pair. A tcx link went with its descriptors.
fn remove(rtnl: &mut Rtnl, entry: &PointEntry) -> Result<(), KernelError> {
    if entry.link.is_none() {
        remove_filter(rtnl, entry)?;
    }
    let Some(pair) = &entry.pair else { return Ok(()) };
    // Somebody else's device is not ours to delete, whatever the journal says.
    if (pair.tx.clone(), pair.rx.clone()) != attach::pair_names(entry.id) {
        return Ok(());
    }
    let (Some(tx), rx) = (link::find_by_name(rtnl, &pair.tx)?, link::find_by_name(rtnl, &pair.rx)?) else {
        return Ok(());
    };
    if is_pair(&tx, rx.as_ref()) {
        absent_is_fine(link::delete(rtnl, &tx))?;
    }
    Ok(())
}

/// Marked as ours; or without a mark, as between its making and its marking, and nothing but such a pair in this namespace.
pub(super) fn is_pair(tx: &Interface, rx: Option<&Interface>) -> bool {
    if tx.kind.as_deref() != Some("veth") {
        return false;
    }
    match &tx.alias {
        Some(alias) => alias.starts_with(attach::ALIAS),
        None => rx.is_some_and(|rx| tx.peer == Some(rx.index) && rx.alias.is_none() && !tx.up && !rx.up),
    }
}

/// The entry may be without a filter because the process died between making it and writing that down.
fn remove_filter(rtnl: &mut Rtnl, entry: &PointEntry) -> Result<(), KernelError> {
    let direction = if entry.ingress { Direction::Ingress } else { Direction::Egress };
    let listed = match filter::list(rtnl, entry.ifindex, direction) {
        Ok(listed) => listed,
        Err(error) if matches!(error.errno, Errno::ENODEV | Errno::ENOENT | Errno::EINVAL | Errno::EOPNOTSUPP) => {
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    for one in listed.iter().filter(|filter| clsact::is_ours(filter)) {
        let place = Place { interface: entry.ifindex, direction, pref: one.pref, handle: one.handle };
        absent_is_fine(filter::delete(rtnl, place))?;
    }
    if entry.clsact {
        clsact::remove_if_empty(rtnl, entry.ifindex)?;
    }
    Ok(())
}

fn absent_is_fine(result: Result<(), KernelError>) -> Result<(), KernelError> {
    match result {
        Err(error) if matches!(error.errno, Errno::ENODEV | Errno::ENOENT | Errno::EINVAL) => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests;

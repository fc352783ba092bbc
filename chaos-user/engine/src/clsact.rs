//! Filters below clsact, on kernels without tcx. Each says by its name whether its clsact is ours, too: for when no journal says so.

use super::{FilterEntry, PointEntry, PointKind, Session};
use crate::journal::Unknown;
use chaos_sys::{
    error::KernelError,
    filter::{self, Direction, Filter, Place},
    netlink::Rtnl,
    netns::Netns,
    qdisc,
};
use nix::errno::Errno;
use std::{collections::HashMap, os::fd::BorrowedFd};

/// Preference of our filter: before all others.
const PREF: u16 = 1;
/// And its handle there.
const HANDLE: u32 = 0xc4a0;
/// Its name where clsact was there before.
const BELOW_OTHERS: &str = "chaos";
/// Its name where clsact was made for it.
const BELOW_OURS: &str = "chaos, and its clsact";

/// Is it one that we would make?
#[must_use]
pub fn is_ours(filter: &Filter) -> bool {
    (filter.pref, filter.handle) == (PREF, HANDLE) && [BELOW_OTHERS, BELOW_OURS].contains(&filter.name.as_str())
}

/// Was its clsact made for it?
#[must_use]
pub fn made_for(filter: &Filter) -> bool {
    is_ours(filter) && filter.name == BELOW_OURS
}

/// On kernels without tcx: which interfaces have no clsact qdisc yet, written down before one is made.
///
/// # Errors
/// What the kernel says.
pub fn look_for(session: &Session, points: &mut [PointEntry], netns: &HashMap<u64, Netns>) -> Result<(), KernelError> {
    if session.datapath.ids().tcx {
        return Ok(());
    }
    let new = |entry: &PointEntry| entry.kind == PointKind::Interface && entry.filter.is_none();
    for (inode, netns) in netns {
        let places = points.iter().filter(|entry| new(entry) && entry.netns == *inode).map(|entry| entry.ifindex);
        let absent: Vec<u32> = netns.enter(|| {
            let mut rtnl = Rtnl::open()?;
            let mut absent = Vec::new();
            for ifindex in places {
                if !qdisc::has_clsact(&mut rtnl, ifindex)? {
                    absent.push(ifindex);
                }
            }
            Ok(absent)
        })??;
        // The other direction's filter may have made the qdisc: it is as much ours.
        let ours: Vec<u32> = points.iter().filter(|e| e.netns == *inode && e.clsact).map(|e| e.ifindex).collect();
        for entry in points.iter_mut().filter(|entry| entry.netns == *inode) {
            entry.clsact |= absent.contains(&entry.ifindex) || ours.contains(&entry.ifindex);
        }
    }
    Ok(())
}

/// cls_bpf in direct action below clsact: kernels before 6.6. `made`: clsact goes with its last filter.
///
/// # Errors
/// As [`filter::add`].
pub fn add_filter(
    rtnl: &mut Rtnl,
    ifindex: u32,
    ingress: bool,
    made: bool,
    program: BorrowedFd<'_>,
) -> Result<FilterEntry, KernelError> {
    qdisc::add_clsact(rtnl, ifindex)?;
    let name = if made { BELOW_OURS } else { BELOW_OTHERS };
    let direction = if ingress { Direction::Ingress } else { Direction::Egress };
    filter::add(rtnl, Place { interface: ifindex, direction, pref: PREF, handle: HANDLE }, name, program)?;
    Ok(FilterEntry { pref: PREF, handle: HANDLE, unknown: Unknown::new() })
}

/// Takes clsact away where no filter is left in it, whosever.
///
/// # Errors
/// The kernel's answer; that there is none is fine.
pub fn remove_if_empty(rtnl: &mut Rtnl, ifindex: u32) -> Result<(), KernelError> {
    let both = [Direction::Ingress, Direction::Egress];
    if !both.iter().all(|direction| filter::is_empty(rtnl, ifindex, *direction).unwrap_or(false)) {
        return Ok(());
    }
    match qdisc::delete_clsact(rtnl, ifindex) {
        Err(error) if matches!(error.errno, Errno::ENODEV | Errno::ENOENT | Errno::EINVAL) => Ok(()),
        other => other,
    }
}

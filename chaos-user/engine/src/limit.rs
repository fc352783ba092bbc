//! `perPacket`: new connections send every packet as a buffer of its own, by `gso_max_segs` 1 on the interfaces that they leave
//! by. The value before stands in the journal first, and comes back with the last experiment that needs the limit. It stands in a further
//! name of the interface, too: for when no journal says it.

use super::{EngineError, LimitEntry, LimitPlace, Locked, RunEntry, rules::Placed, wants::Want};
use crate::journal::Unknown;
use chaos_host::{Interface, Target};
use chaos_spec::plan::Plan;
use chaos_sys::{
    error::KernelError,
    interface::uppers,
    link::{self, altname},
    netlink::Rtnl,
    netns::Netns,
};
use nix::errno::Errno;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    ops::RangeInclusive,
};

const ONE: u32 = 1;
/// What it can have been before (linux/netdevice.h, GSO_MAX_SEGS).
const BEFORE: RangeInclusive<u32> = ONE + 1..=65_535;
/// Begins the further name, which goes on with the value before and, as no two interfaces share a name, the interface's number.
const MARK: &str = "chaos-gso-max-segs-";

/// The further name of a limited interface.
fn mark(before: u32, ifindex: u32) -> String {
    format!("{MARK}{before}-of-{ifindex}")
}

/// The further names that say what `gso_max_segs` was before, with that value.
fn marks(interface: &Interface) -> impl Iterator<Item = (&String, u32)> {
    interface.altnames.iter().filter_map(|name| {
        let (before, _) = name.strip_prefix(MARK)?.split_once("-of-")?;
        Some((name, before.parse().ok().filter(|before| BEFORE.contains(before))?))
    })
}

/// What it was before it was limited, where the interface itself says so.
#[must_use]
pub fn before(interface: &Interface) -> Option<u32> {
    marks(interface).next().map(|(_, before)| before)
}

/// Can new connections of this target alone be limited?
///
/// # Errors
/// A sentence naming the field, the reason and what is possible.
pub fn possible(plan: &Plan, target: &Target) -> Result<(), String> {
    let Some(rule) = plan.rules.iter().find(|rule| rule.per_packet) else { return Ok(()) };
    let field = format!("spec.faults[{}].network.perPacket", rule.fault);
    if target.scope().is_some() {
        return Err(format!(
            "{field}: {} shares its network interfaces, and the limit would slow down everybody's connections; leave it out, or \
             give the target a network namespace of its own",
            target.name
        ));
    }
    if !rule.direction.egress() {
        return Err(format!(
            "{field}: how many packets a buffer holds is decided by who sends it; leave it out, or place the fault at the peer \
             with direction: egress"
        ));
    }
    Ok(())
}

/// The interfaces by which packets come to the attach points of a run's `perPacket` faults: these, and those that stand on them.
#[must_use]
pub fn places(plan: &Plan, placed: &[Placed], targets: &[Target], all: &[(u64, Vec<Want>)]) -> BTreeSet<LimitPlace> {
    let limited = |ids: &[u32]| placed.iter().any(|one| plan.rules[one.plan].per_packet && ids.contains(&one.id()));
    let mut places = BTreeSet::new();
    if plan.dry_run {
        return places;
    }
    for (netns, wants) in all {
        let Some(target) = wants.first().and_then(|want| targets.get(want.target)) else { continue };
        let wanted = wants.iter().filter(|want| !want.ingress && want.groups.iter().any(|(_, ids)| limited(ids)));
        let mut next: Vec<u32> = wanted.map(|want| want.ifindex).collect();
        while let Some(ifindex) = next.pop() {
            if places.insert(LimitPlace { netns: *netns, ifindex }) {
                next.extend(uppers(&target.interfaces, ifindex).iter().map(|upper| upper.index));
            }
        }
    }
    places
}

/// Writes down what a run needs, with the values that are there; nothing is changed yet.
///
/// # Errors
/// What the kernel says.
pub fn enter(
    locked: &mut Locked,
    run: &mut RunEntry,
    places: BTreeSet<LimitPlace>,
    netns: &HashMap<u64, Netns>,
) -> Result<(), EngineError> {
    for place in &places {
        // Where somebody limits it already, what is there is not what was before.
        if locked.journal.limits.iter().any(|entry| entry.place == *place) {
            continue;
        }
        let Some(netns) = netns.get(&place.netns) else { continue };
        let interface = netns.enter(|| link::get(&mut Rtnl::open()?, place.ifindex))??;
        // Where a journal that was lost had it limited, what is there is not what was before.
        let known = before(&interface).filter(|_| interface.gso_max_segs == Some(ONE));
        let Some(before) = known.or(interface.gso_max_segs) else {
            let error = KernelError::new("read gso_max_segs of", interface.name, Errno::EOPNOTSUPP);
            return Err(error.unsupported("this kernel does not tell it; leave perPacket out").into());
        };
        locked.journal.limits.push(LimitEntry {
            place: *place,
            interface: interface.name,
            before,
            unknown: Unknown::new(),
        });
    }
    let all: BTreeSet<LimitPlace> = run.limits.iter().copied().chain(places).collect();
    run.limits = all.into_iter().collect();
    Ok(())
}

/// Sets the limits that stand in the journal.
///
/// # Errors
/// What the kernel says; the caller rolls back.
pub fn set(locked: &Locked, run: &RunEntry, netns: &HashMap<u64, Netns>) -> Result<(), EngineError> {
    for place in &run.limits {
        let Some(netns) = netns.get(&place.netns) else { continue };
        let entry = locked.journal.limits.iter().find(|entry| entry.place == *place);
        netns.enter(|| limit(place.ifindex, entry.map_or(ONE, |entry| entry.before)))??;
    }
    Ok(())
}

/// The mark first: what is limited without one nobody could give back.
pub(super) fn limit(ifindex: u32, before: u32) -> Result<(), KernelError> {
    let mut rtnl = Rtnl::open()?;
    if BEFORE.contains(&before) {
        match altname::add(&mut rtnl, ifindex, &mark(before, ifindex)) {
            // Another experiment's, or a kernel or device that takes none: then the journal alone has it.
            Err(error) if matches!(error.errno, Errno::EEXIST | Errno::EOPNOTSUPP | Errno::EINVAL) => {}
            other => other?,
        }
    }
    link::set_gso_max_segs(&mut rtnl, ifindex, ONE)
}

/// The limits that no experiment needs.
#[must_use]
pub fn unused(journal: &super::Journal) -> Vec<LimitEntry> {
    let used = |place| journal.runs.iter().any(|run| run.limits.contains(place));
    journal.limits.iter().filter(|entry| !used(&entry.place)).cloned().collect()
}

/// Gives back what no experiment needs any more, and forgets it. Returns what could not be given back; it stays in the journal.
pub fn restore_unused(locked: &mut Locked, netns: &HashMap<u64, Netns>) -> Vec<String> {
    let mut failed = Vec::new();
    let mut by_netns: BTreeMap<u64, Vec<LimitEntry>> = BTreeMap::new();
    for entry in unused(&locked.journal) {
        by_netns.entry(entry.place.netns).or_default().push(entry);
    }
    for (inode, entries) in by_netns {
        // A netns that nobody can enter any more took its devices with it.
        let Some(netns) = netns.get(&inode).cloned().or_else(|| Netns::find_by_inode(inode)) else {
            locked.journal.limits.retain(|entry| entry.place.netns != inode);
            continue;
        };
        for entry in entries {
            match netns.enter(|| restore(&entry)).and_then(|result| result) {
                Ok(()) => locked.journal.limits.retain(|one| one.place != entry.place),
                Err(error) => failed.push(error.to_string()),
            }
        }
    }
    failed
}

fn restore(entry: &LimitEntry) -> Result<(), KernelError> {
    let mut rtnl = Rtnl::open()?;
    match link::get(&mut rtnl, entry.place.ifindex) {
        Ok(interface) => give_back(&mut rtnl, &interface, entry.before),
        Err(error) if error.errno == Errno::ENODEV => Ok(()),
        Err(error) => Err(error),
    }
}

/// Makes an interface what it was, and takes its mark away.
///
/// # Errors
/// The kernel's answer.
pub(super) fn give_back(rtnl: &mut Rtnl, interface: &Interface, before: u32) -> Result<(), KernelError> {
    // What is not our value any more is somebody's wish.
    if interface.gso_max_segs == Some(ONE) {
        match link::set_gso_max_segs(rtnl, interface.index, before) {
            // More than the device can, by now: its owner may write marks, too. There is no better value, and asking again will not help.
            Err(error) if matches!(error.errno, Errno::EINVAL | Errno::ERANGE) => tracing::warn!("{error}"),
            other => other?,
        }
    }
    for (name, _) in marks(interface) {
        match altname::remove(rtnl, interface.index, name) {
            Err(error) if error.errno == Errno::ENOENT => {}
            other => other?,
        }
    }
    Ok(())
}

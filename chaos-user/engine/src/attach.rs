//! Attach points: one stub per netns, interface and direction, whoever needs it, and the veth pair of those that queue.

use super::{EngineError, Locked, PairEntry, PointEntry, RunEntry, Session, arrivals, clsact, walk, wants::Want};
use crate::journal::Unknown;
use chaos_abi::{
    ACTION_EXCEPT, Entry, MAX_POINTS, MAX_RULES_PER_POINT, POINT_DNS, POINT_INGRESS, PROGRAM_BACK, PROGRAM_FAULT,
    PROGRAM_STAMP, Point, maps,
};
use chaos_spec::faults::{self, Queue};
use chaos_sys::{
    bpf,
    datapath::{Datapath, map_error},
    error::KernelError,
    filter::{self, Direction, Place},
    link::{self, VethPair},
    netlink::Rtnl,
    netns::Netns,
    qdisc::{self, Fq},
    seam, steering,
};
use nix::errno::Errno;
use std::{
    collections::{HashMap, HashSet},
    os::fd::{AsFd, OwnedFd},
};

/// How our devices are marked (IFLA_IFALIAS).
pub const ALIAS: &str = "chaos: delays packets of ";

/// What the pair of an attach point is called: the sending end, the one that sends back.
#[must_use]
pub fn pair_names(id: u32) -> (String, String) {
    (format!("chq{id}"), format!("chr{id}"))
}

/// Journal entries of all attach points, before the first is made; returns their ids as the wants stand.
///
/// # Errors
/// Where the table of attach points is full.
pub fn enter_all(
    locked: &mut Locked,
    run: &mut RunEntry,
    all: &[(u64, Vec<Want>)],
) -> Result<Vec<Vec<u32>>, EngineError> {
    let mut points = Vec::new();
    for (inode, wants) in all {
        points.push(enter(locked, *inode, wants)?);
    }
    run.points.extend(points.iter().flatten());
    run.points.sort_unstable();
    run.points.dedup();
    super::prepare::note(locked, run);
    Ok(points)
}

/// Makes all attach points of a run, or holds those that another process made.
///
/// # Errors
/// What the kernel says; the caller rolls back.
pub fn attach_all(
    session: &mut Session,
    entries: &mut [PointEntry],
    netns: &HashMap<u64, Netns>,
    all: &[(u64, Vec<Want>)],
    points: &[Vec<u32>],
) -> Result<(), EngineError> {
    for ((inode, wants), ids) in all.iter().zip(points) {
        let Some(netns) = netns.get(inode) else { continue };
        for id in ids {
            if let Some(entry) = entries.iter().find(|entry| entry.id == *id)
                && (entry.link.is_some() || entry.filter.is_some())
            {
                let links = entry.link.iter().chain(entry.pair.iter().filter_map(|pair| pair.link.as_ref()));
                let links: Vec<u32> = links.copied().collect();
                session.hold(*id, &links)?;
            }
        }
        let wants: Vec<(u32, &Want)> = ids.iter().copied().zip(wants).collect();
        attach(session, entries, netns, &wants)?;
    }
    Ok(())
}

/// Finds or makes the journal's entry for each want; returns the point ids.
///
/// # Errors
/// Where the table of attach points is full.
fn enter(locked: &mut Locked, netns: u64, wants: &[Want]) -> Result<Vec<u32>, EngineError> {
    let mut ids = Vec::new();
    for want in wants {
        let id = point_id(locked, netns, want)?;
        ids.push(id);
        let limit = want.queue.map(|queue| queue.packets);
        let new_pair = || {
            let (tx, rx) = pair_names(id);
            PairEntry { tx, rx, link: None, limit: 0, unknown: Unknown::new() }
        };
        if let Some(entry) = locked.journal.points.iter_mut().find(|entry| entry.id == id) {
            if limit.is_some() && entry.pair.is_none() {
                entry.pair = Some(new_pair());
            }
            continue;
        }
        locked.journal.points.push(PointEntry {
            id,
            kind: want.kind(),
            netns,
            ifindex: want.ifindex,
            interface: want.interface.clone(),
            ingress: want.ingress,
            link: None,
            filter: None,
            clsact: false,
            pair: limit.map(|_| new_pair()),
            unknown: Unknown::new(),
        });
    }
    Ok(ids)
}

/// Egress is even and ingress the next number: a RST that answers an ingress packet finds the guard by that.
fn point_id(locked: &Locked, netns: u64, want: &Want) -> Result<u32, EngineError> {
    let points = &locked.journal.points;
    let same =
        points.iter().find(|entry| entry.kind == want.kind() && entry.netns == netns && entry.ifindex == want.ifindex);
    let pair = match same {
        Some(entry) => entry.id / 2,
        None => {
            let foreign = locked.journal.foreign.points();
            let used: HashSet<u32> = points.iter().map(|entry| entry.id).chain(foreign).map(|id| id / 2).collect();
            (1..MAX_POINTS / 2).find(|pair| !used.contains(pair)).ok_or_else(|| {
                EngineError::Unsupported(format!("all {} attach points are in use", MAX_POINTS / 2 - 1))
            })?
        }
    };
    Ok(pair * 2 + u32::from(want.ingress))
}

/// Makes what the wants of one netns need. The journal has their entries already.
///
/// # Errors
/// What the kernel says; the caller rolls back.
fn attach(
    session: &mut Session,
    points: &mut [PointEntry],
    netns: &Netns,
    wants: &[(u32, &Want)],
) -> Result<(), EngineError> {
    let result = netns.enter(|| -> Result<(), KernelError> {
        let mut rtnl = Rtnl::open()?;
        for (id, want) in wants {
            let Some(entry) = points.iter_mut().find(|entry| entry.id == *id) else { continue };
            one(session, &mut rtnl, entry, want)?;
        }
        Ok(())
    })?;
    Ok(result?)
}

fn one(session: &mut Session, rtnl: &mut Rtnl, entry: &mut PointEntry, want: &Want) -> Result<(), KernelError> {
    let mut links = Vec::new();
    let ends = match (&mut entry.pair, want.queue) {
        (Some(pair), Some(queue)) => {
            let known = session.datapath.points.get(&entry.id, 0).map_err(point_error)?;
            let ends = if pair.limit == 0 {
                Some(make_pair(session, rtnl, entry.id, pair, want, queue, &mut links)?)
            } else {
                None
            };
            let ends = ends.unwrap_or((known.pair_tx, known.pair_rx));
            grow(rtnl, pair, queue, ends.0)?;
            ends
        }
        (Some(_), None) => {
            let known = session.datapath.points.get(&entry.id, 0).map_err(point_error)?;
            (known.pair_tx, known.pair_rx)
        }
        _ => (0, 0),
    };
    place(&mut session.datapath, entry, want, ends)?;
    if let (Some(scope), None) = (&want.cgroup, entry.link) {
        let link = arrivals::attach(&session.datapath, entry.id, scope)?;
        entry.link = Some(bpf::link_id(link.as_fd())?);
        links.push(link);
    } else if entry.link.is_none() && entry.filter.is_none() {
        let stub = session.datapath.stub(PROGRAM_FAULT, entry.id)?;
        let object = format!("{} {}", entry.interface, if entry.ingress { "ingress" } else { "egress" });
        if session.datapath.ids().tcx {
            let link = bpf::attach_tcx(stub.as_fd(), entry.ifindex, entry.ingress, &object)?;
            entry.link = Some(bpf::link_id(link.as_fd())?);
            links.push(link);
        } else {
            entry.filter = Some(clsact::add_filter(rtnl, entry.ifindex, entry.ingress, entry.clsact, stub.as_fd())?);
        }
    }
    session.held.entry(entry.id).or_default().extend(links);
    Ok(())
}

/// By what programs are attached here: `tcx`, else `clsact`; tried on an interface of a scratch namespace.
///
/// # Errors
/// `unsupported`, naming what is missing, where both fail.
pub fn mechanism(session: &Session, rtnl: &mut Rtnl, ifindex: u32) -> Result<&'static str, KernelError> {
    let stub = session.datapath.stub(PROGRAM_FAULT, 0)?;
    if session.datapath.ids().tcx {
        return bpf::attach_tcx(stub.as_fd(), ifindex, false, "scratch interface").map(|_link| "tcx");
    }
    let added = clsact::add_filter(rtnl, ifindex, false, true, stub.as_fd())?;
    let place = Place { interface: ifindex, direction: Direction::Egress, pref: added.pref, handle: added.handle };
    filter::delete(rtnl, place)?;
    qdisc::delete_clsact(rtnl, ifindex)?;
    Ok("clsact")
}

/// The veth pair: fq on the sending end, the way back on the other.
fn make_pair(
    session: &Session,
    rtnl: &mut Rtnl,
    id: u32,
    pair: &mut PairEntry,
    want: &Want,
    queue: Queue,
    links: &mut Vec<OwnedFd>,
) -> Result<(u32, u32), KernelError> {
    let direction = if want.ingress { "ingress" } else { "egress" };
    let veth = VethPair {
        names: [pair.tx.clone(), pair.rx.clone()],
        mtu: want.mtu.clamp(1500, 65_535),
        queues: 1,
        txqlen: 1000,
        alias: format!("{ALIAS}{} {direction}", want.interface),
    };
    let [tx, rx] = link::create_veth(rtnl, &veth)?;
    if steering::by_flow(&rx.name).is_err() {
        // Second best: through NAPI a few change their order, where one CPU takes over from another.
        link::set_gro(&rx.name, true)?;
    }
    pair.limit = queue.packets;
    qdisc::replace_root_with_fq(rtnl, tx.index, &fq(pair.limit, queue.longest))?;
    if session.datapath.ids().legacy {
        let stub = session.datapath.stub(PROGRAM_STAMP, id)?;
        clsact::add_filter(rtnl, tx.index, false, true, stub.as_fd())?;
    }
    let stub = session.datapath.stub(PROGRAM_BACK, id)?;
    if session.datapath.ids().tcx {
        let link = bpf::attach_tcx(stub.as_fd(), rx.index, true, &pair.rx)?;
        pair.link = Some(bpf::link_id(link.as_fd())?);
        links.push(link);
    } else {
        clsact::add_filter(rtnl, rx.index, true, true, stub.as_fd())?;
    }
    Ok((tx.index, rx.index))
}

/// A later experiment may need more room.
fn grow(rtnl: &mut Rtnl, pair: &mut PairEntry, queue: Queue, tx: u32) -> Result<(), KernelError> {
    let limit = queue.packets;
    if pair.limit >= limit {
        return Ok(());
    }
    pair.limit = limit;
    qdisc::replace_root_with_fq(rtnl, tx, &fq(limit, queue.longest)).map(drop)
}

fn fq(limit: u32, longest: u64) -> Fq {
    /// Beyond what is asked for, for composed delays of several experiments; the field holds 4,294 s (net/sched/sch_fq.c).
    const HORIZON_US: u64 = 900_000_000;
    /// fq makes a flow when a packet needs it and forgets it 3 s after its last one (net/sched/sch_fq.c, `fq_gc`).
    const ORPHAN_FLOWS: u32 = 1 << 24;
    let horizon = (longest / 1000).saturating_add(HORIZON_US).min(u64::from(u32::MAX));
    Fq {
        handle: 0,
        limit,
        // Per flow as for all: a single flow may fill the queue.
        flow_limit: limit,
        horizon_us: horizon as u32,
        buckets_log: 10,
        // Jitter gives each packet a hash at random, to be a flow of its own: two that share a flow wait for its head. With the
        // usual 1,024 flows, of 400 packets under way four in ten would.
        orphan_mask: ORPHAN_FLOWS - 1,
        optional: Vec::new(),
    }
}

fn point_error(e: aya::maps::MapError) -> KernelError {
    map_error("write map", maps::POINTS, &e)
}

/// The phase of a rule, None for an `except` entry.
pub fn phase_of(datapath: &Datapath, id: u32) -> Option<u32> {
    let action = datapath.rules.get(&id, 0).ok()?.action;
    (action != ACTION_EXCEPT).then(|| faults::phase(action))
}

/// Writes the point's entry with the new rules among those that are there.
fn place(datapath: &mut Datapath, entry: &PointEntry, want: &Want, ends: (u32, u32)) -> Result<(), KernelError> {
    let mut point = if entry.link.is_some() || entry.filter.is_some() {
        datapath.points.get(&entry.id, 0).map_err(point_error)?
    } else {
        Point::zeroed()
    };
    // Those of an attempt that failed further on may stand there.
    let fresh: Vec<u32> = want.groups.iter().flat_map(|(_, ids)| ids.iter().copied()).collect();
    let groups = walk::remove(walk::groups(&rules_of(&point), |id| phase_of(datapath, id)), &fresh);
    let new = want.groups.iter().map(|(phase, ids)| walk::Group { phase: *phase, ids: ids.clone() });
    let ids = walk::ids(&walk::add(groups, new));
    if ids.len() > MAX_RULES_PER_POINT {
        let error = KernelError::new("add rules to", want.interface.clone(), Errno::ENOSPC);
        return Err(error.unsupported(format!("{} rules would act there, {MAX_RULES_PER_POINT} can", ids.len())));
    }
    (point.ifindex, point.l2_len, point.netns) = (entry.ifindex, want.l2_len, entry.netns);
    point.flags = point.flags & POINT_DNS | if entry.ingress { POINT_INGRESS } else { 0 };
    point.flags |= if want.dns { POINT_DNS } else { 0 };
    (point.pair_tx, point.pair_rx) = ends;
    set_rules(datapath, &mut point, &ids)?;
    seam::run("write map", maps::POINTS, || datapath.points.set(entry.id, point, 0).map_err(point_error))
}

/// The ids of a point's rules.
pub fn rules_of(point: &Point) -> Vec<u32> {
    point.rules.iter().take(point.count as usize).map(|entry| entry.rule).collect()
}

/// Fills the list of rules.
///
/// # Errors
/// The kernel's answer to the look-up of a rule.
pub fn set_rules(datapath: &Datapath, point: &mut Point, ids: &[u32]) -> Result<(), KernelError> {
    point.rules = [Entry::zeroed(); MAX_RULES_PER_POINT];
    for (to, id) in point.rules.iter_mut().zip(ids) {
        let rule = datapath.rules.get(id, 0).map_err(|e| map_error("read map", maps::RULES, &e))?;
        *to = Entry::of(*id, &rule);
    }
    point.count = ids.len().min(MAX_RULES_PER_POINT) as u32;
    let first = point.rules[0].lease;
    let used = point.rules.iter().take(point.count as usize);
    point.lease = if used.clone().all(|entry| entry.lease == first) { first } else { 0 };
    Ok(())
}

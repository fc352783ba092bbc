//! From plans to entries of the maps: ids, sets of peers and ports, rules.

use super::{EngineError, Locked, RunEntry, Session, hosts, lookup::Known};
use crate::{
    kernel::{
        datapath::{Datapath, map_error},
        error::KernelError,
        seam,
    },
    plan::{Condition, Plan},
    resolve::Target,
    spec::value::{Cidr, PortRange},
};
use aya::maps::lpm_trie::Key;
use chaos_abi::{
    ACTION_EXCEPT, AddrKey, MAX_LEASES, MAX_PORT_SETS, MAX_RULES, RULE_ADDRS, RULE_CGROUP, RULE_PREFIXES, Rule, SET_V6,
    State, maps,
};
use nix::errno::Errno;
use std::{collections::BTreeSet, net::IpAddr};

/// The rules of one fault on one target, in the maps.
#[derive(Clone, Debug)]
pub struct Placed {
    /// Index of the target.
    pub target: usize,
    /// Index into the plan's rules.
    pub plan: usize,
    /// Ids of its `except` entries, then its own: as they stand in the walk.
    pub ids: Vec<u32>,
}

impl Placed {
    /// The rule that counts.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.ids.last().copied().unwrap_or(0)
    }
}

/// How many rules a plan needs on `targets` targets.
fn rules_needed(plan: &Plan, targets: usize) -> usize {
    plan.rules.iter().map(|rule| 1 + rule.excepts.len()).sum::<usize>() * targets
}

/// The lowest ids of `1..limit` that no run uses.
fn free(limit: u32, used: &BTreeSet<u32>, count: usize, what: &str) -> Result<Vec<u32>, EngineError> {
    let ids: Vec<u32> = (1..limit).filter(|id| !used.contains(id)).take(count).collect();
    if ids.len() == count {
        return Ok(ids);
    }
    let text = format!("{what}: {count} needed, {} of {} free; stop another experiment first", ids.len(), limit - 1);
    Err(EngineError::Unsupported(text))
}

/// Gives the run its ids, all at once, so that the journal knows them before anything is written.
///
/// # Errors
/// Where a table is full.
pub fn reserve(locked: &mut Locked, run: &mut RunEntry, plan: &Plan, targets: usize) -> Result<(), EngineError> {
    let used = |pick: fn(&RunEntry) -> &[u32]| -> BTreeSet<u32> {
        locked.journal.runs.iter().flat_map(|run| pick(run).iter().copied()).collect()
    };
    let leases = locked.journal.runs.iter().map(|run| run.lease).collect();
    let lease = free(MAX_LEASES, &leases, 1, "experiments")?;
    run.lease = lease.first().copied().unwrap_or(0);
    run.rules = free(MAX_RULES, &used(|run| &run.rules), rules_needed(plan, targets), "rules")?;
    let conditions = || plan.rules.iter().flat_map(|rule| rule.conditions());
    let sets = conditions().filter(|condition| !condition.any_peer).count() as u32;
    run.sets = (0..sets).map(|n| (locked.journal.last_set + 1 + n) & !SET_V6).collect();
    locked.journal.last_set = (locked.journal.last_set + sets) & !SET_V6;
    let ports = conditions().flat_map(|c| [&c.ports, &c.local_ports]).filter(|ports| !ports.is_empty()).count();
    run.port_sets = free(MAX_PORT_SETS, &used(|run| &run.port_sets), ports, "sets of ports")?;
    Ok(())
}

/// One address as a key; the set in network byte order, as the trie compares it.
#[must_use]
pub fn key(set: u32, address: IpAddr) -> AddrKey {
    let mut addr = [0; 16];
    match address {
        IpAddr::V4(v4) => addr[..4].copy_from_slice(&v4.octets()),
        IpAddr::V6(v6) => addr = v6.octets(),
    }
    let set = if address.is_ipv6() { set | SET_V6 } else { set };
    AddrKey { set: set.to_be(), addr }
}

fn is_single(cidr: Cidr) -> bool {
    cidr.prefix() == if cidr.address().is_ipv6() { 128 } else { 32 }
}

/// Adds a peer to a set.
///
/// # Errors
/// ENOSPC where the table is full.
pub fn add_peer(datapath: &mut Datapath, set: u32, cidr: Cidr) -> Result<(), KernelError> {
    let key = key(set, cidr.address());
    let map = if is_single(cidr) { maps::ADDRS } else { maps::PREFIXES };
    seam::run("add peer to map", map, || {
        let added = if is_single(cidr) {
            datapath.addrs.insert(key, 1, 0)
        } else {
            datapath.prefixes.insert(&Key::new(32 + u32::from(cidr.prefix()), key), 1, 0)
        };
        added.map_err(|e| map_error("add peer to map", map, &e))
    })
}

fn write_ports(datapath: &mut Datapath, id: u32, ranges: &[PortRange]) -> Result<(), KernelError> {
    let mut bits = [0u64; 1024];
    for range in ranges {
        for port in range.first()..=range.last() {
            bits[usize::from(port >> 6)] |= 1 << (port & 63);
        }
    }
    seam::run("fill map", maps::PORT_SETS, || {
        datapath.port_sets.set(id, bits, 0).map_err(|e| map_error("fill map", maps::PORT_SETS, &e))
    })
}

/// The sets of one condition: written once, used by the rules of every target.
struct Sets {
    peers: u32,
    ports: u32,
    local_ports: u32,
    flags: u32,
}

impl Sets {
    fn write(
        datapath: &mut Datapath,
        condition: &Condition,
        sets: &mut impl Iterator<Item = u32>,
        port_sets: &mut impl Iterator<Item = u32>,
    ) -> Result<Self, EngineError> {
        let mut ports = |ranges: &[PortRange]| -> Result<u32, EngineError> {
            if ranges.is_empty() {
                return Ok(0);
            }
            let id = port_sets.next().ok_or_else(|| EngineError::Failed("a set of ports was not reserved".into()))?;
            write_ports(datapath, id, ranges)?;
            Ok(id)
        };
        let (port_set, local_ports) = (ports(&condition.ports)?, ports(&condition.local_ports)?);
        let mut written = Self { peers: 0, ports: port_set, local_ports, flags: 0 };
        if condition.any_peer {
            return Ok(written);
        }
        written.peers = sets.next().ok_or_else(|| EngineError::Failed("a set of peers was not reserved".into()))?;
        for cidr in &condition.peers {
            written.flags |= if is_single(*cidr) { RULE_ADDRS } else { RULE_PREFIXES };
            add_peer(datapath, written.peers, *cidr)?;
        }
        Ok(written)
    }

    /// The peers by name: the addresses that are known, and those that the targets' namespaces will learn.
    fn follow(
        &mut self,
        datapath: &mut Datapath,
        condition: &Condition,
        known: &Known,
        namespaces: &BTreeSet<u64>,
    ) -> Result<(), KernelError> {
        for host in &condition.hosts {
            self.flags |= RULE_ADDRS;
            for netns in namespaces {
                hosts::follow(datapath, self.peers, host, *netns)?;
            }
            for ip in known.of(host) {
                hosts::learn(datapath, self.peers, host, ip)?;
            }
        }
        Ok(())
    }

    fn apply(&self, rule: &mut Rule, condition: &Condition) {
        rule.protocol = condition.protocol;
        rule.connections = condition.connections;
        (rule.peers, rule.ports, rule.local_ports) = (self.peers, self.ports, self.local_ports);
        rule.flags |= self.flags;
    }
}

/// Writes sets, rules and their memory; the rules do nothing before their lease starts.
///
/// # Errors
/// What the kernel says; `release::clear` takes back what was written.
pub fn write(
    session: &mut Session,
    run: &RunEntry,
    plan: &Plan,
    targets: &[Target],
    known: &Known,
) -> Result<Vec<Placed>, EngineError> {
    let datapath = &mut session.datapath;
    let (mut sets, mut port_sets) = (run.sets.iter().copied(), run.port_sets.iter().copied());
    let mut ids = run.rules.iter().copied();
    let namespaces = targets.iter().map(|target| target.netns.inode).collect();
    let mut placed = Vec::new();
    for (index, rule_plan) in plan.rules.iter().enumerate() {
        let conditions: Vec<_> = rule_plan.conditions().collect();
        let mut written = Vec::new();
        for condition in &conditions {
            let mut one = Sets::write(datapath, condition, &mut sets, &mut port_sets)?;
            one.follow(datapath, condition, known, &namespaces)?;
            written.push(one);
        }
        for (target_index, target) in targets.iter().enumerate() {
            let mut entry = Placed { target: target_index, plan: index, ids: Vec::new() };
            for (place, (condition, sets)) in conditions.iter().zip(&written).enumerate() {
                let last = conditions.len() - 1;
                let (mut rule, state) = if place == last {
                    (rule_plan.rule(target_index), rule_plan.state(target_index))
                } else {
                    (Rule { action: ACTION_EXCEPT, ..Rule::zeroed() }, State::zeroed())
                };
                sets.apply(&mut rule, condition);
                rule.lease = run.lease;
                if let Some(scope) = target.scope() {
                    (rule.cgroup, rule.level) = (scope.id, scope.level);
                    rule.flags |= RULE_CGROUP;
                }
                let id = ids.next().ok_or_else(|| EngineError::Failed("a rule was not reserved".into()))?;
                put(datapath, id, rule, state)?;
                entry.ids.push(id);
            }
            placed.push(entry);
        }
    }
    Ok(placed)
}

fn put(datapath: &mut Datapath, id: u32, rule: Rule, state: State) -> Result<(), KernelError> {
    seam::run("fill map", maps::RULES, || {
        datapath.reset(id)?;
        datapath.states.set(id, state, 0).map_err(|e| map_error("fill map", maps::STATES, &e))?;
        datapath.rules.set(id, rule, 0).map_err(|e| map_error("fill map", maps::RULES, &e))
    })
}

/// That an entry is gone already is as good.
///
/// # Errors
/// Any other.
pub fn gone(result: Result<(), aya::maps::MapError>, op: &'static str, name: &str) -> Result<(), KernelError> {
    let error = result.map_err(|e| map_error(op, name, &e));
    if error.as_ref().is_err_and(|e| e.errno == Errno::ENOENT) { Ok(()) } else { error }
}

/// Takes the run's peers out of the tables.
///
/// # Errors
/// The first that the kernel refused.
pub fn remove_sets(datapath: &mut Datapath, sets: &[u32]) -> Result<(), KernelError> {
    if sets.is_empty() {
        return Ok(());
    }
    let ours = |key: &AddrKey| sets.contains(&(u32::from_be(key.set) & !SET_V6));
    const OP: &str = "remove peer from map";
    // First of all, so that nothing is learned any more.
    hosts::forget(datapath, sets)?;
    let keys: Vec<AddrKey> = datapath.addrs.keys().filter_map(Result::ok).filter(ours).collect();
    for key in keys {
        gone(datapath.addrs.remove(&key), OP, maps::ADDRS)?;
    }
    let keys: Vec<Key<AddrKey>> =
        datapath.prefixes.keys().filter_map(Result::ok).filter(|key| ours(&key.data())).collect();
    for key in keys {
        gone(datapath.prefixes.remove(&key), OP, maps::PREFIXES)?;
    }
    Ok(())
}

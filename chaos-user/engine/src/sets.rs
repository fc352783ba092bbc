//! The sets of a condition in the maps: peers by address, by prefix, by address and port, by name; ports.

use super::{EngineError, hosts, lookup::Known, rules::gone};
use aya::maps::lpm_trie::Key;
use chaos_abi::{
    ANY_PORT, AddrKey, AddrPortKey, RULE_ADDR_PORTS, RULE_ADDRS, RULE_PREFIXES, Rule, SET_NEVER, SET_NODE, SET_V6, maps,
};
use chaos_spec::{
    plan::{Condition, PeerAddress, Plan},
    value::{Cidr, PortRange},
};
use chaos_sys::{
    datapath::{Datapath, map_error},
    error::KernelError,
    seam,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

const ADD: &str = "add peer to map";
const REMOVE: &str = "remove peer from map";

/// The set in network byte order, as the trie compares it, and the address.
fn parts(set: u32, address: IpAddr) -> (u32, [u8; 16]) {
    let mut addr = [0; 16];
    match address {
        IpAddr::V4(v4) => addr[..4].copy_from_slice(&v4.octets()),
        IpAddr::V6(v6) => addr = v6.octets(),
    }
    let set = if address.is_ipv6() { set | SET_V6 } else { set };
    (set.to_be(), addr)
}

/// One address as a key.
#[must_use]
pub fn key(set: u32, address: IpAddr) -> AddrKey {
    let (set, addr) = parts(set, address);
    AddrKey { set, addr }
}

/// The address of a key.
#[must_use]
pub fn address(key: &AddrKey) -> IpAddr {
    if u32::from_be(key.set) & SET_V6 != 0 {
        return IpAddr::V6(Ipv6Addr::from(key.addr));
    }
    IpAddr::V4(Ipv4Addr::new(key.addr[0], key.addr[1], key.addr[2], key.addr[3]))
}

fn is_single(cidr: Cidr) -> bool {
    cidr.prefix() == if cidr.address().is_ipv6() { 128 } else { 32 }
}

/// A peer as it stands in one of three tables.
enum Place {
    Single(AddrKey),
    Prefix(Key<AddrKey>),
    Port(AddrPortKey),
}

impl Place {
    /// A port is one of a single address: with a prefix it would need a table of its own, and nobody makes such a peer.
    fn of(set: u32, peer: PeerAddress) -> Self {
        let (set_be, addr) = parts(set, peer.cidr.address());
        let key = AddrKey { set: set_be, addr };
        match peer.port {
            Some(port) if is_single(peer.cidr) => Self::Port(AddrPortKey { set: set_be, port, reserved: 0, addr }),
            _ if is_single(peer.cidr) => Self::Single(key),
            _ => Self::Prefix(Key::new(32 + u32::from(peer.cidr.prefix()), key)),
        }
    }

    fn map(&self) -> &'static str {
        match self {
            Self::Single(_) => maps::ADDRS,
            Self::Prefix(_) => maps::PREFIXES,
            Self::Port(_) => maps::ADDR_PORTS,
        }
    }

    /// By which flag a rule looks it up.
    fn flag(&self) -> u32 {
        match self {
            Self::Single(_) => RULE_ADDRS,
            Self::Prefix(_) => RULE_PREFIXES,
            Self::Port(_) => RULE_ADDR_PORTS,
        }
    }

    fn add(&self, datapath: &mut Datapath) -> Result<(), KernelError> {
        seam::run(ADD, self.map(), || {
            let added = match self {
                Self::Single(key) => datapath.addrs.insert(key, 1, 0),
                Self::Prefix(key) => datapath.prefixes.insert(key, 1, 0),
                Self::Port(key) => datapath.addr_ports.insert(key, 1, 0),
            };
            added.map_err(|e| map_error(ADD, self.map(), &e))
        })
    }

    fn remove(&self, datapath: &mut Datapath) -> Result<(), KernelError> {
        let removed = match self {
            Self::Single(key) => datapath.addrs.remove(key),
            Self::Prefix(key) => datapath.prefixes.remove(key),
            Self::Port(key) => datapath.addr_ports.remove(key),
        };
        gone(removed, REMOVE, self.map())
    }
}

/// Adds a peer to a set.
///
/// # Errors
/// ENOSPC where the table is full.
pub fn add_peer(datapath: &mut Datapath, set: u32, cidr: Cidr) -> Result<(), KernelError> {
    Place::of(set, PeerAddress { cidr, port: None }).add(datapath)
}

fn fill(datapath: &mut Datapath, id: u32, ranges: &[PortRange]) -> Result<(), KernelError> {
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
#[derive(Clone, Debug)]
pub struct Sets {
    peers: u32,
    ports: u32,
    local_ports: u32,
    flags: u32,
    /// The peers that were resolved outside, as they stand in the tables.
    resolved: BTreeSet<PeerAddress>,
    /// What host names stand for: a set for each network namespace (its inode).
    learned: BTreeMap<u64, u32>,
}

impl Sets {
    fn write(
        datapath: &mut Datapath,
        condition: &Condition,
        sets: &mut impl Iterator<Item = u32>,
    ) -> Result<Self, EngineError> {
        let mut written =
            Self { peers: 0, ports: 0, local_ports: 0, flags: 0, resolved: BTreeSet::new(), learned: BTreeMap::new() };
        if condition.any_peer {
            return Ok(written);
        }
        written.peers = sets.next().ok_or_else(|| EngineError::Failed("a set of peers was not reserved".into()))?;
        for cidr in &condition.peers {
            let place = Place::of(written.peers, PeerAddress { cidr: *cidr, port: None });
            written.flags |= place.flag();
            place.add(datapath)?;
        }
        if let Some(resolved) = &condition.resolved {
            // Peers that come later may be of either form.
            written.flags |= RULE_ADDRS | RULE_PREFIXES | RULE_ADDR_PORTS;
            written.update(datapath, resolved)?;
        }
        Ok(written)
    }

    /// The peers that were resolved outside, as they are now.
    #[must_use]
    pub fn resolved(&self) -> &BTreeSet<PeerAddress> {
        &self.resolved
    }

    /// Makes the peers that were resolved outside those of `wanted`.
    ///
    /// # Errors
    /// ENOSPC where a table is full; what is written so far is remembered.
    pub fn update(&mut self, datapath: &mut Datapath, wanted: &BTreeSet<PeerAddress>) -> Result<(), KernelError> {
        for peer in wanted.difference(&self.resolved.clone()) {
            Place::of(self.peers, *peer).add(datapath)?;
            self.resolved.insert(*peer);
        }
        for peer in self.resolved.clone().difference(wanted) {
            Place::of(self.peers, *peer).remove(datapath)?;
            self.resolved.remove(peer);
        }
        Ok(())
    }

    /// The peers by name: the addresses that are known in each namespace, and those that it will learn.
    fn follow(&self, datapath: &mut Datapath, condition: &Condition, known: &Known) -> Result<(), KernelError> {
        for (netns, set) in &self.learned {
            for host in &condition.hosts {
                hosts::follow(datapath, *set, host, *netns)?;
                for ip in known.of(*netns, host) {
                    hosts::learn(datapath, *set, host, *netns, ip)?;
                }
            }
        }
        Ok(())
    }

    /// Enters them into a rule for a target in this namespace.
    pub fn apply(&self, rule: &mut Rule, condition: &Condition, netns: u64) {
        rule.learned = self.learned.get(&netns).copied().unwrap_or(0);
        rule.protocol = condition.protocol;
        rule.connections = condition.connections;
        (rule.peers, rule.ports, rule.local_ports) = (self.peers, self.ports, self.local_ports);
        (rule.port_bounds, rule.local_bounds) = (bounds(&condition.ports), bounds(&condition.local_ports));
        rule.flags |= self.flags;
    }
}

/// The lowest and the highest port.
fn bounds(ranges: &[PortRange]) -> [u16; 2] {
    let (first, last) = (ranges.iter().map(|range| range.first()).min(), ranges.iter().map(|range| range.last()).max());
    first.zip(last).map_or(ANY_PORT, |(first, last)| [first, last])
}

/// The sets of a plan: for each rule those of its conditions, in the order of [`chaos_spec::plan::RulePlan::conditions`].
pub type PlanSets = Vec<Vec<Sets>>;

/// Makes the set of the node's own addresses these.
///
/// # Errors
/// ENOSPC where the table is full.
pub fn write_node(datapath: &mut Datapath, addresses: &BTreeSet<IpAddr>) -> Result<(), KernelError> {
    let ours = |key: &AddrKey| u32::from_be(key.set) & !SET_V6 == SET_NODE;
    let keys: Vec<AddrKey> = datapath.addrs.keys().filter_map(Result::ok).filter(ours).collect();
    for key in keys.into_iter().filter(|key| !addresses.contains(&address(key))) {
        Place::Single(key).remove(datapath)?;
    }
    addresses.iter().try_for_each(|ip| add_peer(datapath, SET_NODE, Cidr::host(*ip)))
}

/// Adds to those that no host name may stand for. None is taken away: another process, which shares the maps, may have written
/// what this one does not see, such as the address of the API server.
///
/// # Errors
/// ENOSPC where the table is full.
pub fn write_never(datapath: &mut Datapath, addresses: &BTreeSet<IpAddr>) -> Result<(), KernelError> {
    addresses.iter().try_for_each(|ip| add_peer(datapath, SET_NEVER, Cidr::host(*ip)))
}

/// Writes the sets of peers of a plan, with the ids that were reserved for them.
///
/// # Errors
/// What the kernel says; [`remove`] takes back what was written.
pub fn write(datapath: &mut Datapath, plan: &Plan, sets: &[u32]) -> Result<PlanSets, EngineError> {
    let mut sets = sets.iter().copied();
    let mut all = Vec::new();
    for rule in &plan.rules {
        let each = rule.conditions().map(|condition| Sets::write(datapath, condition, &mut sets));
        all.push(each.collect::<Result<Vec<_>, _>>()?);
    }
    Ok(all)
}

/// Writes the sets of ports of a plan, unless they have been written; `ids`: those that were reserved for them, none where no target is there.
///
/// # Errors
/// What the kernel says.
pub fn write_ports(
    datapath: &mut Datapath,
    plan: &Plan,
    written: &mut PlanSets,
    ids: &[u32],
) -> Result<(), EngineError> {
    if ids.is_empty() {
        return Ok(());
    }
    let mut ids = ids.iter().copied();
    for (rule, sets) in plan.rules.iter().zip(written) {
        for (condition, sets) in rule.conditions().zip(sets) {
            let both = [(&condition.ports, &mut sets.ports), (&condition.local_ports, &mut sets.local_ports)];
            for (ranges, place) in both.into_iter().filter(|(ranges, _)| !ranges.is_empty()) {
                let id = ids.next().ok_or_else(|| EngineError::Failed("a set of ports was not reserved".into()))?;
                if *place != id {
                    fill(datapath, id, ranges)?;
                    *place = id;
                }
            }
        }
    }
    Ok(())
}

/// Gives each condition with host names a set for each of these namespaces, where it has none: ids of `next`, which are returned.
pub fn spread(
    plan: &Plan,
    written: &mut PlanSets,
    namespaces: &BTreeSet<u64>,
    mut next: impl FnMut() -> u32,
) -> Vec<u32> {
    let mut fresh = Vec::new();
    for (rule, sets) in plan.rules.iter().zip(written) {
        for (_, sets) in rule.conditions().zip(sets).filter(|(condition, _)| !condition.hosts.is_empty()) {
            for netns in namespaces {
                sets.learned.entry(*netns).or_insert_with(|| {
                    let id = next();
                    fresh.push(id);
                    id
                });
            }
        }
    }
    fresh
}

/// Takes away what a namespace has learned, and the sets for it, which are returned.
///
/// # Errors
/// The first that the kernel refused.
pub fn leave(datapath: &mut Datapath, written: &mut PlanSets, netns: u64) -> Result<Vec<u32>, KernelError> {
    let gone: Vec<u32> = written.iter_mut().flatten().filter_map(|sets| sets.learned.remove(&netns)).collect();
    remove(datapath, &gone)?;
    Ok(gone)
}

/// Lets the sets of a plan follow its host names by the answers that their namespaces receive.
///
/// # Errors
/// What the kernel says.
pub fn follow(datapath: &mut Datapath, plan: &Plan, written: &PlanSets, known: &Known) -> Result<(), KernelError> {
    for (rule, sets) in plan.rules.iter().zip(written) {
        for (condition, sets) in rule.conditions().zip(sets) {
            sets.follow(datapath, condition, known)?;
        }
    }
    Ok(())
}

/// Takes the peers of these sets out of the tables.
///
/// # Errors
/// The first that the kernel refused.
pub fn remove(datapath: &mut Datapath, sets: &[u32]) -> Result<(), KernelError> {
    if sets.is_empty() {
        return Ok(());
    }
    let ours = |set: u32| sets.contains(&(u32::from_be(set) & !SET_V6));
    // First of all, so that nothing is learned any more.
    hosts::forget(datapath, sets)?;
    let singles = datapath.addrs.keys().filter_map(Result::ok).filter(|key| ours(key.set)).map(Place::Single);
    let mut places: Vec<Place> = singles.collect();
    let prefixes = datapath.prefixes.keys().filter_map(Result::ok);
    places.extend(prefixes.filter(|key| ours(key.data().set)).map(Place::Prefix));
    let ports = datapath.addr_ports.keys().filter_map(Result::ok);
    places.extend(ports.filter(|key| ours(key.set)).map(Place::Port));
    places.iter().try_for_each(|place| place.remove(datapath))
}

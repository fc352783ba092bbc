//! Host names in the maps: which sets follow which name, and what they have learned of it.
//!
//! The kernel learns from the answers over UDP port 53 that a target has asked for, before the application gets them; answers over TCP,
//! TLS or HTTPS are not seen. The name that counts is the one that was asked for, in full: a search domain included, a CNAME
//! on the way to the address not. What was learned stays until the experiment ends, whatever its time to live. Each network namespace learns for
//! itself; targets that share one share what it has learned.

use super::{EngineError, rules, sets};
use aya::maps::MapError;
use chaos_abi::{Followers, HostKey, LABELS, LearnedKey, MAX_LEARNED_OF_NAME, SET_V6, maps, name_hash};
use chaos_outcome::HostAddresses;
use chaos_spec::{
    plan::Plan,
    value::{Cidr, HostPattern},
};
use chaos_sys::{
    datapath::{Datapath, map_error},
    error::KernelError,
};
use nix::errno::Errno;
use std::net::IpAddr;

/// A kernel that refused the program that reads DNS answers serves everything but host names.
///
/// # Errors
/// `Unsupported` for a plan with some.
pub fn check(datapath: &Datapath, plan: &Plan) -> Result<(), EngineError> {
    let Some(why) = &datapath.ids().no_dns else { return Ok(()) };
    let Some(rule) = plan.rules.iter().find(|rule| rule.names_hosts()) else { return Ok(()) };
    Err(EngineError::Unsupported(format!(
        "spec.faults[{}].network.match: peers by host name need a program that this kernel refuses ({why}); name them by cidr",
        rule.fault
    )))
}

fn key(host: &HostPattern, netns: u64) -> HostKey {
    HostKey { hash: name_hash(host.name().as_bytes()), netns, wildcard: u32::from(host.is_wildcard()), reserved: 0 }
}

fn entry(datapath: &Datapath, key: &HostKey) -> Result<Followers, KernelError> {
    match datapath.hosts.get(key, 0) {
        Ok(entry) => Ok(entry),
        Err(MapError::KeyNotFound) => Ok(Followers::zeroed()),
        Err(e) => Err(map_error("read map", maps::HOSTS, &e)),
    }
}

fn write(datapath: &mut Datapath, key: &HostKey, entry: Followers) -> Result<(), KernelError> {
    datapath.hosts.insert(key, entry, 0).map_err(|e| map_error("add host name to map", maps::HOSTS, &e))
}

/// Lets a set follow a name by the answers that a netns (its inode) receives.
///
/// # Errors
/// E2BIG for a wildcard of more than [`LABELS`] labels; ENOSPC where [`chaos_abi::FOLLOWERS`] sets follow it there already, or the table is full.
pub fn follow(datapath: &mut Datapath, set: u32, host: &HostPattern, netns: u64) -> Result<(), KernelError> {
    if host.is_wildcard() && host.name().split('.').count() > LABELS {
        let error = KernelError::new("follow host", host.to_string(), Errno::E2BIG);
        return Err(error.unsupported(format!("at most {LABELS} labels may stand behind the wildcard")));
    }
    let key = key(host, netns);
    let mut entry = entry(datapath, &key)?;
    if entry.sets.contains(&set) {
        return Ok(());
    }
    let Some(place) = entry.sets.iter().position(|set| *set == 0) else {
        let error = KernelError::new("follow host", host.to_string(), Errno::ENOSPC);
        return Err(error.unsupported(format!(
            "{} matches follow this name already in that network namespace; stop another experiment first",
            entry.sets.len()
        )));
    };
    entry.sets[place] = set;
    (entry.failed[place], entry.learned[place]) = (0, 0);
    write(datapath, &key, entry)
}

/// Adds an address that we found ourselves; beyond the limits it is counted, as the kernel does.
///
/// # Errors
/// What the kernel says.
pub fn learn(datapath: &mut Datapath, set: u32, host: &HostPattern, netns: u64, ip: IpAddr) -> Result<(), KernelError> {
    let host = key(host, netns);
    let learned = LearnedKey { hash: host.hash, wildcard: host.wildcard, addr: sets::key(set, ip) };
    if datapath.learned.get(&learned, 0).is_ok() {
        return Ok(());
    }
    let mut entry = entry(datapath, &host)?;
    let Some(place) = entry.sets.iter().position(|one| *one == set) else { return Ok(()) };
    if entry.learned[place] >= MAX_LEARNED_OF_NAME || datapath.learned.insert(learned, 0, 0).is_err() {
        entry.failed[place] += 1;
        return write(datapath, &host, entry);
    }
    entry.learned[place] += 1;
    write(datapath, &host, entry)?;
    sets::add_peer(datapath, set, Cidr::host(ip))
}

/// Ends the following of these sets, and takes away what they learned.
///
/// # Errors
/// The first that the kernel refused.
pub fn forget(datapath: &mut Datapath, sets: &[u32]) -> Result<(), KernelError> {
    let keys: Vec<HostKey> = datapath.hosts.keys().filter_map(Result::ok).collect();
    for key in keys {
        let mut left = entry(datapath, &key)?;
        if !left.sets.iter().any(|set| sets.contains(set)) {
            continue;
        }
        left.sets.iter_mut().filter(|set| sets.contains(set)).for_each(|set| *set = 0);
        if left.sets.iter().any(|set| *set != 0) {
            write(datapath, &key, left)?;
        } else {
            rules::gone(datapath.hosts.remove(&key), "remove host name from map", maps::HOSTS)?;
        }
    }
    let ours = |key: &LearnedKey| sets.contains(&(u32::from_be(key.addr.set) & !SET_V6));
    let keys: Vec<LearnedKey> = datapath.learned.keys().filter_map(Result::ok).filter(ours).collect();
    for key in keys {
        rules::gone(datapath.learned.remove(&key), "remove address from map", maps::LEARNED)?;
    }
    Ok(())
}

/// Does any set follow a name in this netns?
#[must_use]
pub fn followed(datapath: &Datapath, netns: u64) -> bool {
    datapath.hosts.keys().filter_map(Result::ok).any(|key| key.netns == netns)
}

/// What a set has learned of a name, the oldest first.
#[must_use]
pub fn addresses(datapath: &Datapath, set: u32, host: &HostPattern) -> HostAddresses {
    let HostKey { hash, wildcard, .. } = key(host, 0);
    let all = datapath.learned.iter().filter_map(Result::ok);
    let of_set = |key: &LearnedKey| u32::from_be(key.addr.set) & !SET_V6 == set;
    let mut found: Vec<(u64, IpAddr)> = all
        .filter(|(key, _)| key.hash == hash && key.wildcard == wildcard && of_set(key))
        .map(|(key, since)| (since, sets::address(&key.addr)))
        .collect();
    found.sort_unstable();
    let entries = datapath.hosts.iter().filter_map(Result::ok);
    let unlearned = entries
        .filter(|(key, _)| key.hash == hash && key.wildcard == wildcard)
        .filter_map(|(_, entry)| {
            let place = entry.sets.iter().position(|one| *one == set)?;
            Some(entry.failed[place] + entry.cut)
        })
        .sum();
    let addresses = found.iter().map(|(_, ip)| ip.to_string()).collect();
    HostAddresses { host: host.to_string(), addresses, unlearned }
}

#[cfg(test)]
mod tests;

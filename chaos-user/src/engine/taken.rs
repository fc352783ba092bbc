//! Connections of a target that a local proxy takes over, as a service mesh's: looked for only where a fault has hit nothing of it.

use super::{Active, sets::Sets};
use crate::{
    kernel::{
        conntrack::{self, Redirected},
        error::KernelError,
        listeners,
        netns::Netns,
    },
    observe::{FaultReport, TakenOver},
    plan::{Condition, PeerAddress},
    resolve::{Host, ScopedBy, Target, cgroup},
    spec::value::PortRange,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::SocketAddr,
    os::unix::fs::MetadataExt,
    path::PathBuf,
    sync::Arc,
};

/// Proxies that are named of one fault on one target.
const MOST: usize = 4;

/// Enters them into the reports. `container`: the name of the container of this target that a process belongs to.
pub fn enter(active: &Active, reports: &mut [FaultReport], container: impl Fn(&Target, i32) -> Option<String>) {
    let idle = |one: &&mut FaultReport| one.injected == 0 && one.would_inject == 0;
    let mut seen: BTreeMap<u64, Vec<Redirected>> = BTreeMap::new();
    for report in reports.iter_mut().filter(idle) {
        let Some(target) = active.targets.iter().find(|target| target.name == report.target) else { continue };
        let named = |fault: usize| active.plan.faults.get(fault).is_some_and(|one| one.name == report.name);
        let rules = active.plan.rules.iter().zip(&active.sets);
        let rules = rules.filter(|(rule, _)| rule.call.is_none() && named(rule.fault));
        // The sets of its excepts stand before its own.
        let conditions: Vec<_> = rules.map(|(rule, sets)| (&rule.condition, sets.last().map(Sets::resolved))).collect();
        // What a whole namespace sends is seen where it leaves.
        if target.scoped_by != ScopedBy::Cgroup || target.shares_host_netns || conditions.is_empty() {
            continue;
        }
        let all = seen.entry(target.netns.inode).or_insert_with(|| {
            redirected(target).unwrap_or_else(|error| {
                tracing::debug!("{error}");
                Vec::new()
            })
        });
        let mut proxies: BTreeMap<(SocketAddr, u8), (Redirected, u64)> = BTreeMap::new();
        for one in
            all.iter().filter(|one| conditions.iter().any(|(condition, resolved)| means(condition, *resolved, one)))
        {
            let (_, count) = proxies.entry((one.at, one.protocol)).or_insert((*one, 0));
            *count += 1;
        }
        let mut proxies: Vec<(Redirected, u64)> = proxies.into_values().collect();
        proxies.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        report.taken_over =
            proxies.into_iter().take(MOST).map(|(one, count)| told(target, one, count, &container)).collect();
    }
}

/// Those that end in the namespace itself.
fn redirected(target: &Target) -> Result<Vec<Redirected>, KernelError> {
    let mut all = Vec::new();
    let is_local = |one: &Redirected| {
        let at = one.at.ip();
        at.is_loopback() || at == one.from.ip() || at == one.to.ip()
    };
    conntrack::redirected(&netns(target)?, |one| all.extend(Some(one).filter(is_local)))?;
    Ok(all)
}

fn netns(target: &Target) -> Result<Netns, KernelError> {
    Netns::from_fd(Arc::clone(&target.netns.fd), target.name.clone())
}

/// Would the fault have hit this one, had nobody taken it over? By its peer, whichever end began it, and by its ports.
fn means(condition: &Condition, resolved: Option<&BTreeSet<PeerAddress>>, one: &Redirected) -> bool {
    let resolved = || resolved.into_iter().flatten().map(|peer| peer.cidr);
    let is_peer = |ip| condition.peers.iter().copied().chain(resolved()).any(|cidr| cidr.contains(ip));
    // Which addresses a name stood for is not asked here.
    let peer = condition.any_peer || !condition.hosts.is_empty() || is_peer(one.to.ip()) || is_peer(one.from.ip());
    let either = |ports: &[PortRange]| ports.is_empty() || ports.iter().any(|range| range.contains(one.to.port()));
    peer && either(&condition.ports) && either(&condition.local_ports)
}

fn told(
    target: &Target,
    one: Redirected,
    connections: u64,
    container: &impl Fn(&Target, i32) -> Option<String>,
) -> TakenOver {
    let pid = listener(target, &one);
    let comm = pid.and_then(|pid| fs::read(format!("/proc/{pid}/comm")).ok());
    TakenOver {
        connection: format!("{} -> {}", one.from, one.to),
        at: one.at.to_string(),
        connections,
        container: pid.and_then(|pid| container(target, pid)),
        process: comm.map(|comm| String::from_utf8_lossy(&comm).trim_end().to_owned()),
        pid,
    }
}

/// The first process of the cgroup that listens there.
fn listener(target: &Target, one: &Redirected) -> Option<i32> {
    let found = netns(target).and_then(|netns| listeners::cgroup(&netns, one.protocol, one.at));
    let id = found.unwrap_or_else(|error| {
        tracing::debug!("{error}");
        None
    })?;
    let tree = Host::this().ok()?.unified.ok()?;
    let is_its = |directory: &PathBuf| fs::metadata(directory).is_ok_and(|one| one.ino() == id);
    cgroup::processes_in(&cgroup::directories(&tree.mount).into_iter().find(is_its)?).next()
}

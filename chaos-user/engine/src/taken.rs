//! Connections of a target that a local proxy takes over, as a service mesh's: looked for only where a fault has seen nothing that it means.

use super::{Active, sets::Sets};
use chaos_abi::{PROTO_ANY, PROTO_PORTS};
use chaos_host::{Host, ScopedBy, Target, cgroup};
use chaos_outcome::{FaultReport, HostAddresses, TakenOver};
use chaos_spec::{
    plan::{Condition, PeerAddress, RulePlan},
    value::PortRange,
};
use chaos_sys::{
    conntrack::{self, Redirected},
    error::KernelError,
    listeners,
    netns::Netns,
};
use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    fs,
    net::{IpAddr, SocketAddr},
    os::unix::fs::MetadataExt,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

/// Proxies that are named of one fault on one target.
const MOST: usize = 4;
/// How long all of it may take: others' ends wait for this thread.
const BUDGET: Duration = Duration::from_millis(200);

/// Enters them into the reports of an experiment that has ended. `container`: the name of the container of this target that a process
/// belongs to.
pub fn enter(active: &Active, reports: &mut [FaultReport], container: impl Fn(&Target, i32) -> Option<String>) {
    look(active, &active.targets, reports, BUDGET, container);
}

/// Enters those of a target that is let go. All such looks of an experiment may take as long as the one at its end.
pub fn of_released(
    active: &mut Active,
    target: &Target,
    reports: &mut [FaultReport],
    container: impl Fn(&Target, i32) -> Option<String>,
) {
    let since = Instant::now();
    look(active, std::slice::from_ref(target), reports, BUDGET.saturating_sub(active.looked), container);
    active.looked += since.elapsed();
}

fn look(
    active: &Active,
    targets: &[Target],
    reports: &mut [FaultReport],
    budget: Duration,
    container: impl Fn(&Target, i32) -> Option<String>,
) {
    let idle = |one: &&mut FaultReport| one.matched == 0;
    let mut look = Look { until: Instant::now() + budget, container, seen: BTreeMap::new(), directories: None };
    for report in reports.iter_mut().filter(idle) {
        // Those that were let go stay in their places, and one that came again is later.
        let Some(target) = targets.iter().rfind(|target| target.name == report.target) else { continue };
        // What a whole namespace sends is seen where it leaves.
        if target.scoped_by != ScopedBy::Cgroup || target.shares_host_netns {
            continue;
        }
        if look.is_over() {
            tracing::debug!("no time was left to look for proxies of {}", target.name);
            return;
        }
        let named = |fault: usize| active.plan.faults.get(fault).is_some_and(|one| one.name == report.name);
        let rules = active.plan.rules.iter().zip(&active.sets);
        let rules: Vec<(&RulePlan, &[Sets])> = rules
            .filter(|(rule, _)| rule.call.is_none() && named(rule.fault))
            .map(|(rule, sets)| (rule, sets.as_slice()))
            .collect();
        let hosts = addresses(&report.hosts);
        let found = look.proxies(target, |one| rules.iter().any(|(rule, sets)| means(rule, sets, &hosts, target, one)));
        // What was found when it was let go stays.
        if !found.is_empty() {
            report.taken_over = found;
        }
    }
}

/// What is found once for all targets.
struct Look<F> {
    until: Instant,
    container: F,
    /// By the namespace's inode.
    seen: BTreeMap<u64, Vec<Redirected>>,
    /// The directories of all cgroups by their inodes.
    directories: Option<BTreeMap<u64, PathBuf>>,
}

impl<F: Fn(&Target, i32) -> Option<String>> Look<F> {
    fn is_over(&self) -> bool {
        Instant::now() >= self.until
    }

    /// Who takes over connections of this target that a fault means; the busiest first.
    fn proxies(&mut self, target: &Target, is_meant: impl Fn(&Redirected) -> bool) -> Vec<TakenOver> {
        let all = match self.seen.entry(target.netns.inode) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => match redirected(target) {
                Ok(all) => place.insert(all),
                Err(error) => {
                    tracing::debug!("{error}");
                    return Vec::new();
                }
            },
        };
        let mut proxies: BTreeMap<(SocketAddr, u8), (Redirected, u64)> = BTreeMap::new();
        for one in all.iter().filter(|one| is_meant(one)) {
            let (_, count) = proxies.entry((one.at, one.protocol)).or_insert((*one, 0));
            *count += 1;
        }
        let mut proxies: Vec<(Redirected, u64)> = proxies.into_values().collect();
        proxies.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        proxies.into_iter().take(MOST).filter_map(|(one, count)| self.told(target, one, count)).collect()
    }

    /// None where the target is the proxy itself: what it takes over is not taken from it.
    fn told(&mut self, target: &Target, one: Redirected, connections: u64) -> Option<TakenOver> {
        let directory = self.listener(target, &one);
        let is_its_own = |own: &PathBuf| target.cgroup.as_ref().is_some_and(|scope| own.starts_with(&scope.directory));
        if directory.as_ref().is_some_and(is_its_own) {
            return None;
        }
        let pid = directory.and_then(|directory| cgroup::processes_in(&directory).next());
        let comm = pid.and_then(|pid| fs::read(format!("/proc/{pid}/comm")).ok());
        Some(TakenOver {
            connection: format!("{} -> {}", one.from, one.to),
            at: one.at.to_string(),
            connections,
            container: pid.and_then(|pid| (self.container)(target, pid)),
            process: comm.map(|comm| String::from_utf8_lossy(&comm).trim_end().to_owned()),
            pid,
        })
    }

    /// The cgroup of who listens there.
    fn listener(&mut self, target: &Target, one: &Redirected) -> Option<PathBuf> {
        if self.is_over() {
            return None;
        }
        let found = netns(target).and_then(|netns| listeners::cgroup(&netns, one.protocol, one.at));
        let id = found.unwrap_or_else(|error| {
            tracing::debug!("{error}");
            None
        })?;
        self.directories.get_or_insert_with(directories).get(&id).cloned()
    }
}

fn directories() -> BTreeMap<u64, PathBuf> {
    let Some(tree) = Host::this().ok().and_then(|host| host.unified.ok()) else { return BTreeMap::new() };
    let all = cgroup::directories(&tree.mount).into_iter();
    all.filter_map(|directory| Some((fs::metadata(&directory).ok()?.ino(), directory))).collect()
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

fn addresses(hosts: &[HostAddresses]) -> BTreeSet<IpAddr> {
    hosts.iter().flat_map(|host| &host.addresses).filter_map(|address| address.parse().ok()).collect()
}

/// Would the fault have hit this one, had nobody taken it over?
fn means(rule: &RulePlan, sets: &[Sets], hosts: &BTreeSet<IpAddr>, target: &Target, one: &Redirected) -> bool {
    // A redirect of what comes in ends at the address that was asked for; of what goes out, on loopback or at the sender's own.
    let comes_in = one.at.ip() == one.to.ip();
    if comes_in && rule.spares_node() && target.probed.ports.contains(&one.to.port()) {
        return false;
    }
    let ends = if comes_in { [one.to, one.from] } else { [one.from, one.to] };
    let of_excepts = rule.excepts.iter().zip(sets).any(|(except, sets)| {
        // Which addresses a name stands for in an exception is in no report.
        !except.hosts.is_empty() || agrees(except, sets.resolved(), hosts, one.protocol, ends)
    });
    let own = sets.last().map(Sets::resolved);
    !of_excepts && own.is_some_and(|own| agrees(&rule.condition, own, hosts, one.protocol, ends))
}

fn agrees(
    condition: &Condition,
    resolved: &BTreeSet<PeerAddress>,
    hosts: &BTreeSet<IpAddr>,
    protocol: u8,
    [local, remote]: [SocketAddr; 2],
) -> bool {
    // Both protocols that are tracked here have ports.
    let of_protocol = [PROTO_ANY, PROTO_PORTS, u32::from(protocol)].contains(&condition.protocol);
    let by_address = condition.peers.iter().any(|cidr| cidr.contains(remote.ip())) || hosts.contains(&remote.ip());
    let is_resolved =
        |peer: &PeerAddress| peer.cidr.contains(remote.ip()) && peer.port.is_none_or(|port| port == remote.port());
    let peer = condition.any_peer || by_address || resolved.iter().any(is_resolved);
    let within = |ports: &[PortRange], port| ports.is_empty() || ports.iter().any(|range| range.contains(port));
    of_protocol && peer && within(&condition.ports, remote.port()) && within(&condition.local_ports, local.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_meant_by_protocol_peer_and_the_ports_of_its_ends() {
        let condition = Condition {
            protocol: 6,
            connections: chaos_abi::CONN_ANY,
            ports: vec!["5432".parse().unwrap()],
            local_ports: Vec::new(),
            interfaces: Vec::new(),
            peers: vec!["10.1.2.0/24".parse().unwrap()],
            hosts: Vec::new(),
            resolved: None,
            any_peer: false,
        };
        let ends = |local: &str, remote: &str| [local.parse().unwrap(), remote.parse().unwrap()];
        let is_meant = |condition: &Condition, protocol, ends| {
            agrees(condition, &BTreeSet::new(), &BTreeSet::new(), protocol, ends)
        };
        let out = ends("10.1.0.7:41822", "10.1.2.9:5432");
        assert!(is_meant(&condition, 6, out));
        assert!(!is_meant(&condition, 17, out), "another protocol");
        assert!(!is_meant(&condition, 6, ends("10.1.0.7:5432", "10.1.2.9:41822")), "the port of the other end");
        assert!(!is_meant(&condition, 6, ends("10.1.0.7:41822", "10.1.3.9:5432")), "another peer");
        let resolved: BTreeSet<PeerAddress> =
            [PeerAddress { cidr: "10.1.3.9/32".parse().unwrap(), port: Some(5433) }].into();
        let service = Condition { peers: Vec::new(), ports: Vec::new(), ..condition };
        let of_service = |remote| agrees(&service, &resolved, &BTreeSet::new(), 6, ends("10.1.0.7:1", remote));
        assert!(of_service("10.1.3.9:5433") && !of_service("10.1.3.9:5432"), "another port of the Service's peer");
    }
}

//! What targets' own files and nameservers know of host names before the start. Later addresses are learned from the answers that
//! the targets receive.

use super::never::{self, Never};
use chaos_host::{
    Target,
    names::{NameFiles, conf, query},
};
use chaos_spec::{plan::Plan, value::HostPattern};
use chaos_sys::netns::Netns;
use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr, SocketAddrV6},
    sync::Arc,
    thread,
};

/// Port of nameservers.
const PORT: u16 = 53;

/// Addresses by name, for each network namespace on its own: what one target's files and nameservers say is no other's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// The addresses, by the inode of the namespace.
    addresses: BTreeMap<u64, BTreeMap<HostPattern, BTreeSet<IpAddr>>>,
    /// What could not be found out.
    pub warnings: Vec<String>,
}

impl Known {
    /// The addresses of one name in one namespace.
    pub fn of(&self, netns: u64, host: &HostPattern) -> impl Iterator<Item = IpAddr> {
        self.addresses.get(&netns).and_then(|names| names.get(host)).into_iter().flatten().copied()
    }

    /// Adds what is known of others.
    pub fn extend(&mut self, other: Self) {
        for (netns, names) in other.addresses {
            let all = self.addresses.entry(netns).or_default();
            for (host, addresses) in names {
                all.entry(host).or_default().extend(addresses);
            }
        }
        let fresh: Vec<String> = other.warnings.into_iter().filter(|text| !self.warnings.contains(text)).collect();
        self.warnings.extend(fresh);
    }

    fn entry(&mut self, target: &Target, host: &HostPattern) -> &mut BTreeSet<IpAddr> {
        self.addresses.entry(target.netns.inode).or_default().entry(host.clone()).or_default()
    }

    /// Forgets a namespace: its number may be another's next.
    pub fn forget(&mut self, netns: u64) {
        self.addresses.remove(&netns);
    }
}

/// Looks up all names of a plan, for all targets at once. Takes as long as their nameservers are silent, at most 3 s.
#[must_use]
pub fn look_up(plan: &Plan, targets: &[Target]) -> Known {
    let conditions = plan.rules.iter().flat_map(|rule| rule.conditions());
    let hosts: BTreeSet<&HostPattern> = conditions.flat_map(|condition| &condition.hosts).collect();
    let mut known = Known::default();
    if hosts.is_empty() {
        return known;
    }
    let never = Never::of_this_node();
    let found = thread::scope(|scope| {
        let started: Vec<_> = targets.iter().map(|target| scope.spawn(|| of_target(target, &hosts, &never))).collect();
        started.into_iter().filter_map(|one| one.join().ok()).collect::<Vec<_>>()
    });
    found.into_iter().for_each(|one| known.extend(one));
    known
}

fn of_target(target: &Target, hosts: &BTreeSet<&HostPattern>, never: &Never) -> Known {
    const LATER: &str = "addresses will be learned from the target's own answers";
    let mut known = Known::default();
    let files = match NameFiles::of(target) {
        Ok(files) => files,
        Err(why) => {
            known.warnings.push(format!("{}: nameservers unknown: {why}; {LATER}", target.name));
            return known;
        }
    };
    let mut open: Vec<&HostPattern> = Vec::new();
    for host in hosts {
        let listed = conf::hosts(&files.hosts, host);
        if !listed.is_empty() {
            known.entry(target, host).extend(listed);
        } else if !host.is_wildcard() {
            open.push(host);
        }
    }
    // A name in the hosts file is not asked for by the target either; those below a pattern nobody can list.
    if open.is_empty() {
        return known;
    }
    let servers = servers(target, &files);
    let names: Vec<&str> = open.iter().map(|host| host.name()).collect();
    let asked = Netns::from_fd(Arc::clone(&target.netns.fd), target.name.clone())
        .and_then(|netns| netns.enter(|| query::ask(&servers, &names)));
    let mut answers = match asked {
        Ok(answers) => answers,
        Err(error) => {
            known.warnings.push(format!("{error}; {LATER}"));
            return known;
        }
    };
    for host in open {
        match answers.remove(host.name()) {
            Some(Ok(addresses)) => {
                let (fit, unfit): (Vec<_>, Vec<_>) = addresses.into_iter().partition(|ip| !never.contains(*ip));
                known.entry(target, host).extend(fit);
                if let Some(ip) = unfit.first() {
                    known.warnings.push(format!("{}: {host}: {}", target.name, never::refusal(*ip)));
                }
            }
            Some(Err(why)) => known.warnings.push(format!("{host}: {why}; {LATER}")),
            None => {}
        }
    }
    known
}

fn servers(target: &Target, files: &NameFiles) -> Vec<SocketAddr> {
    let address = |server: conf::Nameserver| match server.ip {
        IpAddr::V4(ip) => SocketAddr::from((ip, PORT)),
        IpAddr::V6(ip) => {
            let named = target.interfaces.iter().find(|interface| Some(&interface.name) == server.interface.as_ref());
            SocketAddrV6::new(ip, PORT, 0, named.map_or(0, |interface| interface.index)).into()
        }
    };
    conf::nameservers(&files.resolv).into_iter().map(address).collect()
}

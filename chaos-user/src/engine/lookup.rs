//! What targets' own files and nameservers know of host names before the start. Later addresses are learned from the answers that
//! the targets receive.

use crate::{
    kernel::netns::Netns,
    plan::Plan,
    resolve::{
        Target,
        names::{NameFiles, conf, query},
    },
    spec::value::HostPattern,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr, SocketAddrV6},
    sync::Arc,
    thread,
};

/// Port of nameservers.
const PORT: u16 = 53;

/// Addresses by name, over all targets of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// The addresses.
    pub addresses: BTreeMap<HostPattern, BTreeSet<IpAddr>>,
    /// What could not be found out.
    pub warnings: Vec<String>,
}

impl Known {
    /// The addresses of one name.
    pub fn of(&self, host: &HostPattern) -> impl Iterator<Item = IpAddr> {
        self.addresses.get(host).into_iter().flatten().copied()
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
    let found = thread::scope(|scope| {
        let started: Vec<_> = targets.iter().map(|target| scope.spawn(|| of_target(target, &hosts))).collect();
        started.into_iter().filter_map(|one| one.join().ok()).collect::<Vec<_>>()
    });
    for one in found {
        for (host, addresses) in one.addresses {
            known.addresses.entry(host).or_default().extend(addresses);
        }
        let fresh: Vec<String> = one.warnings.into_iter().filter(|text| !known.warnings.contains(text)).collect();
        known.warnings.extend(fresh);
    }
    known
}

fn of_target(target: &Target, hosts: &BTreeSet<&HostPattern>) -> Known {
    const LATER: &str = "addresses will be learned from the target's own answers";
    let mut known = Known::default();
    let files = match NameFiles::of(target) {
        Ok(files) => files,
        Err(why) => {
            known.warnings.push(format!("{}: nameservers unknown: {why}; {LATER}", target.name));
            return known;
        }
    };
    for host in hosts {
        let listed = conf::hosts(&files.hosts, host);
        if !listed.is_empty() {
            known.addresses.entry((*host).clone()).or_default().extend(listed);
        }
    }
    // A name in the hosts file is not asked for by the target either; those below a pattern nobody can list.
    let open: Vec<&HostPattern> =
        hosts.iter().filter(|host| !host.is_wildcard() && !known.addresses.contains_key(host)).copied().collect();
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
            Some(Ok(addresses)) => known.addresses.entry(host.clone()).or_default().extend(addresses),
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

//! The node's own addresses: those from which it begins connections to its pods, as a kubelet does for its probes.

use chaos_host::Interface;
use chaos_sys::{
    address::{self, Address},
    error::KernelError,
    link,
    netlink::Rtnl,
};
use std::{collections::BTreeSet, net::IpAddr};

/// Devices that hold addresses of Services, whatever their kind (kube-proxy in mode ipvs; the DNS cache of a node).
const OF_SERVICES: [&str; 2] = ["kube-ipvs0", "nodelocaldns"];

/// As they are now. `hosts`: what the kubelet says of itself in its pods' `status.hostIPs`; counted only where the node has such an address.
///
/// # Errors
/// What the kernel says.
pub fn addresses(hosts: &BTreeSet<IpAddr>) -> Result<BTreeSet<IpAddr>, KernelError> {
    let mut rtnl = Rtnl::open()?;
    let devices = link::list(&mut rtnl)?;
    Ok(begun_from(&devices, &address::list(&mut rtnl)?, hosts))
}

/// Not link-local ones, and not those of devices that lead nowhere: these stand for Services and for the node's DNS cache.
fn begun_from(devices: &[Interface], all: &[Address], hosts: &BTreeSet<IpAddr>) -> BTreeSet<IpAddr> {
    let leads = |index: u32| {
        devices.iter().find(|device| device.index == index).is_some_and(|device| {
            device.kind.as_deref() != Some("dummy") && !OF_SERVICES.contains(&device.name.as_str())
        })
    };
    let is_local = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => ip.is_loopback() || ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unicast_link_local(),
    };
    let own = all.iter().filter(|one| leads(one.interface) || hosts.contains(&one.ip)).map(|one| one.ip);
    own.filter(|ip| !is_local(*ip)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_services_and_of_the_dns_cache_are_not_the_nodes() {
        let device = |index, name: &str, kind: Option<&str>| Interface {
            index,
            name: name.to_owned(),
            kind: kind.map(str::to_owned),
            ..Interface::default()
        };
        let devices = [
            device(1, "lo", None),
            device(2, "eth0", None),
            device(3, "cni0", Some("bridge")),
            device(4, "kube-ipvs0", Some("bridge")),
            device(5, "cache", Some("dummy")),
            device(6, "host0", Some("dummy")),
        ];
        let all = [
            (1, "127.0.0.1"),
            (1, "192.0.2.7"),
            (2, "192.0.2.1"),
            (2, "fe80::1"),
            (2, "2001:db8::1"),
            (3, "10.244.0.1"),
            (4, "10.96.0.10"),
            (5, "169.254.20.10"),
            (5, "10.96.0.53"),
            (6, "192.0.2.9"),
        ];
        let all = all.map(|(interface, ip)| Address { interface, ip: ip.parse().unwrap(), prefix: 24 });
        // The last is not one of this node's, whoever says so.
        let hosts = ["192.0.2.9", "169.254.20.10", "198.51.100.1"].map(|ip| ip.parse().unwrap()).into();
        let own: BTreeSet<IpAddr> =
            ["192.0.2.7", "192.0.2.1", "2001:db8::1", "10.244.0.1", "192.0.2.9"].map(|ip| ip.parse().unwrap()).into();
        assert_eq!(begun_from(&devices, &all, &hosts), own);
    }
}

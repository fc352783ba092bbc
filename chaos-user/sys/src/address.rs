//! The addresses of interfaces.
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};

use super::{
    error::KernelError,
    netlink::{Request, Rtnl, field, find, u32_at},
    seam,
};

/// Length of `struct ifaddrmsg` (linux/if_addr.h).
const IFADDRMSG: usize = 8;

/// An address of an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address {
    /// Index of the interface.
    pub interface: u32,
    /// The local address.
    pub ip: IpAddr,
    /// Length of the network's prefix in bits.
    pub prefix: u8,
}

/// All addresses of the socket's namespace, IPv4 and IPv6 (RTM_GETADDR, rtnetlink(7)).
pub fn list(rtnl: &mut Rtnl) -> Result<Vec<Address>, KernelError> {
    let request = Request::new("list", "addresses", libc::RTM_GETADDR, 0, &[0; IFADDRMSG]);
    Ok(rtnl.dump(request)?.iter().filter_map(|message| parse(message)).collect())
}

/// Adds an address, IPv6 without duplicate address detection (IFA_F_NODAD), so that it serves at once.
/// Errors: ENODEV; EEXIST; EOPNOTSUPP or EACCES where the interface has no IPv6.
pub fn add(rtnl: &mut Rtnl, address: Address) -> Result<(), KernelError> {
    let object = format!("{} on interface {}", address.ip, address.interface);
    let (family, bytes) = match address.ip {
        IpAddr::V4(ip) => (libc::AF_INET, ip.octets().to_vec()),
        IpAddr::V6(ip) => (libc::AF_INET6, ip.octets().to_vec()),
    };
    let [a, b, c, d] = address.interface.to_ne_bytes();
    let fixed = [family as u8, address.prefix, libc::IFA_F_NODAD as u8, 0, a, b, c, d];
    let request = Request::new("add address", &object, libc::RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, &fixed);
    let request = request.attr(libc::IFA_LOCAL, &bytes).attr(libc::IFA_ADDRESS, &bytes);
    seam::run("add address", &object, || rtnl.execute(request).map(drop))
}

pub(crate) fn parse(message: &[u8]) -> Option<Address> {
    let [family, prefix, ..] = field::<IFADDRMSG>(message, 0)?;
    let attrs = message.get(IFADDRMSG..)?;
    // On a point-to-point link IFA_ADDRESS is the other side and IFA_LOCAL ours; IPv6 without a peer has no IFA_LOCAL.
    let bytes = find(attrs, libc::IFA_LOCAL).or_else(|| find(attrs, libc::IFA_ADDRESS))?;
    let ip = match i32::from(family) {
        libc::AF_INET => IpAddr::from(Ipv4Addr::from(field::<4>(bytes, 0)?)),
        libc::AF_INET6 => IpAddr::from(Ipv6Addr::from(field::<16>(bytes, 0)?)),
        _ => return None,
    };
    Some(Address { interface: u32_at(message, 4), ip, prefix })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{self, in_scratch};

    #[test]
    fn lists_both_families() {
        testing::root_or_return!();
        let addresses = in_scratch(|rtnl| {
            testing::ip(&["addr", "add", "10.9.8.7", "peer", "10.9.8.6/32", "dev", "lo"]);
            testing::ip(&["addr", "add", "2001:db8::7/64", "dev", "lo"]);
            list(rtnl).unwrap()
        });
        let found: Vec<String> = addresses.iter().map(|a| format!("{} {}/{}", a.interface, a.ip, a.prefix)).collect();
        for wanted in ["1 127.0.0.1/8", "1 10.9.8.7/32", "1 ::1/128", "1 2001:db8::7/64"] {
            assert!(found.iter().any(|f| f == wanted), "{wanted} is not in {found:?}");
        }
    }
}

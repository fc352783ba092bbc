//! Connections whose destination the kernel has rewritten, as its connection tracking keeps them.

use super::{
    error::KernelError,
    netlink::{Request, Rtnl, field, find},
    netns::Netns,
};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// `NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_GET` (linux/netfilter/nfnetlink.h, nfnetlink_conntrack.h).
const GET: u16 = 1 << 8 | 1;
/// Length of `struct nfgenmsg`: any family, version 0.
const NFGENMSG: usize = 4;
/// `enum ctattr_type`.
const ORIGINAL: u16 = 1;
const REPLY: u16 = 2;
const STATUS: u16 = 3;
const STATUS_MASK: u16 = 26;
/// `enum ctattr_tuple`.
const TUPLE_IP: u16 = 1;
const TUPLE_PROTO: u16 = 2;
/// `enum ctattr_ip`: source and destination of IPv4, then of IPv6.
const V4: [u16; 2] = [1, 2];
const V6: [u16; 2] = [3, 4];
/// `enum ctattr_l4proto`: the number, and both ports.
const PROTOCOL: u16 = 1;
const PORTS: [u16; 2] = [2, 3];
/// `IPS_DST_NAT` (linux/netfilter/nf_conntrack_common.h).
const REWRITTEN: u32 = 1 << 5;
/// Most connections that are looked at: a namespace may have hundreds of thousands.
const MOST: usize = 1 << 16;

/// One connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Redirected {
    /// IP protocol number.
    pub protocol: u8,
    /// Who began it.
    pub from: SocketAddr,
    /// With whom.
    pub to: SocketAddr,
    /// Who answers in its place.
    pub at: SocketAddr,
}

/// Those of a namespace, of TCP and UDP; of very many a part. They are kept for seconds or minutes after their end
/// (Documentation/networking/nf_conntrack-sysctl.rst).
///
/// # Errors
/// EPERM without CAP_NET_ADMIN, EOPNOTSUPP or EPROTONOSUPPORT where the kernel tells nobody of its connections.
pub fn redirected(netns: &Netns, mut each: impl FnMut(Redirected)) -> Result<(), KernelError> {
    let status = REWRITTEN.to_be_bytes();
    // Kernels that cannot choose by it tell of all.
    let request = Request::new("list the connections of", netns.description(), GET, 0, &[0; NFGENMSG])
        .attr(STATUS, &status)
        .attr(STATUS_MASK, &status);
    let mut looked = 0;
    Rtnl::netfilter_in(netns)?.look(request, |message| {
        looked += 1;
        message.get(NFGENMSG..).and_then(read).into_iter().for_each(&mut each);
        looked < MOST
    })
}

fn read(attributes: &[u8]) -> Option<Redirected> {
    let status = find(attributes, STATUS).and_then(|value| field(value, 0)).map(u32::from_be_bytes)?;
    if status & REWRITTEN == 0 {
        return None;
    }
    let (protocol, [from, to]) = tuple(find(attributes, ORIGINAL)?)?;
    let (_, [at, _]) = tuple(find(attributes, REPLY)?)?;
    Some(Redirected { protocol, from, to, at })
}

/// Its protocol, its source and its destination.
fn tuple(bytes: &[u8]) -> Option<(u8, [SocketAddr; 2])> {
    let (ip, proto) = (find(bytes, TUPLE_IP)?, find(bytes, TUPLE_PROTO)?);
    let end = |index: usize| {
        let v4 =
            find(ip, V4[index]).and_then(|value| field(value, 0)).map(|octets| Ipv4Addr::from_octets(octets).into());
        let v6 =
            || find(ip, V6[index]).and_then(|value| field(value, 0)).map(|octets| Ipv6Addr::from_octets(octets).into());
        let address: IpAddr = v4.or_else(v6)?;
        Some(SocketAddr::new(address, u16::from_be_bytes(field(find(proto, PORTS[index])?, 0)?)))
    };
    Some((*find(proto, PROTOCOL)?.first()?, [end(0)?, end(1)?]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attr(kind: u16, value: &[u8]) -> Vec<u8> {
        let mut bytes = u16::try_from(4 + value.len()).unwrap().to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    /// As the kernel writes one: nested attributes bear NLA_F_NESTED.
    fn tuple_of(kind: u16, ends: [(Ipv4Addr, u16); 2]) -> Vec<u8> {
        let ip: Vec<u8> = V4.iter().zip(ends).flat_map(|(kind, (ip, _))| attr(*kind, &ip.octets())).collect();
        let mut proto = attr(PROTOCOL, &[6]);
        proto.extend(PORTS.iter().zip(ends).flat_map(|(kind, (_, port))| attr(*kind, &port.to_be_bytes())));
        let nested = |kind: u16, value: &[u8]| attr(kind | 1 << 15, value);
        nested(kind, &[nested(TUPLE_IP, &ip), nested(TUPLE_PROTO, &proto)].concat())
    }

    #[test]
    fn a_connection_that_somebody_else_answers_is_read() {
        let app = (Ipv4Addr::new(10, 1, 0, 7), 40_000);
        let (peer, proxy) = ((Ipv4Addr::new(10, 1, 0, 9), 80), (Ipv4Addr::LOCALHOST, 15_001));
        let whole = |status: u32| {
            [tuple_of(ORIGINAL, [app, peer]), tuple_of(REPLY, [proxy, app]), attr(STATUS, &status.to_be_bytes())]
                .concat()
        };
        let end = |(ip, port): (Ipv4Addr, u16)| SocketAddr::new(ip.into(), port);
        let expected = Redirected { protocol: 6, from: end(app), to: end(peer), at: end(proxy) };
        assert_eq!(read(&whole(REWRITTEN | 8)), Some(expected));
        assert_eq!(read(&whole(8)), None, "one that nobody has rewritten");
        let bytes = whole(REWRITTEN);
        assert!((0..bytes.len()).all(|end| read(&bytes[..end]).is_none()), "cut");
    }
}

//! Who listens at an address of a network namespace: the cgroup of the socket. Its process would be found by its open files alone, which of
//! another user's process are not shown to who has no more than the agent's capabilities.

use super::{
    error::KernelError,
    netlink::{Request, Rtnl, field, find, u64_at},
    netns::Netns,
};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// `SOCK_DIAG_BY_FAMILY` (linux/sock_diag.h).
const BY_FAMILY: u16 = 20;
/// Length of `struct inet_diag_msg`.
const MESSAGE: usize = 72;
/// Where it has the local port and the local address (linux/inet_diag.h, `struct inet_diag_sockid`).
const PORT: usize = 4;
const ADDRESS: usize = 8;
/// `INET_DIAG_CGROUP_ID`, from Linux 5.8 on.
const CGROUP: u16 = 21;
/// `IPPROTO_TCP`.
const TCP: u8 = 6;
/// Bits of states: `TCP_LISTEN`, and `TCP_CLOSE` of a UDP socket that is not connected (include/net/tcp_states.h).
const LISTEN: u32 = 1 << 10;
const UNCONNECTED: u32 = 1 << 7;
/// Most sockets that are looked at.
const MOST: usize = 1 << 16;

/// The id of the cgroup of the socket that takes what comes to `at`; `protocol`: 6 of TCP, 17 of UDP. None where there is none, or the
/// kernel does not say.
///
/// # Errors
/// EPERM without CAP_SYS_ADMIN, ENOENT where the kernel lists no such sockets.
pub fn cgroup(netns: &Netns, protocol: u8, at: SocketAddr) -> Result<Option<u64>, KernelError> {
    let (mut exact, mut any) = (None, None);
    // One of IPv6 may take what is sent to an address of IPv4.
    let families =
        [libc::AF_INET, libc::AF_INET6].into_iter().filter(|family| at.is_ipv4() || *family == libc::AF_INET6);
    for family in families {
        let states = if protocol == TCP { LISTEN } else { UNCONNECTED };
        let mut fixed = [0; 56];
        fixed[..2].copy_from_slice(&[u8::try_from(family).unwrap_or(0), protocol]);
        fixed[4..8].copy_from_slice(&states.to_ne_bytes());
        let mut looked = 0;
        Rtnl::sockets_in(netns)?.look(
            Request::new("list the sockets of", netns.description(), BY_FAMILY, 0, &fixed),
            |message| {
                looked += 1;
                match read(message, at.port()) {
                    Some((ip, cgroup)) if ip == at.ip() => exact = exact.or(Some(cgroup)),
                    Some((ip, cgroup)) if ip.is_unspecified() => any = any.or(Some(cgroup)),
                    _ => {}
                }
                looked < MOST && exact.is_none()
            },
        )?;
        if exact.is_some() {
            break;
        }
    }
    Ok(exact.or(any))
}

/// Its address and its cgroup, of one with this port.
fn read(message: &[u8], port: u16) -> Option<(IpAddr, u64)> {
    if u16::from_be_bytes(field(message, PORT)?) != port {
        return None;
    }
    let ip: IpAddr = if i32::from(*message.first()?) == libc::AF_INET {
        Ipv4Addr::from_octets(field(message, ADDRESS)?).into()
    } else {
        Ipv6Addr::from_octets(field(message, ADDRESS)?).into()
    };
    Some((ip.to_canonical(), u64_at(find(message.get(MESSAGE..)?, CGROUP)?, 0)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;
    use std::{
        net::{TcpListener, UdpSocket},
        os::unix::fs::MetadataExt,
    };

    #[test]
    fn a_listener_is_told_by_its_cgroup() {
        testing::root_or_return!();
        let own = testing::own_cgroup().unwrap();
        let own = std::fs::metadata(own).unwrap().ino();
        let netns = Netns::own().unwrap();
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let [kept, any] = ["127.0.0.1:0", "[::]:0"].map(|at| TcpListener::bind(at).unwrap());
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let at = |port| SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port);
        assert_eq!(super::cgroup(&netns, 6, kept.local_addr().unwrap()).unwrap(), Some(own));
        assert_eq!(super::cgroup(&netns, 6, at(any.local_addr().unwrap().port())).unwrap(), Some(own));
        assert_eq!(super::cgroup(&netns, 17, udp.local_addr().unwrap()).unwrap(), Some(own));
        assert_eq!(super::cgroup(&netns, 6, tcp).unwrap(), None, "it listens no more");
    }
}

//! The stage of a trial: a scratch namespace with a cable in it. Its near end `p0` has addresses and sockets, as a target's
//! interface does; its far end is a wire on which frames are read and sent as they are.

use super::{
    packet::{self, Seen, Segment, Way},
    wire::Wire,
};
use crate::{
    address::{self, Address},
    error::KernelError,
    link::{self, Interface, VethPair},
    netlink::Rtnl,
    netns::Netns,
};
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, connect, socket},
};
use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, TcpStream, UdpSocket},
    os::fd::{AsFd, AsRawFd, BorrowedFd},
    time::{Duration, Instant},
};

/// Addresses of the near end (RFC 5737, RFC 3849): IPv4, IPv6.
const NEAR: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1))];
/// Addresses behind the far end.
pub const FAR: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2)), IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2))];
const PREFIX: [u8; 2] = [24, 64];

/// A scratch namespace with a veth pair. Gone, with all that was attached, when the last descriptor of it is.
#[derive(Debug)]
pub struct Stage {
    /// The namespace.
    pub netns: Netns,
    /// `p0`, where faults act.
    pub near: Interface,
    /// Why there is no IPv6 here.
    pub no_ipv6: Option<KernelError>,
    macs: [[u8; 6]; 2],
    wire: Wire,
}

impl Stage {
    /// Makes it: nothing moves on it by itself, as both ends do without ARP and neighbour discovery (and so need no
    /// neighbour entries: every packet goes to the device's own hardware address).
    ///
    /// # Errors
    /// EPERM; `unsupported` without veth or packet sockets.
    pub fn new() -> Result<Self, KernelError> {
        let netns = Netns::scratch()?;
        let (near, no_ipv6, macs, wire) = netns.enter(|| {
            let mut rtnl = Rtnl::open()?;
            let pair = VethPair {
                names: ["p0".to_owned(), "p1".to_owned()],
                mtu: 1500,
                queues: 1,
                txqlen: 1000,
                alias: "chaos check".to_owned(),
            };
            let [near, far] = link::create_veth(&mut rtnl, &pair)?;
            let mut add = |family: usize| {
                let address = Address { interface: near.index, ip: NEAR[family], prefix: PREFIX[family] };
                address::add(&mut rtnl, address)
            };
            add(0)?;
            let no_ipv6 = add(1).err();
            let mac = |end: &Interface| end.mac.unwrap_or_default();
            let macs = [mac(&near), mac(&far)];
            Ok::<_, KernelError>((near, no_ipv6, macs, Wire::open(far.index)?))
        })??;
        Ok(Self { netns, near, no_ipv6, macs, wire })
    }

    /// A UDP socket at the near end, on a free port; `family` is 0 for IPv4, 1 for IPv6.
    ///
    /// # Errors
    /// EADDRNOTAVAIL without that family's address.
    pub fn udp(&self, family: usize) -> Result<UdpSocket, KernelError> {
        let failed = |e: std::io::Error| KernelError::from_io("open", "UDP socket of the trial", &e);
        self.netns.enter(|| {
            let socket = UdpSocket::bind((NEAR[family], 0)).map_err(failed)?;
            socket.set_nonblocking(true).map_err(failed)?;
            Ok(socket)
        })?
    }

    /// A TCP connection from the near end that is being opened to a port behind the far end, by IPv4.
    ///
    /// # Errors
    /// What connect(2) says at once.
    pub fn connect(&self, port: u16) -> Result<TcpStream, KernelError> {
        let failed = |errno| KernelError::new("open", "TCP connection of the trial", errno);
        let IpAddr::V4(ip) = FAR[0] else { return Err(failed(Errno::EAFNOSUPPORT)) };
        self.netns.enter(|| {
            let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
            let socket = socket(AddressFamily::Inet, SockType::Stream, flags, None).map_err(failed)?;
            match connect(socket.as_raw_fd(), &SockaddrIn::from(SocketAddrV4::new(ip, port))) {
                Ok(()) | Err(Errno::EINPROGRESS) => Ok(TcpStream::from(socket)),
                Err(errno) => Err(failed(errno)),
            }
        })?
    }

    fn way_in(&self, from: SocketAddr, to: SocketAddr) -> Way {
        Way { macs: [self.macs[1], self.macs[0]], from, to }
    }

    /// Sends a datagram into the near end from behind the far end.
    ///
    /// # Errors
    /// As sending a frame.
    pub fn inject_udp(&self, from: SocketAddr, to: SocketAddr, payload: &[u8]) -> Result<(), KernelError> {
        self.wire.send(&packet::udp(&self.way_in(from, to), payload))
    }

    /// Sends a TCP segment likewise.
    ///
    /// # Errors
    /// As sending a frame.
    pub fn inject_tcp(&self, answer: &Seen, segment: Segment, payload: &[u8]) -> Result<(), KernelError> {
        self.wire.send(&packet::tcp(&self.way_in(answer.to, answer.from), segment, payload))
    }

    /// The next packet that left the near end; None: none has arrived at the far end.
    ///
    /// # Errors
    /// As receiving a frame.
    pub fn next(&self) -> Result<Option<Seen>, KernelError> {
        while let Some(frame) = self.wire.next()? {
            // The socket also shows what we sent on it.
            if let Some(seen) = packet::read(&frame).filter(|seen| NEAR.contains(&seen.from.ip())) {
                return Ok(Some(seen));
            }
        }
        Ok(None)
    }

    /// Waits for the next packet that left the near end and is `wanted`; None: it did not come in time.
    ///
    /// # Errors
    /// As [`Stage::next`] and [`Stage::wait`].
    pub fn expect(&self, limit: Duration, wanted: impl Fn(&Seen) -> bool) -> Result<Option<Seen>, KernelError> {
        let end = Instant::now() + limit;
        loop {
            while let Some(seen) = self.next()? {
                if wanted(&seen) {
                    return Ok(Some(seen));
                }
            }
            if Instant::now() >= end {
                return Ok(None);
            }
            self.wait(&[], end)?;
        }
    }

    /// Waits until the far end or one of `sockets` has something to read, or until `end`.
    ///
    /// # Errors
    /// poll(2)'s.
    pub fn wait(&self, sockets: &[BorrowedFd<'_>], end: Instant) -> Result<(), KernelError> {
        let all = sockets.iter().copied().chain([self.wire.as_fd()]);
        let mut all: Vec<PollFd<'_>> = all.map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
        // Rounded up, so that a last half millisecond is not spent in a loop.
        let left = end.saturating_duration_since(Instant::now()).as_millis() + 1;
        match poll(&mut all, PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)) {
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(errno) => Err(KernelError::new("wait for", "packets of the trial", errno)),
        }
    }

    /// How many packets the near end's stack has discarded for a wrong IPv4 header checksum (IpExt InCsumErrors of
    /// /proc/net/netstat, net/ipv4/ip_input.c).
    ///
    /// # Errors
    /// Without procfs.
    pub fn discarded(&self) -> Result<u64, KernelError> {
        const PATH: &str = "/proc/thread-self/net/netstat";
        let text = self.netns.enter(|| std::fs::read_to_string(PATH))?;
        Ok(checksum_errors(&text.map_err(|e| KernelError::from_io("read", PATH, &e))?))
    }
}

/// Two lines per group: names, then values in the same order.
fn checksum_errors(netstat: &str) -> u64 {
    let mut lines = netstat.lines().filter(|line| line.starts_with("IpExt:"));
    let (names, values) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    let mut both = names.split(' ').zip(values.split(' '));
    both.find(|(name, _)| *name == "InCsumErrors").and_then(|(_, value)| value.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn finds_the_counter_of_checksum_errors() {
        let text = "TcpExt: A InCsumErrors\nTcpExt: 1 2\nIpExt: X InCsumErrors Y\nIpExt: 3 4 5\n";
        assert_eq!(checksum_errors(text), 4);
        assert_eq!(checksum_errors("IpExt: X\nIpExt: 3\n"), 0);
    }

    #[test]
    fn a_quiet_stage_carries_datagrams_both_ways() {
        testing::root_or_return!();
        let stage = Stage::new().unwrap();
        for (family, ip) in FAR.into_iter().enumerate() {
            let socket = stage.udp(family).unwrap();
            let (near, far) = (socket.local_addr().unwrap(), SocketAddr::new(ip, 9));
            socket.send_to(b"out", far).unwrap();
            let seen = stage.expect(Duration::from_secs(1), |_| true).unwrap().unwrap();
            assert_eq!((seen.from, seen.to, seen.payload.as_slice()), (near, far, &b"out"[..]));
            stage.inject_udp(far, near, b"in").unwrap();
            stage.wait(&[socket.as_fd()], Instant::now() + Duration::from_secs(1)).unwrap();
            let mut bytes = [0; 8];
            assert_eq!(socket.recv_from(&mut bytes).unwrap(), (2, far));
        }
        assert_eq!(stage.discarded().unwrap(), 0);
    }
}

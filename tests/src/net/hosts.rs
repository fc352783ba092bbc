//! Two hosts and a wire: the stage of nearly every test.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::netns::NetNs;
use crate::traffic::ping::Ping;

/// Which of the two internet protocols.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Both, to loop over.
    pub const BOTH: [Self; 2] = [Self::V4, Self::V6];

    /// The unspecified address of this family with a port, to bind to.
    pub fn any(self, port: u16) -> SocketAddr {
        match self {
            Self::V4 => (Ipv4Addr::UNSPECIFIED, port).into(),
            Self::V6 => (Ipv6Addr::UNSPECIFIED, port).into(),
        }
    }

    /// The family of an address.
    pub fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(if *self == Self::V4 { "IPv4" } else { "IPv6" })
    }
}

/// One end: a namespace and its first address of each family.
#[derive(Debug)]
pub struct Host {
    /// Where it lives.
    pub ns: NetNs,
    /// Its IPv4 address.
    pub v4: Ipv4Addr,
    /// Its IPv6 address.
    pub v6: Ipv6Addr,
}

impl Host {
    fn new(label: &str, v4: Ipv4Addr, v6: Ipv6Addr) -> Self {
        Self { ns: NetNs::new(label), v4, v6 }
    }

    /// Its address of one family.
    pub fn ip(&self, family: Family) -> IpAddr {
        match family {
            Family::V4 => self.v4.into(),
            Family::V6 => self.v6.into(),
        }
    }

    /// Its address of one family with a port.
    pub fn at(&self, family: Family, port: u16) -> SocketAddr {
        SocketAddr::new(self.ip(family), port)
    }

    /// Gives the interface its addresses and brings it up.
    fn configure(&self, interface: &str) {
        self.ns.ip(&format!("addr add {}/24 dev {interface}", self.v4));
        self.ns.ip(&format!("addr add {}/64 dev {interface} nodad", self.v6));
        self.ns.ip(&format!("link set {interface} up"));
    }
}

/// `a`, on whom faults act, and `b`, its peer, joined by a veth pair that is called `eth0` in both.
#[derive(Debug)]
pub struct Hosts {
    /// The target: 10.77.0.1 and fd77::1.
    pub a: Host,
    /// Its peer: 10.77.0.2 and fd77::2, and 10.77.0.3, 10.77.0.4, fd77::3, fd77::4 beside them.
    pub b: Host,
    /// The interface of `a` that holds its addresses: `eth0`, or `br0` behind a bridge.
    pub interface: &'static str,
}

/// A third host with a wire of its own to `b`: what happens to `a` must not happen to it.
#[derive(Debug)]
pub struct Neighbour {
    /// The third host: 10.78.0.1 and fd78::1.
    pub host: Host,
    /// The address of `b` on this wire.
    pub b_v4: Ipv4Addr,
    /// The address of `b` on this wire.
    pub b_v6: Ipv6Addr,
}

impl Neighbour {
    /// The address of `b` on this wire with a port.
    pub fn b_at(&self, family: Family, port: u16) -> SocketAddr {
        match family {
            Family::V4 => (self.b_v4, port).into(),
            Family::V6 => (self.b_v6, port).into(),
        }
    }
}

const MAC_A: &str = "02:00:00:00:00:0a";
const MAC_B: &str = "02:00:00:00:00:0b";

impl Hosts {
    /// Two hosts joined by a veth pair, with their neighbour entries resolved.
    pub fn new() -> Self {
        let hosts = Self::joined("eth0");
        hosts.a.configure("eth0");
        hosts.ready()
    }

    /// The same, but the addresses of `a` are on a bridge over its `eth0`: each packet passes two devices.
    pub fn bridged() -> Self {
        let hosts = Self::joined("br0");
        let a = &hosts.a.ns;
        a.ip("link add br0 type bridge stp_state 0 forward_delay 0");
        a.ip("link set eth0 master br0");
        a.ip("link set eth0 up");
        hosts.a.configure("br0");
        hosts.ready()
    }

    /// A third host on a second wire to `b`.
    pub fn neighbour(&self) -> Neighbour {
        let host = Host::new("c", [10, 78, 0, 1].into(), [0xfd78, 0, 0, 0, 0, 0, 0, 1].into());
        let neighbour = Neighbour { host, b_v4: [10, 78, 0, 2].into(), b_v6: [0xfd78, 0, 0, 0, 0, 0, 0, 2].into() };
        let b = &self.b.ns;
        neighbour.host.ns.ip(&format!("link add eth0 type veth peer name eth1 netns {}", b.name()));
        b.ip(&format!("addr add {}/24 dev eth1", neighbour.b_v4));
        b.ip(&format!("addr add {}/64 dev eth1 nodad", neighbour.b_v6));
        b.ip("link set eth1 up");
        neighbour.host.configure("eth0");
        for family in Family::BOTH {
            await_answer(&neighbour.host, neighbour.b_at(family, 0).ip());
        }
        neighbour
    }

    /// A further address of `b`: the first is number 2, the last 4.
    pub fn b_number(&self, family: Family, number: u8) -> IpAddr {
        assert!((2..=4).contains(&number), "b has the addresses 2 to 4");
        match family {
            Family::V4 => Ipv4Addr::new(10, 77, 0, number).into(),
            Family::V6 => Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, number.into()).into(),
        }
    }

    /// Forgets on both sides who is where, so that the next packet needs ARP or neighbour discovery.
    pub fn forget_neighbours(&self) {
        self.a.ns.ip("neigh flush all");
        self.b.ns.ip("neigh flush all");
    }

    fn joined(interface: &'static str) -> Self {
        let a = Host::new("a", [10, 77, 0, 1].into(), [0xfd77, 0, 0, 0, 0, 0, 0, 1].into());
        let b = Host::new("b", [10, 77, 0, 2].into(), [0xfd77, 0, 0, 0, 0, 0, 0, 2].into());
        a.ns.ip(&format!(
            "link add eth0 address {MAC_A} type veth peer name eth0 address {MAC_B} netns {}",
            b.ns.name()
        ));
        b.configure("eth0");
        for number in 3..=4 {
            b.ns.ip(&format!("addr add 10.77.0.{number}/24 dev eth0"));
            b.ns.ip(&format!("addr add fd77::{number}/64 dev eth0 nodad"));
        }
        Self { a, b, interface }
    }

    /// Waits until the wire works both ways: packets sent before would queue behind address resolution and distort counts.
    fn ready(self) -> Self {
        for family in Family::BOTH {
            for number in 2..=4 {
                await_answer(&self.a, self.b_number(family, number));
            }
        }
        self
    }
}

impl Default for Hosts {
    fn default() -> Self {
        Self::new()
    }
}

fn await_answer(from: &Host, to: IpAddr) {
    let answered = (0..50).any(|_| Ping::to(to).count(1).run(&from.ns).received() == 1);
    assert!(answered, "{to} does not answer {} on a wire that was just made", from.ns.name());
}

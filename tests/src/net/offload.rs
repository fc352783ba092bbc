//! Offload switches of an interface. What a program may do to a packet depends on who computes checksums and cuts segments,
//! so faults that change packets are tried with these on and off.

use std::net::UdpSocket;
use std::os::fd::AsFd;

use super::netns::NetNs;
use crate::sys;

/// An offload that can be switched by `SIOCETHTOOL`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offload {
    /// The device computes checksums of what it sends: packets travel with the pseudo-header sum only.
    TxChecksum,
    /// The device cuts TCP segments.
    Tso,
    /// The stack cuts segments at the last moment.
    Gso,
    /// The stack joins received segments.
    Gro,
}

impl Offload {
    /// ETHTOOL_G* and ETHTOOL_S* of linux/ethtool.h.
    fn commands(self) -> (u32, u32) {
        match self {
            Self::TxChecksum => (0x16, 0x17),
            Self::Tso => (0x1e, 0x1f),
            Self::Gso => (0x23, 0x24),
            Self::Gro => (0x2b, 0x2c),
        }
    }

    /// Switches it on an interface; panics where the device refuses, for then the test would not test what it says.
    pub fn set(self, ns: &NetNs, interface: &str, on: bool) {
        let done = ns.run(|| {
            let socket = UdpSocket::bind("127.0.0.1:0")?;
            sys::ethtool(socket.as_fd(), interface, self.commands().1, on.into())
        });
        done.unwrap_or_else(|error| panic!("{self:?} of {interface}: {error}"));
        assert_eq!(self.get(ns, interface), on, "{self:?} of {interface} did not change");
    }

    /// Whether it is on.
    pub fn get(self, ns: &NetNs, interface: &str) -> bool {
        let value = ns.run(|| {
            let socket = UdpSocket::bind("127.0.0.1:0")?;
            sys::ethtool(socket.as_fd(), interface, self.commands().0, 0)
        });
        value.unwrap_or_else(|error| panic!("{self:?} of {interface}: {error}")) != 0
    }
}

/// Switches checksum and segmentation offloads on or off together, as on a real network card without them.
pub fn set_all(ns: &NetNs, interface: &str, on: bool) {
    // Segmentation needs checksums: they go in this order when off and the other way round when on.
    let order = [Offload::Gso, Offload::Tso, Offload::TxChecksum];
    if on {
        order.iter().rev().for_each(|offload| offload.set(ns, interface, true));
    } else {
        order.iter().for_each(|offload| offload.set(ns, interface, false));
    }
}

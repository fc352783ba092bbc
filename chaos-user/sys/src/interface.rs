//! A network interface of a target, as plain data.

/// What is known of a network interface.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Interface {
    /// Number within its network namespace.
    pub index: u32,
    /// Name, at most 15 bytes.
    pub name: String,
    /// Largest payload of one packet in bytes, without the link header.
    pub mtu: u32,
    /// ARPHRD_* of linux/if_arp.h.
    pub hardware: u16,
    /// Driver that names itself, such as `veth`, `bridge`, `vlan`, `wireguard`; none for physical ones and loopback.
    pub kind: Option<String>,
    /// Index of the bridge, bond, team or VRF that this is a port of.
    pub master: Option<u32>,
    /// Index of the device that this one stands on (VLAN, macvlan), if that is in the same namespace.
    pub lower: Option<u32>,
    /// For `veth` and `netkit`: index of the other end, in the namespace that [`Interface::link_netnsid`] says.
    pub peer: Option<u32>,
    /// Set where `peer`, or the device below, is in another namespace: the id by which this namespace knows that one.
    pub link_netnsid: Option<i32>,
    /// Set up by the administrator (IFF_UP).
    pub up: bool,
    /// IFF_LOOPBACK.
    pub loopback: bool,
    /// Hardware address, where there is one of 6 bytes.
    pub mac: Option<[u8; 6]>,
    /// Kind of the root qdisc.
    pub qdisc: Option<String>,
    /// Free text that an owner left (IFLA_IFALIAS).
    pub alias: Option<String>,
    /// Segments that one skb may hold at most (IFLA_GSO_MAX_SEGS).
    pub gso_max_segs: Option<u32>,
    /// Further names (`ip link property`).
    pub altnames: Vec<String>,
}

/// ARPHRD_ETHER.
const ETHER: u16 = 1;
/// ARPHRD_LOOPBACK: its packets carry an Ethernet header.
const LOOPBACK: u16 = 772;
/// ARPHRD_PPP, _RAWIP, _TUNNEL (ipip), _TUNNEL6, _SIT, _NONE (tun, wireguard).
const BARE: [u16; 6] = [512, 519, 768, 769, 776, 0xFFFE];

impl Interface {
    /// Bytes of link header before the network header as a tc program sees a packet: 14 or 0 (linux/if_arp.h).
    /// `None` for hardware whose header has another or a varying length, such as GRE or InfiniBand.
    pub fn header_len(&self) -> Option<u8> {
        match self.hardware {
            ETHER | LOOPBACK => Some(14),
            bare if BARE.contains(&bare) => Some(0),
            _ => None,
        }
    }
}

/// The interfaces among `all` that stand on `index`: its master, VLANs, macvlans. A packet passes both.
pub fn uppers(all: &[Interface], index: u32) -> Vec<&Interface> {
    let master = all.iter().find(|i| i.index == index).and_then(|i| i.master);
    all.iter().filter(|i| Some(i.index) == master || i.lower == Some(index)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interface(index: u32, hardware: u16) -> Interface {
        Interface { index, hardware, ..Interface::default() }
    }

    #[test]
    fn header_length_by_hardware() {
        let lengths = [1, 772, 0xFFFE, 512, 519, 778, 32].map(|hardware| interface(1, hardware).header_len());
        assert_eq!(lengths, [Some(14), Some(14), Some(0), Some(0), Some(0), None, None]);
    }

    #[test]
    fn uppers_are_masters_and_stacked_devices() {
        let port = Interface { master: Some(3), ..interface(2, 1) };
        let vlan = Interface { lower: Some(2), ..interface(4, 1) };
        let all = [interface(1, 772), port, interface(3, 1), vlan];
        let of = |index| uppers(&all, index).iter().map(|i| i.index).collect::<Vec<_>>();
        assert_eq!((of(2), of(3), of(1)), (vec![3, 4], vec![], vec![]));
    }
}

//! What qdiscs and filters have in common: `struct tcmsg` and its handles (linux/rtnetlink.h, linux/pkt_sched.h).

/// Length of `struct tcmsg`.
pub(super) const TCMSG: usize = 20;
/// TC_H_ROOT: the place of a device's own qdisc.
pub const ROOT: u32 = 0xFFFF_FFFF;
/// TC_H_INGRESS, also TC_H_CLSACT: the place of clsact, of which a device has one.
pub const CLSACT: u32 = 0xFFFF_FFF1;

/// Address of a qdisc or filter within a device.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Tcm {
    pub(super) index: u32,
    pub(super) handle: u32,
    pub(super) parent: u32,
    /// For filters: preference in the upper 16 bits, protocol in network byte order in the lower.
    pub(super) info: u32,
}

impl Tcm {
    pub(super) fn bytes(self) -> [u8; TCMSG] {
        let mut bytes = [0; TCMSG];
        for (at, value) in [(4, self.index), (8, self.handle), (12, self.parent), (16, self.info)] {
            bytes[at..at + 4].copy_from_slice(&value.to_ne_bytes());
        }
        bytes
    }

    pub(super) fn parse(message: &[u8]) -> Option<Self> {
        let number = |at| super::netlink::field(message, at).map(u32::from_ne_bytes);
        Some(Self { index: number(4)?, handle: number(8)?, parent: number(12)?, info: number(16)? })
    }
}

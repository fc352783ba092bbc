//! Ethernet frames taken apart, and their checksums computed.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Bits of the TCP flags byte.
pub mod flags {
    /// No more data from the sender.
    pub const FIN: u8 = 0x01;
    /// Opens a connection.
    pub const SYN: u8 = 0x02;
    /// Ends a connection at once.
    pub const RST: u8 = 0x04;
    /// The acknowledgement number is valid.
    pub const ACK: u8 = 0x10;
}

/// Ethernet protocol numbers.
pub mod ethertype {
    /// IPv4.
    pub const IPV4: u16 = 0x0800;
    /// Address resolution of IPv4.
    pub const ARP: u16 = 0x0806;
    /// A VLAN tag.
    pub const VLAN: u16 = 0x8100;
    /// IPv6.
    pub const IPV6: u16 = 0x86dd;
}

/// An IP packet inside a frame.
#[derive(Clone, Debug)]
pub struct Ip<'a> {
    /// The sender's address.
    pub source: IpAddr,
    /// The receiver's address.
    pub destination: IpAddr,
    /// The protocol number of what it carries (IPv6: the next header, extensions are not walked).
    pub protocol: u8,
    /// Whether the header's checksum is right; IPv6 has none.
    pub header_valid: bool,
    /// What it carries, cut to the length that the header states.
    pub payload: &'a [u8],
}

/// A TCP segment inside an IP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tcp {
    /// The sender's port.
    pub source: u16,
    /// The receiver's port.
    pub destination: u16,
    /// Sequence number.
    pub sequence: u32,
    /// Acknowledgement number.
    pub acknowledgement: u32,
    /// See `flags`.
    pub flags: u8,
    /// Bytes of payload.
    pub length: usize,
    /// Whether the checksum field is the right full checksum.
    pub checksum_full: bool,
    /// Whether the checksum field is the sum of the pseudo header, as it must be where the device computes the rest.
    pub checksum_seed: bool,
}

impl Tcp {
    /// Whether any of these flags is set.
    pub fn has(&self, flags: u8) -> bool {
        self.flags & flags != 0
    }

    /// The sequence number that follows this segment.
    pub fn next_sequence(&self) -> u32 {
        let marks = u32::from(self.has(flags::SYN)) + u32::from(self.has(flags::FIN));
        self.sequence.wrapping_add(self.length as u32).wrapping_add(marks)
    }
}

/// The protocol of a frame, behind a VLAN tag if there is one, and where its packet starts.
pub fn protocol(frame: &[u8]) -> Option<(u16, usize)> {
    match word(frame, 12)? {
        ethertype::VLAN => Some((word(frame, 16)?, 18)),
        other => Some((other, 14)),
    }
}

/// The IP packet of a frame, if it has one.
pub fn ip(frame: &[u8]) -> Option<Ip<'_>> {
    let (protocol, start) = protocol(frame)?;
    let packet = frame.get(start..)?;
    match protocol {
        ethertype::IPV4 => ipv4(packet),
        ethertype::IPV6 => ipv6(packet),
        _ => None,
    }
}

fn ipv4(packet: &[u8]) -> Option<Ip<'_>> {
    let header = usize::from(packet.first()? & 0x0f) * 4;
    let total = usize::from(word(packet, 2)?);
    let address = |at: usize| -> Option<Ipv4Addr> { Some(<[u8; 4]>::try_from(packet.get(at..at + 4)?).ok()?.into()) };
    Some(Ip {
        source: address(12)?.into(),
        destination: address(16)?.into(),
        protocol: *packet.get(9)?,
        header_valid: checksum(packet.get(..header)?) == 0,
        payload: packet.get(header..total.min(packet.len()))?,
    })
}

fn ipv6(packet: &[u8]) -> Option<Ip<'_>> {
    let total = 40 + usize::from(word(packet, 4)?);
    let address = |at: usize| -> Option<Ipv6Addr> { Some(<[u8; 16]>::try_from(packet.get(at..at + 16)?).ok()?.into()) };
    Some(Ip {
        source: address(8)?.into(),
        destination: address(24)?.into(),
        protocol: *packet.get(6)?,
        header_valid: true,
        payload: packet.get(40..total.min(packet.len()))?,
    })
}

/// The TCP segment of a frame, if it has one.
pub fn tcp(frame: &[u8]) -> Option<Tcp> {
    let ip = ip(frame)?;
    let segment = ip.payload;
    if ip.protocol != libc::IPPROTO_TCP as u8 || segment.len() < 20 {
        return None;
    }
    let pseudo = pseudo_header(&ip, segment.len());
    let mut whole = pseudo.clone();
    whole.extend_from_slice(segment);
    Some(Tcp {
        source: word(segment, 0)?,
        destination: word(segment, 2)?,
        sequence: u32::from_be_bytes(segment[4..8].try_into().ok()?),
        acknowledgement: u32::from_be_bytes(segment[8..12].try_into().ok()?),
        flags: segment[13],
        length: segment.len() - usize::from(segment[12] >> 4) * 4,
        checksum_full: checksum(&whole) == 0,
        checksum_seed: word(segment, 16)? == !checksum(&pseudo),
    })
}

/// The pseudo header that TCP and UDP checksums cover; the same sum serves both families.
fn pseudo_header(ip: &Ip<'_>, length: usize) -> Vec<u8> {
    let mut pseudo = Vec::new();
    for address in [ip.source, ip.destination] {
        match address {
            IpAddr::V4(address) => pseudo.extend_from_slice(&address.octets()),
            IpAddr::V6(address) => pseudo.extend_from_slice(&address.octets()),
        }
    }
    pseudo.extend_from_slice(&(length as u32).to_be_bytes());
    pseudo.extend_from_slice(&[0, 0, 0, ip.protocol]);
    pseudo
}

/// The internet checksum (RFC 1071); zero over data whose checksum field is right.
pub fn checksum(data: &[u8]) -> u16 {
    let mut sum: u32 = 0;
    for pair in data.chunks(2) {
        sum += u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A SYN from 10.77.0.1:40000 to 10.77.0.2:80, with full checksums.
    fn syn() -> Vec<u8> {
        let mut frame = vec![0u8; 14];
        frame[12..14].copy_from_slice(&ethertype::IPV4.to_be_bytes());
        frame.extend_from_slice(&[0x45, 0, 0, 40, 0, 1, 0, 0, 64, 6, 0, 0, 10, 77, 0, 1, 10, 77, 0, 2]);
        let sum = checksum(&frame[14..34]);
        frame[24..26].copy_from_slice(&sum.to_be_bytes());
        frame.extend_from_slice(&[0x9c, 0x40, 0, 80, 0, 0, 0, 9, 0, 0, 0, 0, 0x50, flags::SYN, 0xff, 0xff, 0, 0, 0, 0]);
        let whole = [pseudo_header(&ip(&frame).unwrap(), 20), frame[34..].to_vec()].concat();
        frame[50..52].copy_from_slice(&checksum(&whole).to_be_bytes());
        frame
    }

    #[test]
    fn a_segment_is_read_and_its_checksums_judged() {
        let mut frame = syn();
        let read = tcp(&frame).unwrap();
        assert_eq!((read.source, read.destination, read.sequence, read.next_sequence()), (40_000, 80, 9, 10));
        assert!(read.checksum_full && !read.checksum_seed && ip(&frame).unwrap().header_valid);
        frame[45] ^= 1;
        assert!(!tcp(&frame).unwrap().checksum_full);
        frame[16] ^= 1;
        assert!(!ip(&frame).unwrap().header_valid);
    }

    #[test]
    fn a_vlan_tag_is_stepped_over() {
        let mut frame = syn();
        frame.splice(12..12, [0x81, 0, 0, 5]);
        assert_eq!(protocol(&frame), Some((ethertype::IPV4, 18)));
        assert!(tcp(&frame).unwrap().has(flags::SYN));
    }
}

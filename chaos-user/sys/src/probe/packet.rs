//! Frames made and read by hand: Ethernet, IPv4 or IPv6, UDP or TCP; pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

const ETHERNET: usize = 14;
const IPV4: usize = 20;
const IPV6: usize = 40;
const UDP: usize = 8;
const TCP: usize = 20;
const PROTOCOL_TCP: u8 = 6;
const PROTOCOL_UDP: u8 = 17;

/// TCP flags (RFC 9293, 3.1).
pub mod flag {
    /// Opens a connection.
    pub const SYN: u8 = 0x02;
    /// Ends it at once.
    pub const RST: u8 = 0x04;
    /// Hand it to the application.
    pub const PSH: u8 = 0x08;
    /// The acknowledgement counts.
    pub const ACK: u8 = 0x10;
}

/// From where to where.
#[derive(Clone, Copy, Debug)]
pub struct Way {
    /// Hardware addresses: source, destination.
    pub macs: [[u8; 6]; 2],
    /// Source; of the family of `to`.
    pub from: SocketAddr,
    /// Destination.
    pub to: SocketAddr,
}

/// The variable part of a TCP header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Segment {
    /// Number of the first byte.
    pub sequence: u32,
    /// Number of the byte that is expected next.
    pub acknowledgement: u32,
    /// [`flag`]s.
    pub flags: u8,
}

/// What a frame says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Source.
    pub from: SocketAddr,
    /// Destination.
    pub to: SocketAddr,
    /// The checksum of the IPv4 header is right; true for IPv6, which has none.
    pub header_ok: bool,
    /// None: a UDP datagram.
    pub segment: Option<Segment>,
    /// Behind the transport header.
    pub payload: Vec<u8>,
}

/// A UDP datagram with right checksums.
#[must_use]
pub fn udp(way: &Way, payload: &[u8]) -> Vec<u8> {
    let mut datagram = [way.from.port().to_be_bytes(), way.to.port().to_be_bytes()].concat();
    datagram.extend(((UDP + payload.len()) as u16).to_be_bytes());
    datagram.extend([0, 0]);
    datagram.extend(payload);
    // A sum of 0 would say that there is none (RFC 768).
    let sum = match transport_sum(way, PROTOCOL_UDP, &datagram) {
        0 => 0xffff,
        sum => sum,
    };
    datagram[6..8].copy_from_slice(&sum.to_be_bytes());
    frame(way, PROTOCOL_UDP, &datagram)
}

/// A TCP segment without options and with right checksums.
#[must_use]
pub fn tcp(way: &Way, segment: Segment, payload: &[u8]) -> Vec<u8> {
    let mut bytes = [way.from.port().to_be_bytes(), way.to.port().to_be_bytes()].concat();
    bytes.extend(segment.sequence.to_be_bytes());
    bytes.extend(segment.acknowledgement.to_be_bytes());
    bytes.extend([(TCP as u8 / 4) << 4, segment.flags, 0xff, 0xff, 0, 0, 0, 0]);
    bytes.extend(payload);
    let sum = transport_sum(way, PROTOCOL_TCP, &bytes);
    bytes[16..18].copy_from_slice(&sum.to_be_bytes());
    frame(way, PROTOCOL_TCP, &bytes)
}

fn frame(way: &Way, protocol: u8, transport: &[u8]) -> Vec<u8> {
    let mut frame = [way.macs[1], way.macs[0]].concat();
    let length = transport.len() as u16;
    match (way.from.ip(), way.to.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            frame.extend([0x08, 0x00]);
            let mut header = [[0x45, 0], (IPV4 as u16 + length).to_be_bytes(), [0, 0], [0x40, 0]].concat();
            header.extend([64, protocol, 0, 0]);
            header.extend(from.octets());
            header.extend(to.octets());
            let sum = !fold(sum(&header));
            header[10..12].copy_from_slice(&sum.to_be_bytes());
            frame.extend(header);
        }
        (from, to) => {
            frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
            frame.extend(length.to_be_bytes());
            frame.extend([protocol, 64]);
            frame.extend(octets6(from));
            frame.extend(octets6(to));
        }
    }
    frame.extend(transport);
    frame
}

fn octets6(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
        IpAddr::V6(ip) => ip.octets(),
    }
}

fn octets(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

/// Words of 16 bits, big endian, an odd byte padded (RFC 1071).
fn sum(bytes: &[u8]) -> u32 {
    let word = |pair: &[u8]| u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0));
    bytes.chunks(2).map(word).sum()
}

fn fold(sum: u32) -> u16 {
    let once = (sum & 0xffff) + (sum >> 16);
    ((once & 0xffff) + (once >> 16)) as u16
}

fn transport_sum(way: &Way, protocol: u8, bytes: &[u8]) -> u16 {
    let pseudo = sum(&octets(way.from.ip())) + sum(&octets(way.to.ip())) + u32::from(protocol) + bytes.len() as u32;
    !fold(pseudo + sum(bytes))
}

/// Reads a frame; None for what is neither UDP nor TCP over IP without extensions.
#[must_use]
pub fn read(frame: &[u8]) -> Option<Seen> {
    let packet = frame.get(ETHERNET..)?;
    let (protocol, ips, header_ok, transport) = match frame.get(12..14)? {
        [0x08, 0x00] => ipv4(packet)?,
        [0x86, 0xdd] => ipv6(packet)?,
        _ => return None,
    };
    let port = |at: usize| Some(u16::from_be_bytes(transport.get(at..at + 2)?.try_into().ok()?));
    let number = |at: usize| Some(u32::from_be_bytes(transport.get(at..at + 4)?.try_into().ok()?));
    let (segment, header) = match protocol {
        PROTOCOL_UDP => (None, UDP),
        PROTOCOL_TCP => {
            let segment = Segment { sequence: number(4)?, acknowledgement: number(8)?, flags: *transport.get(13)? };
            (Some(segment), usize::from(transport.get(12)? >> 4) * 4)
        }
        _ => return None,
    };
    let (from, to) = (SocketAddr::new(ips[0], port(0)?), SocketAddr::new(ips[1], port(2)?));
    Some(Seen { from, to, header_ok, segment, payload: transport.get(header..)?.to_vec() })
}

type Network<'a> = (u8, [IpAddr; 2], bool, &'a [u8]);

fn ipv4(packet: &[u8]) -> Option<Network<'_>> {
    let length = usize::from(packet.first()? & 15) * 4;
    let header = packet.get(..length.max(IPV4))?;
    let total = usize::from(u16::from_be_bytes([header[2], header[3]]));
    let ip = |at: usize| Ipv4Addr::new(header[at], header[at + 1], header[at + 2], header[at + 3]).into();
    Some((header[9], [ip(12), ip(16)], fold(sum(header)) == 0xffff, packet.get(header.len()..total)?))
}

fn ipv6(packet: &[u8]) -> Option<Network<'_>> {
    let header = packet.get(..IPV6)?;
    let length = usize::from(u16::from_be_bytes([header[4], header[5]]));
    let ip = |at: usize| Some(Ipv6Addr::from(<[u8; 16]>::try_from(header.get(at..at + 16)?).ok()?).into());
    Some((header[6], [ip(8)?, ip(24)?], true, packet.get(IPV6..IPV6 + length)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn way(from: &str, to: &str) -> Way {
        Way { macs: [[2; 6], [4; 6]], from: from.parse().unwrap(), to: to.parse().unwrap() }
    }

    #[test]
    fn what_was_made_is_read_back() {
        for (from, to) in [("192.0.2.2:1000", "192.0.2.1:7"), ("[2001:db8::2]:1000", "[2001:db8::1]:7")] {
            let way = way(from, to);
            let seen = read(&udp(&way, b"odd")).unwrap();
            let wanted = Seen { from: way.from, to: way.to, header_ok: true, segment: None, payload: b"odd".to_vec() };
            assert_eq!(seen, wanted);
            let segment = Segment { sequence: 0x0102_0304, acknowledgement: 9, flags: flag::PSH | flag::ACK };
            let seen = read(&tcp(&way, segment, b"x")).unwrap();
            assert_eq!((seen.segment, seen.payload.as_slice()), (Some(segment), &b"x"[..]));
        }
    }

    /// The header of RFC 1071's usual example, whose checksum is b861.
    #[test]
    fn the_checksum_is_the_internet_s() {
        let header: Vec<u8> = (0..10).flat_map(|i| HEADER[i].to_be_bytes()).collect();
        const HEADER: [u16; 10] = [0x4500, 0x73, 0, 0x4000, 0x4011, 0, 0xc0a8, 1, 0xc0a8, 0xc7];
        assert_eq!(!fold(sum(&header)), 0xb861);
    }

    #[test]
    fn a_damaged_header_shows_and_garbage_is_nothing() {
        let mut frame = udp(&way("192.0.2.2:1", "192.0.2.1:2"), b"payload");
        frame[ETHERNET + 10] ^= 4;
        assert!(!read(&frame).unwrap().header_ok);
        for length in 0..frame.len() {
            let _no_panic = read(&frame[..length]);
        }
        assert_eq!(read(&[0; 60]), None);
    }
}

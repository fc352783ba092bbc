//! Link header, VLAN tags, IPv4, IPv6 with extension headers, ports. What is not understood is not matched.

use crate::skb::Skb;

/// EtherType of IPv4.
pub const IPV4: u16 = 0x0800;
/// EtherType of IPv6.
pub const IPV6: u16 = 0x86dd;
const VLAN: u16 = 0x8100;
const QINQ: u16 = 0x88a8;

/// IP protocol numbers (IANA).
pub mod proto {
    /// Internet control messages.
    pub const ICMP: u8 = 1;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// ICMP for IPv6.
    pub const ICMP6: u8 = 58;
    /// SCTP.
    pub const SCTP: u8 = 132;
}

/// TCP flags.
pub mod tcp {
    /// End of data.
    pub const FIN: u8 = 1;
    /// Open.
    pub const SYN: u8 = 2;
    /// Abort.
    pub const RST: u8 = 4;
    /// Acknowledgement is valid.
    pub const ACK: u8 = 16;
}

impl Packet {
    /// Bytes on the wire: the headers of each segment included. The kernel's own figure has them at egress only
    /// (net/core/dev.c, `qdisc_pkt_len_segs_init`; at ingress `sch_handle_ingress` takes the buffer's length).
    #[inline(always)]
    pub fn wire_bytes(&self, skb: Skb, ingress: bool) -> u64 {
        if !ingress {
            return u64::from(skb.wire_len());
        }
        u64::from(skb.len()) + (skb.packets() - 1) * u64::from(self.payload)
    }
}

/// What the rules look at. Addresses are in memory order; IPv4 fills the first 4 bytes.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Packet {
    /// Source address.
    pub source: [u64; 2],
    /// Destination address.
    pub destination: [u64; 2],
    /// Offset of the IP header.
    pub l3: u32,
    /// Offset of the transport header.
    pub l4: u32,
    /// Offset of the end of the IP packet.
    pub end: u32,
    /// Offset of the payload, behind the transport header; 0 where that was not read.
    pub payload: u32,
    /// Source port, host byte order.
    pub source_port: u16,
    /// Destination port, host byte order.
    pub destination_port: u16,
    /// 4 or 6.
    pub family: u8,
    /// Transport protocol.
    pub protocol: u8,
    /// TCP flags.
    pub tcp_flags: u8,
    /// How much of the transport header was read: 0 (of later fragments and truncated packets), [`WHOLE`] or [`PORTS_ALONE`].
    pub transport: u8,
}

/// [`Packet::transport`]: all that rules ask for.
pub const WHOLE: u8 = 1;
/// [`Packet::transport`]: the ports, of a TCP header that goes on in the next fragment.
pub const PORTS_ALONE: u8 = 2;

#[repr(C)]
struct Ip4 {
    version_ihl: u8,
    tos: u8,
    total_len: u16,
    id: u16,
    fragment: u16,
    ttl: u8,
    protocol: u8,
    check: u16,
    source: u32,
    destination: u32,
}

#[repr(C)]
struct Ip6 {
    version: u32,
    payload_len: u16,
    next: u8,
    hops: u8,
    source: [u64; 2],
    destination: [u64; 2],
}

/// Reads the headers; false for all that is not IP and for neighbour discovery, which no fault may touch.
#[inline(always)]
pub fn parse(skb: Skb, l2_len: u32, packet: &mut Packet) -> bool {
    crate::direct::parse(skb, l2_len, packet) || load(skb, l2_len, packet)
}

/// Whatever the headers are and wherever they lie. A function of its own in BPF, for its stack.
#[inline(never)]
fn load(skb: Skb, l2_len: u32, packet: &mut Packet) -> bool {
    if let Some(parsed) = headers(skb, l2_len) {
        *packet = parsed;
        return true;
    }
    false
}

/// [`parse`] in line.
#[inline(always)]
pub fn headers(skb: Skb, l2_len: u32) -> Option<Packet> {
    let mut l3 = l2_len;
    let mut kind = u16::from_be(skb.protocol() as u16);
    // Tags that hardware did not take out; two at most (802.1ad).
    for _ in 0..2 {
        if kind == VLAN || kind == QINQ {
            let tag: [u16; 2] = skb.load(l3)?;
            kind = u16::from_be(tag[1]);
            l3 += 4;
        }
    }
    let mut packet = if kind == IPV4 {
        ipv4(skb, l3)?
    } else if kind == IPV6 {
        ipv6(skb, l3)?
    } else {
        return None;
    };
    transport(skb, &mut packet)?;
    Some(packet)
}

#[inline(always)]
fn ipv4(skb: Skb, l3: u32) -> Option<Packet> {
    let ip: Ip4 = skb.load(l3)?;
    let header = u32::from(ip.version_ihl & 15) * 4;
    if ip.version_ihl >> 4 != 4 || header < 20 {
        return None;
    }
    let len = u32::from(u16::from_be(ip.total_len));
    let first_fragment = u16::from_be(ip.fragment) & 0x1fff == 0;
    Some(Packet {
        source: [u64::from(ip.source), 0],
        destination: [u64::from(ip.destination), 0],
        l3,
        l4: l3 + header,
        // Segmentation offload beyond 64 KB leaves 0 here (BIG TCP).
        end: if len == 0 { skb.len() } else { l3 + len },
        payload: 0,
        source_port: 0,
        destination_port: 0,
        family: 4,
        protocol: ip.protocol,
        tcp_flags: 0,
        transport: u8::from(first_fragment),
    })
}

#[inline(always)]
fn ipv6(skb: Skb, l3: u32) -> Option<Packet> {
    let ip: Ip6 = skb.load(l3)?;
    if ip.version & 0xf0 != 0x60 {
        return None;
    }
    let len = u32::from(u16::from_be(ip.payload_len));
    let mut chain = Chain { next: ip.next, at: l3 + 40, first_fragment: true };
    // Written out: of a loop LLVM makes one whose end falls through into its head, which the verifier up to 6.x refuses
    // (kernel/bpf/verifier.c, `push_insn`: "back-edge").
    chain.step(skb)?;
    chain.step(skb)?;
    chain.step(skb)?;
    chain.step(skb)?;
    chain.step(skb)?;
    chain.step(skb)?;
    Some(Packet {
        source: ip.source,
        destination: ip.destination,
        l3,
        l4: chain.at,
        end: if len == 0 { skb.len() } else { l3 + 40 + len },
        payload: 0,
        source_port: 0,
        destination_port: 0,
        family: 6,
        protocol: chain.next,
        tcp_flags: 0,
        transport: u8::from(chain.first_fragment),
    })
}

/// The chain of IPv6 extension headers (RFC 8200, 4).
struct Chain {
    next: u8,
    at: u32,
    first_fragment: bool,
}

impl Chain {
    /// Over one header, if there is one. What follows a later fragment's header is data.
    #[inline(always)]
    fn step(&mut self, skb: Skb) -> Option<()> {
        if !self.first_fragment {
            return Some(());
        }
        match self.next {
            0 | 43 | 60 => {
                let head: [u8; 2] = skb.load(self.at)?;
                self.next = head[0];
                self.at += (u32::from(head[1]) + 1) * 8;
            }
            44 => {
                let head: [u16; 4] = skb.load(self.at)?;
                self.first_fragment = u16::from_be(head[1]) & 0xfff8 == 0;
                self.next = head[0] as u8;
                self.at += 8;
            }
            51 => {
                let head: [u8; 2] = skb.load(self.at)?;
                self.next = head[0];
                self.at += (u32::from(head[1]) + 2) * 4;
            }
            _ => {}
        }
        Some(())
    }
}

#[inline(always)]
fn transport(skb: Skb, packet: &mut Packet) -> Option<()> {
    if packet.transport == 0 {
        return Some(());
    }
    packet.transport = 0;
    match packet.protocol {
        proto::TCP => {
            // A first fragment may be shorter than the header, and yet have the ports: it must not get past a rule by that.
            if let Some(words) = skb.load::<[u16; 2]>(packet.l4) {
                packet.source_port = u16::from_be(words[0]);
                packet.destination_port = u16::from_be(words[1]);
                packet.transport = PORTS_ALONE;
            }
            if let Some(word) = skb.load::<u16>(packet.l4 + 12) {
                packet.tcp_flags = (u16::from_be(word) & 0x3f) as u8;
                packet.payload = packet.l4 + (u32::from(u16::from_be(word)) >> 12) * 4;
                packet.transport = WHOLE;
            }
        }
        proto::UDP | proto::SCTP => {
            if let Some(words) = skb.load::<[u16; 2]>(packet.l4) {
                packet.source_port = u16::from_be(words[0]);
                packet.destination_port = u16::from_be(words[1]);
                packet.payload = packet.l4 + 8;
                packet.transport = WHOLE;
            }
        }
        proto::ICMP => {
            packet.payload = packet.l4 + 8;
            packet.transport = WHOLE;
        }
        proto::ICMP6 => {
            let kind: u8 = skb.load(packet.l4)?;
            // Router and neighbour solicitation and advertisement, redirect (RFC 4861).
            if (133..=137).contains(&kind) {
                return None;
            }
            packet.payload = packet.l4 + 8;
            packet.transport = WHOLE;
        }
        _ => {}
    }
    Some(())
}

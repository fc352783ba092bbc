//! The headers of most packets, read where they lie: IPv4 without fragments and IPv6 without extension headers, untagged. What is otherwise is
//! left to [`crate::parse`], which costs two calls of a helper more.

use crate::{
    parse::{IPV4, IPV6, Packet, WHOLE, proto},
    skb::Skb,
};

/// Reads a number at an address in the packet. The verifier has seen that it is within; that the architecture may read it unaligned, where
/// it is, the verifier checks too.
#[inline(always)]
fn read<T: Copy>(at: usize) -> T {
    // SAFETY: between `data` and `data_end`, which the verifier proves.
    unsafe { (at as *const T).read_volatile() }
}

/// False: nothing was understood.
#[inline(always)]
pub fn parse(skb: Skb, l2_len: u32, packet: &mut Packet) -> bool {
    // A bound for the verifier.
    let l3 = l2_len & 0x3f;
    let kind = u16::from_be(skb.protocol() as u16);
    let (start, end) = (skb.data() as usize, skb.data_end() as usize);
    let ip = start + l3 as usize;
    if kind == IPV4 {
        ipv4(ip, end, l3, packet)
    } else if kind == IPV6 {
        ipv6(ip, end, l3, packet)
    } else {
        false
    }
}

#[inline(always)]
fn ipv4(ip: usize, end: usize, l3: u32, packet: &mut Packet) -> bool {
    // Without options.
    if ip + 20 > end || read::<u8>(ip) != 0x45 {
        return false;
    }
    let len = u32::from(u16::from_be(read(ip + 2)));
    // More fragments, or a later one; a length of 0 is BIG TCP's.
    if read::<u16>(ip + 6) & 0x3fff_u16.to_be() != 0 || len == 0 {
        return false;
    }
    packet.source = [u64::from(read::<u32>(ip + 12)), 0];
    packet.destination = [u64::from(read::<u32>(ip + 16)), 0];
    packet.family = 4;
    (packet.l3, packet.l4, packet.end) = (l3, l3 + 20, l3 + len);
    transport(ip + 20, end, read(ip + 9), packet)
}

#[inline(always)]
fn ipv6(ip: usize, end: usize, l3: u32, packet: &mut Packet) -> bool {
    if ip + 40 > end || read::<u8>(ip) & 0xf0 != 0x60 {
        return false;
    }
    let len = u32::from(u16::from_be(read(ip + 4)));
    if len == 0 {
        return false;
    }
    let word = |offset: usize| u64::from(read::<u32>(ip + offset)) | u64::from(read::<u32>(ip + offset + 4)) << 32;
    packet.source = [word(8), word(16)];
    packet.destination = [word(24), word(32)];
    packet.family = 6;
    (packet.l3, packet.l4, packet.end) = (l3, l3 + 40, l3 + 40 + len);
    transport(ip + 40, end, read(ip + 6), packet)
}

/// TCP and UDP; whatever else there is has its own words to be looked at.
#[inline(always)]
fn transport(l4: usize, end: usize, protocol: u8, packet: &mut Packet) -> bool {
    let is_tcp = protocol == proto::TCP;
    if (!is_tcp && protocol != proto::UDP) || l4 + 20 > end {
        return false;
    }
    packet.protocol = protocol;
    packet.source_port = u16::from_be(read(l4));
    packet.destination_port = u16::from_be(read(l4 + 2));
    packet.transport = WHOLE;
    if is_tcp {
        packet.tcp_flags = read::<u8>(l4 + 13) & 0x3f;
        packet.payload = packet.l4 + u32::from(read::<u8>(l4 + 12) >> 4) * 4;
    } else {
        packet.tcp_flags = 0;
        packet.payload = packet.l4 + 8;
    }
    true
}

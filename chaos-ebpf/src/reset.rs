//! TCP RST to both ends, which both accept: each carries exactly the receiver's next sequence number (RFC 5961, 3.2).

use crate::{
    arrival::LOOPBACK,
    delay::{DONE, MARK},
    parse::{Packet, WHOLE, proto, tcp},
    skb::{INGRESS, RECOMPUTE, Skb},
};
use aya_ebpf::helpers::generated::bpf_l3_csum_replace;
use chaos_abi::{POINT_INGRESS, Point, Slot};

#[repr(C)]
struct Tcp {
    source: u16,
    destination: u16,
    sequence: u32,
    acknowledgement: u32,
    offset: u8,
    flags: u8,
    window: u16,
    check: u16,
    urgent: u16,
}

/// A TCP segment that is no RST itself, with its header directly behind the IP header.
#[inline(always)]
pub fn eligible(packet: &Packet) -> bool {
    packet.protocol == proto::TCP
        && packet.transport == WHOLE
        && packet.tcp_flags & tcp::RST == 0
        && (packet.family == 4 || packet.l4 == packet.l3 + 40)
}

/// What the caller does with the packet, which is the RST to its receiver now.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It goes on through the later rules, so that it takes the delay that its segment would have had.
    Forward,
    /// There is no receiver to tell (a first SYN): drop it.
    Drop,
    /// The packet is the answer to its sender now and goes on past the later rules; its receiver has been told by a copy.
    Answer,
    /// The kernel refused; the packet is what it was.
    Refused,
    /// The same, half-way: drop it.
    Failed,
}

/// Answers the sender with a RST and turns the packet into one for the receiver; on loopback the other way round.
///
/// A function of its own in BPF, for its stack.
#[inline(never)]
pub fn reset(skb: Skb, packet: &Packet, slot: *mut Slot, id: u32, point: &Point) -> Outcome {
    let (l2_len, ingress) = (point.l2_len, point.flags & POINT_INGRESS != 0);
    let Some(old) = skb.load::<Tcp>(packet.l4) else { return Outcome::Refused };
    let end = if skb.gso_segs() > 1 { skb.len() } else { packet.end };
    let header = u32::from(old.offset >> 4) * 4;
    let flags = packet.tcp_flags;
    let length =
        end.saturating_sub(packet.l4 + header) + u32::from(flags & tcp::SYN != 0) + u32::from(flags & tcp::FIN != 0);
    let (sequence, acknowledgement) = (u32::from_be(old.sequence), u32::from_be(old.acknowledgement));
    let acknowledged = flags & tcp::ACK != 0;
    if !skb.change_tail(packet.l4 + 20) {
        return Outcome::Refused;
    }
    if !shorten(skb, packet) {
        return Outcome::Failed;
    }
    let back = Tcp {
        source: old.destination,
        destination: old.source,
        sequence: if acknowledged { acknowledgement.to_be() } else { 0 },
        acknowledgement: sequence.wrapping_add(length).to_be(),
        offset: 5 << 4,
        flags: tcp::RST | tcp::ACK,
        window: 0,
        check: 0,
        urgent: 0,
    };
    let on = Tcp {
        source: old.source,
        destination: old.destination,
        sequence: old.sequence,
        acknowledgement: old.acknowledgement,
        offset: 5 << 4,
        flags: tcp::RST | tcp::ACK,
        window: 0,
        check: 0,
        urgent: 0,
    };
    if point.ifindex == LOOPBACK && !ingress {
        // What is redirected into the receive path loses its route, and without one an address of our own is no source there
        // (net/ipv4/route.c, `ip_route_input_slow`). What is sent out of loopback keeps it.
        skb.set_tc_index(MARK | DONE);
        if acknowledged && !(write(skb, packet, on) && again(skb, slot, id + 1)) {
            return Outcome::Failed;
        }
        return if write(skb, packet, back) && turn(skb, packet, l2_len) { Outcome::Answer } else { Outcome::Failed };
    }
    if !write(skb, packet, back) || !turn(skb, packet, l2_len) {
        return Outcome::Failed;
    }
    let sent = send_back(skb, slot, id, ingress);
    if !turn(skb, packet, l2_len) || !sent {
        return Outcome::Failed;
    }
    if !acknowledged {
        return Outcome::Drop;
    }
    if write(skb, packet, on) { Outcome::Forward } else { Outcome::Failed }
}

/// To the sender: past our own rules, up or out of the same device.
#[inline(always)]
fn send_back(skb: Skb, slot: *mut Slot, point: u32, ingress: bool) -> bool {
    if ingress {
        // Attach points come in pairs, egress first.
        return again(skb, slot, point);
    }
    skb.set_tc_index(MARK | DONE);
    let sent = skb.clone_to(skb.ifindex(), INGRESS);
    skb.set_tc_index(0);
    sent == 0
}

/// A copy out of the same device, past the rules of the attach point whose guard this is: its program meets it on this CPU.
#[inline(always)]
fn again(skb: Skb, slot: *mut Slot, guard: u32) -> bool {
    // SAFETY: this CPU's map value.
    unsafe {
        (*slot).guard = guard;
        (*slot).resume = DONE;
    }
    let sent = skb.clone_to(skb.ifindex(), 0);
    // SAFETY: as above.
    unsafe { (*slot).guard = 0 }
    sent == 0
}

/// Length fields for a bare TCP header.
#[inline(always)]
fn shorten(skb: Skb, packet: &Packet) -> bool {
    if packet.family == 6 {
        return skb.store(packet.l3 + 4, &20u16.to_be(), RECOMPUTE);
    }
    let Some(old) = skb.load::<u16>(packet.l3 + 2) else { return false };
    let new = ((packet.l4 - packet.l3 + 20) as u16).to_be();
    if !skb.store(packet.l3 + 2, &new, 0) {
        return false;
    }
    // SAFETY: arguments are checked by the helper.
    unsafe { bpf_l3_csum_replace(skb.0, packet.l3 + 10, u64::from(old), u64::from(new), 2) == 0 }
}

/// Swaps addresses of link and IP header. The IP checksum is a sum: it stays right.
#[inline(always)]
fn turn(skb: Skb, packet: &Packet, l2_len: u32) -> bool {
    if l2_len >= 12 {
        let Some(macs) = skb.load::<[[u16; 3]; 2]>(0) else { return false };
        if !skb.store(0, &[macs[1], macs[0]], 0) {
            return false;
        }
    }
    if packet.family == 4 {
        let Some(addrs) = skb.load::<[u32; 2]>(packet.l3 + 12) else { return false };
        skb.store(packet.l3 + 12, &[addrs[1], addrs[0]], 0)
    } else {
        let Some(addrs) = skb.load::<[[u64; 2]; 2]>(packet.l3 + 8) else { return false };
        skb.store(packet.l3 + 8, &[addrs[1], addrs[0]], 0)
    }
}

/// Writes a TCP header whose checksum is right twice: as the seed that a device completes (CHECKSUM_PARTIAL: the sum P of the
/// pseudo header) and in full (the complement of P + S, S the sum of the header). Both agree when S = -2P, and the window,
/// which a RST does not use, is chosen so. Sums are in ones' complement, where byte order does not matter (RFC 1071).
#[inline(always)]
fn write(skb: Skb, packet: &Packet, mut header: Tcp) -> bool {
    let mut pseudo = sum64(packet.source[0]) + sum64(packet.destination[0]);
    if packet.family == 6 {
        pseudo += sum64(packet.source[1]) + sum64(packet.destination[1]);
    }
    let pseudo = fold(pseudo + u64::from(20u16.to_be()) + u64::from(u16::from(proto::TCP).to_be()));
    let sum = u64::from(header.source)
        + u64::from(header.destination)
        + sum64(u64::from(header.sequence))
        + sum64(u64::from(header.acknowledgement))
        + u64::from(u16::from_ne_bytes([header.offset, header.flags]));
    header.window = !fold(2 * u64::from(pseudo) + sum);
    header.check = pseudo;
    skb.store(packet.l4, &header, RECOMPUTE)
}

#[inline(always)]
fn sum64(value: u64) -> u64 {
    (value & 0xffff) + (value >> 16 & 0xffff) + (value >> 32 & 0xffff) + (value >> 48)
}

#[inline(always)]
fn fold(mut sum: u64) -> u16 {
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    ((sum & 0xffff) + (sum >> 16)) as u16
}

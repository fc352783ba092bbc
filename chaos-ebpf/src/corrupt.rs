//! One flipped bit.

use crate::{
    parse::{Packet, WHOLE, proto},
    skb::Skb,
};
use aya_ebpf::helpers::generated::bpf_l4_csum_replace;
use chaos_abi::{CORRUPT_DELIVERED, Counters};

/// What became of the packet.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It goes on, with a flipped bit.
    Damaged,
    /// The receiver would have dropped it: drop it now.
    Drop,
    /// The kernel refused.
    Failed,
}

/// Offset of the payload and of the checksum over it; None where there is nothing to corrupt for the application.
#[inline(always)]
pub fn payload(packet: &Packet) -> Option<(u32, u32)> {
    if packet.transport != WHOLE {
        return None;
    }
    let checksum = match packet.protocol {
        proto::TCP => 16,
        proto::UDP => 6,
        proto::ICMP | proto::ICMP6 => 2,
        _ => return None,
    };
    (packet.payload < packet.end).then_some((packet.payload, packet.l4 + checksum))
}

/// Damages the packet as `mode` asks. A function of its own in BPF, for its stack.
#[inline(never)]
pub fn corrupt(skb: Skb, packet: &Packet, mode: u32, random: u64, counters: &mut Counters) -> Outcome {
    if mode == CORRUPT_DELIVERED {
        let Some((start, checksum)) = payload(packet) else { return Outcome::Failed };
        let room = packet.end - start;
        let at = start + (((random >> 32) * u64::from(room)) >> 32) as u32;
        let done = flip(skb, packet, at, checksum, random);
        counters.corrupted += u64::from(done);
        return if done { Outcome::Damaged } else { Outcome::Failed };
    }
    // A checksum of the transport header would be completed or trusted on the way (CHECKSUM_PARTIAL); that of the IPv4 header
    // is verified by every receiver (net/ipv4/ip_input.c, `ip_rcv_core`). Segmentation writes it anew, IPv6 has none.
    if packet.family == 4 && skb.gso_segs() <= 1 {
        let Some(sum) = skb.load::<u16>(packet.l3 + 10) else { return Outcome::Failed };
        let done = skb.store(packet.l3 + 10, &(sum ^ 1 << (random & 15)), 0);
        counters.corrupted += u64::from(done);
        return if done { Outcome::Damaged } else { Outcome::Failed };
    }
    counters.detected_by_drop += skb.packets();
    Outcome::Drop
}

/// Flips one bit of the byte at `at` and mends the checksum, so that the receiver believes it. On a packet whose checksum is
/// still to be computed the mending is a no-op (net/core/utils.c, `inet_proto_csum_replace4`).
#[inline(always)]
fn flip(skb: Skb, packet: &Packet, at: u32, checksum: u32, random: u64) -> bool {
    let Some(old) = skb.load::<u8>(at) else { return false };
    let new = old ^ 1 << (random & 7);
    if !skb.store(at, &new, 0) {
        return false;
    }
    let shift = ((at - packet.l4) & 1) * 8;
    // BPF_F_MARK_MANGLED_0: a UDP checksum of 0 means that there is none.
    let flags = 2 | if packet.protocol == proto::UDP { 1 << 5 } else { 0 };
    // SAFETY: arguments are checked by the helper.
    unsafe { bpf_l4_csum_replace(skb.0, checksum, u64::from(old) << shift, u64::from(new) << shift, flags) };
    true
}

//! What arrives for the sockets of a cgroup: partition and loss, on the cgroup's own hook. The packet has found its socket there,
//! which no program on an interface knows yet. The hook offers neither a queue nor a way to change or copy a packet.

use crate::{
    dice::{Event, decide},
    gate::Ends,
    maps::{CHAOS_CONTROL, CHAOS_POINTS, CHAOS_RULES, CHAOS_SCRATCH, CHAOS_SLOT},
    parse::parse,
    rule::{self, DROP, ON},
    skb::Skb,
    walk::MAX_DEPTH,
};
use aya_ebpf::bindings::__sk_buff;
use chaos_abi::{ACTION_LOSS, ACTION_PARTITION, MAX_RULES_PER_POINT};

/// Verdict: to the socket (kernel/bpf/cgroup.c, `__cgroup_bpf_run_filter_skb`).
pub const LET: i32 = 1;
/// Verdict: drop. The sender does not learn of it.
pub const TAKE: i32 = 0;
/// Loopback has this index in every netns (drivers/net/loopback.c, `loopback_net_init`).
pub const LOOPBACK: u32 = 1;

/// The whole program; `LEGACY`: as in [`decide`].
#[inline(always)]
pub fn run<const LEGACY: bool>(skb: Skb) -> i32 {
    let Some(slot) = CHAOS_SLOT.get_ptr_mut(0) else { return LET };
    // SAFETY: this CPU's map value; the stub that called us wrote it.
    let (id, depth) = unsafe { ((*slot).point, (*slot).depth & (MAX_DEPTH - 1)) };
    let Some(point) = CHAOS_POINTS.get(id) else { return LET };
    let (wanted, device) = (point.ifindex, skb.ifindex());
    if point.count == 0 || if wanted == 0 { device == LOOPBACK } else { device != wanted } {
        return LET;
    }
    let Some(control) = CHAOS_CONTROL.get(0) else { return LET };
    let Some(scratch) = CHAOS_SCRATCH.get_ptr_mut(depth) else { return LET };
    // SAFETY: this CPU's value at this depth. Packets arrive in soft interrupts, which do not interrupt each other, nor does a
    // program on an interface deliver to a socket while it runs.
    let scratch = unsafe { &mut *scratch };
    if !parse(skb, 0, &mut scratch.packet) {
        return LET;
    }
    scratch.ends = Ends::of(&scratch.packet, true);
    scratch.generation = control.generation;
    scratch.ingress = 1;
    scratch.skip = 0;
    for place in 0..MAX_RULES_PER_POINT as u32 {
        // Volatile, or LLVM counts to the smaller of both, a number of which the verifier of 5.10 knows no bound.
        // SAFETY: a map value.
        if place >= unsafe { (&raw const point.count).read_volatile() } {
            break;
        }
        let rule = if LEGACY { chaos_arrival_legacy } else { chaos_arrival };
        if rule(skb.0, point.rules[place as usize].rule, depth) == DROP {
            return TAKE;
        }
    }
    LET
}

/// Runs rule `id`: [`ON`] or [`DROP`]. Global for the reason given in [`crate::rule`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn chaos_arrival(ctx: *mut __sk_buff, id: u32, depth: u32) -> u32 {
    one::<false>(Skb(ctx), id, depth)
}

/// The same for kernels before 5.18.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn chaos_arrival_legacy(ctx: *mut __sk_buff, id: u32, depth: u32) -> u32 {
    one::<true>(Skb(ctx), id, depth)
}

#[inline(always)]
fn one<const LEGACY: bool>(skb: Skb, id: u32, depth: u32) -> u32 {
    let Some(scratch) = CHAOS_SCRATCH.get_ptr_mut(depth & (MAX_DEPTH - 1)) else { return ON };
    // SAFETY: this CPU's value at this depth; the caller filled it.
    let scratch = unsafe { &mut *scratch };
    let Some(rule) = CHAOS_RULES.get(id) else { return ON };
    let Some((counters, now)) = rule::means(skb, id, rule, scratch, false) else { return ON };
    let bytes = scratch.packet.wire_bytes(skb, true);
    let event = Event { packets: skb.packets(), bytes, now, eligible: true };
    let decision = decide::<LEGACY>(id, rule, &scratch.packet, &scratch.ends.peer, event);
    if !rule::hit(id, rule, event, &decision, counters, scratch) {
        return ON;
    }
    if !matches!(rule.action, ACTION_PARTITION | ACTION_LOSS) {
        return rule::refused(counters, &event);
    }
    rule::injected(counters, &event);
    counters.lost += event.packets;
    DROP
}

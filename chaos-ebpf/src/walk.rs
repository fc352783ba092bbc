//! One pass over the rules of an attach point, in the order in which user space put them.

use crate::{
    delay::{DONE, DROPPED, Departure, MARK, MARK_MASK, chaos_book, depart},
    gate::{self, Ends},
    maps::{CHAOS_CONTROL, CHAOS_POINTS, CHAOS_SCRATCH, CHAOS_SLOT},
    parse::{Packet, parse},
    rule::{self, DROP, ON, THROUGH, chaos_rule, chaos_rule_legacy},
    sample,
    skb::{NEXT, Skb, drop_silently},
};
use chaos_abi::{ENTRY_WHOLE, MAX_RULES_PER_POINT, POINT_INGRESS, Point, Slot};

/// How deep copies of copies may nest on one CPU; a power of two. Deeper ones share the last place, which costs them their
/// later rules and nothing else.
pub const MAX_DEPTH: u32 = 4;

/// One packet under way.
#[repr(C)]
pub struct Scratch {
    /// Its headers.
    pub packet: Packet,
    /// Its ends.
    pub ends: Ends,
    /// When it leaves.
    pub plan: Departure,
    /// The node's generation.
    pub generation: u64,
    /// The attach point.
    pub point: u32,
    /// 1 at ingress.
    pub ingress: u32,
    /// 1: an `except` entry took the packet from the next rule.
    pub skip: u32,
    /// Where the walk starts.
    pub start: u32,
    /// The lease that was looked at last; in here and not in a register, so that the verifier does not tell its values apart.
    pub lease: u32,
    /// 1: it runs.
    pub running: u32,
    /// 1: a reset has cut the buffer to a header.
    pub cut: u32,
    /// Unused.
    pub reserved: u32,
    /// Wire packets of the buffer.
    pub packets: u64,
}

/// The whole program; `LEGACY`: without helpers that kernels before 5.18 lack.
#[inline(always)]
pub fn run<const LEGACY: bool>(skb: Skb) -> i32 {
    let Some(slot) = CHAOS_SLOT.get_ptr_mut(0) else { return NEXT };
    // SAFETY: this CPU's map value; the stub that called us wrote it.
    let (id, depth) = unsafe { ((*slot).point, (*slot).depth & (MAX_DEPTH - 1)) };
    let Some(point) = CHAOS_POINTS.get(id) else { return NEXT };
    let ingress = point.flags & POINT_INGRESS != 0;
    let Some(start) = resume::<LEGACY>(skb, slot, id, point, ingress) else { return NEXT };
    if point.count == 0 {
        return NEXT;
    }
    let Some(control) = CHAOS_CONTROL.get(0) else { return NEXT };
    if point.lease != 0 && rule::running(point.lease, control.generation).is_none() {
        return NEXT;
    }
    let Some(scratch) = CHAOS_SCRATCH.get_ptr_mut(depth) else { return NEXT };
    // SAFETY: this CPU's value at this depth; only a deeper run could interfere, and it uses another one.
    let scratch = unsafe { &mut *scratch };
    if !parse(skb, point.l2_len, &mut scratch.packet) {
        return NEXT;
    }
    scratch.ends = Ends::of(&scratch.packet, ingress);
    scratch.plan.clear();
    scratch.generation = control.generation;
    scratch.point = id;
    scratch.ingress = u32::from(ingress);
    scratch.skip = 0;
    let verdict = rules::<LEGACY>(skb, point, scratch, start, depth);
    if verdict == DROP {
        if scratch.plan.rule != 0 {
            chaos_book(depth, DROPPED);
        }
        return drop_silently(ingress);
    }
    if verdict == THROUGH || scratch.plan.rule == 0 {
        return NEXT;
    }
    depart::<LEGACY>(skb, point, &scratch.plan, depth)
}

/// [`ON`], [`DROP`] or [`THROUGH`]. Most rules of a packet do not mean it, and mostly that is seen at the attach point already.
#[inline(always)]
fn rules<const LEGACY: bool>(skb: Skb, point: &Point, scratch: &mut Scratch, start: u32, depth: u32) -> u32 {
    (scratch.start, scratch.lease, scratch.running) = (start, 0, 0);
    (scratch.packets, scratch.cut) = (skb.packets(), 0);
    for place in 0..MAX_RULES_PER_POINT as u32 {
        // Volatile, as in `gate::quick`, and for the same reason.
        // SAFETY: fields of map values.
        let (count, start) =
            unsafe { ((&raw const point.count).read_volatile(), (&raw const scratch.start).read_volatile()) };
        if place >= count {
            break;
        }
        if place < start {
            continue;
        }
        let entry = &point.rules[place as usize];
        if entry.flags & ENTRY_WHOLE == 0 && scratch.skip == 0 {
            let verdict = gate::quick(entry, &scratch.packet, &scratch.ends);
            if verdict != gate::PASS {
                if entry.lease != scratch.lease {
                    scratch.lease = entry.lease;
                    scratch.running = u32::from(rule::holds(entry.lease, scratch.generation));
                }
                if scratch.running != 0 {
                    rule::pass_over(entry.rule, verdict, scratch.packets);
                }
                continue;
            }
        }
        let rule = if LEGACY { chaos_rule_legacy } else { chaos_rule };
        let verdict = rule(skb.0, entry.rule, place, depth);
        if verdict == DROP || verdict == THROUGH {
            return verdict;
        }
    }
    ON
}

/// Where the walk starts; None for a packet that is through already.
#[inline(always)]
fn resume<const LEGACY: bool>(skb: Skb, slot: *mut Slot, id: u32, point: &Point, ingress: bool) -> Option<u32> {
    let start = if ingress {
        let mark = skb.tc_index();
        if mark & MARK_MASK != MARK {
            return Some(0);
        }
        skb.set_tc_index(0);
        mark & !MARK_MASK
    } else if point.pair_rx != 0 && skb.ingress_ifindex() == point.pair_rx {
        DONE
    } else {
        // SAFETY: this CPU's map value.
        unsafe {
            if (*slot).guard != id + 1 {
                return Some(0);
            }
            (*slot).guard = 0;
            (*slot).resume
        }
    };
    if start < DONE {
        return Some(start);
    }
    if !LEGACY && skb.tstamp_type() != 0 {
        sample::left(skb.tstamp());
    }
    if ingress {
        // Else the stack would take the departure for the time of arrival.
        if LEGACY {
            skb.write_tstamp(0);
        } else {
            skb.set_tstamp(0);
        }
    }
    None
}

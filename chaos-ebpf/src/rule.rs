//! One rule on one packet.
//!
//! A global function in BPF: the verifier looks at it once, whatever calls it, so that the walk over 64 rules costs what one
//! costs (Linux 5.6, kernel/bpf/verifier.c, `do_check_subprogs`). It may take the context and numbers only. What the programs of
//! a cgroup may not call is only in this one; they have their own ([`crate::arrival`]), and share the first half.

use crate::{
    clock,
    corrupt::{self, corrupt},
    dice::{Decision, Event, decide},
    duplicate::duplicate,
    gate,
    maps::{CHAOS_COUNTERS, CHAOS_LEASES, CHAOS_POINTS, CHAOS_RULES, CHAOS_SCRATCH, CHAOS_SLOT, CHAOS_STOPS},
    reset::{self, reset},
    sample,
    skb::Skb,
    walk::{MAX_DEPTH, Scratch},
};
use aya_ebpf::bindings::__sk_buff;
use chaos_abi::{
    ACTION_BANDWIDTH, ACTION_CORRUPT, ACTION_DUPLICATE, ACTION_EXCEPT, ACTION_LATENCY, ACTION_LOSS, ACTION_PARTITION,
    ACTION_RESET, Bandwidth, CORRUPT_DELIVERED, Corrupt, Counters, LEASE_RUNNING, Lease, REJECT_EXCEPT, REJECT_PEER,
    REJECT_TIME, RULE_DRY_RUN, RULE_WINDOW, Rule, stop_of,
};

/// Next rule.
pub const ON: u32 = 0;
/// Silent drop.
pub const DROP: u32 = 0xffff_ffff;
/// The packet goes on, past all later rules.
pub const THROUGH: u32 = 0xffff_fffe;

/// Runs rule `id`, which stands at `place`: [`ON`], [`DROP`] or [`THROUGH`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn chaos_rule(ctx: *mut __sk_buff, id: u32, place: u32, depth: u32) -> u32 {
    run::<false>(Skb(ctx), id, place, depth)
}

/// The same for kernels before 5.18; see [`decide`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn chaos_rule_legacy(ctx: *mut __sk_buff, id: u32, place: u32, depth: u32) -> u32 {
    run::<true>(Skb(ctx), id, place, depth)
}

#[inline(always)]
fn run<const LEGACY: bool>(skb: Skb, id: u32, place: u32, depth: u32) -> u32 {
    let Some(scratch) = CHAOS_SCRATCH.get_ptr_mut(depth & (MAX_DEPTH - 1)) else { return ON };
    // SAFETY: this CPU's value at this depth; the caller filled it.
    let scratch = unsafe { &mut *scratch };
    let Some(rule) = CHAOS_RULES.get(id) else { return ON };
    let Some((counters, now)) = means(skb, id, rule, scratch, true) else { return ON };
    matched::<LEGACY>(skb, id, rule, place, now, depth, counters, scratch)
}

/// Lease, `except`, conditions, time: the counters and the time where the rule acts and means this packet. `scoped`: the rule's
/// cgroup is looked at; where a cgroup's own hook runs, it has been.
#[inline(always)]
pub fn means(
    skb: Skb,
    id: u32,
    rule: &Rule,
    scratch: &mut Scratch,
    scoped: bool,
) -> Option<(&'static mut Counters, u64)> {
    let ingress = scratch.ingress != 0;
    if rule.action == ACTION_EXCEPT {
        if scratch.skip == 0 && gate::test(skb, rule, &scratch.packet, &scratch.ends, scoped, ingress) == gate::PASS {
            scratch.skip = 1;
        }
        return None;
    }
    let Some(lease) = running(rule.lease, scratch.generation) else {
        scratch.skip = 0;
        return None;
    };
    let jiffies = clock::jiffies();
    if jiffies >= lease.end {
        // Over: nobody looked at this packet.
        scratch.skip = 0;
        return None;
    }
    // SAFETY: this CPU's map value.
    let counters = unsafe { &mut *CHAOS_COUNTERS.get_ptr_mut(id)? };
    let packets = skb.packets();
    // After that nothing is looked at either; but what would have been meant is counted, since it explains a fault without effect.
    let lapsed = jiffies >= lease.until;
    counters.seen += if lapsed { 0 } else { packets };
    if scratch.skip != 0 {
        scratch.skip = 0;
        counters.rejected[REJECT_EXCEPT] += if lapsed { 0 } else { packets };
        return None;
    }
    let verdict = gate::test(skb, rule, &scratch.packet, &scratch.ends, scoped, ingress);
    if lapsed {
        counters.skipped_by_lease += if verdict == gate::PASS { packets } else { 0 };
        return None;
    }
    if verdict != gate::PASS {
        reject(counters, verdict, packets);
        if verdict == REJECT_PEER {
            sample::missed(id, counters.rejected[REJECT_PEER], &scratch.packet, &scratch.ends);
        }
        return None;
    }
    in_time(lease, rule, packets, counters).map(|now| (counters, now))
}

/// The lease in a slot, if its experiment runs, as far as can be said without a clock.
#[inline(always)]
pub fn running(slot: u32, generation: u64) -> Option<&'static Lease> {
    let lease = CHAOS_LEASES.get(slot)?;
    if lease.state != LEASE_RUNNING || lease.until == 0 || lease.generation != generation {
        return None;
    }
    // SAFETY: a map value, which others write.
    let stop = unsafe { CHAOS_STOPS.get_ptr(slot)?.read_volatile() };
    if stop_of(lease.id, stop) == 0 { Some(lease) } else { None }
}

/// Does the lease in a slot hold just now?
#[inline(always)]
pub fn holds(slot: u32, generation: u64) -> bool {
    let jiffies = clock::jiffies();
    running(slot, generation).is_some_and(|lease| jiffies < lease.end && jiffies < lease.until)
}

/// Counts a packet that the rule does not mean.
#[inline(always)]
pub fn pass_over(id: u32, verdict: usize, packets: u64) {
    let Some(counters) = CHAOS_COUNTERS.get_ptr_mut(id) else { return };
    // SAFETY: this CPU's map value.
    let counters = unsafe { &mut *counters };
    counters.seen += packets;
    reject(counters, verdict, packets);
}

#[inline(always)]
fn reject(counters: &mut Counters, verdict: usize, packets: u64) {
    if verdict < counters.rejected.len() {
        counters.rejected[verdict] += packets;
    }
}

/// The time window, in boot time; the time of departures in ns, where this rule needs it: reading a clock costs as much as all the rest.
#[inline(always)]
fn in_time(lease: &Lease, rule: &Rule, packets: u64, counters: &mut Counters) -> Option<u64> {
    let now = if rule.action == ACTION_BANDWIDTH { clock::now() } else { 0 };
    if rule.flags & RULE_WINDOW != 0 {
        let since = clock::boot().saturating_sub(lease.start);
        if since < rule.after || rule.until != 0 && since >= rule.until {
            counters.rejected[REJECT_TIME] += packets;
            return None;
        }
    }
    Some(now)
}

#[inline(always)]
#[allow(clippy::too_many_arguments, reason = "one call site; a struct would live on BPF's 512-byte stack")]
fn matched<const LEGACY: bool>(
    skb: Skb,
    id: u32,
    rule: &Rule,
    place: u32,
    now: u64,
    depth: u32,
    counters: &mut Counters,
    scratch: &mut Scratch,
) -> u32 {
    let packets = skb.packets();
    // The length on the wire stays what it was when a buffer is cut (include/net/sch_generic.h, `qdisc_skb_cb`).
    let bytes =
        if scratch.cut != 0 { u64::from(skb.len()) } else { scratch.packet.wire_bytes(skb, scratch.ingress != 0) };
    let event = Event { packets, bytes, now, eligible: eligible(rule, scratch) };
    let decision = decide::<LEGACY>(id, rule, &scratch.packet, &scratch.ends.peer, event);
    if !hit(id, rule, event, &decision, counters, scratch) {
        return ON;
    }
    match rule.action {
        ACTION_RESET => act_reset(skb, &event, counters, scratch, depth),
        ACTION_DUPLICATE => act_duplicate(skb, &event, counters, scratch, place, depth),
        ACTION_CORRUPT => act_corrupt(skb, rule, &event, counters, scratch, &decision),
        ACTION_LATENCY => {
            if decision.reordered {
                injected(counters, &event);
                counters.reordered += packets;
            } else {
                // Counted where it departs.
                scratch.plan.latency(id, place, &rule.args, &decision, &event);
            }
            ON
        }
        ACTION_BANDWIDTH => {
            if decision.departure - now > Bandwidth::decode(&rule.args).limit {
                injected(counters, &event);
                counters.overflow += packets;
                return DROP;
            }
            if decision.departure > now {
                scratch.plan.bandwidth(id, place, decision.departure, &event);
            } else {
                injected(counters, &event);
            }
            ON
        }
        ACTION_PARTITION | ACTION_LOSS => {
            injected(counters, &event);
            counters.lost += packets;
            DROP
        }
        // new-fault: action
        // A later version's, which joined these programs.
        _ => refused(counters, &event),
    }
}

/// Counts the decision, and those whom it spares; false: the packet stays as it is. What is done is counted when it is done.
#[inline(always)]
pub fn hit(
    id: u32,
    rule: &Rule,
    event: Event,
    decision: &Decision,
    counters: &mut Counters,
    scratch: &Scratch,
) -> bool {
    counters.matched += event.packets;
    counters.skbs += 1;
    if !decision.hit {
        counters.skipped += event.packets;
        return false;
    }
    if rule.flags & RULE_DRY_RUN != 0 {
        counters.would_inject += event.packets;
        return false;
    }
    sample::hit(id, counters, &scratch.packet);
    true
}

/// Counts a packet on which the fault has acted.
#[inline(always)]
pub fn injected(counters: &mut Counters, event: &Event) {
    counters.injected += event.packets;
    counters.bytes += event.bytes;
}

/// Counts one on which the kernel, or this version, let it not act.
#[inline(always)]
pub fn refused(counters: &mut Counters, event: &Event) -> u32 {
    counters.skipped += event.packets;
    counters.errors += event.packets;
    ON
}

/// Can the action act on this packet at all?
#[inline(always)]
fn eligible(rule: &Rule, scratch: &Scratch) -> bool {
    if rule.action == ACTION_RESET {
        return reset::eligible(&scratch.packet);
    }
    if rule.action == ACTION_CORRUPT && Corrupt::decode(&rule.args).mode == CORRUPT_DELIVERED {
        return corrupt::payload(&scratch.packet).is_some();
    }
    true
}

#[inline(always)]
fn act_duplicate(skb: Skb, event: &Event, counters: &mut Counters, scratch: &Scratch, place: u32, depth: u32) -> u32 {
    let Some(slot) = CHAOS_SLOT.get_ptr_mut(0) else { return ON };
    if duplicate(skb, slot, scratch.point, scratch.ingress != 0, place + 1, depth) {
        injected(counters, event);
        counters.duplicated += event.packets;
        return ON;
    }
    refused(counters, event)
}

#[inline(always)]
fn act_corrupt(
    skb: Skb,
    rule: &Rule,
    event: &Event,
    counters: &mut Counters,
    scratch: &Scratch,
    decision: &Decision,
) -> u32 {
    let mode = Corrupt::decode(&rule.args).mode;
    match corrupt(skb, &scratch.packet, mode, decision.random, counters) {
        corrupt::Outcome::Damaged => {
            injected(counters, event);
            ON
        }
        corrupt::Outcome::Drop => {
            injected(counters, event);
            DROP
        }
        corrupt::Outcome::Failed => refused(counters, event),
    }
}

#[inline(always)]
fn act_reset(skb: Skb, event: &Event, counters: &mut Counters, scratch: &mut Scratch, depth: u32) -> u32 {
    let (Some(slot), Some(point)) = (CHAOS_SLOT.get_ptr_mut(0), CHAOS_POINTS.get(scratch.point)) else { return ON };
    // SAFETY: this CPU's map value. A packet that re-enters meanwhile works one level deeper.
    unsafe { (*slot).depth = depth + 1 }
    let outcome = reset(skb, &scratch.packet, slot, scratch.point, point);
    // SAFETY: as above.
    unsafe { (*slot).depth = depth }
    if outcome == reset::Outcome::Refused {
        return refused(counters, event);
    }
    // All the segments that it was; what later rules see is one.
    injected(counters, event);
    (scratch.packets, scratch.cut) = (1, 1);
    match outcome {
        reset::Outcome::Forward => {
            counters.reset += event.packets;
            ON
        }
        reset::Outcome::Drop => {
            counters.reset += event.packets;
            DROP
        }
        reset::Outcome::Answer => {
            counters.reset += event.packets;
            THROUGH
        }
        _ => {
            counters.lost += event.packets;
            counters.errors += event.packets;
            DROP
        }
    }
}

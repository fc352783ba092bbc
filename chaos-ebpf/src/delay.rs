//! Latency and bandwidth: a departure time, and the way through a veth pair with fq on its sending end.
//!
//! The pod's own qdisc is never touched. A delayed packet is sent as a copy without its socket: on a packet that its socket
//! still owns the delay counts against TCP Small Queues and the socket's send buffer, and throughput collapses (1.2 Mbit/s
//! where netem gave 2,400). A packet that is throttled alone keeps its socket, whose back-pressure is wanted there.

use crate::{
    clock,
    dice::{Decision, Event},
    maps::{CHAOS_COUNTERS, CHAOS_DIST, CHAOS_POINTS, CHAOS_SCRATCH, CHAOS_SLOT, CHAOS_STATES},
    sample,
    skb::{NEXT, Skb, drop_silently, redirect},
    walk::MAX_DEPTH,
};
use aya_ebpf::helpers::generated::{bpf_get_prandom_u32, bpf_spin_lock, bpf_spin_unlock};
use chaos_abi::{ARGS, DIST_SIZE, DIST_UNIFORM, Latency, MAX_RULES_PER_POINT, POINT_INGRESS, Point};

/// `skb->tc_index` of a packet that has been with us: this, or-ed with the place in the walk at which it goes on.
pub const MARK: u32 = 0xc580;
/// The bits of the mark.
pub const MARK_MASK: u32 = 0xff80;
/// Behind the last rule.
pub const DONE: u32 = MAX_RULES_PER_POINT as u32;

/// What the rules of one packet add up to.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Departure {
    /// Sum of the delays, ns.
    pub delay: u64,
    /// Latest departure that a bandwidth asks for, CLOCK_MONOTONIC in ns.
    pub at: u64,
    /// The last rule that delayed or throttled; 0: none.
    pub rule: u32,
    /// The last rule that keeps order; 0: none.
    pub keep_order: u32,
    /// The last rule that delayed, so that the packet goes without its socket; 0: none.
    pub orphan: u32,
    /// 1: some rule has jitter and does not keep order.
    pub shuffle: u32,
    /// The places of all rules that hold it, one bit each.
    pub held: u64,
    /// Wire packets.
    pub packets: u64,
    /// Bytes on the wire.
    pub bytes: u64,
}

/// [`chaos_book`]: it is in the queue.
pub const SENT: u32 = 0;
/// The queue had no room.
pub const OVERFLOW: u32 = 1;
/// The kernel refused; the packet went on untouched.
pub const REFUSED: u32 = 2;
/// A later rule dropped it.
pub const DROPPED: u32 = 3;

impl Departure {
    /// Nothing yet.
    #[inline(always)]
    pub fn clear(&mut self) {
        self.rule = 0;
    }

    /// The first rule that holds the packet clears what the packet before has left. Volatile, or LLVM writes a call to memset, byte by byte.
    #[inline(always)]
    fn begin(&mut self, event: &Event) {
        if self.rule != 0 {
            return;
        }
        // SAFETY: plain writes through a unique reference.
        unsafe {
            (&raw mut self.delay).write_volatile(0);
            (&raw mut self.at).write_volatile(0);
            (&raw mut self.keep_order).write_volatile(0);
            (&raw mut self.orphan).write_volatile(0);
            (&raw mut self.shuffle).write_volatile(0);
            (&raw mut self.held).write_volatile(0);
            (&raw mut self.packets).write_volatile(event.packets);
            (&raw mut self.bytes).write_volatile(event.bytes);
        }
    }

    /// Adds a latency rule that hit.
    #[inline(always)]
    pub fn latency(&mut self, id: u32, place: u32, args: &[u64; ARGS], decision: &Decision, event: &Event) {
        let args = Latency::decode(args);
        self.begin(event);
        self.delay += with_jitter(&args, decision.jitter);
        self.orphan = id;
        self.rule = id;
        self.held |= 1 << (place & 63);
        if args.keep_order != 0 {
            self.keep_order = id;
        } else if args.jitter != 0 {
            self.shuffle = 1;
        }
    }

    /// Adds a bandwidth rule that hit.
    #[inline(always)]
    pub fn bandwidth(&mut self, id: u32, place: u32, at: u64, event: &Event) {
        self.begin(event);
        self.held |= 1 << (place & 63);
        if at > self.at {
            self.at = at;
        }
        self.rule = id;
    }
}

/// netem's `tabledist` (net/sched/sch_netem.c), without its 32-bit limits.
#[inline(always)]
pub fn with_jitter(args: &Latency, draw: u32) -> u64 {
    if args.jitter == 0 {
        return args.delay;
    }
    if args.distribution == DIST_UNIFORM {
        // draw / 2^32 of the width 2 * jitter, in two shifts so that 60 s do not overflow.
        let offset = ((args.jitter >> 9) * u64::from(draw)) >> 22;
        return (args.delay + offset).saturating_sub(args.jitter);
    }
    let Some(table) = CHAOS_DIST.get_ptr(args.distribution - 1) else { return args.delay };
    let index = (draw >> 20) as usize;
    if index >= DIST_SIZE {
        return args.delay;
    }
    // SAFETY: within the table.
    let deviation = unsafe { *table.cast::<i16>().add(index) };
    // DIST_SCALE is 2^13; BPF has no signed division.
    let offset = (args.jitter as i64 * i64::from(deviation)) >> 13;
    let total = args.delay as i64 + offset;
    if total > 0 { total as u64 } else { 0 }
}

/// Sends the packet on its way; the verdict. A function of its own in BPF, for its stack.
#[inline(never)]
pub fn depart<const LEGACY: bool>(skb: Skb, point: &Point, plan: &Departure, depth: u32) -> i32 {
    let ingress = point.flags & POINT_INGRESS != 0;
    let Some(counters) = CHAOS_COUNTERS.get_ptr_mut(plan.rule) else { return NEXT };
    // SAFETY: this CPU's map value.
    let counters = unsafe { &mut *counters };
    let now = clock::now();
    let mut stamp = now + plan.delay;
    // A pace that TCP or the application asked for stays (EDT); a receive stamp, which is wall clock, does not pass for one.
    let paced = skb.tstamp();
    if !ingress && paced > now && paced < now + 1_000_000_000 {
        stamp = paced + plan.delay;
    }
    if plan.at > stamp {
        stamp = plan.at;
    }
    if plan.keep_order != 0 {
        stamp = in_order(plan.keep_order, stamp);
    }
    if point.pair_tx == 0 || (point.l2_len == 0 && !skb.push_ethernet()) {
        chaos_book(depth, REFUSED);
        return NEXT;
    }
    if LEGACY {
        // `bpf_clone_redirect` clears the bare field; `stamp`, on the queue's device, writes it on this CPU before anything else runs.
        let Some(slot) = CHAOS_SLOT.get_ptr_mut(0) else { return NEXT };
        // SAFETY: this CPU's map value.
        unsafe { (*slot).departure = stamp };
    } else if !skb.set_tstamp(stamp) {
        return give_up(point, ingress, depth);
    }
    if plan.shuffle != 0 {
        // fq keeps a flow in order behind its head; a flow of its own lets each packet leave at its own time.
        // SAFETY: takes nothing.
        skb.set_hash(unsafe { bpf_get_prandom_u32() });
    }
    if ingress {
        skb.set_tc_index(MARK | DONE);
    }
    if plan.orphan == 0 {
        // What becomes of it there is not said; the queue counts what it drops.
        chaos_book(depth, SENT);
        return redirect(point.pair_tx, 0);
    }
    if !LEGACY {
        sample::queued(stamp, plan.rule, counters);
    }
    send::<LEGACY>(skb, point, ingress, depth)
}

#[inline(always)]
fn send<const LEGACY: bool>(skb: Skb, point: &Point, ingress: bool, depth: u32) -> i32 {
    const ENOBUFS: i64 = -105;
    let sent = skb.clone_to(point.pair_tx, 0);
    if sent == 0 {
        chaos_book(depth, SENT);
        return drop_silently(ingress);
    }
    if sent > 0 || sent == ENOBUFS {
        chaos_book(depth, OVERFLOW);
        return drop_silently(ingress);
    }
    if !LEGACY {
        skb.set_tstamp(0);
    }
    if ingress {
        skb.set_tc_index(0);
    }
    give_up(point, ingress, depth)
}

/// The kernel refused. A packet that has got a header of ours cannot go on.
#[inline(always)]
fn give_up(point: &Point, ingress: bool, depth: u32) -> i32 {
    if point.l2_len == 0 {
        chaos_book(depth, OVERFLOW);
        return drop_silently(ingress);
    }
    chaos_book(depth, REFUSED);
    NEXT
}

/// Counts what became of the packet at this depth, once that is known, with all rules that held it. A global function for the reason
/// given in [`crate::rule`]: it has a loop.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn chaos_book(depth: u32, fate: u32) -> u32 {
    let Some(scratch) = CHAOS_SCRATCH.get_ptr(depth & (MAX_DEPTH - 1)) else { return 0 };
    // SAFETY: this CPU's value at this depth.
    let (plan, point) = unsafe { (&(*scratch).plan, (*scratch).point) };
    let Some(point) = CHAOS_POINTS.get(point) else { return 0 };
    count(plan.rule, plan, fate, fate == OVERFLOW && plan.orphan == plan.rule, true);
    // Mostly there is no other.
    let others = plan.held & plan.held.wrapping_sub(1);
    if others == 0 {
        return 0;
    }
    for place in 0..MAX_RULES_PER_POINT {
        // Volatile, or the verifier tells apart what it has seen of each rule.
        // SAFETY: fields of map values.
        let (held, last, delayed) = unsafe {
            (
                (&raw const plan.held).read_volatile(),
                (&raw const plan.rule).read_volatile(),
                (&raw const plan.orphan).read_volatile(),
            )
        };
        // SAFETY: as above.
        let id = unsafe { (&raw const point.rules[place].rule).read_volatile() };
        if held >> place & 1 == 1 && id != last {
            count(id, plan, fate, fate == OVERFLOW && id == delayed, false);
        }
    }
    0
}

/// `lost`: it is this rule's whose delay had no room; `last`: it is the last one, to which a refusal is put down.
#[inline(always)]
fn count(id: u32, plan: &Departure, fate: u32, lost: bool, last: bool) {
    let Some(counters) = CHAOS_COUNTERS.get_ptr_mut(id) else { return };
    // SAFETY: this CPU's map value.
    let counters = unsafe { &mut *counters };
    if fate == SENT || lost {
        counters.injected += plan.packets;
        counters.bytes += plan.bytes;
        if lost {
            counters.overflow += plan.packets;
        } else {
            counters.delayed += plan.packets;
        }
        return;
    }
    counters.skipped += plan.packets;
    if last && fate == REFUSED {
        counters.errors += plan.packets;
    }
}

/// Not before the packet before.
#[inline(always)]
fn in_order(rule: u32, stamp: u64) -> u64 {
    let Some(state) = CHAOS_STATES.get_ptr_mut(rule) else { return stamp };
    // SAFETY: a map value with a lock as its first field; nothing is called until it is released.
    unsafe {
        bpf_spin_lock((&raw mut (*state).lock).cast());
        let stamp = if (*state).departure > stamp { (*state).departure } else { stamp };
        (*state).departure = stamp;
        bpf_spin_unlock((&raw mut (*state).lock).cast());
        stamp
    }
}

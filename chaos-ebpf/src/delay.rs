//! Latency and bandwidth: a departure time, and the way through a veth pair with fq on its sending end.
//!
//! The pod's own qdisc is never touched. A delayed packet is sent as a copy without its socket: on a packet that its socket
//! still owns the delay counts against TCP Small Queues and the socket's send buffer, and throughput collapses (1.2 Mbit/s
//! where netem gave 2,400). A packet that is throttled alone keeps its socket, whose back-pressure is wanted there.

use crate::{
    clock,
    dice::Decision,
    maps::{CHAOS_COUNTERS, CHAOS_DIST, CHAOS_SLOT, CHAOS_STATES},
    sample,
    skb::{NEXT, Skb, drop_silently, redirect},
};
use aya_ebpf::helpers::generated::{bpf_get_prandom_u32, bpf_spin_lock, bpf_spin_unlock};
use chaos_abi::{ARGS, Counters, DIST_SIZE, DIST_UNIFORM, Latency, MAX_RULES_PER_POINT, Point};

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
    /// 1: delayed, so without its socket.
    pub orphan: u32,
    /// 1: some rule has jitter and does not keep order.
    pub shuffle: u32,
}

impl Departure {
    /// Nothing yet.
    #[inline(always)]
    pub fn clear(&mut self) {
        self.rule = 0;
    }

    /// The first rule that holds the packet clears what the packet before has left. Volatile, or LLVM writes a call to memset, byte by byte.
    #[inline(always)]
    fn begin(&mut self) {
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
        }
    }

    /// Adds a latency rule that hit.
    #[inline(always)]
    pub fn latency(&mut self, id: u32, args: &[u64; ARGS], decision: &Decision) {
        let args = Latency::decode(args);
        self.begin();
        self.delay += with_jitter(&args, decision.jitter);
        self.orphan = 1;
        self.rule = id;
        if args.keep_order != 0 {
            self.keep_order = id;
        } else if args.jitter != 0 {
            self.shuffle = 1;
        }
    }

    /// Adds a bandwidth rule that hit.
    #[inline(always)]
    pub fn bandwidth(&mut self, id: u32, at: u64) {
        self.begin();
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
pub fn depart<const LEGACY: bool>(skb: Skb, point: &Point, ingress: bool, plan: &Departure) -> i32 {
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
    if point.pair_tx == 0 {
        counters.errors += skb.packets();
        return NEXT;
    }
    if LEGACY {
        // `bpf_clone_redirect` clears the bare field; `stamp`, on the queue's device, writes it on this CPU before anything else runs.
        let Some(slot) = CHAOS_SLOT.get_ptr_mut(0) else { return NEXT };
        // SAFETY: this CPU's map value.
        unsafe { (*slot).departure = stamp };
    } else if !skb.set_tstamp(stamp) {
        counters.errors += skb.packets();
        return NEXT;
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
        return redirect(point.pair_tx, 0);
    }
    if !LEGACY {
        sample::queued(stamp, plan.rule, counters);
    }
    send::<LEGACY>(skb, point, ingress, counters)
}

#[inline(always)]
fn send<const LEGACY: bool>(skb: Skb, point: &Point, ingress: bool, counters: &mut Counters) -> i32 {
    const ENOBUFS: i64 = -105;
    let sent = skb.clone_to(point.pair_tx, 0);
    if sent == 0 {
        return drop_silently(ingress);
    }
    if sent > 0 || sent == ENOBUFS {
        counters.overflow += skb.packets();
        return drop_silently(ingress);
    }
    counters.errors += skb.packets();
    if !LEGACY {
        skb.set_tstamp(0);
    }
    if ingress {
        skb.set_tc_index(0);
    }
    NEXT
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

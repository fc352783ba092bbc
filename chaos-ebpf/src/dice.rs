//! What to do with a packet that matched: triggers, dice and the rule's memory, under the rule's lock.
//!
//! Inside the lock the verifier allows no call, so all of this is plain arithmetic. A draw is a hash of the seed and the
//! position: the same seed and the same packets give the same decisions.

use crate::{atomic::fetch_add, maps::CHAOS_STATES, parse::Packet};
use aya_ebpf::helpers::generated::{bpf_spin_lock, bpf_spin_unlock};
use chaos_abi::{
    ACTION_BANDWIDTH, ACTION_CORRUPT, ACTION_LATENCY, ACTION_LOSS, ACTION_PARTITION, ALWAYS, Bandwidth, Chain, Dice,
    Latency, PER_CONNECTION, PER_EVENT, RATE_SHIFT, RULE_TRIGGER, Rule, State, mix,
};

/// What was decided.
#[derive(Clone, Copy)]
pub struct Decision {
    /// The fault acts on this packet.
    pub hit: bool,
    /// Latency: leaves at once, ahead of delayed packets.
    pub reordered: bool,
    /// Latency: the draw of the jitter.
    pub jitter: u32,
    /// Corruption: which bit.
    pub random: u64,
    /// Bandwidth: when it may leave, ns.
    pub departure: u64,
}

const MISS: Decision = Decision { hit: false, reordered: false, jitter: 0, random: 0, departure: 0 };

/// Numbers far apart for positions next to each other: the steps of `SplitMix64`, whose finaliser is [`mix`].
#[inline(always)]
fn stream(seed: u64, position: u64, purpose: u64) -> u64 {
    seed ^ (position << 3 | purpose).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// A draw on the scale 2^32; `purpose` keeps the draws of one packet apart.
#[inline(always)]
fn draw(seed: u64, position: u64, purpose: u64) -> u32 {
    (mix(stream(seed, position, purpose)) >> 32) as u32
}

#[inline(always)]
fn under(draw: u32, probability: u32) -> bool {
    probability == ALWAYS || draw < probability
}

/// A draw that is correlated with the last one: with probability `correlation` it is the last one again. So the share of hits
/// stays what was asked, and draws k apart correlate by correlation^k. (netem mixes both into one number, which has that
/// correlation too but is no longer uniform: 20 % loss with correlation 50 % loses 3 %; net/sched/sch_netem.c, `get_crandom`.)
#[inline(always)]
fn correlated(seed: u64, position: u64, purpose: u64, last: u32, correlation: u32) -> u32 {
    let fresh = mix(stream(seed, position, purpose));
    if correlation != 0 && under(fresh as u32, correlation) { last } else { (fresh >> 32) as u32 }
}

/// The same for both directions of a connection, or for all packets of a peer.
#[inline(always)]
fn flow_hash(rule: &Rule, packet: &Packet, peer: &[u64; 2]) -> u64 {
    if rule.per == PER_CONNECTION {
        let one = mix(packet.source[0] ^ mix(packet.source[1] ^ u64::from(packet.source_port)));
        let other = mix(packet.destination[0] ^ mix(packet.destination[1] ^ u64::from(packet.destination_port)));
        mix(one.wrapping_add(other) ^ u64::from(packet.protocol))
    } else {
        mix(peer[0] ^ mix(peer[1]))
    }
}

/// What is to be decided about.
#[derive(Clone, Copy)]
pub struct Event {
    /// Wire packets.
    pub packets: u64,
    /// Bytes on the wire.
    pub bytes: u64,
    /// CLOCK_MONOTONIC, ns.
    pub now: u64,
    /// False where the action cannot act on this packet (RST for UDP), which counts as skipped.
    pub eligible: bool,
}

/// Decides; `LEGACY`: for kernels before 5.18, which have no atomic instruction that returns what was there. All programs of a
/// kernel must be of one kind: what the lock guards for one, another would change beside it.
#[inline(always)]
pub fn decide<const LEGACY: bool>(id: u32, rule: &Rule, packet: &Packet, peer: &[u64; 2], event: Event) -> Decision {
    if rule.action == ACTION_PARTITION && rule.flags & RULE_TRIGGER == 0 {
        return Decision { hit: true, ..MISS };
    }
    let Some(state) = CHAOS_STATES.get_ptr_mut(id) else { return MISS };
    if !LEGACY && remembers_position_alone(rule) {
        // SAFETY: a field of a map value.
        let position = unsafe { fetch_add(&raw mut (*state).position, event.packets) };
        return at_position(rule, position, event.eligible);
    }
    let flow = if rule.per == PER_EVENT { 0 } else { flow_hash(rule, packet, peer) };
    // SAFETY: a map value with a lock as its first field; nothing is called until it is released.
    unsafe {
        bpf_spin_lock((&raw mut (*state).lock).cast());
        let decision = locked(&mut *state, rule, flow, event);
        bpf_spin_unlock((&raw mut (*state).lock).cast());
        decision
    }
}

/// Most rules: their decisions follow from the position, and need no lock.
#[inline(always)]
fn remembers_position_alone(rule: &Rule) -> bool {
    if rule.flags & RULE_TRIGGER != 0 {
        return false;
    }
    match rule.action {
        ACTION_PARTITION | ACTION_BANDWIDTH => false,
        ACTION_LATENCY => {
            let args = Latency::decode(&rule.args);
            args.reorder == 0 && args.correlation == 0
        }
        ACTION_LOSS if Chain::decode(&rule.args).enabled != 0 => false,
        _ => Dice::decode(&rule.args).correlation == 0,
    }
}

/// The same draws as under the lock.
#[inline(always)]
fn at_position(rule: &Rule, position: u64, eligible: bool) -> Decision {
    let mut decision = MISS;
    if rule.action == ACTION_LATENCY {
        decision.hit = eligible;
        if Latency::decode(&rule.args).jitter != 0 {
            decision.jitter = draw(rule.seed, position, 5);
        }
        return decision;
    }
    decision.hit = eligible && under(draw(rule.seed, position, 1), Dice::decode(&rule.args).percent);
    if rule.action == ACTION_CORRUPT {
        decision.random = mix(stream(rule.seed, position, 6));
    }
    decision
}

#[inline(always)]
fn locked(state: &mut State, rule: &Rule, flow: u64, event: Event) -> Decision {
    let Event { packets, bytes, now, eligible } = event;
    let position = state.position;
    state.position = position + packets;
    if !triggered(rule, position, packets, flow) {
        return MISS;
    }
    let mut decision = MISS;
    match rule.action {
        ACTION_PARTITION => decision.hit = true,
        ACTION_LATENCY => {
            decision.hit = true;
            latency(state, rule, position, &mut decision);
        }
        ACTION_BANDWIDTH => decision.hit = true,
        action => {
            let chain = Chain::decode(&rule.args);
            decision.hit = if action == ACTION_LOSS && chain.enabled != 0 {
                gilbert_elliott(state, &chain, rule.seed, position)
            } else {
                let dice = Dice::decode(&rule.args);
                state.last_draw = correlated(rule.seed, position, 1, state.last_draw, dice.correlation);
                under(state.last_draw, dice.percent)
            };
            if action == ACTION_CORRUPT {
                decision.random = mix(stream(rule.seed, position, 6));
            }
        }
    }
    decision.hit = decision.hit && eligible;
    if decision.hit && rule.budget != 0 {
        if state.hits >= rule.budget {
            return MISS;
        }
        state.hits += packets;
    }
    if decision.hit && rule.action == ACTION_BANDWIDTH {
        bandwidth(state, &rule.args, bytes, now, &mut decision);
    }
    decision
}

/// `every`, `nth`, `first` over the packets `position + 1 ..= position + packets`; then `percent`.
#[inline(always)]
pub fn triggered(rule: &Rule, position: u64, packets: u64, flow: u64) -> bool {
    if rule.flags & RULE_TRIGGER == 0 {
        return true;
    }
    let end = position + packets;
    if rule.every != 0 && end / rule.every == position / rule.every {
        return false;
    }
    if rule.nth != 0 && (rule.nth <= position || rule.nth > end) {
        return false;
    }
    if rule.first != 0 && position >= rule.first {
        return false;
    }
    if rule.percent == ALWAYS {
        return true;
    }
    let dice = if rule.per == PER_EVENT { draw(rule.seed, position, 0) } else { (mix(rule.seed ^ flow) >> 32) as u32 };
    dice < rule.percent
}

/// As netem's `loss_gilb_ell` (net/sched/sch_netem.c): the state moves, the old state decides.
#[inline(always)]
fn gilbert_elliott(state: &mut State, chain: &Chain, seed: u64, position: u64) -> bool {
    let (step, fate) = (draw(seed, position, 2), draw(seed, position, 3));
    if state.bad == 0 {
        if under(step, chain.p) {
            state.bad = 1;
        }
        !under(fate, chain.k)
    } else {
        if under(step, chain.r) {
            state.bad = 0;
        }
        !under(fate, chain.h)
    }
}

#[inline(always)]
fn latency(state: &mut State, rule: &Rule, position: u64, decision: &mut Decision) {
    let args = Latency::decode(&rule.args);
    if args.reorder != 0 {
        // netem counts a packet towards the gap, then draws (net/sched/sch_netem.c, `netem_enqueue`).
        state.gap += 1;
        if state.gap >= args.gap {
            state.last_draw = correlated(rule.seed, position, 4, state.last_draw, args.reorder_correlation);
            if under(state.last_draw, args.reorder) {
                state.gap = 0;
                decision.reordered = true;
            }
        }
    }
    if args.jitter != 0 && !decision.reordered {
        state.last_jitter = correlated(rule.seed, position, 5, state.last_jitter, args.correlation);
        decision.jitter = state.last_jitter;
    }
}

/// A generic cell rate clock: `clock` is when all that was accepted would have left at the bare rate; a packet may leave
/// `burst` before its turn (ITU-T I.371; the same curve as tbf's bucket).
#[inline(always)]
fn bandwidth(state: &mut State, args: &[u64; chaos_abi::ARGS], bytes: u64, now: u64, decision: &mut Decision) {
    let args = Bandwidth::decode(args);
    let cost = (bytes * args.ns_per_byte) >> RATE_SHIFT;
    let clock = if state.clock > now { state.clock } else { now };
    let earliest = (clock + cost).saturating_sub(args.burst);
    decision.departure = if earliest > now { earliest } else { now };
    if decision.departure - now <= args.limit {
        state.clock = clock + cost;
    }
}

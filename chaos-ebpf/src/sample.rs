//! Samples for the report: who was hit, who was not meant, how long packets really stayed.

use crate::{
    clock,
    gate::Ends,
    maps::{CHAOS_DELAYS, CHAOS_HITS, CHAOS_MISSED, CHAOS_QUEUED},
    parse::Packet,
};
use aya_ebpf::helpers::generated::bpf_get_smp_processor_id;
use chaos_abi::{Counters, DELAY_SAMPLES, Flow, HIT_SAMPLES, MissKey, Queued, SampleKey};

fn bytes(addr: &[u64; 2]) -> [u8; 16] {
    // SAFETY: two words are 16 bytes.
    unsafe { core::mem::transmute::<[u64; 2], [u8; 16]>(*addr) }
}

/// Keeps the first flows that a rule hit on this CPU.
#[inline(always)]
pub fn hit(id: u32, counters: &mut Counters, packet: &Packet) {
    if counters.samples < HIT_SAMPLES {
        keep(id, counters, packet);
    }
}

#[inline(never)]
fn keep(id: u32, counters: &mut Counters, packet: &Packet) {
    // SAFETY: takes nothing, cannot fail.
    let cpu = unsafe { bpf_get_smp_processor_id() } as u32;
    let key = SampleKey { rule: id, index: cpu * HIT_SAMPLES as u32 + counters.samples as u32 };
    counters.samples += 1;
    let flow = Flow {
        source: bytes(&packet.source),
        destination: bytes(&packet.destination),
        source_port: packet.source_port,
        destination_port: packet.destination_port,
        family: packet.family,
        protocol: packet.protocol,
        reserved: [0; 2],
    };
    let _ = CHAOS_HITS.insert(key, flow, 0);
}

/// Counts a peer that the rule did not mean: all of the first packets, then one in 64, weighted.
#[inline(always)]
pub fn missed(id: u32, rejected: u64, packet: &Packet, ends: &Ends) {
    if rejected < 1024 {
        weigh(id, 1, packet, ends);
    } else if rejected & 63 == 0 {
        weigh(id, 64, packet, ends);
    }
}

#[inline(never)]
fn weigh(id: u32, weight: u64, packet: &Packet, ends: &Ends) {
    let key = MissKey {
        rule: id,
        port: ends.peer_port,
        family: packet.family,
        protocol: packet.protocol,
        addr: bytes(&ends.peer),
    };
    if let Some(count) = CHAOS_MISSED.get_ptr_mut(key) {
        // SAFETY: a map value; a lost update loses one count of a sample.
        unsafe { *count += weight }
    } else {
        let _ = CHAOS_MISSED.insert(key, weight, 0);
    }
}

/// Remembers when a packet with this stamp was handed to the queue: the stamp is a key, not the measure. All of a rule's first packets on
/// this CPU, then one in 16.
#[inline(always)]
pub fn queued(stamp: u64, rule: u32, counters: &Counters) {
    if counters.skbs < DELAY_SAMPLES || counters.skbs & 15 == 0 {
        remember(stamp, rule);
    }
}

#[inline(never)]
fn remember(stamp: u64, rule: u32) {
    let _ = CHAOS_QUEUED.insert(stamp, Queued { since: clock::now(), rule, reserved: 0 }, 0);
}

/// Measures how long a packet with this stamp stayed.
#[inline(never)]
pub fn left(stamp: u64) {
    if stamp == 0 {
        return;
    }
    // SAFETY: copied at once.
    let Some(queued) = (unsafe { CHAOS_QUEUED.get(stamp).copied() }) else { return };
    let _ = CHAOS_QUEUED.remove(stamp);
    let Some(counters) = crate::maps::CHAOS_COUNTERS.get_ptr_mut(queued.rule) else { return };
    // SAFETY: this CPU's value.
    let index = unsafe {
        let index = (*counters).delays;
        (*counters).delays = index + 1;
        index
    };
    // SAFETY: takes nothing, cannot fail.
    let cpu = u64::from(unsafe { bpf_get_smp_processor_id() });
    let index = (index % DELAY_SAMPLES) | cpu << 16;
    let key = SampleKey { rule: queued.rule, index: index as u32 };
    let _ = CHAOS_DELAYS.insert(key, clock::now().saturating_sub(queued.since), 0);
}

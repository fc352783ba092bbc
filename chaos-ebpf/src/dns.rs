//! Host names: the addresses in a DNS answer join the sets that follow the name, before the application gets the answer, so
//! that its first packet to a new address is met already.
//!
//! Two programs that tail-call each other, with the state in a map: so each is verified in a few thousand steps, and neither
//! calls a function, which together with tail calls some JITs lack (arm64 before Linux 6.0). Read are answers over UDP from
//! port 53 (RFC 1035). Not seen are answers over TCP (truncated ones are asked for again that way), TLS, HTTPS or QUIC, and
//! what a later fragment holds.

use crate::{
    clock,
    maps::{CHAOS_ADDRS, CHAOS_ANSWER, CHAOS_HOSTS, CHAOS_LEARNED, CHAOS_POINTS, CHAOS_SLOT},
    parse::{headers, proto},
    skb::Skb,
};
use aya_ebpf::helpers::generated::bpf_skb_load_bytes;
use chaos_abi::{AddrKey, FOLLOWERS, HostKey, LABELS, LearnedKey, NAME_HASH, SET_V6, name_hash_step};

/// Patterns that one name may meet: itself, and a wildcard for each of its ends.
const PATTERNS: usize = 8;
/// Sets that may follow one name, over all patterns.
const SETS: usize = PATTERNS * FOLLOWERS;
/// A name has at most 255 bytes (RFC 1035, 2.3.4).
const NAME: usize = 256;
/// Steps of one run: a label, a record, or an address for one set.
const STEPS: u32 = 32;
/// Runs for one answer: below the limit of 32 tail calls (include/linux/bpf.h, `MAX_TAIL_CALL_CNT`), with those of the stub and
/// to the faults.
const ROUNDS: u32 = 24;
/// In network byte order where they stand: response, standard query, no error.
const FLAGS: u16 = 0x8000;
const FLAGS_MASK: u16 = 0xf80f;
const PORT: u16 = 53;
const INTERNET: u16 = 1;
const TYPE_A: u16 = 1;
const TYPE_AAAA: u16 = 28;

/// A pattern that the name met, and a set that follows it.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Pattern {
    hash: u64,
    wildcard: u32,
    set: u32,
}

/// An answer under way. Read and written volatile: what comes out of it is unknown to compiler and verifier, so that masks stay
/// and states meet.
#[repr(C)]
pub struct Answer {
    /// Offset of what is read next.
    at: u32,
    /// Offset of the end of the message.
    end: u32,
    /// Records still to read.
    left: u32,
    /// Runs so far.
    rounds: u32,
    /// Bytes in `name`.
    size: u32,
    /// Labels of the name.
    labels: u32,
    /// Where its final zero stands.
    zero: u32,
    /// Patterns in use.
    met: u32,
    /// Followers in use.
    sets: u32,
    /// The follower that gets `addr` next; `sets`: all have it.
    next: u32,
    /// `SET_V6` or 0, of `addr`.
    family: u32,
    /// The address that was read last.
    addr: [u64; 2],
    netns: u64,
    patterns: [Pattern; PATTERNS],
    followers: [Pattern; SETS],
    /// The question's name as it stands in the message.
    name: [u8; NAME],
    /// Where each label's length stands in it.
    starts: [u8; NAME / 2],
    /// Hash of what follows from each place on.
    hashes: [u64; NAME],
}

macro_rules! get {
    ($place:expr) => {
        // SAFETY: this CPU's map value, which only this packet's programs use.
        unsafe { (&raw const $place).read_volatile() }
    };
}

macro_rules! set {
    ($place:expr, $value:expr) => {{
        let value = $value;
        // SAFETY: as `get!`.
        unsafe { (&raw mut $place).write_volatile(value) }
    }};
}

/// Reads the question. True: its name is followed, and [`walk`] is to read the records.
#[inline(always)]
pub fn begin(skb: Skb) -> bool {
    question(skb).is_some()
}

#[inline(always)]
fn question(skb: Skb) -> Option<()> {
    let point = CHAOS_POINTS.get(CHAOS_SLOT.get(0)?.point)?;
    let packet = headers(skb, point.l2_len)?;
    if packet.protocol != proto::UDP || packet.transport == 0 || packet.source_port != PORT {
        return None;
    }
    let message = packet.l4 + 8;
    let header: [u16; 6] = skb.load(message)?;
    let one_question = u16::from_be(header[2]) == 1;
    if u16::from_be(header[1]) & FLAGS_MASK != FLAGS || !one_question || header[3] == 0 {
        return None;
    }
    let (name, len) = (message + 12, skb.len());
    let end = if packet.end < len { packet.end } else { len };
    if end <= name {
        return None;
    }
    let answer = CHAOS_ANSWER.get_ptr_mut(0)?;
    set!((*answer).end, end);
    set!((*answer).left, u32::from(u16::from_be(header[3])));
    set!((*answer).rounds, 0);
    set!((*answer).met, 0);
    set!((*answer).sets, 0);
    set!((*answer).netns, point.netns);
    set!((*answer).size, if end - name < NAME as u32 { end - name } else { NAME as u32 - 1 });
    copy(skb, name, answer)?;
    labels(answer)?;
    // Type and class.
    set!((*answer).at, name + get!((*answer).zero) + 5);
    hash(answer);
    patterns(answer);
    followers(answer)
}

#[inline(always)]
fn copy(skb: Skb, from: u32, answer: *mut Answer) -> Option<()> {
    // Within 1..=256 for the verifier of any kernel, which does not take a test against 0 for a bound.
    let size = (get!((*answer).size).wrapping_sub(1) & (NAME as u32 - 1)) + 1;
    // SAFETY: writes `size` bytes, at most NAME, or fails.
    let failed = unsafe { bpf_skb_load_bytes(skb.0.cast(), from, (&raw mut (*answer).name).cast(), size) };
    (failed == 0).then_some(())
}

/// Notes where each label and the final zero stand. None for what is no name, for the root, and for a compressed name,
/// which a question cannot have.
#[inline(always)]
fn labels(answer: *mut Answer) -> Option<()> {
    let mut at = 0u32;
    for index in 0..(NAME / 2) as u32 {
        let length = get!((*answer).name[at as usize & (NAME - 1)]);
        if at >= get!((*answer).size) || length > 63 {
            return None;
        }
        if length == 0 {
            set!((*answer).labels, index);
            set!((*answer).zero, at);
            return (index != 0).then_some(());
        }
        set!((*answer).starts[index as usize & (NAME / 2 - 1)], at as u8);
        at += 1 + u32::from(length);
    }
    None
}

/// Hashes the name from its end on, which hashes each part of it that ends there.
#[inline(always)]
fn hash(answer: *mut Answer) {
    let (mut hash, zero) = (NAME_HASH, get!((*answer).zero));
    for back in 1..NAME as u32 {
        if back > zero {
            break;
        }
        let at = (zero - back) as usize & (NAME - 1);
        hash = name_hash_step(hash, get!((*answer).name[at]));
        set!((*answer).hashes[at], hash);
    }
}

/// Looks up the name, and each part of it behind a dot.
#[inline(always)]
fn patterns(answer: *mut Answer) {
    meet(answer, get!((*answer).hashes[0]), 0);
    let labels = get!((*answer).labels);
    for count in 1..=LABELS as u32 {
        if count >= labels {
            break;
        }
        let start = get!((*answer).starts[(labels - count) as usize & (NAME / 2 - 1)]);
        meet(answer, get!((*answer).hashes[start as usize]), 1);
    }
}

#[inline(always)]
fn meet(answer: *mut Answer, hash: u64, wildcard: u32) {
    let key = HostKey { hash, netns: get!((*answer).netns), wildcard, reserved: 0 };
    if CHAOS_HOSTS.get_ptr(key).is_none() {
        return;
    }
    let met = get!((*answer).met);
    if met < PATTERNS as u32 {
        set!((*answer).patterns[met as usize & (PATTERNS - 1)], Pattern { hash, wildcard, set: 0 });
        set!((*answer).met, met + 1);
    }
}

/// Lists the sets of all patterns.
#[inline(always)]
fn followers(answer: *mut Answer) -> Option<()> {
    for index in 0..PATTERNS {
        if index as u32 >= get!((*answer).met) {
            break;
        }
        let hash = get!((*answer).patterns[index].hash);
        let wildcard = get!((*answer).patterns[index].wildcard);
        let key = HostKey { hash, netns: get!((*answer).netns), wildcard, reserved: 0 };
        let Some(entry) = CHAOS_HOSTS.get_ptr(key) else { continue };
        for place in 0..FOLLOWERS {
            let set = get!((*entry).sets[place]);
            let count = get!((*answer).sets);
            set!((*answer).followers[count as usize & (SETS - 1)], Pattern { hash, wildcard, set });
            // Without a branch, of which the verifier would follow both ways 16 times over: plus 1 where the place is taken.
            set!((*answer).sets, count + ((set | set.wrapping_neg()) >> 31));
        }
    }
    let sets = get!((*answer).sets);
    set!((*answer).next, sets);
    (sets != 0).then_some(())
}

/// Reads records of the answer section. True: there are more, run again. Their owners need no look: all stand for the question,
/// by CNAME or directly.
#[inline(always)]
pub fn walk(skb: Skb) -> bool {
    let Some(answer) = CHAOS_ANSWER.get_ptr_mut(0) else { return false };
    for _ in 0..STEPS {
        if step(skb, answer).is_none() {
            return false;
        }
    }
    let rounds = get!((*answer).rounds) + 1;
    set!((*answer).rounds, rounds);
    if rounds < ROUNDS {
        return true;
    }
    for index in 0..PATTERNS {
        if index as u32 >= get!((*answer).met) {
            break;
        }
        fail(answer, get!((*answer).patterns[index]));
    }
    false
}

/// Counts an address that could not be learned.
#[inline(always)]
fn fail(answer: *mut Answer, pattern: Pattern) {
    let Pattern { hash, wildcard, .. } = pattern;
    let key = HostKey { hash, netns: get!((*answer).netns), wildcard, reserved: 0 };
    if let Some(entry) = CHAOS_HOSTS.get_ptr_mut(key) {
        set!((*entry).failed, get!((*entry).failed) + 1);
    }
}

/// One set for the last address, one label of an owner's name, or its end and the record. None where there is no more.
#[inline(always)]
fn step(skb: Skb, answer: *mut Answer) -> Option<()> {
    let next = get!((*answer).next);
    if next < get!((*answer).sets) {
        set!((*answer).next, next + 1);
        learn(answer, get!((*answer).followers[next as usize & (SETS - 1)]));
        return Some(());
    }
    let (at, end, left) = (get!((*answer).at), get!((*answer).end), get!((*answer).left));
    let byte: u8 = skb.load(at)?;
    if left == 0 || at >= end || byte > 63 && byte < 0xc0 {
        return None;
    }
    if byte != 0 && byte < 0xc0 {
        set!((*answer).at, at + 1 + u32::from(byte));
        return Some(());
    }
    // Type, class, time to live, length; behind the final zero or a pointer.
    let fields = at + if byte == 0 { 1 } else { 2 };
    let record: [u16; 5] = skb.load(fields)?;
    let (data, length) = (fields + 10, u32::from(u16::from_be(record[4])));
    if data + length > end {
        return None;
    }
    set!((*answer).at, data + length);
    set!((*answer).left, left - 1);
    let kind = u16::from_be(record[0]);
    if u16::from_be(record[1]) != INTERNET {
        return Some(());
    }
    if kind == TYPE_A && length == 4 {
        set!((*answer).addr, [u64::from(skb.load::<u32>(data)?), 0]);
        set!((*answer).family, 0);
        set!((*answer).next, 0);
    } else if kind == TYPE_AAAA && length == 16 {
        set!((*answer).addr, skb.load(data)?);
        set!((*answer).family, SET_V6);
        set!((*answer).next, 0);
    }
    Some(())
}

/// Puts the last address into a set that follows the name.
#[inline(always)]
fn learn(answer: *mut Answer, follower: Pattern) {
    let Pattern { hash, wildcard, set } = follower;
    let words = get!((*answer).addr);
    // SAFETY: two words are 16 bytes.
    let addr = unsafe { core::mem::transmute::<[u64; 2], [u8; 16]>(words) };
    let key = LearnedKey { hash, wildcard, addr: AddrKey { set: (set | get!((*answer).family)).to_be(), addr } };
    if CHAOS_LEARNED.get_ptr(key).is_some() {
        return;
    }
    if CHAOS_ADDRS.insert(key.addr, 1, 0).is_err() || CHAOS_LEARNED.insert(key, clock::now(), 0).is_err() {
        fail(answer, follower);
    }
}

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
use chaos_abi::{AddrKey, FOLLOWERS, HostKey, LearnedKey, NAME_HASH, SET_V6, name_hash_step};

/// Patterns that one name may meet: itself, and a wildcard at each dot.
const PATTERNS: usize = 8;
/// Sets that may follow one name, over all patterns.
const SETS: usize = 32;
/// A name has at most 255 bytes (RFC 1035, 2.3.4).
const NAME: usize = 256;
/// Labels and records that one run looks at.
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

/// A pattern that the name met.
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
    at: u32,
    end: u32,
    left: u32,
    rounds: u32,
    size: u32,
    name_end: u32,
    met: u32,
    sets: u32,
    netns: u64,
    patterns: [Pattern; PATTERNS],
    followers: [Pattern; SETS],
    name: [u8; NAME],
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
    let name_end = labels(answer)?;
    set!((*answer).name_end, name_end);
    // The final zero, type and class.
    set!((*answer).at, name + name_end + 5);
    suffixes(answer);
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

/// Puts a dot for the length in front of each label but the first; the place of the final zero. None for what is no name, a
/// compressed one (which a question cannot have) and one with a dot inside a label.
#[inline(always)]
fn labels(answer: *mut Answer) -> Option<u32> {
    let mut label = 0u32;
    for at in 0..NAME - 1 {
        if at as u32 >= get!((*answer).size) {
            return None;
        }
        let byte = get!((*answer).name[at]);
        if label != 0 {
            if byte == b'.' {
                return None;
            }
            label -= 1;
            continue;
        }
        if byte == 0 {
            return (at != 0).then_some(at as u32);
        }
        if byte > 63 {
            return None;
        }
        label = u32::from(byte);
        set!((*answer).name[at], b'.');
    }
    None
}

/// Looks up each suffix of the name, the shortest first.
#[inline(always)]
fn suffixes(answer: *mut Answer) {
    let mut hash = NAME_HASH;
    let end = get!((*answer).name_end);
    for back in 1..NAME as u32 {
        // Place 0 is the first label's length.
        if back >= end {
            break;
        }
        let byte = get!((*answer).name[(end - back) as usize & (NAME - 1)]);
        if byte == b'.' {
            meet(answer, hash, 1);
        }
        hash = name_hash_step(hash, byte);
    }
    meet(answer, hash, 0);
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
        let Some(entry) = CHAOS_HOSTS.get_ptr_mut(key) else { continue };
        for place in 0..FOLLOWERS {
            let id = get!((*entry).sets[place]);
            if id == 0 {
                continue;
            }
            let count = get!((*answer).sets);
            if count >= SETS as u32 {
                set!((*entry).failed, get!((*entry).failed) + 1);
                break;
            }
            let to = count as usize & (SETS - 1);
            set!((*answer).followers[to].hash, hash);
            set!((*answer).followers[to].wildcard, wildcard);
            set!((*answer).followers[to].set, id);
            set!((*answer).sets, count + 1);
        }
    }
    (get!((*answer).sets) != 0).then_some(())
}

/// Reads records of the answer section. True: there are more, run again. Their owners need no look: all stand for the question,
/// by CNAME or directly.
#[inline(always)]
pub fn walk(skb: Skb) -> bool {
    let Some(answer) = CHAOS_ANSWER.get_ptr_mut(0) else { return false };
    for _ in 0..STEPS {
        if get!((*answer).left) == 0 || step(skb, answer).is_none() {
            return false;
        }
    }
    let rounds = get!((*answer).rounds) + 1;
    set!((*answer).rounds, rounds);
    if rounds < ROUNDS {
        return true;
    }
    for index in 0..SETS {
        if index as u32 >= get!((*answer).sets) {
            break;
        }
        fail(answer, index);
    }
    false
}

/// Counts an address that could not be learned for the follower at this place.
#[inline(always)]
fn fail(answer: *mut Answer, index: usize) {
    let hash = get!((*answer).followers[index].hash);
    let wildcard = get!((*answer).followers[index].wildcard);
    let key = HostKey { hash, netns: get!((*answer).netns), wildcard, reserved: 0 };
    if let Some(entry) = CHAOS_HOSTS.get_ptr_mut(key) {
        set!((*entry).failed, get!((*entry).failed) + 1);
    }
}

/// One label of an owner's name, or its end and the record. None where the message ends.
#[inline(always)]
fn step(skb: Skb, answer: *mut Answer) -> Option<()> {
    let (at, end) = (get!((*answer).at), get!((*answer).end));
    let byte: u8 = skb.load(at)?;
    if at >= end || byte > 63 && byte < 0xc0 {
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
    set!((*answer).left, get!((*answer).left) - 1);
    if u16::from_be(record[1]) != INTERNET {
        return Some(());
    }
    let kind = u16::from_be(record[0]);
    if kind == TYPE_A && length == 4 {
        learn(answer, [u64::from(skb.load::<u32>(data)?), 0], 0);
    } else if kind == TYPE_AAAA && length == 16 {
        learn(answer, skb.load(data)?, SET_V6);
    }
    Some(())
}

/// Puts an address into all sets that follow the name.
#[inline(always)]
fn learn(answer: *mut Answer, words: [u64; 2], family: u32) {
    // SAFETY: two words are 16 bytes.
    let addr = unsafe { core::mem::transmute::<[u64; 2], [u8; 16]>(words) };
    for index in 0..SETS {
        if index as u32 >= get!((*answer).sets) {
            break;
        }
        let hash = get!((*answer).followers[index].hash);
        let wildcard = get!((*answer).followers[index].wildcard);
        let set = get!((*answer).followers[index].set) | family;
        let key = LearnedKey { hash, wildcard, addr: AddrKey { set: set.to_be(), addr } };
        if CHAOS_LEARNED.get_ptr(key).is_some() {
            continue;
        }
        if CHAOS_ADDRS.insert(key.addr, 1, 0).is_err() || CHAOS_LEARNED.insert(key, clock::now(), 0).is_err() {
            fail(answer, index);
        }
    }
}

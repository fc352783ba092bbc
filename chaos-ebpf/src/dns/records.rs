//! The records of an answer: addresses count whose owner is the name that was asked for, or that of which it is an alias (RFC 1034, 3.6.2).
//! Names are read label by label, through their pointers (RFC 1035, 4.1.4), and compared by a hash.

use super::{Answer, FOLLOWERS, HEADER, PATTERNS, Pattern, SETS};
use crate::{
    clock,
    maps::{CHAOS_ADDRS, CHAOS_ANSWER, CHAOS_HOSTS, CHAOS_LEARNED},
    skb::Skb,
};
use aya_ebpf::helpers::generated::bpf_skb_load_bytes;
use chaos_abi::{AddrKey, HostKey, LearnedKey, MAX_LEARNED_OF_NAME, SET_NEVER, SET_V6, mix};

/// Steps of one run: a label, a pointer, a record, or an address for one set.
const STEPS: u32 = 32;
/// Runs for one answer: below the limit of 32 tail calls (include/linux/bpf.h, `MAX_TAIL_CALL_CNT`), with those of the stub and
/// to the faults.
const ROUNDS: u32 = 24;
const INTERNET: u16 = 1;
const TYPE_A: u16 = 1;
const TYPE_CNAME: u16 = 5;
const TYPE_AAAA: u16 = 28;

/// [`Answer::phase`]: the name that was asked for.
pub const QUESTION: u32 = 0;
/// A record's owner.
const OWNER: u32 = 1;
/// What an owner is an alias of.
const ALIAS: u32 = 2;
/// Before the first label.
const START: u64 = 1;

/// Goes on with the name at `at`.
#[inline(always)]
pub fn begin(answer: *mut Answer, phase: u32, at: u32) {
    set!((*answer).phase, phase);
    set!((*answer).at, at);
    set!((*answer).place, at);
    set!((*answer).behind, 0);
    set!((*answer).chain, START);
}

/// Reads records of the answer section. True: there are more, run again.
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
        let Pattern { hash, wildcard, .. } = get!((*answer).patterns[index]);
        let key = HostKey { hash, netns: get!((*answer).netns), wildcard, reserved: 0 };
        if let Some(entry) = CHAOS_HOSTS.get_ptr_mut(key) {
            set!((*entry).cut, get!((*entry).cut) + 1);
        }
    }
    false
}

/// One set for the last address, one label or pointer of a name, or its end and what follows. None where there is no more.
#[inline(always)]
fn step(skb: Skb, answer: *mut Answer) -> Option<()> {
    let next = get!((*answer).next);
    if next < get!((*answer).sets) {
        set!((*answer).next, next + 1);
        learn(answer, get!((*answer).followers[next as usize & (SETS - 1)]));
        return Some(());
    }
    let (at, phase) = (get!((*answer).at), get!((*answer).phase));
    if at >= get!((*answer).end) || get!((*answer).left) == 0 {
        return None;
    }
    let byte: u8 = skb.load(at)?;
    if byte == 0 {
        if get!((*answer).behind) == 0 {
            set!((*answer).behind, at + 1);
        }
        return named(skb, answer, phase, get!((*answer).chain) == get!((*answer).current));
    }
    if byte <= 63 {
        label(skb, at, u32::from(byte), answer)?;
        set!((*answer).at, at + 1 + u32::from(byte));
        return Some(());
    }
    if byte < 0xc0 {
        return None;
    }
    let low: u8 = skb.load(at + 1)?;
    let message = get!((*answer).message);
    let to = message + ((u32::from(byte) & 0x3f) << 8 | u32::from(low));
    // Backwards alone, so that no name has no end.
    if to >= at || to < message + HEADER {
        return None;
    }
    if get!((*answer).behind) == 0 {
        set!((*answer).behind, at + 2);
    }
    set!((*answer).at, to);
    if get!((*answer).chain) == START {
        set!((*answer).place, to);
        // As nearly all answers have it: the name is that which counts, as it stands.
        if phase == OWNER && to == get!((*answer).current_place) {
            return named(skb, answer, phase, true);
        }
    }
    Some(())
}

/// Hashes one label with its length. The case of letters does not count (RFC 4343).
#[inline(always)]
fn label(skb: Skb, at: u32, length: u32, answer: *mut Answer) -> Option<()> {
    for word in 0..8 {
        set!((*answer).label[word], 0);
    }
    // Within 2..=64 for the verifier.
    let size = (length & 63) + 1;
    // SAFETY: writes `size` bytes, at most those of `label`, or fails.
    let failed = unsafe { bpf_skb_load_bytes(skb.0.cast(), at, (&raw mut (*answer).label).cast(), size) };
    if failed != 0 {
        return None;
    }
    for word in 0..8 {
        set!((*answer).chain, mix(get!((*answer).chain) ^ lower(get!((*answer).label[word]))));
    }
    Some(())
}

/// Eight bytes in small letters: of bytes below 128 those from `A` to `Z` get their sixth bit. A length is never a letter.
#[inline(always)]
const fn lower(word: u64) -> u64 {
    const EACH: u64 = 0x0101_0101_0101_0101;
    let low = word & (0x7f * EACH);
    let beyond = low + (0x7f - b'Z' as u64) * EACH;
    let from = low + (0x80 - b'A' as u64) * EACH;
    word | ((from ^ beyond) & !word & (0x80 * EACH)) >> 2
}

/// The name under way is read; `same`: it is the one whose addresses count.
#[inline(always)]
fn named(skb: Skb, answer: *mut Answer, phase: u32, same: bool) -> Option<()> {
    if phase == OWNER {
        return record(skb, answer, same);
    }
    set!((*answer).current, get!((*answer).chain));
    set!((*answer).current_place, get!((*answer).place));
    // Behind the question: its type and class.
    let next = if phase == QUESTION { get!((*answer).behind) + 4 } else { get!((*answer).record) };
    begin(answer, OWNER, next);
    Some(())
}

#[inline(always)]
fn record(skb: Skb, answer: *mut Answer, same: bool) -> Option<()> {
    let fields = get!((*answer).behind);
    // Type, class, time to live, length.
    let record: [u16; 5] = skb.load(fields)?;
    let (data, length) = (fields + 10, u32::from(u16::from_be(record[4])));
    if data + length > get!((*answer).end) {
        return None;
    }
    set!((*answer).record, data + length);
    set!((*answer).left, get!((*answer).left) - 1);
    begin(answer, OWNER, data + length);
    let kind = u16::from_be(record[0]);
    if !same || u16::from_be(record[1]) != INTERNET {
        return Some(());
    }
    if kind == TYPE_CNAME {
        begin(answer, ALIAS, data);
    } else if kind == TYPE_A && length == 4 {
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

/// Puts the last address into a set that follows the name, or counts that it did not.
#[inline(always)]
fn learn(answer: *mut Answer, follower: Pattern) {
    let Pattern { hash, wildcard, set, place, .. } = follower;
    let (words, family) = (get!((*answer).addr), get!((*answer).family));
    // SAFETY: two words are 16 bytes.
    let addr = unsafe { core::mem::transmute::<[u64; 2], [u8; 16]>(words) };
    let mut key = LearnedKey { hash, wildcard, addr: AddrKey { set: (SET_NEVER | family).to_be(), addr } };
    // SAFETY: only presence is asked.
    let never = of_the_machine(words, family) || unsafe { CHAOS_ADDRS.get(key.addr) }.is_some();
    key.addr.set = (set | family).to_be();
    if CHAOS_LEARNED.get_ptr(key).is_some() {
        return;
    }
    let host = HostKey { hash, netns: get!((*answer).netns), wildcard, reserved: 0 };
    let Some(entry) = CHAOS_HOSTS.get_ptr_mut(host) else { return };
    let place = place as usize & (FOLLOWERS - 1);
    // Where two processors learn of one name at once, it may get an address more.
    let learned = get!((*entry).learned[place]);
    if !never && learned < MAX_LEARNED_OF_NAME && CHAOS_LEARNED.insert(key, clock::now(), 0).is_ok() {
        if CHAOS_ADDRS.insert(key.addr, 1, 0).is_ok() {
            set!((*entry).learned[place], learned + 1);
            return;
        }
        let _ = CHAOS_LEARNED.remove(key);
    }
    set!((*entry).failed[place], get!((*entry).failed[place]) + 1);
}

/// Loopback and "this host" (RFC 1122, 3.2.1.3; RFC 4291, 2.5), in IPv6 also what wraps IPv4: no packet on a wire has it.
#[inline(always)]
fn of_the_machine(words: [u64; 2], family: u32) -> bool {
    if family == 0 {
        let first = u32::from_be(words[0] as u32) >> 24;
        return first == 0 || first == 127;
    }
    let low = u64::from_be(words[1]);
    words[0] == 0 && (low <= 1 || low >> 32 == 0xffff)
}

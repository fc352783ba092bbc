//! Host names: the addresses in a DNS answer join the sets that follow the name, before the application gets the answer, so
//! that its first packet to a new address is met already. Only an answer counts that the target has asked for: its question was seen on
//! the way out, to that server, from that port, with that id and that name, a few seconds ago at most.
//!
//! Two programs that tail-call each other, with the state in a map: so each is verified in a few thousand steps, and neither
//! calls a function, which together with tail calls some JITs lack (arm64 before Linux 6.0). Read are answers over UDP from
//! port 53 (RFC 1035). Not seen are answers over TCP (truncated ones are asked for again that way), TLS, HTTPS or QUIC, and
//! what a later fragment holds.

use crate::{
    clock,
    maps::{CHAOS_ANSWER, CHAOS_ASKED, CHAOS_HOSTS, CHAOS_POINTS, CHAOS_SLOT},
    parse::{Packet, headers, proto},
    skb::Skb,
};
use aya_ebpf::helpers::generated::bpf_skb_load_bytes;
use chaos_abi::{FOLLOWERS, HostKey, LABELS, NAME_HASH, POINT_INGRESS, name_hash_step};

/// Patterns that one name may meet: itself, and a wildcard for each of its ends.
const PATTERNS: usize = 8;
/// Sets that may follow one name, over all patterns.
const SETS: usize = PATTERNS * FOLLOWERS;
/// A name has at most 255 bytes (RFC 1035, 2.3.4).
const NAME: usize = 256;
/// The message's header (RFC 1035, 4.1.1).
const HEADER: u32 = 12;
/// Flags: response, standard query, no error.
const FLAGS: u16 = 0x8000;
const FLAGS_MASK: u16 = 0xf80f;
/// Flags: response, kind of query.
const QUERY_MASK: u16 = 0xf800;
const PORT: u16 = 53;
/// How long an answer is waited for, ns: longer than resolvers wait (resolv.conf(5), `timeout`: 5 s, from there on they ask again).
const PATIENCE: u64 = 10_000_000_000;
/// Loopback has this index in every netns (drivers/net/loopback.c, `loopback_net_init`).
const LOOPBACK: u32 = 1;

/// By what an answer is known as that of a question.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Query {
    netns: u64,
    server: [u64; 2],
    family: u32,
    /// The port that asks.
    port: u16,
    id: u16,
}

/// A question under way.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Asked {
    /// Hash of its name.
    hash: u64,
    /// When it was asked, CLOCK_MONOTONIC in ns.
    at: u64,
}

/// A pattern that the name met, and a set that follows it.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Pattern {
    hash: u64,
    wildcard: u32,
    set: u32,
    /// The set's place among the followers.
    place: u32,
    reserved: u32,
}

/// An answer under way. Read and written volatile: what comes out of it is unknown to compiler and verifier, so that masks stay
/// and states meet.
#[repr(C)]
pub struct Answer {
    /// Offset of the message.
    message: u32,
    /// Offset of what is read next.
    at: u32,
    /// Offset of the end of the message.
    end: u32,
    /// Whose name is read: `records::QUESTION`, and so on.
    phase: u32,
    /// Where that name stands: behind its first pointer, if it begins with one.
    place: u32,
    /// What stands behind it; 0: not seen yet.
    behind: u32,
    /// Hash of its labels so far.
    chain: u64,
    /// The same of the name whose addresses count: the question's, then that of which it is an alias.
    current: u64,
    /// Where that one stands.
    current_place: u32,
    /// Where the next record stands.
    record: u32,
    /// The label that was read last, padded with zeros.
    label: [u64; 8],
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

mod records;

pub use records::walk;

/// Reads the question. True: it is one that the target has asked and whose name is followed, and [`walk`] is to read the records.
#[inline(always)]
pub fn begin(skb: Skb) -> bool {
    question(skb).is_some()
}

#[inline(always)]
fn question(skb: Skb) -> Option<()> {
    let point = CHAOS_POINTS.get(CHAOS_SLOT.get(0)?.point)?;
    let ingress = point.flags & POINT_INGRESS != 0;
    let packet = headers(skb, point.l2_len)?;
    if packet.protocol != proto::UDP || packet.transport == 0 {
        return None;
    }
    let message = packet.l4 + 8;
    let header: [u16; 6] = skb.load(message)?;
    let key = query(&packet, point.netns, header[0], ingress);
    let flags = u16::from_be(header[1]);
    if u16::from_be(header[2]) != 1 {
        return None;
    }
    let mut asked = Asked { hash: 0, at: 0 };
    if ingress {
        if packet.source_port != PORT || flags & FLAGS_MASK != FLAGS || header[3] == 0 {
            return None;
        }
        // SAFETY: copied at once.
        asked = unsafe { CHAOS_ASKED.get(key).copied() }?;
    } else if flags & QUERY_MASK != 0 || (packet.destination_port != PORT && point.ifindex != LOOPBACK) {
        // A resolver on loopback may be behind a rule that changes the port of questions before we see them, and that of answers back
        // before we see those (Docker's 127.0.0.11).
        return None;
    }
    let answer = CHAOS_ANSWER.get_ptr_mut(0)?;
    name(skb, message, packet.end, answer)?;
    set!((*answer).netns, point.netns);
    set!((*answer).left, u32::from(u16::from_be(header[3])));
    hash(answer);
    let hash = get!((*answer).hashes[0]);
    if ingress {
        if asked.hash != hash || clock::now() - asked.at > PATIENCE {
            return None;
        }
        // One answer to a question, as the one who asked takes it.
        let _ = CHAOS_ASKED.remove(key);
        patterns(answer);
        return followers(answer);
    }
    patterns(answer);
    if get!((*answer).met) != 0 {
        let _ = CHAOS_ASKED.insert(key, Asked { hash, at: clock::now() }, 0);
    }
    // A question has no records.
    None
}

#[inline(always)]
fn query(packet: &Packet, netns: u64, id: u16, ingress: bool) -> Query {
    let (server, port) =
        if ingress { (packet.source, packet.destination_port) } else { (packet.destination, packet.source_port) };
    Query { netns, server, family: u32::from(packet.family), port, id }
}

/// Reads the question's name, and prepares the way over the records.
#[inline(always)]
fn name(skb: Skb, message: u32, end: u32, answer: *mut Answer) -> Option<()> {
    let (name, len) = (message + HEADER, skb.len());
    let end = if end < len { end } else { len };
    if end <= name {
        return None;
    }
    set!((*answer).message, message);
    set!((*answer).end, end);
    set!((*answer).rounds, 0);
    set!((*answer).met, 0);
    set!((*answer).sets, 0);
    set!((*answer).next, 0);
    set!((*answer).size, if end - name < NAME as u32 { end - name } else { NAME as u32 - 1 });
    copy(skb, name, answer)?;
    labels(answer)?;
    records::begin(answer, records::QUESTION, name);
    Some(())
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
        set!(
            (*answer).patterns[met as usize & (PATTERNS - 1)],
            Pattern { hash, wildcard, set: 0, place: 0, reserved: 0 }
        );
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
            let follower = Pattern { hash, wildcard, set, place: place as u32, reserved: 0 };
            set!((*answer).followers[count as usize & (SETS - 1)], follower);
            // Without a branch, of which the verifier would follow both ways 16 times over: plus 1 where the place is taken.
            set!((*answer).sets, count + ((set | set.wrapping_neg()) >> 31));
        }
    }
    let sets = get!((*answer).sets);
    set!((*answer).next, sets);
    (sets != 0).then_some(())
}

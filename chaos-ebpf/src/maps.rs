//! The maps of the network programs; names and layout are chaos-abi's.

use crate::{
    dns::{Answer, Asked, Query},
    walk::{MAX_DEPTH, Scratch},
};
use aya_ebpf::{
    bindings::BPF_F_NO_PREALLOC,
    btf_maps::{Array, HashMap, LpmTrie, LruHashMap, PerCpuArray, ProgramArray},
    macros::btf_map,
};
use chaos_abi::{
    AddrKey, AddrPortKey, Control, Counters, DIST_SIZE, Flow, Followers, HostKey, LearnedKey, Lease, MAX_HOSTS,
    MAX_LEARNED, MAX_LEASES, MAX_PEERS, MAX_POINTS, MAX_PORT_SETS, MAX_RULES, MissKey, Name, Point, Queued, Rule,
    SampleKey, Slot, State,
};

/// Switches of the node.
#[btf_map]
pub static CHAOS_CONTROL: Array<Control, 1, 0> = Array::new();
/// Leases by slot.
#[btf_map]
pub static CHAOS_LEASES: Array<Lease, { MAX_LEASES as usize }, 0> = Array::new();
/// Stops by slot of the lease: what others than its owner write.
#[btf_map]
pub static CHAOS_STOPS: Array<u64, { MAX_LEASES as usize }, 0> = Array::new();
/// Attach points by id.
#[btf_map]
pub static CHAOS_POINTS: Array<Point, { MAX_POINTS as usize }, 0> = Array::new();
/// Rules by id; 0 is nobody's.
#[btf_map]
pub static CHAOS_RULES: Array<Rule, { MAX_RULES as usize }, 0> = Array::new();
/// What rules remember.
#[btf_map]
pub static CHAOS_STATES: Array<State, { MAX_RULES as usize }, 0> = Array::new();
/// What rules count.
#[btf_map]
pub static CHAOS_COUNTERS: PerCpuArray<Counters, { MAX_RULES as usize }, 0> = PerCpuArray::new();
/// Single addresses.
#[btf_map]
pub static CHAOS_ADDRS: HashMap<AddrKey, u32, { MAX_PEERS as usize }, { BPF_F_NO_PREALLOC as usize }> = HashMap::new();
/// Prefixes.
#[btf_map]
pub static CHAOS_PREFIXES: LpmTrie<AddrKey, u32, { MAX_PEERS as usize }, { BPF_F_NO_PREALLOC as usize }> =
    LpmTrie::new();
/// Addresses with ports.
#[btf_map]
pub static CHAOS_ADDRPORTS: HashMap<AddrPortKey, u32, { MAX_PEERS as usize }, { BPF_F_NO_PREALLOC as usize }> =
    HashMap::new();
/// Bitmaps of ports.
#[btf_map]
pub static CHAOS_PORTSETS: Array<[u64; 1024], { MAX_PORT_SETS as usize }, 0> = Array::new();
/// Distribution tables: normal, pareto, paretonormal.
#[btf_map]
pub static CHAOS_DIST: Array<[i16; DIST_SIZE], 3, 0> = Array::new();
/// Between stub and program.
#[btf_map]
pub static CHAOS_SLOT: PerCpuArray<Slot, 1, 0> = PerCpuArray::new();
/// A packet under way, by depth of re-entry on this CPU. In a map and not on the stack, so that the verifier knows nothing of its
/// values and meets the same state behind every rule.
#[btf_map]
pub static CHAOS_SCRATCH: PerCpuArray<Scratch, { MAX_DEPTH as usize }, 0> = PerCpuArray::new();
/// Tail call targets.
#[btf_map]
pub static CHAOS_PROGS: ProgramArray<8, 0> = ProgramArray::new();
/// The same for programs of cgroups: a table holds one type.
#[btf_map]
pub static CHAOS_CGPROGS: ProgramArray<8, 0> = ProgramArray::new();
/// Host names to learn.
#[btf_map]
pub static CHAOS_HOSTS: HashMap<HostKey, Followers, { MAX_HOSTS as usize }, { BPF_F_NO_PREALLOC as usize }> =
    HashMap::new();
/// Whose the leases are.
#[btf_map]
pub static CHAOS_NAMES: HashMap<u32, Name, { MAX_LEASES as usize }, { BPF_F_NO_PREALLOC as usize }> = HashMap::new();
/// When an address was learned.
#[btf_map]
pub static CHAOS_LEARNED: HashMap<LearnedKey, u64, { MAX_LEARNED as usize }, { BPF_F_NO_PREALLOC as usize }> =
    HashMap::new();
/// Questions of targets that wait for their answers.
#[btf_map]
pub static CHAOS_ASKED: LruHashMap<Query, Asked, 8192, 0> = LruHashMap::new();
/// A DNS answer under way.
#[btf_map]
pub static CHAOS_ANSWER: PerCpuArray<Answer, 1, 0> = PerCpuArray::new();
/// Flows that were hit.
#[btf_map]
pub static CHAOS_HITS: HashMap<SampleKey, Flow, 16384, { BPF_F_NO_PREALLOC as usize }> = HashMap::new();
/// Peers that were not meant.
#[btf_map]
pub static CHAOS_MISSED: LruHashMap<MissKey, u64, 4096, 0> = LruHashMap::new();
/// Sampled packets in the queue.
#[btf_map]
pub static CHAOS_QUEUED: LruHashMap<u64, Queued, 8192, 0> = LruHashMap::new();
/// Measured delays.
#[btf_map]
pub static CHAOS_DELAYS: HashMap<SampleKey, u64, 65536, { BPF_F_NO_PREALLOC as usize }> = HashMap::new();

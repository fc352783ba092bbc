//! The maps of the system calls' programs; each process has its own. Names and layout are chaos-abi's.

use aya_ebpf::{
    btf_maps::{Array, HashMap, LruHashMap},
    macros::btf_map,
};
use chaos_abi::{
    CallKey, CallList, CallState, Heir, HeirKey, Later, MAX_CALLS, MAX_GLOB_ROWS, MAX_HEIRS, MAX_LATER, MAX_RULES,
    MAX_SLEEPS, SLEEP_SLOTS, Scopes, Sleep, SleepServer,
};

/// Rules by cgroup, hook and call.
#[btf_map]
pub static CHAOS_CALLS: HashMap<CallKey, CallList, { MAX_CALLS as usize }, 0> = HashMap::new();
/// Which rules follow when a cgroup is made.
#[btf_map]
pub static CHAOS_HEIRS: HashMap<HeirKey, Heir, { MAX_HEIRS as usize }, 0> = HashMap::new();
/// Where targets lie.
#[btf_map]
pub static CHAOS_SCOPES: Array<Scopes, 1, 0> = Array::new();
/// What rules remember.
#[btf_map]
pub static CHAOS_CALLSTATE: Array<CallState, { MAX_RULES as usize }, 0> = Array::new();
/// Rows by which text is matched.
#[btf_map]
pub static CHAOS_GLOBS: Array<[u16; 256], { MAX_GLOB_ROWS as usize }, 0> = Array::new();
/// Sleeps that are decided, by thread. One that is never found, as another program refused the call in between, makes room some day.
#[btf_map]
pub static CHAOS_SLEEPS: LruHashMap<u32, Sleep, { MAX_SLEEPS as usize }, 0> = LruHashMap::new();
/// Who makes threads wait.
#[btf_map]
pub static CHAOS_SLEEPER: Array<SleepServer, 1, 0> = Array::new();
/// Until when, by slot; CLOCK_MONOTONIC in ns.
#[btf_map]
pub static CHAOS_SLOTS: Array<u64, { SLEEP_SLOTS as usize }, 0> = Array::new();
/// Sleeps on the way back.
#[btf_map]
pub static CHAOS_LATER: Array<Later, { MAX_LATER as usize }, 0> = Array::new();

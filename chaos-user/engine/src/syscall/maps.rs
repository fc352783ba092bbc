//! The maps of a process's own.

use aya::maps::{Array, HashMap, IterableMap as _, LpmTrie, Map, MapData, MapError, PerCpuArray};
use aya_obj::generated::{BPF_F_NO_PREALLOC, bpf_map_type::BPF_MAP_TYPE_LRU_HASH};
use chaos_abi::{
    AddrKey, AddrPortKey, CallKey, CallList, CallState, Control, Counters, DIST_SIZE, Heir, HeirKey, KFUNC_TASK_WORK,
    KFUNCS, Lease, MAX_CALLS, MAX_GLOB_ROWS, MAX_HEIRS, MAX_LATER, MAX_RULES, MAX_SLEEPS, Rule, Scopes, Sleep,
    SleepServer, maps as names,
};
use chaos_spec::plan::glob::{self, Row};
use chaos_sys::{
    bpf,
    btf::KernelTypes,
    datapath::{Shared, map_error},
    dist,
    error::KernelError,
    seam,
    sleep::{self, Pages},
};
use nix::errno::Errno;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

/// HookSite-ins for the maps that programs share with those of packets, for a trial of which no map of a node may know.
pub struct SharedMaps {
    control: Array<MapData, Control>,
    leases: Array<MapData, Lease>,
    stops: Array<MapData, u64>,
    rules: Array<MapData, Rule>,
    counters: PerCpuArray<MapData, Counters>,
    addrs: HashMap<MapData, AddrKey, u32>,
    prefixes: LpmTrie<MapData, AddrKey, u32>,
    addr_ports: HashMap<MapData, AddrPortKey, u32>,
    port_sets: Array<MapData, [u64; 1024]>,
}

impl SharedMaps {
    /// Makes them, with room for one rule.
    ///
    /// # Errors
    /// The kernel's answer.
    pub fn private() -> Result<Self, KernelError> {
        let error = |e| map_error("make map", "of a trial", &e);
        Ok(Self {
            control: Array::create(1, 0).map_err(error)?,
            leases: Array::create(2, 0).map_err(error)?,
            stops: Array::create(2, 0).map_err(error)?,
            rules: Array::create(2, 0).map_err(error)?,
            counters: PerCpuArray::create(2, 0).map_err(error)?,
            addrs: HashMap::create(1, 0).map_err(error)?,
            prefixes: LpmTrie::create(1, BPF_F_NO_PREALLOC).map_err(error)?,
            addr_ports: HashMap::create(1, 0).map_err(error)?,
            port_sets: Array::create(1, 0).map_err(error)?,
        })
    }

    /// Writes rule 1 and its lease, which is lease 1.
    ///
    /// # Errors
    /// The kernel's answer.
    pub fn set(&mut self, rule: Rule, control: Control, lease: Lease) -> Result<(), KernelError> {
        let error = |e| map_error("fill map", "of a trial", &e);
        self.control.set(0, control, 0).map_err(error)?;
        self.leases.set(1, lease, 0).map_err(error)?;
        self.rules.set(1, rule, 0).map_err(error)
    }

    /// Their descriptors.
    #[must_use]
    pub fn descriptors(&self) -> Shared {
        let fd = |data: &MapData| data.fd().as_fd().as_raw_fd();
        [
            (names::CONTROL, fd(self.control.map())),
            (names::LEASES, fd(self.leases.map())),
            (names::STOPS, fd(self.stops.map())),
            (names::RULES, fd(self.rules.map())),
            (names::COUNTERS, fd(self.counters.map())),
            (names::ADDRS, fd(self.addrs.map())),
            (names::PREFIXES, fd(self.prefixes.map())),
            (names::ADDR_PORTS, fd(self.addr_ports.map())),
            (names::PORT_SETS, fd(self.port_sets.map())),
        ]
    }
}

/// The maps, typed.
#[allow(missing_docs, reason = "named as in chaos_abi::maps, where each is described")]
pub struct CallMaps {
    pub calls: HashMap<MapData, CallKey, CallList>,
    pub heirs: HashMap<MapData, HeirKey, Heir>,
    pub scopes: Array<MapData, Scopes>,
    pub states: Array<MapData, CallState>,
    globs: Array<MapData, Row>,
    sleeps: HashMap<MapData, u32, Sleep>,
    sleeper: Array<MapData, SleepServer>,
    /// Where the kernel can use it.
    later: Option<OwnedFd>,
    dist: Array<MapData, [i16; DIST_SIZE]>,
    /// Rows in use: where they begin, and how many.
    used: Vec<(u32, u32)>,
}

/// The oldest makes room for the newest; of such maps aya has no constructor of its own.
fn notes() -> Result<HashMap<MapData, u32, Sleep>, MapError> {
    let (key, value) = (size_of::<u32>() as u32, size_of::<Sleep>() as u32);
    let map = aya_obj::Map::new_from_params(BPF_MAP_TYPE_LRU_HASH as u32, key, value, MAX_SLEEPS, 0);
    HashMap::try_from(Map::LruHashMap(MapData::create(map, names::SLEEPS, None)?))
}

/// Sleeps on the way back, where the kernel knows such; of maps whose values it has a part in aya has no constructor either.
fn later() -> Result<Option<OwnedFd>, KernelError> {
    let names = KFUNCS.iter().find(|(number, _)| *number == KFUNC_TASK_WORK).map_or(&[][..], |(_, names)| *names);
    let known = |kernel: &KernelTypes| names.iter().any(|name| kernel.function(name).is_some());
    if !KernelTypes::shared().as_ref().is_ok_and(known) {
        return Ok(None);
    }
    bpf::create_work_array(MAX_LATER).map(Some)
}

impl CallMaps {
    /// Makes them.
    ///
    /// # Errors
    /// The kernel's answer.
    pub fn new() -> Result<Self, KernelError> {
        let error = |e| map_error("make map", "of system calls", &e);
        let mut dist = Array::create(3, 0).map_err(error)?;
        for (index, table) in dist::tables().iter().enumerate() {
            dist.set(index as u32, table, 0).map_err(error)?;
        }
        Ok(Self {
            calls: HashMap::create(MAX_CALLS, 0).map_err(error)?,
            heirs: HashMap::create(MAX_HEIRS, 0).map_err(error)?,
            scopes: Array::create(1, 0).map_err(error)?,
            states: Array::create(MAX_RULES, 0).map_err(error)?,
            globs: Array::create(MAX_GLOB_ROWS, 0).map_err(error)?,
            sleeps: notes().map_err(error)?,
            sleeper: Array::create(1, 0).map_err(error)?,
            later: later()?,
            dist,
            used: Vec::new(),
        })
    }

    /// Their descriptors by name.
    pub(super) fn descriptors(&self) -> Result<[(&'static str, RawFd); 10], KernelError> {
        let fd = |data: &MapData| data.fd().as_fd().as_raw_fd();
        Ok([
            (names::CALLS, fd(self.calls.map())),
            (names::HEIRS, fd(self.heirs.map())),
            (names::SCOPES, fd(self.scopes.map())),
            (names::CALL_STATES, fd(self.states.map())),
            (names::GLOBS, fd(self.globs.map())),
            (names::DIST, fd(self.dist.map())),
            (names::SLEEPS, fd(self.sleeps.map())),
            (names::SLEEPER, fd(self.sleeper.map())),
            (names::SLOTS, fd(sleep::slots()?.map())),
            // A program that uses what there is not is not loaded.
            (names::LATER, self.later.as_ref().map_or(-1, AsRawFd::as_raw_fd)),
        ])
    }

    /// Whether threads can sleep on their way back from calls.
    #[must_use]
    pub const fn can_later(&self) -> bool {
        self.later.is_some()
    }

    /// Tells the programs where threads are to sleep.
    ///
    /// # Errors
    /// The kernel's answer.
    pub fn set_sleeper(&mut self, pages: Pages) -> Result<(), KernelError> {
        let server = SleepServer { address: pages.address, pid: pages.pid, ..SleepServer::zeroed() };
        seam::run("write map", names::SLEEPER, || {
            self.sleeper.set(0, server, 0).map_err(|e| map_error("write map", names::SLEEPER, &e))
        })
    }

    /// Has a thread sleep, as a program would that decided so.
    ///
    /// # Errors
    /// The kernel's answer.
    pub fn decide(&mut self, thread: u32, note: Sleep) -> Result<(), KernelError> {
        self.sleeps.insert(thread, note, 0).map_err(|e| map_error("write map", names::SLEEPS, &e))
    }

    /// Writes a table by which text is matched; the row at which it begins.
    ///
    /// # Errors
    /// ENOSPC where there is no room for it.
    pub fn add_globs(&mut self, rows: &[Row]) -> Result<u32, KernelError> {
        let count = rows.len() as u32;
        let mut first = u32::from(glob::FIRST);
        self.used.sort_unstable();
        for (start, length) in &self.used {
            if first + count <= *start {
                break;
            }
            first = start + length;
        }
        if first + count > MAX_GLOB_ROWS {
            let detail = format!("{count} states are needed; {MAX_GLOB_ROWS} are all that there are");
            return Err(KernelError::new("fill map", names::GLOBS, Errno::ENOSPC).with_detail(detail));
        }
        seam::run("fill map", names::GLOBS, || self.write_globs(first, rows))?;
        self.used.push((first, count));
        Ok(first)
    }

    fn write_globs(&mut self, first: u32, rows: &[Row]) -> Result<(), KernelError> {
        let moved = first - u32::from(glob::FIRST);
        for (place, row) in rows.iter().enumerate() {
            let mut row = *row;
            for next in row.iter_mut().skip(1).filter(|next| **next >= glob::FIRST) {
                *next += u16::try_from(moved).unwrap_or(0);
            }
            self.globs.set(first + place as u32, row, 0).map_err(|e| map_error("fill map", names::GLOBS, &e))?;
        }
        Ok(())
    }

    /// Gives the rows back.
    pub fn remove_globs(&mut self, first: u32) {
        self.used.retain(|(start, _)| *start != first);
    }
}

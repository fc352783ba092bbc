//! The network datapath: the eBPF object, its maps, and the way to those of another process.
//!
//! All processes of a node share one set of maps, so that there is one stub per attach point and one walk over all rules. A
//! later process opens the maps by their ids, which the journal keeps; that works also while the first one is stopped or hung.

use super::{
    bpf::{self, Hook, StubMaps},
    clock, dist,
    error::KernelError,
    tables::{Entry, Tables},
};
use aya::maps::{Array, HashMap, IterableMap, LpmTrie, Map, MapData, MapError, PerCpuArray};
use chaos_abi::{
    ABI_VERSION, ACTION_CALL, ACTIONS, AddrKey, AddrPortKey, Clock, Control, Counters, DIST_SIZE, Flow, Followers,
    HostKey, LearnedKey, Lease, MissKey, Name, PROGRAM_CLOCK, PROGRAM_FAULT, Point, Rule, SampleKey, State,
    maps as names,
};
use nix::errno::Errno;
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd},
};

/// Entry of the cgroups' table of tail calls.
pub(super) const PROGRAM_ARRIVAL: u32 = 0;
const CLOCK_MAP: &str = "CHAOS_CLOCK";

/// Descriptors of maps by name.
pub type Shared = [(&'static str, RawFd); 9];

/// Where the maps and programs are; kept in the journal.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ids {
    /// Map ids by name.
    pub maps: BTreeMap<String, u32>,
    /// What stands in the tables of tail calls.
    pub programs: Vec<Entry>,
    /// True where the kernel lacks `bpf_skb_set_tstamp` (before Linux 5.18).
    pub legacy: bool,
    /// Programs are attached to interfaces as tcx links (Linux 6.6 and newer), else as filters below clsact.
    pub tcx: bool,
    /// Why the kernel refused the program for what arrives for a cgroup; None: it did not. Loaded with the others, because a
    /// process that joins has maps, and no way to load a program onto them.
    #[serde(default)]
    pub no_arrivals: Option<String>,
    /// Why DNS answers cannot be read on this kernel; None: they can.
    #[serde(default)]
    pub no_dns: Option<String>,
}

/// The maps, typed.
#[allow(missing_docs, reason = "named as in chaos_abi::maps, where each is described")]
pub struct Datapath {
    pub control: Array<MapData, Control>,
    pub leases: Array<MapData, Lease>,
    pub stops: Array<MapData, u64>,
    pub points: Array<MapData, Point>,
    pub rules: Array<MapData, Rule>,
    pub states: Array<MapData, State>,
    pub counters: PerCpuArray<MapData, Counters>,
    pub addrs: HashMap<MapData, AddrKey, u32>,
    pub prefixes: LpmTrie<MapData, AddrKey, u32>,
    pub addr_ports: HashMap<MapData, AddrPortKey, u32>,
    pub port_sets: Array<MapData, [u64; 1024]>,
    pub hits: HashMap<MapData, SampleKey, Flow>,
    pub missed: HashMap<MapData, MissKey, u64>,
    pub delays: HashMap<MapData, SampleKey, u64>,
    pub hosts: HashMap<MapData, HostKey, Followers>,
    pub learned: HashMap<MapData, LearnedKey, u64>,
    pub names: HashMap<MapData, u32, Name>,
    clock_map: Array<MapData, Clock>,
    slot: Map,
    tables: Tables,
    ids: Ids,
}

/// Maps by name.
pub(super) type Maps = BTreeMap<&'static str, Map>;

/// An aya error as ours: the errno of the syscall in its chain, and all its words.
pub fn map_error(op: &'static str, object: &str, error: &MapError) -> KernelError {
    load_error(op, object, error)
}

/// The same for any error of aya.
pub fn load_error(op: &'static str, object: &str, error: &dyn std::error::Error) -> KernelError {
    let mut words = error.to_string();
    let mut errno = Errno::EIO;
    let mut source = error.source();
    while let Some(inner) = source {
        if let Some(raw) = inner.downcast_ref::<std::io::Error>().and_then(std::io::Error::raw_os_error) {
            errno = Errno::from_raw(raw);
        }
        words = format!("{words}: {inner}");
        source = inner.source();
    }
    // A verifier's log is for `-v`; its end says what it was about.
    if let Some((at, _)) = words.char_indices().rev().nth(600) {
        words = format!("... {}", &words[at..]);
    }
    KernelError::new(op, object, errno).with_detail(words)
}

impl Datapath {
    /// Opens what another process loaded.
    ///
    /// # Errors
    /// ENOENT if any part is gone; EPROTO if it is of another version of chaos.
    pub fn join(ids: &Ids) -> Result<Self, KernelError> {
        // The version first: another one may lack maps that this one has.
        check_version(open(ids, names::CONTROL)?)?;
        let mut maps = BTreeMap::new();
        for name in Self::map_names() {
            maps.insert(name, open(ids, name)?);
        }
        let tables =
            Tables::join(take(&mut maps, names::PROGS)?, take(&mut maps, names::CGROUP_PROGS)?, &ids.programs)?;
        Self::typed(maps, tables, ids.clone())
    }

    pub(super) fn map_names() -> [&'static str; 21] {
        [
            names::CONTROL,
            names::LEASES,
            names::STOPS,
            names::POINTS,
            names::RULES,
            names::STATES,
            names::COUNTERS,
            names::ADDRS,
            names::PREFIXES,
            names::ADDR_PORTS,
            names::PORT_SETS,
            names::HITS,
            names::MISSED,
            names::DELAYS,
            names::HOSTS,
            names::LEARNED,
            names::NAMES,
            names::SLOT,
            names::PROGS,
            names::CGROUP_PROGS,
            CLOCK_MAP,
        ]
    }

    pub(super) fn typed(mut maps: Maps, tables: Tables, ids: Ids) -> Result<Self, KernelError> {
        fn typed<T: TryFrom<Map, Error = MapError>>(maps: &mut Maps, name: &'static str) -> Result<T, KernelError> {
            take(maps, name)?.try_into().map_err(|e| map_error("open map", name, &e))
        }
        let maps = &mut maps;
        Ok(Self {
            control: typed(maps, names::CONTROL)?,
            leases: typed(maps, names::LEASES)?,
            stops: typed(maps, names::STOPS)?,
            points: typed(maps, names::POINTS)?,
            rules: typed(maps, names::RULES)?,
            states: typed(maps, names::STATES)?,
            counters: typed(maps, names::COUNTERS)?,
            addrs: typed(maps, names::ADDRS)?,
            prefixes: typed(maps, names::PREFIXES)?,
            addr_ports: typed(maps, names::ADDR_PORTS)?,
            port_sets: typed(maps, names::PORT_SETS)?,
            hits: typed(maps, names::HITS)?,
            missed: typed(maps, names::MISSED)?,
            delays: typed(maps, names::DELAYS)?,
            hosts: typed(maps, names::HOSTS)?,
            learned: typed(maps, names::LEARNED)?,
            names: typed(maps, names::NAMES)?,
            clock_map: typed(maps, CLOCK_MAP)?,
            slot: take(maps, names::SLOT)?,
            tables,
            ids,
        })
    }

    /// Whether the loaded programs, which another version may have loaded, know this `ACTION_*`.
    ///
    /// # Errors
    /// What the kernel says of the map.
    pub fn knows(&self, action: u32) -> Result<bool, KernelError> {
        let control = self.control.get(&0, 0).map_err(|e| map_error("read map", names::CONTROL, &e))?;
        let highest = if control.actions == 0 { ACTION_CALL } else { control.actions };
        Ok(action <= highest)
    }

    pub(super) fn fill(&mut self, dist: Option<Map>) -> Result<(), KernelError> {
        let write = |e: MapError| map_error("fill map", names::DIST, &e);
        let dist = dist.ok_or_else(|| KernelError::new("find map", names::DIST, Errno::ENOENT))?;
        let mut dist: Array<MapData, [i16; DIST_SIZE]> = dist.try_into().map_err(write)?;
        for (index, table) in dist::tables().iter().enumerate() {
            dist.set(index as u32, table, 0).map_err(write)?;
        }
        let control = Control { abi: ABI_VERSION, actions: ACTIONS, generation: 1 };
        self.control.set(0, control, 0).map_err(|e| map_error("fill map", names::CONTROL, &e))
    }

    /// The descriptors that the programs of system calls share with those of packets.
    #[must_use]
    pub fn call_maps(&self) -> Shared {
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

    /// Puts the programs into their tables again: see [`super::tables`].
    ///
    /// # Errors
    /// The kernel's answer.
    pub fn fill_tables(&self) -> Result<(), KernelError> {
        self.tables.fill()
    }

    /// Where the parts are, for the journal.
    #[must_use]
    pub fn ids(&self) -> &Ids {
        &self.ids
    }

    /// Another handle on the same maps.
    ///
    /// # Errors
    /// As [`Datapath::join`].
    pub fn reopen(&self) -> Result<Self, KernelError> {
        Self::join(&self.ids)
    }

    /// Loads the stub of an attach point that jumps to `program`; the faults' by way of the DNS program where the point says so.
    ///
    /// # Errors
    /// As [`bpf::load_stub`].
    pub fn stub(&self, program: u32, point: u32) -> Result<OwnedFd, KernelError> {
        let (slot, programs) = (fd_of(&self.slot, names::SLOT)?, self.tables.fd(Hook::Interface)?);
        let points = (program == PROGRAM_FAULT).then(|| self.points.map().fd().as_fd());
        bpf::load_stub(Hook::Interface, StubMaps { slot, programs, points }, program, point)
    }

    /// Loads the stub of an attach point on a cgroup.
    ///
    /// # Errors
    /// `unsupported` where the kernel refused the program that it would jump to.
    pub fn cgroup_stub(&self, point: u32) -> Result<OwnedFd, KernelError> {
        self.arrivals()?;
        let (slot, programs) = (fd_of(&self.slot, names::SLOT)?, self.tables.fd(Hook::Cgroup)?);
        bpf::load_stub(Hook::Cgroup, StubMaps { slot, programs, points: None }, PROGRAM_ARRIVAL, point)
    }

    /// Can what arrives for a cgroup be hit here?
    ///
    /// # Errors
    /// `unsupported`, with what the kernel said.
    pub fn arrivals(&self) -> Result<(), KernelError> {
        let Some(why) = &self.ids.no_arrivals else { return Ok(()) };
        let error = KernelError::new("use", "faults on what arrives for a cgroup", Errno::EOPNOTSUPP);
        Err(error.with_detail(why.clone()).unsupported("use direction egress, or place the fault at the peer"))
    }

    /// Reads the clocks that the programs go by.
    ///
    /// # Errors
    /// The kernel's answer to BPF_PROG_TEST_RUN.
    pub fn clock(&self) -> Result<Clock, KernelError> {
        bpf::test_run(self.tables.program(Hook::Interface, PROGRAM_CLOCK)?, &[0; 64], 1)?;
        self.clock_map.get(&0, 0).map_err(|e| map_error("read map", CLOCK_MAP, &e))
    }

    /// Jiffies per second.
    ///
    /// # Errors
    /// As [`Datapath::clock`].
    pub fn hz(&self) -> Result<u64, KernelError> {
        clock::hz(|| self.clock())
    }

    /// Sums a rule's counters over all CPUs.
    ///
    /// # Errors
    /// The kernel's answer to the look-up.
    pub fn count(&self, rule: u32) -> Result<Counters, KernelError> {
        let per_cpu = self.counters.get(&rule, 0).map_err(|e| map_error("read map", names::COUNTERS, &e))?;
        let mut sum = Counters::zeroed();
        for one in per_cpu.iter() {
            super::counters::add(&mut sum, one);
        }
        Ok(sum)
    }

    /// What a rule remembers; a read that is not locked, for a look.
    ///
    /// # Errors
    /// The kernel's answer to the look-up.
    pub fn state(&self, rule: u32) -> Result<State, KernelError> {
        self.states.get(&rule, 0).map_err(|e| map_error("read map", names::STATES, &e))
    }

    /// Zeroes a rule's counters and memory.
    ///
    /// # Errors
    /// The kernel's answer to the update.
    pub fn reset(&mut self, rule: u32) -> Result<(), KernelError> {
        let cpus = aya::util::nr_cpus().map_err(|(path, e)| KernelError::from_io("read", path, &e))?;
        let zero = aya::maps::PerCpuValues::try_from(vec![Counters::zeroed(); cpus])
            .map_err(|e| KernelError::from_io("fill map", names::COUNTERS, &e))?;
        self.counters.set(rule, zero, 0).map_err(|e| map_error("fill map", names::COUNTERS, &e))?;
        self.states.set(rule, State::zeroed(), 0).map_err(|e| map_error("fill map", names::STATES, &e))
    }
}

pub(super) fn open(ids: &Ids, name: &'static str) -> Result<Map, KernelError> {
    let id = ids.maps.get(name).ok_or_else(|| KernelError::new("find map", name, Errno::ENOENT))?;
    let data = MapData::from_id(*id).map_err(|e| map_error("open map", name, &e))?;
    // Ids are not reused soon, but a journal may be older than the system's uptime suggests.
    let info = data.info().map_err(|e| map_error("open map", name, &e))?;
    if info.name() != name.as_bytes() {
        return Err(KernelError::new("open map", name, Errno::ENOENT));
    }
    Map::from_map_data(data).map_err(|e| map_error("open map", name, &e))
}

pub(super) fn check_version(control: Map) -> Result<Array<MapData, Control>, KernelError> {
    let error = |e: MapError| map_error("read map", names::CONTROL, &e);
    let control: Array<MapData, Control> = control.try_into().map_err(error)?;
    if control.get(&0, 0).map_err(error)?.abi == ABI_VERSION {
        return Ok(control);
    }
    Err(KernelError::new("join", "maps of another chaos", Errno::EPROTO).with_hint(
        "a chaos of another version is active: `chaos status` shows its experiments; let them end first, \
             or end them with `chaos stop --all`",
    ))
}

pub(super) fn take(maps: &mut Maps, name: &'static str) -> Result<Map, KernelError> {
    maps.remove(name).ok_or_else(|| KernelError::new("find map", name, Errno::ENOENT))
}

fn fd_of<'a>(map: &'a Map, name: &'static str) -> Result<BorrowedFd<'a>, KernelError> {
    bpf::map_fd(map).ok_or_else(|| KernelError::new("use map", name, Errno::EINVAL))
}

//! The network datapath: the eBPF object, its maps, and the way to those of another process.
//!
//! All processes of a node share one set of maps, so that there is one stub per attach point and one walk over all rules. A
//! later process opens the maps by their ids, which the journal keeps; that works also while the first one is stopped or hung.

use super::{
    bpf::{self, Hook, StubMaps},
    clock, dist,
    error::KernelError,
    seam,
};
use aya::{
    EbpfLoader,
    maps::{Array, HashMap, IterableMap, LpmTrie, Map, MapData, MapError, PerCpuArray},
    programs::{CgroupSkb, ProgramType, SchedClassifier},
    sys::{BpfHelper, is_helper_supported},
};
use chaos_abi::{
    ABI_VERSION, AddrKey, Clock, Control, Counters, DIST_SIZE, Flow, Followers, HostKey, LearnedKey, Lease, MissKey,
    PROGRAM_BACK, PROGRAM_CLOCK, PROGRAM_DNS, PROGRAM_DNS_RECORDS, PROGRAM_FAULT, PROGRAM_STAMP, Point, Rule,
    SampleKey, State, maps as names,
};
use nix::errno::Errno;
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

/// Entry of the cgroups' table of tail calls.
const PROGRAM_ARRIVAL: u32 = 0;
const CLOCK_MAP: &str = "CHAOS_CLOCK";

static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/net"));

/// Where the maps and programs are; kept in the journal.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ids {
    /// Map ids by name.
    pub maps: BTreeMap<String, u32>,
    /// The program that reads the clocks.
    pub clock: u32,
    /// True where the kernel lacks `bpf_skb_set_tstamp` (before Linux 5.18).
    pub legacy: bool,
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
    pub points: Array<MapData, Point>,
    pub rules: Array<MapData, Rule>,
    pub states: Array<MapData, State>,
    pub counters: PerCpuArray<MapData, Counters>,
    pub addrs: HashMap<MapData, AddrKey, u32>,
    pub prefixes: LpmTrie<MapData, AddrKey, u32>,
    pub port_sets: Array<MapData, [u64; 1024]>,
    pub hits: HashMap<MapData, SampleKey, Flow>,
    pub missed: HashMap<MapData, MissKey, u64>,
    pub delays: HashMap<MapData, SampleKey, u64>,
    pub hosts: HashMap<MapData, HostKey, Followers>,
    pub learned: HashMap<MapData, LearnedKey, u64>,
    clock_map: Array<MapData, Clock>,
    slot: Map,
    programs: Map,
    cgroup_programs: Map,
    clock_program: OwnedFd,
    ids: Ids,
}

/// An aya error as ours: the errno of the syscall in its chain, and all its words.
pub fn map_error(op: &'static str, object: &str, error: &MapError) -> KernelError {
    load_error(op, object, error)
}

/// The same for any error of aya.
fn load_error(op: &'static str, object: &str, error: &dyn std::error::Error) -> KernelError {
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
    /// Loads the object: a set of maps of our own.
    ///
    /// # Errors
    /// EPERM without CAP_BPF and CAP_NET_ADMIN or CAP_SYS_ADMIN; what the verifier says.
    pub fn load() -> Result<Self, KernelError> {
        seam::run("load", "network programs", || {
            let mut ebpf = EbpfLoader::new().load(OBJECT).map_err(|e| load_error("load", "network programs", &e))?;
            let mut program = |name: &'static str| -> Result<OwnedFd, KernelError> {
                let wrong = || KernelError::new("load program", name, Errno::ENOENT);
                let program: &mut SchedClassifier =
                    ebpf.program_mut(name).ok_or_else(wrong)?.try_into().map_err(|_| wrong())?;
                program.load().map_err(|e| load_error("load program", name, &e))?;
                let fd = program.fd().map_err(|e| load_error("load program", name, &e))?;
                fd.as_fd().try_clone_to_owned().map_err(|e| KernelError::from_io("load program", name, &e))
            };
            // Asked, not tried: a verifier that refuses takes seconds on a slow machine, and its complaint would hide the other's.
            let stamps = is_helper_supported(ProgramType::SchedClassifier, BpfHelper::BPF_FUNC_skb_set_tstamp)
                .map_err(|e| load_error("probe helper", "bpf_skb_set_tstamp", &e))?;
            let legacy = !stamps;
            let fault = program(if legacy { "fault_legacy" } else { "fault" })?;
            let (back, clock, stamp) = (program("back")?, program("clock")?, program("stamp")?);
            let dns = program("dns").and_then(|first| Ok([first, program("dns_records")?]));
            let arrivals = arrivals(&mut ebpf);
            let no_arrivals = arrivals.as_ref().err().map(|e| e.detail.clone().unwrap_or_else(|| e.to_string()));
            let mut maps = BTreeMap::new();
            for name in Self::map_names() {
                let map = ebpf.take_map(name).ok_or_else(|| KernelError::new("find map", name, Errno::ENOENT))?;
                maps.insert(name, map);
            }
            let ids =
                Ids { maps: ids_of(&maps)?, clock: program_id(&ebpf, "clock")?, legacy, no_arrivals, no_dns: None };
            let mut datapath = Self::typed(maps, clock, ids)?;
            let table = fd_of(&datapath.programs, names::PROGS)?;
            bpf::set_program(table, PROGRAM_FAULT, fault.as_fd())?;
            bpf::set_program(table, PROGRAM_BACK, back.as_fd())?;
            bpf::set_program(table, PROGRAM_CLOCK, datapath.clock_program.as_fd())?;
            bpf::set_program(table, PROGRAM_STAMP, stamp.as_fd())?;
            if let Ok(arrivals) = arrivals {
                let table = fd_of(&datapath.cgroup_programs, names::CGROUP_PROGS)?;
                bpf::set_program(table, PROGRAM_ARRIVAL, arrivals.as_fd())?;
            }
            match dns {
                Ok([first, records]) => {
                    bpf::set_program(table, PROGRAM_DNS, first.as_fd())?;
                    bpf::set_program(table, PROGRAM_DNS_RECORDS, records.as_fd())?;
                }
                Err(error) => datapath.ids.no_dns = Some(error.to_string()),
            }
            datapath.fill(ebpf.take_map(names::DIST))?;
            Ok(datapath)
        })
    }

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
        Self::typed(maps, bpf::program_by_id(ids.clock)?, ids.clone())
    }

    fn map_names() -> [&'static str; 18] {
        [
            names::CONTROL,
            names::LEASES,
            names::POINTS,
            names::RULES,
            names::STATES,
            names::COUNTERS,
            names::ADDRS,
            names::PREFIXES,
            names::PORT_SETS,
            names::HITS,
            names::MISSED,
            names::DELAYS,
            names::HOSTS,
            names::LEARNED,
            names::SLOT,
            names::PROGS,
            names::CGROUP_PROGS,
            CLOCK_MAP,
        ]
    }

    fn typed(mut maps: BTreeMap<&'static str, Map>, clock_program: OwnedFd, ids: Ids) -> Result<Self, KernelError> {
        fn take<T: TryFrom<Map, Error = MapError>>(
            maps: &mut BTreeMap<&'static str, Map>,
            name: &'static str,
        ) -> Result<T, KernelError> {
            let map = maps.remove(name).ok_or_else(|| KernelError::new("find map", name, Errno::ENOENT))?;
            map.try_into().map_err(|e| map_error("open map", name, &e))
        }
        let maps = &mut maps;
        let absent = |name| KernelError::new("find map", name, Errno::ENOENT);
        Ok(Self {
            control: take(maps, names::CONTROL)?,
            leases: take(maps, names::LEASES)?,
            points: take(maps, names::POINTS)?,
            rules: take(maps, names::RULES)?,
            states: take(maps, names::STATES)?,
            counters: take(maps, names::COUNTERS)?,
            addrs: take(maps, names::ADDRS)?,
            prefixes: take(maps, names::PREFIXES)?,
            port_sets: take(maps, names::PORT_SETS)?,
            hits: take(maps, names::HITS)?,
            missed: take(maps, names::MISSED)?,
            delays: take(maps, names::DELAYS)?,
            hosts: take(maps, names::HOSTS)?,
            learned: take(maps, names::LEARNED)?,
            clock_map: take(maps, CLOCK_MAP)?,
            slot: maps.remove(names::SLOT).ok_or_else(|| absent(names::SLOT))?,
            programs: maps.remove(names::PROGS).ok_or_else(|| absent(names::PROGS))?,
            cgroup_programs: maps.remove(names::CGROUP_PROGS).ok_or_else(|| absent(names::CGROUP_PROGS))?,
            clock_program,
            ids,
        })
    }

    fn fill(&mut self, dist: Option<Map>) -> Result<(), KernelError> {
        let write = |e: MapError| map_error("fill map", names::DIST, &e);
        let dist = dist.ok_or_else(|| KernelError::new("find map", names::DIST, Errno::ENOENT))?;
        let mut dist: Array<MapData, [i16; DIST_SIZE]> = dist.try_into().map_err(write)?;
        for (index, table) in dist::tables().iter().enumerate() {
            dist.set(index as u32, table, 0).map_err(write)?;
        }
        let control = Control { abi: ABI_VERSION, reserved: 0, generation: 1 };
        self.control.set(0, control, 0).map_err(|e| map_error("fill map", names::CONTROL, &e))
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

    /// Loads the stub of an attach point that jumps to `program`; `ingress`: by way of the DNS program where the point says so.
    ///
    /// # Errors
    /// As [`bpf::load_stub`].
    pub fn stub(&self, program: u32, point: u32, ingress: bool) -> Result<OwnedFd, KernelError> {
        let (slot, programs) = (fd_of(&self.slot, names::SLOT)?, fd_of(&self.programs, names::PROGS)?);
        let points = ingress.then(|| self.points.map().fd().as_fd());
        bpf::load_stub(Hook::Interface, StubMaps { slot, programs, points }, program, point)
    }

    /// Loads the stub of an attach point on a cgroup.
    ///
    /// # Errors
    /// `unsupported` where the kernel refused the program that it would jump to.
    pub fn cgroup_stub(&self, point: u32) -> Result<OwnedFd, KernelError> {
        self.arrivals()?;
        let (slot, programs) = (fd_of(&self.slot, names::SLOT)?, fd_of(&self.cgroup_programs, names::CGROUP_PROGS)?);
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
        bpf::test_run(self.clock_program.as_fd(), &[0; 64], 1)?;
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

fn open(ids: &Ids, name: &'static str) -> Result<Map, KernelError> {
    let id = ids.maps.get(name).ok_or_else(|| KernelError::new("find map", name, Errno::ENOENT))?;
    let data = MapData::from_id(*id).map_err(|e| map_error("open map", name, &e))?;
    // Ids are not reused soon, but a journal may be older than the system's uptime suggests.
    let info = data.info().map_err(|e| map_error("open map", name, &e))?;
    if info.name() != name.as_bytes() {
        return Err(KernelError::new("open map", name, Errno::ENOENT));
    }
    Map::from_map_data(data).map_err(|e| map_error("open map", name, &e))
}

fn check_version(control: Map) -> Result<(), KernelError> {
    let error = |e: MapError| map_error("read map", names::CONTROL, &e);
    let control: Array<MapData, Control> = control.try_into().map_err(error)?;
    if control.get(&0, 0).map_err(error)?.abi == ABI_VERSION {
        return Ok(());
    }
    Err(KernelError::new("join", "maps of another chaos", Errno::EPROTO)
        .with_hint("a chaos of another version is active: `chaos status` shows its experiments; let them end first"))
}

fn fd_of<'a>(map: &'a Map, name: &'static str) -> Result<BorrowedFd<'a>, KernelError> {
    bpf::map_fd(map).ok_or_else(|| KernelError::new("use map", name, Errno::EINVAL))
}

/// The program for what arrives for a cgroup. A kernel that refuses it loses only that.
fn arrivals(ebpf: &mut aya::Ebpf) -> Result<OwnedFd, KernelError> {
    const NAME: &str = "cgroup_ingress";
    let wrong = || KernelError::new("load program", NAME, Errno::ENOENT);
    let program: &mut CgroupSkb = ebpf.program_mut(NAME).ok_or_else(wrong)?.try_into().map_err(|_| wrong())?;
    program.load().map_err(|e| load_error("load program", NAME, &e))?;
    let fd = program.fd().map_err(|e| load_error("load program", NAME, &e))?;
    fd.as_fd().try_clone_to_owned().map_err(|e| KernelError::from_io("load program", NAME, &e))
}

fn ids_of(maps: &BTreeMap<&'static str, Map>) -> Result<BTreeMap<String, u32>, KernelError> {
    let mut ids = BTreeMap::new();
    for (name, map) in maps {
        let fd =
            fd_of(map, name)?.try_clone_to_owned().map_err(|e| KernelError::from_io("duplicate map", *name, &e))?;
        let data = MapData::from_fd(fd).map_err(|e| map_error("open map", name, &e))?;
        let info = data.info().map_err(|e| map_error("open map", name, &e))?;
        ids.insert((*name).to_owned(), info.id());
    }
    Ok(ids)
}

fn program_id(ebpf: &aya::Ebpf, name: &'static str) -> Result<u32, KernelError> {
    let wrong = || KernelError::new("find program", name, Errno::ENOENT);
    let program: &SchedClassifier = ebpf.program(name).ok_or_else(wrong)?.try_into().map_err(|_| wrong())?;
    Ok(program.info().map_err(|e| load_error("read id of program", name, &e))?.id())
}

/// Increments the generation of every set of maps on the node: all faults are off at once, whoever owns them, hung or not.
/// Returns how many sets there were.
///
/// # Errors
/// The first map that could not be written; the others are still tried.
pub fn kill_switch() -> Result<usize, KernelError> {
    let (mut done, mut failed) = (0, None);
    for info in aya::maps::loaded_maps() {
        let Ok(info) = info else { continue };
        if info.name() != names::CONTROL.as_bytes() {
            continue;
        }
        match bump(info.id()) {
            Ok(()) => done += 1,
            Err(error) => failed = Some(error),
        }
    }
    failed.map_or(Ok(done), Err)
}

fn bump(id: u32) -> Result<(), KernelError> {
    let error = |e: MapError| map_error("write map", names::CONTROL, &e);
    let data = MapData::from_id(id).map_err(error)?;
    let mut control: Array<MapData, Control> = Map::from_map_data(data).map_err(error)?.try_into().map_err(error)?;
    let mut value = control.get(&0, 0).map_err(error)?;
    value.generation += 1;
    control.set(0, value, 0).map_err(error)
}

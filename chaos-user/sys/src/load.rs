//! Loading the eBPF object of the network faults.

use super::{
    bpf::{self, Hook},
    datapath::{Datapath, Ids, Maps, PROGRAM_ARRIVAL, load_error, map_error, take},
    error::KernelError,
    seam,
    tables::Tables,
};
use aya::{
    Ebpf, EbpfLoader,
    maps::{Map, MapData},
    programs::{CgroupSkb, ProgramType, SchedClassifier},
    sys::{BpfHelper, is_helper_supported},
};
use chaos_abi::{
    PROGRAM_BACK, PROGRAM_CLOCK, PROGRAM_DNS, PROGRAM_DNS_RECORDS, PROGRAM_FAULT, PROGRAM_STAMP, maps as names,
};
use nix::errno::Errno;
use std::{
    collections::BTreeMap,
    os::fd::{AsFd, OwnedFd},
};

impl Datapath {
    /// Loads the object, `chaos_objects::NET`: a set of maps of our own.
    ///
    /// # Errors
    /// EPERM without CAP_BPF and CAP_NET_ADMIN or CAP_SYS_ADMIN; what the verifier says.
    pub fn load(object: &[u8]) -> Result<Self, KernelError> {
        seam::run("load", "network programs", || {
            // Nothing in it goes by the kernel's types, which take more memory than all else to read.
            let mut ebpf =
                EbpfLoader::new().btf(None).load(object).map_err(|e| load_error("load", "network programs", &e))?;
            // Asked, not tried: a verifier that refuses takes seconds on a slow machine, and its complaint would hide the other's.
            let stamps = is_helper_supported(ProgramType::SchedClassifier, BpfHelper::BPF_FUNC_skb_set_tstamp)
                .map_err(|e| load_error("probe helper", "bpf_skb_set_tstamp", &e))?;
            let mut ids = Ids { legacy: !stamps, ..Ids::default() };
            let programs = programs(&mut ebpf, &mut ids)?;
            let mut maps = Maps::new();
            for name in Self::map_names() {
                let map = ebpf.take_map(name).ok_or_else(|| KernelError::new("find map", name, Errno::ENOENT))?;
                maps.insert(name, map);
            }
            ids.maps = ids_of(&maps)?;
            let mut tables = Tables::new(take(&mut maps, names::PROGS)?, take(&mut maps, names::CGROUP_PROGS)?);
            for (hook, index, program) in programs {
                tables.put(hook, index, program)?;
            }
            ids.programs = tables.entries()?;
            let mut datapath = Self::typed(maps, tables, ids)?;
            datapath.fill(ebpf.take_map(names::DIST))?;
            Ok(datapath)
        })
    }
}

/// Loads the programs, with their places in the tables. What a kernel refuses of those that it may do without is noted.
fn programs(ebpf: &mut Ebpf, ids: &mut Ids) -> Result<Vec<(Hook, u32, OwnedFd)>, KernelError> {
    let fault = if ids.legacy { "fault_legacy" } else { "fault" };
    let mut programs = Vec::new();
    for (index, name) in
        [(PROGRAM_FAULT, fault), (PROGRAM_BACK, "back"), (PROGRAM_CLOCK, "clock"), (PROGRAM_STAMP, "stamp")]
    {
        let program = classifier(ebpf, name)?;
        if index == PROGRAM_BACK {
            ids.tcx = bpf::has_tcx(program.as_fd())?;
        }
        programs.push((Hook::Interface, index, program));
    }
    match classifier(ebpf, "dns").and_then(|first| Ok((first, classifier(ebpf, "dns_records")?))) {
        Ok((first, records)) => {
            programs.push((Hook::Interface, PROGRAM_DNS, first));
            programs.push((Hook::Interface, PROGRAM_DNS_RECORDS, records));
        }
        Err(error) => ids.no_dns = Some(error.to_string()),
    }
    match arrivals(ebpf, if ids.legacy { "cgroup_ingress_legacy" } else { "cgroup_ingress" }) {
        Ok(program) => programs.push((Hook::Cgroup, PROGRAM_ARRIVAL, program)),
        Err(error) => ids.no_arrivals = Some(error.detail.clone().unwrap_or_else(|| error.to_string())),
    }
    Ok(programs)
}

fn classifier(ebpf: &mut Ebpf, name: &'static str) -> Result<OwnedFd, KernelError> {
    let wrong = || KernelError::new("load program", name, Errno::ENOENT);
    let program: &mut SchedClassifier = ebpf.program_mut(name).ok_or_else(wrong)?.try_into().map_err(|_| wrong())?;
    program.load().map_err(|e| load_error("load program", name, &e))?;
    let fd = program.fd().map_err(|e| load_error("load program", name, &e))?;
    fd.as_fd().try_clone_to_owned().map_err(|e| KernelError::from_io("load program", name, &e))
}

/// The program for what arrives for a cgroup. A kernel that refuses it loses only that.
fn arrivals(ebpf: &mut Ebpf, name: &'static str) -> Result<OwnedFd, KernelError> {
    let wrong = || KernelError::new("load program", name, Errno::ENOENT);
    let program: &mut CgroupSkb = ebpf.program_mut(name).ok_or_else(wrong)?.try_into().map_err(|_| wrong())?;
    program.load().map_err(|e| load_error("load program", name, &e))?;
    let fd = program.fd().map_err(|e| load_error("load program", name, &e))?;
    fd.as_fd().try_clone_to_owned().map_err(|e| KernelError::from_io("load program", name, &e))
}

fn ids_of(maps: &BTreeMap<&'static str, Map>) -> Result<BTreeMap<String, u32>, KernelError> {
    let mut ids = BTreeMap::new();
    for (name, map) in maps {
        let fd = bpf::map_fd(map).ok_or_else(|| KernelError::new("use map", *name, Errno::EINVAL))?;
        let fd = fd.try_clone_to_owned().map_err(|e| KernelError::from_io("duplicate map", *name, &e))?;
        let data = MapData::from_fd(fd).map_err(|e| map_error("open map", name, &e))?;
        let info = data.info().map_err(|e| map_error("open map", name, &e))?;
        ids.insert((*name).to_owned(), info.id());
    }
    Ok(ids)
}

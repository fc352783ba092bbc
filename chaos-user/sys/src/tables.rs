//! The tables of tail calls, with the programs that stand in them.
//!
//! The kernel empties a table soon after the last process closed it (kernel/bpf/arraymap.c, `prog_array_map_clear`). A process
//! that opens one by its id in that instant has a table that loses its programs a moment later. So every process holds the
//! programs too, and fills the table again before it starts a fault.

use super::{
    bpf::{self, Hook},
    error::KernelError,
};
use aya::maps::Map;
use chaos_abi::maps as names;
use nix::errno::Errno;
use serde::{Deserialize, Serialize};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// An entry of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// Which table: one holds programs of one type.
    pub hook: Hook,
    /// Where in it.
    pub index: u32,
    /// Id of the program.
    pub program: u32,
}

/// Both tables.
#[derive(Debug)]
pub struct Tables {
    interface: Map,
    cgroup: Map,
    programs: Vec<(Hook, u32, OwnedFd)>,
}

impl Tables {
    /// Empty ones.
    #[must_use]
    pub fn new(interface: Map, cgroup: Map) -> Self {
        Self { interface, cgroup, programs: Vec::new() }
    }

    /// Those of another process.
    ///
    /// # Errors
    /// ENOENT if a program is gone.
    pub fn join(interface: Map, cgroup: Map, entries: &[Entry]) -> Result<Self, KernelError> {
        let mut tables = Self::new(interface, cgroup);
        for entry in entries {
            tables.put(entry.hook, entry.index, bpf::program_by_id(entry.program)?)?;
        }
        Ok(tables)
    }

    /// Puts a program into its place.
    ///
    /// # Errors
    /// The kernel's answer to BPF_MAP_UPDATE_ELEM.
    pub fn put(&mut self, hook: Hook, index: u32, program: OwnedFd) -> Result<(), KernelError> {
        bpf::set_program(self.fd(hook)?, index, program.as_fd())?;
        self.programs.push((hook, index, program));
        Ok(())
    }

    /// Puts every program into its place again.
    ///
    /// # Errors
    /// The kernel's answer to BPF_MAP_UPDATE_ELEM.
    pub fn fill(&self) -> Result<(), KernelError> {
        for (hook, index, program) in &self.programs {
            bpf::set_program(self.fd(*hook)?, *index, program.as_fd())?;
        }
        Ok(())
    }

    /// What stands where, for the journal.
    ///
    /// # Errors
    /// The kernel's answer to BPF_OBJ_GET_INFO_BY_FD.
    pub fn entries(&self) -> Result<Vec<Entry>, KernelError> {
        let entry = |(hook, index, program): &(Hook, u32, OwnedFd)| {
            Ok(Entry { hook: *hook, index: *index, program: bpf::program_id(program.as_fd())? })
        };
        self.programs.iter().map(entry).collect()
    }

    /// The program at a place.
    ///
    /// # Errors
    /// ENOENT where none was put.
    pub fn program(&self, hook: Hook, index: u32) -> Result<BorrowedFd<'_>, KernelError> {
        let found = self.programs.iter().find(|(one, at, _)| *one == hook && *at == index);
        found
            .map(|(_, _, program)| program.as_fd())
            .ok_or_else(|| KernelError::new("use", format!("program {index}"), Errno::ENOENT))
    }

    /// The table of a hook.
    ///
    /// # Errors
    /// None but for a map of another type.
    pub fn fd(&self, hook: Hook) -> Result<BorrowedFd<'_>, KernelError> {
        let (map, name) = match hook {
            Hook::Interface => (&self.interface, names::PROGS),
            Hook::Cgroup => (&self.cgroup, names::CGROUP_PROGS),
        };
        bpf::map_fd(map).ok_or_else(|| KernelError::new("use map", name, Errno::EINVAL))
    }
}

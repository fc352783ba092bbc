//! What one process holds: the maps and the descriptors of links. A link lives as long as somebody holds it, so SIGKILL takes
//! the programs of this process with it, and those that another one holds too stay.

use super::{EngineError, Locked, calls::Calls};
use chaos_sys::{bpf, datapath::Datapath, error::KernelError};
use std::{
    collections::HashMap,
    os::fd::OwnedFd,
    sync::{Arc, Mutex},
};

/// A process's side of the datapath.
pub struct Session {
    /// The maps.
    pub datapath: Datapath,
    /// Links by attach point.
    pub held: HashMap<u32, Vec<OwnedFd>>,
    /// Jiffies per second.
    pub hz: u64,
    calls: Option<Calls>,
}

/// Shared between the experiments of a process.
pub type Shared = Arc<Mutex<Session>>;

impl Session {
    /// Joins the maps of a live owner, or loads a set; the journal learns where they are.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn open(locked: &mut Locked) -> Result<Self, EngineError> {
        let ids = locked.journal.datapath.clone().filter(|_| locked.live().next().is_some());
        let datapath = match ids {
            Some(ids) => Datapath::join(&ids)?,
            None => {
                let datapath = Datapath::load(chaos_objects::NET)?;
                locked.journal.datapath = Some(datapath.ids().clone());
                locked.save()?;
                datapath
            }
        };
        let hz = datapath.hz()?;
        Ok(Self { datapath, held: HashMap::new(), hz, calls: None })
    }

    /// Loads a set of maps that no journal names.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn private() -> Result<Self, KernelError> {
        let datapath = Datapath::load(chaos_objects::NET)?;
        let hz = datapath.hz()?;
        Ok(Self { datapath, held: HashMap::new(), hz, calls: None })
    }

    /// The faults of system calls; their object is read when it is first needed.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn calls(&mut self) -> Result<&mut Calls, KernelError> {
        if self.calls.is_none() {
            self.calls = Some(Calls::new(&self.datapath)?);
        }
        self.calls.as_mut().ok_or_else(|| KernelError::new("find", "system calls", nix::errno::Errno::ENOENT))
    }

    /// The same, where there are any.
    pub fn known_calls(&mut self) -> Option<&mut Calls> {
        self.calls.as_mut()
    }

    /// The same, to look at.
    #[must_use]
    pub fn seen_calls(&self) -> Option<&Calls> {
        self.calls.as_ref()
    }

    /// Holds the links of an attach point that another process made.
    ///
    /// # Errors
    /// ENOENT if they are gone, which a live holder rules out.
    pub fn hold(&mut self, point: u32, links: &[u32]) -> Result<(), EngineError> {
        if self.held.contains_key(&point) {
            return Ok(());
        }
        let fds = links.iter().map(|id| bpf::link_by_id(*id)).collect::<Result<Vec<_>, _>>()?;
        self.held.insert(point, fds);
        Ok(())
    }
}

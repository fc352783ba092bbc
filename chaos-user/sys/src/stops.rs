//! Stops: how a process ends the experiment of another, which may be hung, or renew its lease at this very moment.

use super::{
    datapath::{Ids, check_version, map_error, open},
    error::KernelError,
    seam,
};
use aya::maps::{Array, MapData, MapError};
use chaos_abi::{Control, Lease, maps as names, stop_of, stop_word};

/// The maps that are needed for it, and no others: a table of tail calls that is opened while its owner ends may stay for good.
pub struct Stops {
    control: Array<MapData, Control>,
    leases: Array<MapData, Lease>,
    stops: Array<MapData, u64>,
}

impl Stops {
    /// Opens those of a live or dead owner.
    ///
    /// # Errors
    /// ENOENT if they are gone; EPROTO if they are of another version of chaos.
    pub fn open(ids: &Ids) -> Result<Self, KernelError> {
        fn typed<T: TryFrom<aya::maps::Map, Error = MapError>>(
            ids: &Ids,
            name: &'static str,
        ) -> Result<T, KernelError> {
            open(ids, name)?.try_into().map_err(|e| map_error("open map", name, &e))
        }
        let control = check_version(open(ids, names::CONTROL)?)?;
        Ok(Self { control, leases: typed(ids, names::LEASES)?, stops: typed(ids, names::STOPS)? })
    }

    /// Asks the experiment `id` in a slot to end; its faults are off with this write. `how` is `STOP_*`.
    ///
    /// # Errors
    /// The kernel's answer.
    pub fn ask(&mut self, slot: u32, id: u64, how: u32) -> Result<(), KernelError> {
        seam::run("stop", names::STOPS, || {
            self.stops.set(slot, stop_word(id, how), 0).map_err(|e| map_error("write map", names::STOPS, &e))
        })
    }

    /// Is it certain that no fault of the experiment acts any more, nor will?
    ///
    /// # Errors
    /// The kernel's answer.
    pub fn is_off(&self, slot: u32, id: u64) -> Result<bool, KernelError> {
        let word = self.stops.get(&slot, 0).map_err(|e| map_error("read map", names::STOPS, &e))?;
        if stop_of(id, word) != 0 {
            return Ok(true);
        }
        let lease = self.leases.get(&slot, 0).map_err(|e| map_error("read map", names::LEASES, &e))?;
        let control = self.control.get(&0, 0).map_err(|e| map_error("read map", names::CONTROL, &e))?;
        let is_anothers = lease.id != id && lease.id != 0;
        Ok(is_anothers || (lease.id == id && lease.generation != control.generation))
    }
}

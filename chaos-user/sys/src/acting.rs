//! Experiments that act, as the maps of the node say: for when there is no journal that names them.

use super::{
    clock,
    datapath::map_error,
    error::KernelError,
    search::{beside, in_maps},
};
use aya::maps::{Array, Map, MapData, MapError};
use chaos_abi::{ABI_VERSION, Control, LEASE_PAUSED, LEASE_RUNNING, Lease, maps as names};
use std::time::Duration;

/// Longer than a live owner lets pass between two renewals, two of them missed.
const WATCHED: Duration = Duration::from_millis(1200);

/// An experiment whose end has not come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acting {
    /// Id of the map that its lease is in.
    pub map: u32,
    /// Its slot there.
    pub slot: u32,
    /// Which one's it is among all that have this slot one after another; none: the map is another version's, which may have it elsewhere.
    id: Option<u64>,
    /// Until when the lease holds, in jiffies.
    until: u64,
    paused: bool,
}

impl Acting {
    /// Is it the one with this slot and this id?
    #[must_use]
    pub fn is(&self, slot: u32, id: u64) -> bool {
        self.slot == slot && self.id.is_none_or(|own| own == id)
    }
}

/// All of them, whoever owns them.
///
/// # Errors
/// EPERM where we may not look for maps; what the kernel says of one.
pub fn acting() -> Result<Vec<Acting>, KernelError> {
    in_maps(names::LEASES, of)
}

fn of(map: u32) -> Result<Vec<Acting>, KernelError> {
    let error = |e: MapError| map_error("read map", names::LEASES, &e);
    let data = MapData::from_id(map).map_err(error)?;
    let leases: Array<MapData, Lease> = Map::from_map_data(data).map_err(error)?.try_into().map_err(error)?;
    let now = clock::boot();
    let mut found = Vec::new();
    let mut is_ours = None;
    for slot in 0..leases.len() {
        let lease = leases.get(&slot, 0).map_err(error)?;
        if !matches!(lease.state, LEASE_RUNNING | LEASE_PAUSED) {
            continue;
        }
        let is_ours = match is_ours {
            Some(known) => known,
            // One whose version cannot be read is shown all the same.
            None => *is_ours.insert(is_of_this_version(map).unwrap_or(false)),
        };
        // Another version's deadline may be of another clock.
        if !is_ours || lease.deadline > now {
            let (id, paused) = (is_ours.then_some(lease.id), lease.state == LEASE_PAUSED);
            found.push(Acting { map, slot, id, until: lease.until, paused });
        }
    }
    Ok(found)
}

/// Is a lease's map of our version?
fn is_of_this_version(map: u32) -> Result<bool, KernelError> {
    let error = |e: MapError| map_error("read map", names::CONTROL, &e);
    let Some(id) = beside(map, names::CONTROL)?.into_iter().next() else { return Ok(false) };
    let data = MapData::from_id(id).map_err(error)?;
    let control: Array<MapData, Control> = Map::from_map_data(data).map_err(error)?.try_into().map_err(error)?;
    Ok(control.get(&0, 0).map_err(error)?.abi == ABI_VERSION)
}

/// Those of these whose owner lives, as far as can be seen: it renews the lease, or has paused it. Takes more than a second.
///
/// # Errors
/// As [`acting`].
pub fn kept(these: &[Acting]) -> Result<usize, KernelError> {
    if these.is_empty() {
        return Ok(0);
    }
    std::thread::sleep(WATCHED);
    let now = acting()?;
    let lives = |one: &&Acting| {
        now.iter()
            .any(|later| (later.map, later.slot) == (one.map, one.slot) && (later.paused || later.until != one.until))
    };
    Ok(these.iter().filter(lives).count())
}

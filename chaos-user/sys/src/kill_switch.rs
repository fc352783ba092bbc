//! The kill switch of the node.

use super::{datapath::map_error, error::KernelError, search};
use aya::maps::{Array, Map, MapData, MapError};
use chaos_abi::{Control, maps as names};
use nix::errno::Errno;

/// Increments the generation of every set of maps on the node: all faults are off at once, whoever owns them, hung or not.
/// Returns how many sets there were.
///
/// # Errors
/// The last map that could not be read or written, or what could not be looked at; the others are still tried. EPERM where we may not look
/// for maps.
pub fn kill_switch() -> Result<usize, KernelError> {
    let found = search::seen(names::CONTROL);
    let (mut done, mut failed) = (0, found.error);
    for id in found.these {
        match bump(id) {
            Ok(()) => done += 1,
            // Gone since it was found, and its faults with it.
            Err(error) if error.errno == Errno::ENOENT => {}
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

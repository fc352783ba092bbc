//! Whose the leases are, as the maps of the node say: for when there is no journal that names them.

use super::{
    datapath::{Datapath, Ids, map_error},
    error::KernelError,
    seam,
    search::in_maps,
};
use aya::maps::{HashMap, Map, MapData, MapError};
use chaos_abi::{NAME_LENGTH, Name, maps as names};
use nix::errno::Errno;

/// An experiment with the maps that it is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// Slot of its lease.
    pub slot: u32,
    /// [`chaos_abi::Lease::id`].
    pub id: u64,
    /// Its process.
    pub pid: u32,
    /// When that began, in ticks since the boot.
    pub pid_start: u64,
    /// Its namespace, where it has one.
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
    /// Where its lease and the stops are.
    pub ids: Ids,
}

const PLACES: [&str; 3] = [names::CONTROL, names::LEASES, names::STOPS];

/// Writes the name of the experiment in a slot; texts that are too long are cut.
///
/// # Errors
/// The kernel's answer.
pub fn write(datapath: &mut Datapath, named: &Named) -> Result<(), KernelError> {
    let mut entry = Name { id: named.id, pid_start: named.pid_start, pid: named.pid, ..Name::zeroed() };
    let namespace = named.namespace.as_deref().unwrap_or_default();
    let mut place = entry.text.iter_mut();
    let mut put = |text: &str| (&mut place).zip(text.bytes()).map(|(to, byte)| *to = byte).count() as u32;
    (entry.namespace, entry.name) = (put(namespace), put(&named.name));
    entry.maps = PLACES.map(|name| datapath.ids().maps.get(name).copied().unwrap_or(0));
    seam::run("write map", names::NAMES, || {
        datapath.names.insert(named.slot, entry, 0).map_err(|e| map_error("write map", names::NAMES, &e))
    })
}

/// Takes the name of a slot away.
///
/// # Errors
/// The kernel's answer; that there was none is fine.
pub fn remove(datapath: &mut Datapath, slot: u32) -> Result<(), KernelError> {
    match datapath.names.remove(&slot).map_err(|e| map_error("clear map", names::NAMES, &e)) {
        Err(error) if error.errno != Errno::ENOENT => Err(error),
        _ => Ok(()),
    }
}

/// Those in these maps.
///
/// # Errors
/// What the kernel says.
pub fn within(datapath: &Datapath) -> Result<Vec<Named>, KernelError> {
    let error = |e: MapError| map_error("read map", names::NAMES, &e);
    datapath.names.iter().map(|entry| entry.map(|(slot, name)| read(slot, &name)).map_err(error)).collect()
}

/// All that have a name, whoever owns them.
///
/// # Errors
/// EPERM where we may not look for maps; what the kernel says of one.
pub fn all() -> Result<Vec<Named>, KernelError> {
    in_maps(names::NAMES, of)
}

fn of(map: u32) -> Result<Vec<Named>, KernelError> {
    let error = |e: MapError| map_error("read map", names::NAMES, &e);
    let data = MapData::from_id(map).map_err(error)?;
    let all: HashMap<MapData, u32, Name> = Map::from_map_data(data).map_err(error)?.try_into().map_err(error)?;
    all.iter().map(|entry| entry.map(|(slot, name)| read(slot, &name)).map_err(error)).collect()
}

fn read(slot: u32, entry: &Name) -> Named {
    let namespace = (entry.namespace as usize).min(NAME_LENGTH);
    let end = namespace.saturating_add(entry.name as usize).min(NAME_LENGTH);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let maps = PLACES.iter().map(|name| (*name).to_owned()).zip(entry.maps).collect();
    Named {
        slot,
        id: entry.id,
        pid: entry.pid,
        pid_start: entry.pid_start,
        namespace: (namespace > 0).then(|| text(&entry.text[..namespace])),
        name: text(&entry.text[namespace..end]),
        ids: Ids { maps, ..Ids::default() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::root_or_return;

    #[test]
    fn names_are_found_by_whoever_looks_and_gone_when_taken_away() {
        root_or_return!();
        let mut datapath = Datapath::load(chaos_objects::NET).unwrap();
        let maps = PLACES.iter().map(|name| ((*name).to_owned(), datapath.ids().maps[*name])).collect();
        let ids = Ids { maps, ..Ids::default() };
        let one = Named {
            slot: 7,
            id: 44,
            pid: 12,
            pid_start: 99,
            namespace: Some("n".repeat(63)),
            name: "x".repeat(253),
            ids,
        };
        let other = Named { slot: 8, namespace: None, name: "slow".to_owned(), ..one.clone() };
        let mine = || {
            let mut found = all().unwrap();
            found.retain(|named| named.ids == one.ids);
            found.sort_by_key(|named| named.slot);
            found
        };
        write(&mut datapath, &one).unwrap();
        write(&mut datapath, &other).unwrap();
        assert_eq!(mine(), [one.clone(), other.clone()]);
        remove(&mut datapath, 7).unwrap();
        remove(&mut datapath, 7).unwrap();
        assert_eq!(mine(), [other]);
    }
}

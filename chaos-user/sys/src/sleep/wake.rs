//! The map of wake times as memory: to look into it takes no system call and no right.

use crate::{datapath::map_error, error::KernelError};
use aya::maps::MapData;
use chaos_abi::{SLEEP_SLOTS, maps};
use nix::{
    errno::Errno,
    sys::mman::{MapFlags, ProtFlags, mmap},
};
use std::{
    ffi::c_void,
    num::NonZeroUsize,
    ptr::NonNull,
    sync::atomic::{AtomicU64, Ordering},
};

/// Until when threads wait, by slot, as the programs write it; mapped as long as the process lives.
pub struct WakeTimes {
    at: NonNull<c_void>,
}

impl WakeTimes {
    /// Those of a map with [`SLEEP_SLOTS`] entries that was made to be mapped (BPF_F_MMAPABLE, Linux 5.5).
    ///
    /// # Errors
    /// The kernel's answer.
    pub fn of(map: u32) -> Result<Self, KernelError> {
        let data = MapData::from_id(map).map_err(|e| map_error("open map", maps::SLOTS, &e))?;
        let error = |errno| KernelError::new("map", maps::SLOTS, errno);
        let length = NonZeroUsize::new(SLEEP_SLOTS as usize * size_of::<u64>()).ok_or_else(|| error(Errno::EINVAL))?;
        // SAFETY: a new mapping at a place that the kernel chooses, of the whole array (kernel/bpf/arraymap.c, `array_map_mmap`, which
        // refuses a longer one).
        let at = unsafe { mmap(None, length, ProtFlags::PROT_READ, MapFlags::MAP_SHARED, data.fd(), 0) };
        Ok(Self { at: at.map_err(error)? })
    }

    /// Of a slot, ns of CLOCK_MONOTONIC; 0 beyond the last.
    pub fn get(&self, slot: u32) -> u64 {
        if slot >= SLEEP_SLOTS {
            return 0;
        }
        // Needed: it is memory of the kernel's. Sound: others write whole numbers there, as this reads them.
        // SAFETY: the mapping has that many aligned numbers and is never taken away.
        unsafe { self.at.cast::<AtomicU64>().add(slot as usize).as_ref() }.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{sleep, testing::root_or_return};
    use aya::maps::IterableMap as _;

    #[test]
    fn what_is_written_into_the_map_is_read_from_memory() {
        root_or_return!();
        let slots = sleep::slots().unwrap();
        let times = WakeTimes::of(slots.map().info().unwrap().id()).unwrap();
        let mut map = aya::maps::Array::<MapData, u64>::try_from(aya::maps::Map::Array(
            MapData::from_id(slots.map().info().unwrap().id()).unwrap(),
        ))
        .unwrap();
        for slot in [0, 1, SLEEP_SLOTS - 1] {
            map.set(slot, u64::from(slot) + 77, 0).unwrap();
            assert_eq!(times.get(slot), u64::from(slot) + 77);
            map.set(slot, 0, 0).unwrap();
        }
        assert_eq!(times.get(SLEEP_SLOTS), 0);
    }
}

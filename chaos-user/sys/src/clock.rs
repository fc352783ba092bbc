//! The time, and how many jiffies a second has: the kernel does not tell user space (USER_HZ is another number), and leases are in
//! jiffies.

use super::error::KernelError;
use chaos_abi::Clock;
use nix::{
    errno::Errno,
    time::{ClockId, clock_gettime},
};
use std::time::Duration;

/// CLOCK_MONOTONIC, ns; 0 should the kernel refuse to tell it.
#[must_use]
pub fn monotonic() -> u64 {
    clock_gettime(ClockId::CLOCK_MONOTONIC)
        .map_or(0, |time| u64::try_from(Duration::from(time).as_nanos()).unwrap_or(u64::MAX))
}

/// CLOCK_BOOTTIME, ns: goes on while the machine is suspended; 0 should the kernel refuse to tell it.
#[must_use]
pub fn boot() -> u64 {
    clock_gettime(ClockId::CLOCK_BOOTTIME)
        .map_or(0, |time| u64::try_from(Duration::from(time).as_nanos()).unwrap_or(u64::MAX))
}

/// The values that CONFIG_HZ takes (kernel/Kconfig.hz; 1024 on alpha, 24 to 1200 elsewhere are not ours).
const VALUES: [u64; 4] = [100, 250, 300, 1000];

/// Measures it between two ticks; takes at most 3 of them.
///
/// # Errors
/// The clock's own; EIO where ticks do not come.
pub fn hz(read: impl Fn() -> Result<Clock, KernelError>) -> Result<u64, KernelError> {
    let tick = |from: Clock| -> Result<Clock, KernelError> {
        loop {
            let now = read()?;
            if now.jiffies != from.jiffies {
                return Ok(now);
            }
            if now.ns.saturating_sub(from.ns) > 1_000_000_000 {
                return Err(KernelError::new("measure", "jiffies", Errno::EIO));
            }
        }
    };
    let first = tick(read()?)?;
    // At least 8 ms, so that a late read of one edge does not pass for another HZ.
    let mut last = tick(first)?;
    while last.ns - first.ns < 8_000_000 {
        last = tick(last)?;
    }
    let measured = (last.jiffies - first.jiffies) as f64 * 1e9 / (last.ns - first.ns) as f64;
    let nearest = VALUES.into_iter().min_by(|a, b| {
        let distance = |hz: u64| (measured / hz as f64).ln().abs();
        distance(*a).total_cmp(&distance(*b))
    });
    nearest.ok_or_else(|| KernelError::new("measure", "jiffies", Errno::EIO))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[test]
    fn finds_each_value() {
        for hz in VALUES {
            let ns = Cell::new(123_456_789);
            let read = || {
                ns.set(ns.get() + 1_700);
                Ok(Clock { jiffies: ns.get() * hz / 1_000_000_000, ns: ns.get(), boot: 0 })
            };
            assert_eq!(super::hz(read), Ok(hz));
        }
    }
}

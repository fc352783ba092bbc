//! The one clock of all measurements: it is the same in every network namespace of the machine.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// Nanoseconds of `CLOCK_MONOTONIC`.
pub fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("CLOCK_MONOTONIC");
    now.tv_sec() as u64 * 1_000_000_000 + now.tv_nsec() as u64
}

/// Waits until `condition` holds; `false` when it did not within `limit`.
pub fn wait_until(limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let end = now_ns() + limit.as_nanos() as u64;
    loop {
        if condition() {
            return true;
        }
        if now_ns() >= end {
            return false;
        }
        // Not a guess of how long something takes, only how often to look.
        std::thread::sleep(Duration::from_millis(5));
    }
}

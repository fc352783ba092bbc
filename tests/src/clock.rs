//! The one clock of all measurements: it is the same in every network namespace of the machine.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// Nanoseconds of `CLOCK_MONOTONIC`.
pub fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("CLOCK_MONOTONIC");
    now.tv_sec() as u64 * 1_000_000_000 + now.tv_nsec() as u64
}

/// How long the processors together have not been idle, to a hundredth of a second; proc_stat(5).
pub fn busy() -> Duration {
    let text = std::fs::read_to_string("/proc/stat").expect("/proc/stat");
    let all = text.lines().next().expect("the sum of all processors");
    let ticks: Vec<u64> = all.split_whitespace().skip(1).filter_map(|word| word.parse().ok()).collect();
    // user, nice, system, idle, iowait, irq, softirq: what comes after them is part of them, or another machine's.
    let busy: u64 = ticks.iter().take(7).enumerate().filter(|(field, _)| !matches!(field, 3 | 4)).map(|(_, n)| n).sum();
    Duration::from_millis(busy * 10)
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

//! The memory of a process that lives for weeks: what it needed once, to load programs or to read a list, goes back to the kernel.

/// An allocation of so many bytes is a mapping of its own, and goes with it. glibc raises this with each larger one that is freed, unless it
/// is set (mallopt(3)).
#[cfg(target_env = "gnu")]
const APART: i32 = 128 << 10;

/// From now on the allocator keeps little in store: one arena for all threads, and large pieces apart. To be called before there are threads;
/// with another allocator than glibc's it does nothing.
pub fn be_frugal() {
    #[cfg(target_env = "gnu")]
    // SAFETY: mallopt(3) takes two numbers and touches no memory of ours. It is asked before there are other threads. Each returns 0 where it
    // is refused, and then the allocator is as it was.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
        libc::mallopt(libc::M_MMAP_THRESHOLD, APART);
    }
}

/// Gives free pages back to the kernel; a fraction of a millisecond per MiB that is free.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim(3) takes a number, locks what it looks at, and may be called by any thread.
    unsafe {
        libc::malloc_trim(0);
    }
}

#[cfg(all(test, target_env = "gnu"))]
mod tests {
    use super::*;

    fn anonymous() -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    #[test]
    fn what_is_free_goes_back() {
        // Small pieces with one that stays behind each, so that the end of the heap cannot simply be lowered.
        let mut pieces: Vec<Vec<u8>> = (0..64 << 10).map(|_| vec![1; 1000]).collect();
        let held = anonymous();
        let mut number = 0;
        pieces.retain(|_| {
            number += 1;
            number % 64 == 0
        });
        give_back();
        let left = anonymous();
        // Each page of which nothing is held; others may have grown meanwhile.
        assert!(held - left.min(held) > 32 << 10, "{held} KiB before, {left} KiB after");
        drop(pieces);
    }
}

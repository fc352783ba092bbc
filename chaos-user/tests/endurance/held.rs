//! What a process holds of the kernel.

use std::{collections::BTreeSet, fmt, fs, time::Duration};

/// Descriptors, threads, BPF objects, memory.
pub struct Held {
    /// Open descriptors.
    pub fds: usize,
    /// Threads.
    pub threads: usize,
    /// BPF maps, programs and links among the descriptors.
    pub bpf: usize,
    /// Resident memory, KiB.
    pub rss_kib: u64,
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { fds, threads, bpf, rss_kib } = self;
        write!(f, "{fds} descriptors, {bpf} of them BPF, {threads} threads, {rss_kib} KiB resident")
    }
}

fn count(folder: &str) -> usize {
    fs::read_dir(folder).expect("procfs").count()
}

/// As of now.
pub fn now() -> Held {
    let statm = fs::read_to_string("/proc/self/statm").expect("procfs");
    let pages: u64 = statm.split(' ').nth(1).and_then(|text| text.parse().ok()).expect("the resident pages");
    let ids = ids();
    Held {
        fds: count("/proc/self/fd"),
        threads: count("/proc/self/task"),
        bpf: ids.maps.len() + ids.programs.len(),
        rss_kib: pages * 4,
    }
}

/// Ids of BPF objects.
#[derive(Default)]
pub struct Ids {
    /// Of maps.
    pub maps: BTreeSet<u32>,
    /// Of programs, those of links too.
    pub programs: BTreeSet<u32>,
}

/// Those that this process's descriptors stand for.
pub fn ids() -> Ids {
    let mut ids = Ids::default();
    for entry in fs::read_dir("/proc/self/fdinfo").expect("procfs").flatten() {
        for line in fs::read_to_string(entry.path()).unwrap_or_default().lines() {
            let number = |value: &str| value.trim().parse::<u32>().ok();
            ids.maps.extend(line.strip_prefix("map_id:").and_then(number));
            ids.programs.extend(line.strip_prefix("prog_id:").and_then(number));
        }
    }
    ids
}

impl Ids {
    /// Adds others.
    pub fn add(&mut self, other: &Self) {
        self.maps.extend(&other.maps);
        self.programs.extend(&other.programs);
    }

    /// Those that still exist although nobody should hold them, after the time that the kernel takes to free the last ones.
    pub fn left(&self) -> Vec<String> {
        // Once only, and not at once: opening a table of tail calls by its id while it is being freed seems to make the kernel lose
        // a reference (prog_array_map_clear, kernel/bpf/arraymap.c; likely, not proven).
        std::thread::sleep(Duration::from_secs(3));
        let maps = aya::maps::loaded_maps().flatten().filter(|info| self.maps.contains(&info.id()));
        let programs = aya::programs::loaded_programs().flatten().filter(|info| self.programs.contains(&info.id()));
        let maps = maps.map(|info| format!("map {} {:?}", info.id(), info.name_as_str()));
        maps.chain(programs.map(|info| format!("program {} {:?}", info.id(), info.name_as_str()))).collect()
    }
}

//! Which functions the kernel has at the entries of calls, by its list of symbols: its type information leaves some out (those of calls
//! without arguments, such as `fork` and `getppid`), and a kprobe needs no types.

use std::{
    collections::HashSet,
    fs::File,
    io::{BufRead, BufReader},
    sync::OnceLock,
};

const PATH: &str = "/proc/kallsyms";
const PREFIXES: [&str; 2] = ["__x64_sys_", "__arm64_sys_"];

/// Whether there is this function at the entry of a call. The list is read once per process; where it cannot be read, there is none.
#[must_use]
pub fn has_entry(function: &str) -> bool {
    static ENTRIES: OnceLock<HashSet<String>> = OnceLock::new();
    let read = || File::open(PATH).map(|list| entries(BufReader::new(list))).unwrap_or_default();
    ENTRIES.get_or_init(read).contains(function)
}

/// From lines such as `ffffffff81234560 T __x64_sys_getppid`: the address is zero for who may not know it.
fn entries(list: impl BufRead) -> HashSet<String> {
    let lines = list.lines().map_while(Result::ok);
    let names = lines.filter_map(|line| line.split_whitespace().nth(2).map(str::to_owned));
    names.filter(|name| PREFIXES.iter().any(|prefix| name.starts_with(prefix))).collect()
}

#[cfg(test)]
mod tests {
    use super::entries;

    #[test]
    fn only_entries_are_kept() {
        let list = "0000000000000000 T __x64_sys_getppid\n0000000000000000 t x\n0 T __x64_sys_y\t[module]\n";
        let mut names: Vec<String> = entries(list.as_bytes()).into_iter().collect();
        names.sort_unstable();
        assert_eq!(names, ["__x64_sys_getppid", "__x64_sys_y"]);
    }
}

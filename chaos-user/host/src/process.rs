//! The processes of the machine, as far as choosing a target needs them.
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::MetadataExt,
};

use super::host::Host;

/// A process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its number.
    pub pid: i32,
    /// Its parent's number; 0 for the first ones.
    pub parent: i32,
    /// Its name, at most 15 bytes.
    pub comm: String,
    /// Inode of its network namespace; none for a zombie or without the right to see it.
    pub netns: Option<u64>,
    /// Its path in cgroup2, relative to this process's cgroup namespace.
    pub cgroup: Option<String>,
    /// Its deepest path in a cgroup v1 hierarchy, as `name:path`, unless all are the root.
    pub legacy: Option<String>,
}

impl Process {
    /// Reads one; `None` when it is gone.
    pub fn read(host: &Host, pid: i32) -> Option<Self> {
        let stat = fs::read_to_string(host.of(pid, "stat")).ok()?;
        let groups = fs::read_to_string(host.of(pid, "cgroup")).unwrap_or_default();
        let netns = fs::metadata(host.of(pid, "ns/net")).ok().map(|m| m.ino());
        Some(Self { netns, ..Self::parse(pid, &stat, &groups)? })
    }

    /// Of the texts of its `stat` and `cgroup` (proc_pid_stat(5), cgroups(7)); without its network namespace.
    pub(crate) fn parse(pid: i32, stat: &str, groups: &str) -> Option<Self> {
        // The name stands in parentheses and may itself hold any characters, so the last one closes it.
        let (start, end) = (stat.find('(')?, stat.rfind(')')?);
        let parent = stat.get(end + 1..)?.split_whitespace().nth(1)?.parse().ok()?;
        let paths = || groups.lines().filter_map(|line| line.split_once(':')?.1.split_once(':'));
        let cgroup = paths().find(|(names, _)| names.is_empty()).map(|(_, path)| path.to_owned());
        let legacy = paths().filter(|(names, path)| !names.is_empty() && *path != "/");
        Some(Self {
            pid,
            parent,
            comm: stat.get(start + 1..end)?.to_owned(),
            netns: None,
            cgroup,
            legacy: legacy.max_by_key(|(_, path)| path.matches('/').count()).map(|(n, p)| format!("{n}:{p}")),
        })
    }
}

/// All processes at about one moment.
#[derive(Debug, Clone, Default)]
pub struct Processes {
    all: BTreeMap<i32, Process>,
}

impl Processes {
    /// Reads procfs once. Processes that end meanwhile are left out.
    pub fn read(host: &Host) -> Self {
        let names = fs::read_dir(&host.proc).into_iter().flatten().flatten();
        let pids = names.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        Self { all: pids.filter_map(|pid| Some((pid, Process::read(host, pid)?))).collect() }
    }

    /// One by its number.
    pub fn get(&self, pid: i32) -> Option<&Process> {
        self.all.get(&pid)
    }

    /// Those whose network namespace has this inode.
    pub fn in_netns(&self, inode: u64) -> impl Iterator<Item = &Process> {
        self.all.values().filter(move |process| process.netns == Some(inode))
    }

    /// A process and all its living descendants.
    pub fn family(&self, pid: i32) -> BTreeSet<i32> {
        let mut family = BTreeSet::from([pid]);
        loop {
            let children = self.all.values().filter(|p| family.contains(&p.parent)).map(|p| p.pid);
            let grown: BTreeSet<i32> = children.chain(family.iter().copied()).collect();
            if grown.len() == family.len() {
                return family;
            }
            family = grown;
        }
    }

    /// Names processes for people, the first few: `4711 (nginx), 4712 (nginx) and 3 more`.
    pub fn names(&self, pids: impl IntoIterator<Item = i32>) -> String {
        const SHOWN: usize = 4;
        let all: Vec<i32> = pids.into_iter().collect();
        let comm = |pid| self.get(pid).map_or("?", |process| process.comm.as_str());
        let shown: Vec<String> = all.iter().take(SHOWN).map(|pid| format!("{pid} ({})", comm(*pid))).collect();
        match all.len().saturating_sub(SHOWN) {
            0 => shown.join(", "),
            more => format!("{} and {more} more", shown.join(", ")),
        }
    }
}

//! A target: the processes or the network namespace that faults act on.
use std::{
    collections::BTreeSet, fs::File, io, os::fd::OwnedFd, os::unix::fs::MetadataExt, path::Path, path::PathBuf,
    sync::Arc,
};

use super::{Interface, local::Wanted};

/// How a target was named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TargetKind {
    /// A path below the cgroup2 mount.
    Cgroup,
    /// A network namespace.
    Netns,
    /// A process.
    Pid,
    /// A systemd unit.
    Unit,
    /// A container's id.
    Container,
    /// A pod, or a container of one.
    Pod,
    /// The command that `chaos run` starts.
    Command,
}

impl TargetKind {
    /// The word in selectors and reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cgroup => "cgroup",
            Self::Netns => "netns",
            Self::Pid => "pid",
            Self::Unit => "unit",
            Self::Container => "container",
            Self::Pod => "pod",
            Self::Command => "command",
        }
    }
}

/// A network namespace that is kept alive by an open descriptor.
#[derive(Debug, Clone)]
pub struct NetnsRef {
    /// Its inode number, which names it while it lives (namespaces(7)).
    pub inode: u64,
    /// The descriptor, for setns(2).
    pub fd: Arc<OwnedFd>,
    /// Where it was found.
    pub path: PathBuf,
}

impl NetnsRef {
    /// Opens a bind mount or `/proc/PID/ns/net`. That it is a network namespace is checked when it is entered.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let inode = file.metadata()?.ino();
        Ok(Self { inode, fd: Arc::new(file.into()), path: path.to_owned() })
    }

    /// None: what calls need is a cgroup alone. Its number is 0, which no namespace has. It cannot be entered.
    pub fn none() -> io::Result<Self> {
        Ok(Self { inode: 0, fd: Arc::new(File::open("/dev/null")?.into()), path: PathBuf::new() })
    }

    /// Keeps number and path, and no longer the namespace alive. It cannot be entered any more.
    pub fn let_go(&mut self) {
        if let Ok(nothing) = File::open("/dev/null") {
            self.fd = Arc::new(nothing.into());
        }
    }
}

/// A cgroup of the cgroup2 hierarchy, with what a program needs to test for it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CgroupScope {
    /// Path below the cgroup2 mount, with a leading `/`.
    pub path: String,
    /// The same as a directory, for attaching programs.
    pub directory: PathBuf,
    /// Its id: the inode of the directory, as `bpf_skb_ancestor_cgroup_id` returns it (linux/cgroup.h, kn->id).
    pub id: u64,
    /// Depth below the root of the hierarchy, which is level 0 (linux/cgroup.h:520).
    pub level: u32,
    /// The level of the root of the mount: 0, unless a cgroup namespace shows a part of the hierarchy alone.
    pub depth: u32,
}

impl CgroupScope {
    /// Its level as it is seen here: of a node that is a container, below that container's cgroup.
    #[must_use]
    pub fn shown_level(&self) -> u32 {
        self.level - self.depth
    }
}

/// By what a network fault tells the target's packets from others'.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ScopedBy {
    /// All packets of the network namespace.
    Netns,
    /// Packets in the namespace whose socket belongs to the cgroup.
    Cgroup,
}

/// What the target's node asks of it, as a kubelet does.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Probed {
    /// At these TCP ports.
    pub ports: BTreeSet<u16>,
    /// The id by which the target's network namespace calls the node's; none where it has none.
    pub node: Option<u32>,
}

/// A target on this machine.
#[derive(Debug, Clone)]
pub struct Target {
    /// How it was named.
    pub kind: TargetKind,
    /// Its name in reports.
    pub name: String,
    /// The network namespace; [`NetnsRef::none`] where faults are of calls alone.
    pub netns: NetnsRef,
    /// The namespace is the host's: this process's own, or that of PID 1.
    pub shares_host_netns: bool,
    /// What network faults go by.
    pub scoped_by: ScopedBy,
    /// The cgroup of exactly the target's processes, for syscall faults; none where the target is a bare namespace or
    /// its processes have no cgroup2 of their own.
    pub cgroup: Option<CgroupScope>,
    /// The interfaces in the namespace when it was looked at.
    pub interfaces: Vec<Interface>,
    /// The target's processes when it was looked at.
    pub pids: Vec<i32>,
    /// By what it was selected, so that it can be found again; none where somebody else follows it.
    pub wanted: Option<Wanted>,
    /// What its node asks of it.
    pub probed: Probed,
    /// What its dice are thrown with beside the seed: its place among the targets, or what names it in a cluster.
    pub dice: u64,
}

impl Target {
    /// The cgroup condition of network faults; `None`: every packet in the namespace.
    pub fn scope(&self) -> Option<&CgroupScope> {
        self.cgroup.as_ref().filter(|_| self.scoped_by == ScopedBy::Cgroup)
    }

    /// A network fault would hit the whole host: needs `--yes`.
    pub fn is_host_netns(&self) -> bool {
        self.shares_host_netns && self.scoped_by == ScopedBy::Netns
    }

    /// Address and port alone say what its node begins: its network has no id for the node's.
    pub fn spares_by_address(&self) -> bool {
        self.probed.node.is_none() && !self.probed.ports.is_empty() && !self.shares_host_netns
    }

    /// Two selectors with the same key mean the same: namespace, and cgroup condition within it.
    pub fn key(&self) -> (u64, Option<&CgroupScope>) {
        (self.netns.inode, self.scope())
    }
}

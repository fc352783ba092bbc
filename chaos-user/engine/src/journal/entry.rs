//! What stands in the journal: all that outlives the process that made it.

use super::Unknown;
use crate::Owner;
use serde::{Deserialize, Serialize};

/// What a program is attached to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum PointKind {
    /// An interface.
    #[default]
    Interface,
    /// The sockets of a cgroup; the interface is that on which a packet arrived, 0 any but loopback. Its link is all that is made.
    Cgroup {
        /// The cgroup.
        id: u64,
    },
}

/// One interface in one direction, or what arrives for a cgroup, and what was added to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PointEntry {
    /// Its id in the maps: even for egress, the next for ingress of the same interface.
    pub id: u32,
    /// To what it is attached.
    #[serde(default)]
    pub kind: PointKind,
    /// Inode of the netns.
    pub netns: u64,
    /// The interface there.
    pub ifindex: u32,
    /// Its name, for people.
    pub interface: String,
    /// Direction.
    pub ingress: bool,
    /// The tcx link; None on kernels without tcx.
    pub link: Option<u32>,
    /// The filter, on kernels without tcx.
    #[serde(default)]
    pub filter: Option<FilterEntry>,
    /// The interface had no clsact qdisc before: it goes with the last filter.
    #[serde(default)]
    pub clsact: bool,
    /// The veth pair that queues.
    #[serde(default)]
    pub pair: Option<PairEntry>,
    /// Keys of a later version, which are written back.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// A cls_bpf filter that outlives us.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FilterEntry {
    /// Preference.
    pub pref: u16,
    /// Handle.
    pub handle: u32,
    /// Keys of a later version, which are written back.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// A veth pair that outlives us.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PairEntry {
    /// The end with fq.
    pub tx: String,
    /// The end that sends back.
    pub rx: String,
    /// The tcx link on the latter.
    pub link: Option<u32>,
    /// How many packets fq may hold.
    pub limit: u32,
    /// Keys of a later version, which are written back.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// `gso_max_segs` of an interface, which was made 1: every packet that new connections send is a buffer of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LimitEntry {
    /// Where.
    #[serde(flatten)]
    pub place: LimitPlace,
    /// Its name, for people.
    pub interface: String,
    /// What it was.
    pub before: u32,
    /// Keys of a later version, which are written back.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// An interface of a netns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LimitPlace {
    /// Inode of the netns.
    pub netns: u64,
    /// The interface there.
    pub ifindex: u32,
}

/// One experiment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct RunEntry {
    /// Its name: no two at a time.
    pub name: String,
    /// Its namespace.
    pub namespace: Option<String>,
    /// `cli` or `kubernetes`.
    pub source: String,
    /// The process that keeps its lease.
    pub pid: u32,
    /// That process's start time.
    pub pid_start: u64,
    /// Who started it.
    pub user: String,
    /// Their user id.
    pub uid: u32,
    /// The command line.
    pub command: String,
    /// When it started, RFC 3339; empty: not yet.
    pub started_at: String,
    /// When it will end.
    pub ends_at: String,
    /// Its lease slot.
    pub lease: u32,
    /// Which of the experiments it is that have that slot one after another ([`chaos_abi::Lease::id`]).
    pub lease_id: u64,
    /// Its rules.
    pub rules: Vec<u32>,
    /// Its sets of peers.
    pub sets: Vec<u32>,
    /// Its sets of ports.
    pub port_sets: Vec<u32>,
    /// The attach points that it uses.
    pub points: Vec<u32>,
    /// The limits that it needs.
    pub limits: Vec<LimitPlace>,
    /// Names of its targets.
    pub targets: Vec<String>,
    /// Names of its faults.
    pub faults: Vec<String>,
    /// Keys of a later version, which are written back.
    #[serde(flatten)]
    pub unknown: Unknown,
}

impl RunEntry {
    /// The process that keeps its lease.
    #[must_use]
    pub fn owner(&self) -> Owner {
        Owner { pid: self.pid, start: self.pid_start }
    }

    /// Is this its name, alone or behind its namespace (`shop/slow`)?
    #[must_use]
    pub fn is_called(&self, name: &str) -> bool {
        self.name == name
            || name
                .split_once('/')
                .is_some_and(|(namespace, name)| self.name == name && self.namespace.as_deref() == Some(namespace))
    }
}

//! The journal as it stands in the file. Keys and entries that a later version added are kept and written back, but for keys inside a kind
//! and inside the place of a limit. A run that cannot be read is damage: nobody could say what of the rest is its.

use super::{CgroupEntry, Journal, LimitEntry, PointEntry, RunEntry};
use chaos_sys::datapath::Ids;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};

/// Keys that this version does not read.
pub type Unknown = Map<String, Value>;

/// An entry, or what a later version wrote in its place.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Entry<T> {
    Known(T),
    Foreign(Value),
}

/// What this version does not read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Foreign {
    points: Vec<Value>,
    limits: Vec<Value>,
    cgroups: Vec<Value>,
    /// The file's own text of the datapath, and what was read of it.
    datapath: Option<(Value, Ids)>,
    keys: Unknown,
}

impl Foreign {
    /// The ids of attach points that this version cannot read: they are in use.
    pub fn points(&self) -> impl Iterator<Item = u32> {
        self.points.iter().filter_map(|point| point["id"].as_u64().and_then(|id| u32::try_from(id).ok()))
    }

    /// Whether what is found in a namespace may be a point's or a limit's that this version cannot read.
    #[must_use]
    pub fn hides_marks(&self) -> bool {
        !self.points.is_empty() || !self.limits.is_empty()
    }

    /// Entries that this version cannot undo.
    #[must_use]
    pub fn entries(&self) -> usize {
        [&self.points, &self.limits, &self.cgroups].into_iter().map(Vec::len).sum()
    }
}

/// [`Journal`] in the file.
#[derive(Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Wire {
    boot: String,
    datapath: Value,
    last_set: u32,
    points: Vec<Entry<PointEntry>>,
    limits: Vec<Entry<LimitEntry>>,
    cgroups: Vec<Entry<CgroupEntry>>,
    runs: Vec<RunEntry>,
    rcu_expedited: Option<String>,
    #[serde(flatten)]
    keys: Unknown,
}

impl Default for Wire {
    fn default() -> Self {
        Journal::default().into()
    }
}

/// Those that are understood, and the others.
fn parted<T>(entries: Vec<Entry<T>>) -> (Vec<T>, Vec<Value>) {
    let (mut known, mut foreign) = (Vec::new(), Vec::new());
    for entry in entries {
        match entry {
            Entry::Known(entry) => known.push(entry),
            Entry::Foreign(value) => foreign.push(value),
        }
    }
    (known, foreign)
}

fn joined<T: DeserializeOwned>(known: Vec<T>, foreign: Vec<Value>) -> Vec<Entry<T>> {
    known.into_iter().map(Entry::Known).chain(foreign.into_iter().map(Entry::Foreign)).collect()
}

impl TryFrom<Wire> for Journal {
    type Error = serde_json::Error;

    fn try_from(wire: Wire) -> Result<Self, Self::Error> {
        let datapath: Option<Ids> = serde_json::from_value(wire.datapath.clone())?;
        let (points, foreign_points) = parted(wire.points);
        let (limits, foreign_limits) = parted(wire.limits);
        let (cgroups, foreign_cgroups) = parted(wire.cgroups);
        let foreign = Foreign {
            points: foreign_points,
            limits: foreign_limits,
            cgroups: foreign_cgroups,
            datapath: datapath.clone().map(|ids| (wire.datapath, ids)),
            keys: wire.keys,
        };
        let (boot, last_set, rcu_expedited, runs) = (wire.boot, wire.last_set, wire.rcu_expedited, wire.runs);
        Ok(Self { boot, datapath, last_set, points, limits, cgroups, runs, rcu_expedited, foreign })
    }
}

impl From<Journal> for Wire {
    fn from(journal: Journal) -> Self {
        let Foreign { points, limits, cgroups, datapath, keys } = journal.foreign;
        let datapath = match (journal.datapath, datapath) {
            (Some(ids), Some((text, read))) if ids == read => text,
            // Ids are names and numbers, which JSON has.
            (ids, _) => serde_json::to_value(ids).unwrap_or_default(),
        };
        Self {
            boot: journal.boot,
            datapath,
            last_set: journal.last_set,
            points: joined(journal.points, points),
            limits: joined(journal.limits, limits),
            cgroups: joined(journal.cgroups, cgroups),
            runs: journal.runs,
            rcu_expedited: journal.rcu_expedited,
            keys,
        }
    }
}

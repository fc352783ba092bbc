//! What a later process of this agent must know: which experiments run until when, what they have counted, which are over for good.
//! `/run/chaos/agent.json`, on a tmpfs: a reboot takes both it and the faults.

use chaos_engine::{
    Remembered,
    folder::{self, Folder},
};
use chaos_k8s::api::InjectionPhase;
use chaos_outcome::EngineError;
use chaos_outcome::{FaultReport, Gap, Report, TargetReport};
use chaos_sys::clock;
use serde::{Deserialize, Deserializer, Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};
use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

const NAME: &str = "agent.json";
/// [`Notebook::clock`]: CLOCK_BOOTTIME.
const CLOCK: &str = "boot";

/// An experiment that outlived so many processes of the agent that did not end in order, one soon after the other, is not applied again:
/// it may be what kills them.
pub const MOST_RESTARTS: u32 = 3;
/// So long after the last such restart they are counted anew, in ns: longer than the kubelet's longest pause (5 min) between two.
const FORGIVEN: u64 = 600 * 1_000_000_000;

/// All that is remembered.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Notebook {
    /// The boot it is about (/proc/sys/kernel/random/boot_id).
    boot: String,
    /// Of which clock its times are; none: CLOCK_MONOTONIC, as older agents wrote them.
    clock: String,
    /// By UID of the Injection.
    pub parts: BTreeMap<String, Note>,
    /// Keys of a later version, which are written back.
    #[serde(flatten)]
    unknown: Map<String, Value>,
    /// Parts that this version cannot read, which are written back, too.
    #[serde(skip)]
    foreign: BTreeMap<String, Value>,
    #[serde(skip)]
    folder: PathBuf,
}

/// One Injection.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Note {
    /// When it ends, CLOCK_BOOTTIME in ns; 0: it has not started.
    pub deadline: u64,
    /// When it first started, CLOCK_BOOTTIME in ns; 0: not known.
    pub began: u64,
    /// When it started, RFC 3339.
    pub started_at: String,
    /// Until when the faults are known to have acted, RFC 3339.
    pub alive: String,
    /// How many processes of the agent it has outlived that did not end in order, of late.
    pub restarts: u32,
    /// The last of these restarts, CLOCK_BOOTTIME in ns.
    pub restarted: u64,
    /// The process that wrote this ended in order, as in an update: that counts for nothing.
    pub in_order: bool,
    /// How it ended for good.
    pub over: Option<(InjectionPhase, String)>,
    /// When that was, RFC 3339.
    pub ended_at: String,
    /// What it reported then.
    #[serde(deserialize_with = "report")]
    pub report: Option<Report>,
    /// What was counted so far, earlier processes included.
    #[serde(deserialize_with = "counted")]
    pub counted: Vec<FaultReport>,
    /// What rules remember: index of the fault, target, packets that matched, packets hit.
    pub memory: Vec<(usize, String, u64, u64)>,
    /// When targets were without the faults, by name.
    pub gaps: BTreeMap<String, Vec<Gap>>,
    /// Keys of a later version, which are written back.
    #[serde(flatten)]
    pub unknown: Map<String, Value>,
}

/// A report of another version: fields that it has not are as in an empty one.
fn report<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Report>, D::Error> {
    let Some(mut value) = Option::<Value>::deserialize(deserializer)? else { return Ok(None) };
    for (list, empty) in [("faults", empty::<FaultReport>()), ("targets", empty::<TargetReport>())] {
        value.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten().for_each(|one| fill(one, &empty));
    }
    filled(value).map(Some).map_err(serde::de::Error::custom)
}

/// The same for counts.
fn counted<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<FaultReport>, D::Error> {
    let values = Vec::<Value>::deserialize(deserializer)?;
    values.into_iter().map(filled).collect::<Result<_, _>>().map_err(serde::de::Error::custom)
}

fn filled<T: Default + Serialize + DeserializeOwned>(mut value: Value) -> serde_json::Result<T> {
    fill(&mut value, &empty::<T>());
    serde_json::from_value(value)
}

fn empty<T: Default + Serialize>() -> Value {
    serde_json::to_value(T::default()).unwrap_or_default()
}

/// Gives an object the keys that it lacks.
fn fill(value: &mut Value, from: &Value) {
    let (Some(value), Some(from)) = (value.as_object_mut(), from.as_object()) else { return };
    for (key, default) in from {
        fill(value.entry(key.clone()).or_insert_with(|| default.clone()), default);
    }
}

impl Note {
    /// How many restarts speak against it at this time (CLOCK_BOOTTIME in ns), before the one that takes place.
    pub fn restarts_until(&self, now: u64) -> u32 {
        if now.saturating_sub(self.restarted) > FORGIVEN { 0 } else { self.restarts }
    }

    /// Too many of them: it may be what kills the agent.
    pub fn kills(&self, now: u64) -> bool {
        !self.in_order && self.restarts_until(now) >= MOST_RESTARTS
    }

    /// A new process goes on with it at this time (CLOCK_BOOTTIME in ns).
    pub fn resumed(&mut self, now: u64) {
        if !self.in_order {
            (self.restarts, self.restarted) = (self.restarts_until(now) + 1, now);
        }
        self.in_order = false;
    }

    /// For [`chaos_engine::Request::remembered`].
    pub fn remembered(&self) -> impl Iterator<Item = ((usize, String), Remembered)> {
        self.memory.iter().map(|(fault, target, position, hits)| {
            ((*fault, target.clone()), Remembered { position: *position, hits: *hits })
        })
    }
}

impl Notebook {
    /// The node's; what is of an earlier boot is void, and what cannot be read is forgotten with a word in the log.
    #[must_use]
    pub fn open() -> Self {
        Self::at(Path::new(folder::DIRECTORY))
    }

    fn at(folder: &Path) -> Self {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned();
        let fresh = Self { boot: boot.clone(), clock: CLOCK.to_owned(), folder: folder.to_owned(), ..Self::default() };
        let text = match Folder::at(folder).and_then(|folder| folder.read(NAME)) {
            Ok(Some(text)) => text,
            Ok(None) => return fresh,
            Err(error) => {
                tracing::error!("{error}; experiments of before are not applied again");
                return fresh;
            }
        };
        match Self::read(&text) {
            Ok(notebook) if notebook.boot == boot => {
                Self { folder: folder.to_owned(), ..notebook }.by_boot(clock::boot().saturating_sub(clock::monotonic()))
            }
            Ok(_) => fresh,
            Err(error) => {
                tracing::error!(
                    "read {}: {error}; experiments of before are not applied again",
                    folder.join(NAME).display()
                );
                fresh
            }
        }
    }

    /// What stands in a file. A part that cannot be read harms itself alone.
    pub(super) fn read(text: &str) -> serde_json::Result<Self> {
        let mut file: Value = serde_json::from_str(text)?;
        let parts = file.get_mut("parts").map(Value::take);
        if let Some(file) = file.as_object_mut() {
            file.remove("parts");
        }
        let mut notebook: Self = serde_json::from_value(file)?;
        let parts: BTreeMap<String, Value> = parts.map_or_else(|| Ok(BTreeMap::new()), serde_json::from_value)?;
        for (uid, part) in parts {
            match serde_json::from_value(part.clone()) {
                Ok(note) => drop(notebook.parts.insert(uid, note)),
                Err(error) => {
                    tracing::error!("read the record of {uid}: {error}; this experiment is not applied again");
                    notebook.foreign.insert(uid, part);
                }
            }
        }
        Ok(notebook)
    }

    /// Is there a record of it that this version cannot read?
    pub fn is_foreign(&self, uid: &str) -> bool {
        self.foreign.contains_key(uid)
    }

    /// All that are recorded.
    pub fn uids(&self) -> impl Iterator<Item = &String> {
        self.parts.keys().chain(self.foreign.keys())
    }

    /// It is gone.
    pub fn forget(&mut self, uid: &str) {
        self.parts.remove(uid);
        self.foreign.remove(uid);
    }

    /// What is to stand in the file.
    pub(super) fn text(&self) -> serde_json::Result<Vec<u8>> {
        let mut file = serde_json::to_value(self)?;
        if let Some(parts) = file.get_mut("parts").and_then(Value::as_object_mut) {
            for (uid, part) in &self.foreign {
                // What this process noted counts.
                parts.entry(uid.clone()).or_insert_with(|| part.clone());
            }
        }
        serde_json::to_vec(&file)
    }

    /// The times of an older agent, which this much of CLOCK_BOOTTIME is away from (ns suspended), become those of our clock.
    fn by_boot(mut self, suspended: u64) -> Self {
        if self.clock != CLOCK {
            CLOCK.clone_into(&mut self.clock);
            for note in self.parts.values_mut() {
                for time in [&mut note.deadline, &mut note.began, &mut note.restarted] {
                    // 0 is none.
                    *time = if *time == 0 { 0 } else { time.saturating_add(suspended) };
                }
            }
        }
        self
    }

    /// Writes it: whole or not at all. Without parts there is no file.
    ///
    /// # Errors
    /// Where `/run/chaos` cannot be written.
    pub fn save(&self) -> Result<(), EngineError> {
        let path = self.folder.join(NAME);
        let failed = |e: io::Error| EngineError::Failed(format!("write {}: {e}", path.display()));
        let folder = Folder::at(&self.folder)?;
        if self.parts.is_empty() && self.foreign.is_empty() {
            return folder.remove(NAME).map(drop).map_err(failed);
        }
        let text = self.text().map_err(|e| failed(e.into()))?;
        folder.write(NAME, &text).map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_restarts_out_of_order_and_of_late_count() {
        let mut note = Note::default();
        for round in 0..10 {
            note.in_order = true;
            assert!(!note.kills(round));
            note.resumed(round);
        }
        for round in 10..13 {
            assert!(!note.kills(round), "{round}");
            note.resumed(round);
        }
        assert!(note.kills(13));
        assert!(!note.kills(13 + FORGIVEN), "long ago");
        note.in_order = true;
        assert!(!note.kills(13), "an update");
    }
    use chaos_sys::testing::root_or_return;

    #[test]
    fn times_of_an_older_agent_become_those_of_our_clock_once() {
        let text = r#"{ "boot": "x", "parts": { "uid": { "deadline": 70, "began": 0, "restarted": 5 } } }"#;
        let older: Notebook = serde_json::from_str(text).unwrap();
        let times = |notebook: &Notebook| {
            let note = &notebook.parts["uid"];
            (note.deadline, note.began, note.restarted)
        };
        let now = older.by_boot(1_000);
        assert_eq!(times(&now), (1_070, 0, 1_005));
        let again: Notebook = serde_json::from_str(&serde_json::to_string(&now).unwrap()).unwrap();
        assert_eq!(times(&again.by_boot(1_000)), (1_070, 0, 1_005));
    }

    #[test]
    fn the_notebook_of_0_1_0_is_read_and_written_back_whole() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden/0.1.0/agent.json");
        let text = fs::read_to_string(path).unwrap();
        let notebook = Notebook::read(&text).unwrap();
        let over: Vec<bool> = notebook.parts.values().map(|note| note.over.is_some()).collect();
        assert_eq!((over.len(), over.iter().filter(|over| **over).count(), notebook.foreign.len()), (2, 1, 0));
        assert!(notebook.parts.values().all(|note| note.report.is_some() || !note.counted.is_empty()));
        let again: Value = serde_json::from_slice(&notebook.text().unwrap()).unwrap();
        assert_eq!(again, serde_json::from_str::<Value>(&text).unwrap());
    }

    #[test]
    fn a_part_that_cannot_be_read_and_later_keys_are_written_back_and_harm_no_other_part() {
        let text = r#"{ "boot": "x", "clock": "boot", "later": 1, "parts": {
            "a": { "deadline": 70, "later": [2], "counted": [ { "name": "slow", "target": "web" } ],
                   "report": { "experiment": "e", "faults": [ { "name": "slow" } ] } },
            "b": { "deadline": "soon" } } }"#;
        let notebook = Notebook::read(text).unwrap();
        let note = &notebook.parts["a"];
        assert_eq!((note.deadline, note.counted[0].name.as_str(), notebook.parts.len()), (70, "slow", 1));
        assert_eq!(note.report.as_ref().unwrap().faults[0].name, "slow");
        let again: Value = serde_json::from_slice(&notebook.text().unwrap()).unwrap();
        let before: Value = serde_json::from_str(text).unwrap();
        assert_eq!(
            (&again["later"], &again["parts"]["a"]["later"]),
            (&before["later"], &before["parts"]["a"]["later"])
        );
        assert_eq!(again["parts"]["b"], before["parts"]["b"]);
        let mut notebook = notebook;
        assert!(notebook.is_foreign("b") && !notebook.is_foreign("a") && notebook.uids().count() == 2);
        notebook.parts.insert("b".to_owned(), Note { deadline: 5, ..Note::default() });
        let again: Value = serde_json::from_slice(&notebook.text().unwrap()).unwrap();
        assert_eq!(again["parts"]["b"]["deadline"], 5, "what is noted now counts");
        notebook.forget("b");
        assert_eq!(notebook.uids().count(), 1);
    }

    #[test]
    fn what_is_written_is_read_and_nothing_leaves_no_file() {
        root_or_return!();
        let folder = std::env::temp_dir().join(format!("chaos-notebook-{}", std::process::id()));
        let path = folder.join(NAME);
        let mut notebook = Notebook::at(&folder);
        let note = Note { deadline: 7, memory: vec![(0, "shop/web".into(), 3, 2)], ..Note::default() };
        notebook.parts.insert("uid".into(), note.clone());
        notebook.save().unwrap();
        assert_eq!(Notebook::at(&folder).parts["uid"], note);
        fs::write(&path, fs::read_to_string(&path).unwrap().replace(&notebook.boot, "another boot")).unwrap();
        assert!(Notebook::at(&folder).parts.is_empty());
        fs::write(&path, "{").unwrap();
        assert!(Notebook::at(&folder).parts.is_empty());
        notebook.parts.clear();
        notebook.save().unwrap();
        assert!(!path.exists());
        fs::remove_dir(folder).unwrap();
    }
}

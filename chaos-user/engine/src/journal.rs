//! What outlives a process, written down before it is made: `/run/chaos/journal.json`, under a lock. A tmpfs: a reboot takes
//! both the journal and all that it speaks of.

use super::{EngineError, folder::Folder, made::CgroupEntry};
use chaos_sys::datapath::Ids;
use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
    sys::stat::{major, minor},
};
use serde::{Deserialize, Serialize};
use std::{
    fs::{self, File},
    io::{self, Read},
    os::unix::fs::MetadataExt,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

mod entry;
mod wire;

pub use super::folder::DIRECTORY;
pub use entry::{FilterEntry, LimitEntry, LimitPlace, PairEntry, PointEntry, PointKind, RunEntry};
pub use wire::{Foreign, Unknown, Wire};

const JOURNAL: &str = "journal.json";
/// Locked as a whole by who changes the journal, byte by byte by the processes of a node's agent.
pub const LOCK: &str = "journal.lock";
/// Bytes of a lock's reason that are read.
const MOST_REASON: u64 = 4096;
/// How long the lock is waited for: longer than hundreds of targets need.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// All that chaos has made on this machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Wire", into = "Wire")]
pub struct Journal {
    /// The boot it is about (/proc/sys/kernel/random/boot_id).
    pub boot: String,
    /// Maps and programs that the live owners share.
    pub datapath: Option<Ids>,
    /// The last id given to a set of peers.
    pub last_set: u32,
    /// Attach points.
    pub points: Vec<PointEntry>,
    /// Limits set on interfaces.
    pub limits: Vec<LimitEntry>,
    /// Cgroups that were made.
    pub cgroups: Vec<CgroupEntry>,
    /// Experiments.
    pub runs: Vec<RunEntry>,
    /// What `/sys/kernel/rcu_expedited` was before it was raised.
    pub rcu_expedited: Option<String>,
    /// What a later version wrote, which is written back.
    pub foreign: Foreign,
}

/// The journal while nobody else may change it.
#[derive(Debug)]
pub struct Locked {
    /// Its contents; [`Locked::save`] writes them.
    pub journal: Journal,
    place: Place,
}

#[derive(Debug)]
enum Place {
    Node { folder: Folder, _lock: Flock<File> },
    Private(Arc<Mutex<Journal>>),
}

/// Which journal an engine keeps.
#[derive(Clone, Debug)]
pub enum Home {
    /// The machine's.
    Node,
    /// One in memory, for work on a scratch namespace that goes with its process: nothing is left that needs to be found.
    Private(Arc<Mutex<Journal>>),
}

impl Home {
    /// A fresh one in memory.
    #[must_use]
    pub fn private() -> Self {
        Self::Private(Arc::default())
    }

    /// Takes the lock and reads the journal.
    ///
    /// # Errors
    /// As [`lock`]; none for one in memory.
    pub fn lock(&self) -> Result<Locked, EngineError> {
        match self {
            Self::Node => lock(),
            Self::Private(kept) => {
                let journal = kept.lock().unwrap_or_else(PoisonError::into_inner).clone();
                Ok(Locked { journal, place: Place::Private(Arc::clone(kept)) })
            }
        }
    }
}

/// Takes the lock and reads the journal. One of an earlier boot is void.
///
/// # Errors
/// `Unsupported` without the right to `/run/chaos`; `Failed` for a journal that is not ours to read, and where another process, which
/// may be stopped, keeps the lock for [`PATIENCE`].
pub fn lock() -> Result<Locked, EngineError> {
    let (locked, damage) = lock_any()?;
    damage.map_or(Ok(locked), Err)
}

/// The same; of a damaged journal what is wrong with it, beside an empty one.
///
/// # Errors
/// As [`lock`] but for that.
pub fn lock_any() -> Result<(Locked, Option<EngineError>), EngineError> {
    let folder = Folder::node()?;
    let lock = hold(&folder, PATIENCE)?;
    let (journal, damage) = match read(&folder) {
        Ok(journal) => (journal, None),
        Err(error) => (fresh(), Some(error)),
    };
    Ok((Locked { journal, place: Place::Node { folder, _lock: lock } }, damage))
}

/// Takes the lock.
fn hold(folder: &Folder, patience: Duration) -> Result<Flock<File>, EngineError> {
    let mut file = folder.lock_file(LOCK)?;
    let path = folder.path_of(LOCK);
    let end = Instant::now() + patience;
    loop {
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Ok(lock),
            Err((back, Errno::EAGAIN)) if Instant::now() < end => file = back,
            Err((file, Errno::EAGAIN)) => return Err(held(&path, &file, patience)),
            Err((_, errno)) => {
                return Err(EngineError::Failed(format!("lock {}: {}", path.display(), io::Error::from(errno))));
            }
        }
        // flock(2) knows no time limit, and a signal to end it would reach the threads of others.
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn held(path: &Path, file: &File, patience: Duration) -> EngineError {
    let locks = fs::read_to_string("/proc/locks").unwrap_or_default();
    let pid = file.metadata().ok().and_then(|file| holder(&locks, file.dev(), file.ino()));
    let holder = pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"));
    EngineError::Failed(format!(
        "lock {}: {holder} has kept it for {} s: it is at work, or stopped; wait, or let it go on (kill -CONT) or end it \
         (kill -KILL): its faults end with it",
        path.display(),
        patience.as_secs()
    ))
}

/// Who holds a file's lock, as /proc/locks says (fs/locks.c, `lock_get_status`): `1: FLOCK ADVISORY WRITE 1438 00:1a:52 0 EOF`, the
/// device in hexadecimal. None where the process is of another PID namespace.
fn holder(locks: &str, device: u64, inode: u64) -> Option<u32> {
    let place = format!("{:02x}:{:02x}:{inode}", major(device), minor(device));
    locks.lines().find_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [_, "FLOCK", _, _, pid, at, ..] = words.as_slice() else { return None };
        pid.parse().ok().filter(|pid| *at == place && *pid != 0)
    })
}

/// Reads the journal without the lock, for a look: writes replace the file as a whole.
///
/// # Errors
/// As [`lock`].
pub fn peek() -> Result<Journal, EngineError> {
    Folder::seen()?.map_or_else(|| Ok(fresh()), |folder| read(&folder))
}

fn boot() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

fn fresh() -> Journal {
    Journal { boot: boot(), ..Journal::default() }
}

fn read(folder: &Folder) -> Result<Journal, EngineError> {
    const REMEDY: &str = "it is damaged: `chaos stop --all` ends all faults, then `chaos cleanup` sets it aside";
    // So is a folder in its place, and what is no text.
    let read = folder.read(JOURNAL).map_err(|error| EngineError::Failed(format!("{error}; {REMEDY}")));
    let Some(text) = read? else { return Ok(fresh()) };
    let journal: Journal = serde_json::from_str(&text).map_err(|error| {
        let path = folder.path_of(JOURNAL);
        EngineError::Failed(format!("read {}: {error}; {REMEDY}", path.display()))
    })?;
    Ok(if journal.boot == boot() { journal } else { fresh() })
}

impl Locked {
    /// Writes the journal: whole or not at all.
    ///
    /// # Errors
    /// `Failed` where the directory cannot be written.
    pub fn save(&self) -> Result<(), EngineError> {
        let folder = match &self.place {
            Place::Node { folder, .. } => folder,
            Place::Private(kept) => {
                kept.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&self.journal);
                return Ok(());
            }
        };
        chaos_sys::seam::run("write", "journal", || {
            let path = || folder.path_of(JOURNAL).display().to_string();
            let text = serde_json::to_vec(&self.journal)
                .map_err(|e| chaos_sys::error::KernelError::from_io("write", path(), &e.into()))?;
            folder.write(JOURNAL, &text).map_err(|e| chaos_sys::error::KernelError::from_io("write", path(), &e))
        })
        .map_err(EngineError::from)
    }

    /// Gives a journal that cannot be read another name; that one. An empty one takes its place.
    ///
    /// # Errors
    /// What the file system says.
    pub fn set_aside(&self) -> Result<String, EngineError> {
        let Place::Node { folder, .. } = &self.place else { return Ok(String::new()) };
        let path = folder.path_of(JOURNAL);
        let aside = folder.set_aside(JOURNAL);
        let aside = aside.map_err(|e| EngineError::Failed(format!("rename {}: {e}", path.display())))?;
        Ok(folder.path_of(&aside).display().to_string())
    }

    /// The runs whose process is alive.
    pub fn live(&self) -> impl Iterator<Item = &RunEntry> {
        self.journal.runs.iter().filter(|run| run.owner().is_alive())
    }
}

/// The reason in `/run/chaos/lock`, which keeps new experiments from starting; None: no lock. Whatever stands there is one, also what
/// an administrator made by hand.
#[must_use]
pub fn locked_by() -> Option<String> {
    let path = Path::new(DIRECTORY).join("lock");
    let found = fs::symlink_metadata(&path).ok()?;
    let mut text = String::new();
    if found.is_file() {
        let _no_reason = File::open(&path).and_then(|file| file.take(MOST_REASON).read_to_string(&mut text));
    }
    let reason = text.trim();
    Some(if reason.is_empty() { "no reason given".to_owned() } else { reason.to_owned() })
}

#[cfg(test)]
mod tests;

//! Cgroups that chaos makes: that of a command which it starts, and that of a unit which is still to be started. Written down before they
//! are made, as they outlive their process.

use super::{EngineError, Locked, Owner, Request, journal};
use crate::journal::Unknown;
use chaos_host::cgroup;
use nix::{
    errno::Errno,
    sys::{
        signal::{Signal, kill},
        statfs::{CGROUP2_SUPER_MAGIC, statfs},
    },
    unistd::Pid,
};
use serde::{Deserialize, Serialize};
use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// So the cgroup of a command is called, with what names its owner behind.
const COMMAND: &str = "chaos-run-";
/// How long the end of killed processes is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// The name of the cgroup of this process's command.
#[must_use]
pub fn of_command() -> String {
    let me = Owner::me();
    format!("{COMMAND}{}-{}", me.pid, me.start)
}

/// One in the journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CgroupEntry {
    /// Its directory.
    pub directory: PathBuf,
    /// Who made it.
    #[serde(flatten)]
    pub owner: Owner,
    /// Keys of a later version, which are written back.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// A cgroup that goes with this value: with all that is in it if it is a command's, else only while nobody is in it.
#[derive(Debug)]
pub struct Made {
    /// Its directory.
    pub directory: PathBuf,
    /// Its id.
    pub id: u64,
}

impl Made {
    /// Makes the directory. One that is there already is somebody else's, and stays.
    ///
    /// # Errors
    /// As [`journal::lock`]; what the kernel says of the directory.
    pub fn new(directory: &Path) -> Result<Self, EngineError> {
        let mut locked = journal::lock()?;
        let made = Self::while_locked(&mut locked, directory)?;
        locked.save()?;
        Ok(made)
    }

    /// Makes a directory and those above it that are missing, below one of root's; the innermost first.
    ///
    /// # Errors
    /// As [`Made::new`]; `Refused` in a user's part of the tree, whose manager could not enter what root has made.
    pub fn with_those_above(directory: &Path) -> Result<Vec<Self>, EngineError> {
        let missing: Vec<&Path> = directory.ancestors().take_while(|path| !path.is_dir()).collect();
        let above = missing.last().and_then(|outermost| outermost.parent());
        if above.and_then(|above| fs::metadata(above).ok()).is_none_or(|above| above.uid() != 0) {
            return Err(EngineError::Refused(format!("{} is in a user's part of the tree", directory.display())));
        }
        let mut made = Vec::new();
        for directory in missing.into_iter().rev() {
            made.insert(0, Self::new(directory)?);
        }
        Ok(made)
    }

    /// It is somebody else's from now on, and stays.
    pub fn leave(mut self) {
        // No directory has this number.
        self.id = 0;
    }

    fn while_locked(locked: &mut Locked, directory: &Path) -> Result<Self, EngineError> {
        let failed = |error: io::Error| {
            let remedy = match error.kind() {
                io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                    "; run as root where the cgroup2 tree may be written"
                }
                _ => "",
            };
            EngineError::Unsupported(format!("make cgroup {}: {error}{remedy}", directory.display()))
        };
        locked.journal.cgroups.push(CgroupEntry {
            directory: directory.to_owned(),
            owner: Owner::me(),
            unknown: Unknown::new(),
        });
        locked.save()?;
        let made = fs::create_dir(directory).and_then(|()| fs::metadata(directory));
        match made {
            Ok(found) => Ok(Self { directory: directory.to_owned(), id: found.ino() }),
            Err(error) => {
                locked.journal.cgroups.retain(|entry| !entry.is_mine(directory));
                locked.save()?;
                Err(failed(error))
            }
        }
    }
}

impl CgroupEntry {
    /// Another process may have made one of the same name before.
    fn is_mine(&self, directory: &Path) -> bool {
        self.directory == directory && self.owner == Owner::me()
    }
}

/// Takes away those of dead owners before targets are looked for: an empty cgroup that is about to go is no target.
pub fn sweep_dead() {
    let is_dead = |entry: &CgroupEntry| !entry.owner.is_alive();
    if !journal::peek().is_ok_and(|journal| journal.cgroups.iter().any(is_dead)) {
        return;
    }
    if let Ok(mut locked) = journal::lock() {
        sweep(&mut locked);
        // What could not be written is found dead once more.
        let _cleanup_finds_it = locked.save();
    }
}

impl Made {
    /// Is it that of a command?
    #[must_use]
    pub fn is_of_command(&self) -> bool {
        is_of_command(&self.directory)
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        let same = fs::metadata(&self.directory).is_ok_and(|found| found.ino() == self.id);
        // A unit that was started there needs it: it is systemd's.
        if same && remove(&self.directory).is_err() && self.is_of_command() {
            // The journal has it, for the next start.
            return;
        }
        if let Ok(mut locked) = journal::lock() {
            locked.journal.cgroups.retain(|entry| !entry.is_mine(&self.directory));
            let _cleanup_finds_nothing = locked.save();
        }
    }
}

/// Takes away what dead owners left; the directories.
pub(super) fn sweep(locked: &mut Locked) -> Vec<PathBuf> {
    let (live, dead): (Vec<_>, Vec<_>) =
        std::mem::take(&mut locked.journal.cgroups).into_iter().partition(|entry| entry.owner.is_alive());
    locked.journal.cgroups = live;
    let mut gone = Vec::new();
    // What lies in another one was noted later.
    for entry in dead.into_iter().rev() {
        let there = entry.directory.is_dir();
        match remove(&entry.directory) {
            Ok(()) if there => gone.push(entry.directory),
            Ok(()) => {}
            // A unit that was started there needs it: it is systemd's.
            Err(_) if !is_of_command(&entry.directory) => {}
            Err(_) => locked.journal.cgroups.push(entry),
        }
    }
    gone
}

/// By the whole of its name, as [`of_command`] makes it: a unit may begin like that, and ends in `.service`.
fn is_of_command(directory: &Path) -> bool {
    let owner = directory.file_name().and_then(|name| name.to_str()?.strip_prefix(COMMAND)?.split_once('-'));
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    owner.is_some_and(|(pid, start)| is_number(pid) && is_number(start))
}

/// Removes a cgroup; of a command with all that is in it. One that is gone is as good.
fn remove(directory: &Path) -> io::Result<()> {
    match statfs(directory) {
        Ok(found) if found.filesystem_type() == CGROUP2_SUPER_MAGIC => {}
        Ok(_) => return Err(io::Error::other("no cgroup")),
        Err(Errno::ENOENT) => return Ok(()),
        Err(errno) => return Err(errno.into()),
    }
    let end = Instant::now() + PATIENCE;
    loop {
        if is_of_command(directory) {
            kill_all(directory);
        }
        match remove_below(directory) {
            Err(error)
                if error.raw_os_error() == Some(libc::EBUSY) && is_of_command(directory) && Instant::now() < end =>
            {
                std::thread::sleep(Duration::from_millis(2));
            }
            result => return result,
        }
    }
}

/// Without `cgroup.kill` (Linux 5.14) one by one, again and again.
fn kill_all(directory: &Path) {
    if fs::write(directory.join("cgroup.kill"), "1").is_ok() {
        return;
    }
    for pid in cgroup::processes_below(directory) {
        let _gone_already = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
}

/// The deepest first.
fn remove_below(directory: &Path) -> io::Result<()> {
    let all = if is_of_command(directory) { cgroup::directories(directory) } else { vec![directory.to_owned()] };
    all.iter().rev().try_for_each(|one| match fs::remove_dir(one) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    })
}

/// Makes the cgroups of what is still to be started, units and a command, so that their first calls are hit.
///
/// # Errors
/// As [`Made::new`].
pub fn for_targets(requests: &mut [Request]) -> Result<Vec<Made>, EngineError> {
    let mut all = Vec::new();
    for target in requests.iter_mut().flat_map(|request| &mut request.targets) {
        let Some(scope) = target.cgroup.as_mut().filter(|scope| scope.id == 0) else { continue };
        let known = all.iter().find(|made: &&Made| made.directory == scope.directory).map(|made| made.id);
        scope.id = match known {
            Some(id) => id,
            // A unit that was started since has one, and is its.
            None => match fs::metadata(&scope.directory) {
                Ok(found) if found.is_dir() => found.ino(),
                _ => {
                    all.push(Made::new(&scope.directory)?);
                    all.last().map_or(0, |made| made.id)
                }
            },
        };
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_a_cgroup_is_killed_only_where_it_is_a_commands() {
        let is = |name: &str| is_of_command(&Path::new("/sys/fs/cgroup/system.slice").join(name));
        assert!(is(&of_command()) && is("chaos-run-17-4711"));
        for name in [
            "chaos-run-nightly.service",
            "chaos-run-1-2.service",
            "chaos-run-1",
            "chaos-run--2",
            "chaos-run-1-",
            "web.service",
        ] {
            assert!(!is(name), "{name}");
        }
    }
}

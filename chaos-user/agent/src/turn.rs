//! Whose turn it is. An update starts the next process of a node's agent beside the one that acts; one of them owns the node's experiments,
//! and the other stands by until that one ends, in order or not.
//!
//! Said by locks on bytes of a file, which go with their process however it ends (open file description locks, fcntl_locking(2)).

use chaos_engine::{
    CLUSTER, Owner,
    folder::{self, Folder},
    journal,
};
use chaos_outcome::EngineError;
use nix::{
    errno::Errno,
    fcntl::{FcntlArg, fcntl},
};
use std::{fs::File, io, path::Path};

/// That of the journal: it is never taken away, and flock(2), by which the journal is locked, is of another kind.
const NAME: &str = journal::LOCK;

/// What a byte's lock says.
#[derive(Clone, Copy, Debug)]
enum Place {
    /// Its holder owns the node's experiments.
    Owner = 0,
    /// Its holder stands by.
    Next = 1,
    /// Its holder stands by and can take over at once.
    Prepared = 2,
}

/// Who stands by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Follower {
    /// Nobody.
    None,
    /// Somebody who is not prepared yet.
    Coming,
    /// Somebody who can take over.
    Prepared,
}

/// A process's place among those of its agent.
#[derive(Debug)]
pub struct Turn {
    file: File,
}

impl Turn {
    /// On this node. Nothing is said yet.
    ///
    /// # Errors
    /// As [`Folder::lock_file`].
    pub fn open() -> Result<Self, EngineError> {
        Self::at(Path::new(folder::DIRECTORY))
    }

    fn at(folder: &Path) -> Result<Self, EngineError> {
        Ok(Self { file: Folder::at(folder)?.lock_file(NAME)? })
    }

    /// Takes the node's experiments on, if nobody has them; else says that this process stands by. True: it owns them.
    ///
    /// # Errors
    /// What the kernel says of the locks.
    pub fn take(&self) -> Result<bool, EngineError> {
        // A version that does not lock is known by the journal.
        let mine = self.lock(Place::Owner)? && !another_acts()?;
        if mine {
            self.free(Place::Next)?;
            self.free(Place::Prepared)?;
        } else {
            self.lock(Place::Next)?;
        }
        Ok(mine)
    }

    /// Says that it can take over at once.
    ///
    /// # Errors
    /// As [`Turn::take`].
    pub fn prepared(&self) -> Result<(), EngineError> {
        self.lock(Place::Prepared).map(drop)
    }

    /// Who stands by, while this process owns.
    ///
    /// # Errors
    /// As [`Turn::take`].
    pub fn follower(&self) -> Result<Follower, EngineError> {
        Ok(match (self.is_taken(Place::Next)?, self.is_taken(Place::Prepared)?) {
            (_, true) => Follower::Prepared,
            (true, false) => Follower::Coming,
            (false, false) => Follower::None,
        })
    }

    /// Lets the next one have them.
    ///
    /// # Errors
    /// As [`Turn::take`].
    pub fn give(&self) -> Result<(), EngineError> {
        self.free(Place::Owner)
    }

    /// False: another process has it.
    fn lock(&self, place: Place) -> Result<bool, EngineError> {
        match fcntl(&self.file, FcntlArg::F_OFD_SETLK(&byte(place, libc::F_WRLCK))) {
            Ok(_) => Ok(true),
            Err(Errno::EAGAIN | Errno::EACCES) => Ok(false),
            Err(errno) => Err(failed(errno)),
        }
    }

    fn free(&self, place: Place) -> Result<(), EngineError> {
        fcntl(&self.file, FcntlArg::F_OFD_SETLK(&byte(place, libc::F_UNLCK))).map(drop).map_err(failed)
    }

    /// By another process.
    fn is_taken(&self, place: Place) -> Result<bool, EngineError> {
        let mut asked = byte(place, libc::F_WRLCK);
        fcntl(&self.file, FcntlArg::F_OFD_GETLK(&mut asked)).map_err(failed)?;
        Ok(i32::from(asked.l_type) != libc::F_UNLCK)
    }
}

fn byte(place: Place, kind: i32) -> libc::flock {
    // What they say fits: F_WRLCK and F_UNLCK are 1 and 2, SEEK_SET is 0 (fcntl.h).
    libc::flock { l_type: kind as i16, l_whence: libc::SEEK_SET as i16, l_start: place as i64, l_len: 1, l_pid: 0 }
}

fn failed(errno: Errno) -> EngineError {
    let path = Path::new(folder::DIRECTORY).join(NAME);
    EngineError::Failed(format!("lock a byte of {}: {}", path.display(), io::Error::from(errno)))
}

/// Does another process hold experiments of the cluster? Agents see each other: they share the node's numbers of processes.
fn another_acts() -> Result<bool, EngineError> {
    let me = Owner::me();
    let runs = journal::peek()?.runs;
    Ok(runs.iter().any(|run| run.source == CLUSTER && run.owner() != me && run.owner().is_alive()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use chaos_sys::testing::root_or_return;

    #[test]
    fn one_owns_and_the_other_stands_by_until_it_is_given_or_gone() {
        root_or_return!();
        let folder = std::env::temp_dir().join(format!("chaos-turn-{}", std::process::id()));
        let [first, second, third] = [(); 3].map(|()| Turn::at(&folder).unwrap());
        assert!(first.lock(Place::Owner).unwrap());
        assert_eq!(first.follower().unwrap(), Follower::None);
        assert!(!second.take().unwrap() && !third.take().unwrap());
        assert_eq!(first.follower().unwrap(), Follower::Coming);
        second.prepared().unwrap();
        assert_eq!(first.follower().unwrap(), Follower::Prepared);
        // However it ends: a process that is killed closes its files.
        drop(first);
        assert!(second.lock(Place::Owner).unwrap());
        assert!(!third.take().unwrap());
        second.give().unwrap();
        assert!(third.lock(Place::Owner).unwrap());
        std::fs::remove_dir_all(folder).unwrap();
    }
}

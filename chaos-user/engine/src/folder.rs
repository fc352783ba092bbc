//! `/run/chaos`, root's alone whatever the umask: what stands in it, root does. Checked at each opening, and set right where an older
//! version left it open to others.

use super::EngineError;
use nix::{
    errno::Errno,
    fcntl::{AT_FDCWD, OFlag, RenameFlags, openat, renameat, renameat2},
    sys::stat::{FileStat, Mode, SFlag, fchmod, fstat, mkdirat},
    unistd::{UnlinkatFlags, unlinkat},
};
use std::{
    fs::File,
    io::{self, Read, Write},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

/// Where journal, lock and the agent's notebook are.
pub const DIRECTORY: &str = "/run/chaos";
const OURS: Mode = Mode::S_IRWXU;
const FILE: Mode = Mode::from_bits_truncate(0o600);
/// Bits that would be for others, or change whose a file is.
const OTHERS: u32 = 0o7077;
const ROOT: u32 = 0;

/// A folder of root's, held open: its name may change, what is read and written is in it.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    fd: OwnedFd,
}

fn failed(what: &str, path: &Path, errno: Errno) -> EngineError {
    let text = format!("{what} {}: {}", path.display(), io::Error::from(errno));
    if matches!(errno, Errno::EACCES | Errno::EPERM | Errno::EROFS) {
        return EngineError::Unsupported(format!("{text}; run as root"));
    }
    EngineError::Failed(text)
}

/// Root's and of the kind that is expected, or why not.
fn owned(path: &Path, stat: &FileStat, kind: SFlag) -> Result<(), EngineError> {
    let is = SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits());
    if is != kind {
        let wanted = if kind == SFlag::S_IFDIR { "a folder" } else { "a regular file" };
        let text = format!("open {}: it is not {wanted}; remove it, then run `chaos cleanup`", path.display());
        return Err(EngineError::Failed(text));
    }
    if stat.st_uid == ROOT {
        return Ok(());
    }
    let text = format!(
        "open {}: it belongs to user {}, not to root; remove it, then run `chaos cleanup`",
        path.display(),
        stat.st_uid
    );
    Err(EngineError::Failed(text))
}

impl Folder {
    /// The node's; made where there is none.
    ///
    /// # Errors
    /// `Unsupported` without the right to it; `Failed` where it is somebody else's, or no folder.
    pub fn node() -> Result<Self, EngineError> {
        Self::at(Path::new(DIRECTORY))
    }

    /// The node's for a look; None where there is none.
    ///
    /// # Errors
    /// As [`Folder::node`].
    pub fn seen() -> Result<Option<Self>, EngineError> {
        Self::existing(Path::new(DIRECTORY))
    }

    /// The same at another place.
    ///
    /// # Errors
    /// As [`Folder::node`].
    pub fn at(path: &Path) -> Result<Self, EngineError> {
        match mkdirat(AT_FDCWD, path, OURS) {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(errno) => return Err(failed("create directory", path, errno)),
        }
        Self::existing(path)?.ok_or_else(|| failed("open", path, Errno::ENOENT))
    }

    fn existing(path: &Path) -> Result<Option<Self>, EngineError> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let fd = match openat(AT_FDCWD, path, flags, Mode::empty()) {
            Ok(fd) => fd,
            Err(Errno::ENOENT) => return Ok(None),
            Err(Errno::ENOTDIR | Errno::ELOOP) => {
                let text = format!("open {}: it is not a folder; remove it", path.display());
                return Err(EngineError::Failed(text));
            }
            Err(errno) => return Err(failed("open", path, errno)),
        };
        let stat = fstat(&fd).map_err(|errno| failed("look at", path, errno))?;
        owned(path, &stat, SFlag::S_IFDIR)?;
        if stat.st_mode & 0o7777 != OURS.bits() {
            fchmod(&fd, OURS).map_err(|errno| failed("set the mode of", path, errno))?;
        }
        Ok(Some(Self { path: path.to_owned(), fd }))
    }

    /// Where a file of it is, for people.
    #[must_use]
    pub fn path_of(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    fn open(&self, name: &str, flags: OFlag) -> Result<Option<File>, EngineError> {
        let path = self.path_of(name);
        // A FIFO in its place must not be waited for.
        let flags = flags | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let fd = match openat(&self.fd, name, flags, FILE) {
            Ok(fd) => fd,
            Err(Errno::ENOENT) => return Ok(None),
            Err(Errno::ELOOP | Errno::ENXIO | Errno::EISDIR) => {
                let text =
                    format!("open {}: it is not a regular file; remove it, then run `chaos cleanup`", path.display());
                return Err(EngineError::Failed(text));
            }
            Err(errno) => return Err(failed("open", &path, errno)),
        };
        let stat = fstat(&fd).map_err(|errno| failed("look at", &path, errno))?;
        owned(&path, &stat, SFlag::S_IFREG)?;
        if stat.st_mode & OTHERS != 0 || stat.st_mode & FILE.bits() != FILE.bits() {
            fchmod(&fd, FILE).map_err(|errno| failed("set the mode of", &path, errno))?;
        }
        Ok(Some(File::from(fd)))
    }

    /// Opens a file to be locked; made where there is none.
    ///
    /// # Errors
    /// Where it is somebody else's or no regular file, or cannot be opened.
    pub fn lock_file(&self, name: &str) -> Result<File, EngineError> {
        let file = self.open(name, OFlag::O_RDWR | OFlag::O_CREAT)?;
        file.ok_or_else(|| failed("open", &self.path_of(name), Errno::ENOENT))
    }

    /// What a file says; None where there is none.
    ///
    /// # Errors
    /// As [`Folder::lock_file`]; where it cannot be read, or is no text.
    pub fn read(&self, name: &str) -> Result<Option<String>, EngineError> {
        let Some(mut file) = self.open(name, OFlag::O_RDONLY)? else { return Ok(None) };
        let mut text = String::new();
        match file.read_to_string(&mut text) {
            Ok(_) => Ok(Some(text)),
            Err(e) => Err(EngineError::Failed(format!("read {}: {e}", self.path_of(name).display()))),
        }
    }

    /// Writes a file: whole or not at all.
    ///
    /// # Errors
    /// What the file system says.
    pub fn write(&self, name: &str, contents: &[u8]) -> io::Result<()> {
        let temporary = format!("{name}.new");
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let open = || openat(&self.fd, temporary.as_str(), flags, FILE);
        let fd = match open() {
            // Of a process that died in between.
            Err(Errno::EEXIST) => {
                unlinkat(&self.fd, temporary.as_str(), UnlinkatFlags::NoRemoveDir)?;
                open()
            }
            other => other,
        }?;
        fchmod(&fd, FILE)?;
        File::from(fd).write_all(contents)?;
        Ok(renameat(&self.fd, temporary.as_str(), &self.fd, name)?)
    }

    /// Takes a file away; false where there was none.
    ///
    /// # Errors
    /// What the file system says.
    pub fn remove(&self, name: &str) -> io::Result<bool> {
        match unlinkat(&self.fd, name, UnlinkatFlags::NoRemoveDir) {
            Ok(()) => Ok(true),
            Err(Errno::ENOENT) => Ok(false),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Gives whatever has this name another one, of which there is none yet; that one.
    ///
    /// # Errors
    /// What the file system says.
    pub fn set_aside(&self, name: &str) -> io::Result<String> {
        for number in 1_u32.. {
            let aside = format!("{name}.damaged-{number}");
            match renameat2(&self.fd, name, &self.fd, aside.as_str(), RenameFlags::RENAME_NOREPLACE) {
                Ok(()) => return Ok(aside),
                Err(Errno::EEXIST) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Err(Errno::EEXIST.into())
    }
}

#[cfg(test)]
mod tests;

//! What calls need: descriptors, files, names, children. Made by other calls than those that are to be made.

use std::ffi::{CStr, CString, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use libc::{AT_FDCWD, O_CLOEXEC};

use super::deed::Trouble;
use super::options::Options;
use crate::sys::raw::{self, RawCall};

/// The file's length at the beginning.
pub const LENGTH: usize = 4096;
/// Of everything that is made.
const MODE: u32 = 0o755;

/// A way to do something: the name of the system call, and the call.
type Way = (&'static str, RawCall);

/// Where the calls act, and which calls are theirs alone.
pub struct Ground<'a> {
    avoid: &'a [&'a str],
    path: PathBuf,
    threads: usize,
    /// The directory, if it is to be removed at the end.
    own: Option<PathBuf>,
}

impl<'a> Ground<'a> {
    /// Makes the directory and the file. Where that fails, the calls that need them say so.
    pub fn new(avoid: &'a [&'a str], options: &Options) -> Self {
        let new = || std::env::temp_dir().join(format!("chaos-victim-{}", std::process::id()));
        let own = if options.dir.is_none() && options.path.is_none() { Some(new()) } else { None };
        let dir = own.as_ref().or(options.dir.as_ref());
        if let Some(dir) = dir {
            let _ = make_dir(avoid, &c_path(dir));
        }
        let file = || dir.map(|dir| dir.join("file")).unwrap_or_default();
        let path = options.path.clone().unwrap_or_else(file);
        let ground = Self { avoid, path, threads: options.threads, own };
        if make_file(&c_path(&ground.path)).make().is_ok()
            && let Ok(fd) = open(avoid, &c_path(&ground.path), libc::O_WRONLY)
        {
            let _ = raw::send(fd, &[b'x'; LENGTH]);
        }
        ground
    }

    /// Removes the directory if it was made for this run alone, with all that is in it.
    pub fn clear(&self, kits: &[Kit]) {
        let Some(dir) = &self.own else { return };
        for name in kits.iter().flat_map(|kit| &kit.names) {
            let _ = self.remove(name, true).and_then(|()| self.remove(name, false));
        }
        let _ = self.remove(&c_path(&self.path), false);
        let _ = self.remove(&c_path(dir), true);
    }

    fn remove(&self, path: &CString, directory: bool) -> Result<(), Trouble> {
        let flags = if directory { libc::AT_REMOVEDIR } else { 0 };
        let ways = Vec::from([
            ("unlinkat", RawCall::new(libc::SYS_unlinkat).int(AT_FDCWD).path(path).int(flags)),
            #[cfg(target_arch = "x86_64")]
            match directory {
                true => ("rmdir", RawCall::new(libc::SYS_rmdir).path(path)),
                false => ("unlink", RawCall::new(libc::SYS_unlink).path(path)),
            },
        ]);
        one_of(self.avoid, ways, &[libc::ENOENT, libc::ENOTDIR, libc::EISDIR]).map(drop)
    }
}

/// What the calls of one thread need.
pub struct Kit<'a> {
    ground: &'a Ground<'a>,
    thread: usize,
    /// The names that were given out.
    names: Vec<CString>,
}

impl<'a> Kit<'a> {
    pub fn new(ground: &'a Ground<'a>, thread: usize) -> Self {
        Self { ground, thread, names: Vec::new() }
    }

    /// The file that every thread acts on.
    pub fn file(&self) -> CString {
        c_path(&self.ground.path)
    }

    /// The file to take away: with several threads, one for each.
    pub fn own_file(&mut self) -> CString {
        if self.ground.threads == 1 {
            return self.file();
        }
        let name = c_path(&with_suffix(&self.ground.path, &format!(".thread.{}", self.thread)));
        self.names.push(name.clone());
        name
    }

    /// A name next to the file that does not exist.
    pub fn new_name(&mut self, purpose: &str) -> Result<CString, Trouble> {
        let suffix = format!(".{purpose}.{}.{}", self.thread, self.names.len());
        let name = c_path(&with_suffix(&self.ground.path, &suffix));
        self.ground.remove(&name, true)?;
        self.ground.remove(&name, false)?;
        self.names.push(name.clone());
        Ok(name)
    }

    /// A new directory, for the call that only x86 has.
    #[cfg(target_arch = "x86_64")]
    pub fn new_dir(&mut self, purpose: &str) -> Result<CString, Trouble> {
        let name = self.new_name(purpose)?;
        make_dir(self.ground.avoid, &name)?;
        Ok(name)
    }

    /// The file, opened to read.
    pub fn reader(&self) -> Result<i32, Trouble> {
        self.open(&self.file(), libc::O_RDONLY)
    }

    /// The file, opened to read and write.
    pub fn writer(&self) -> Result<i32, Trouble> {
        self.open(&self.file(), libc::O_RDWR)
    }

    /// The directory of the file, opened.
    pub fn directory(&self) -> Result<i32, Trouble> {
        let parent = self.ground.path.parent().filter(|parent| !parent.as_os_str().is_empty());
        self.open(&c_path(parent.unwrap_or(Path::new("."))), libc::O_DIRECTORY)
    }

    pub fn open(&self, path: &CString, flags: i32) -> Result<i32, Trouble> {
        open(self.ground.avoid, path, flags)
    }

    /// The end to read from of a pipe that holds a byte.
    pub fn full_pipe(&self) -> Result<i32, Trouble> {
        let [from, to] = pipe()?;
        fill(to)?;
        Ok(from)
    }

    /// Two sockets that are connected with each other.
    pub fn pair(&self) -> Result<[i32; 2], Trouble> {
        use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
        let pair = socketpair(AddressFamily::Unix, SockType::Stream, None, SockFlag::SOCK_CLOEXEC);
        let (a, b) = pair.map_err(|errno| trouble(errno, "socketpair"))?;
        Ok([kept(a), kept(b)])
    }

    /// A connected socket that a byte has come to.
    pub fn full_socket(&self) -> Result<i32, Trouble> {
        let [from, to] = self.pair()?;
        fill(to)?;
        Ok(from)
    }

    /// A child: 0 in the child itself.
    pub fn fork(&self) -> Result<usize, Trouble> {
        fork(self.ground.avoid)
    }

    /// Makes a call for which there is no other.
    pub fn just(&self, what: &'static str, call: RawCall) -> Result<usize, Trouble> {
        one_of(self.ground.avoid, vec![(what, call)], &[])
    }
}

/// A pipe: the end to read from, the end to write to.
pub fn pipe() -> Result<[i32; 2], Trouble> {
    let (from, to) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).map_err(|errno| trouble(errno, "pipe2"))?;
    Ok([kept(from), kept(to)])
}

/// A call that makes a file unless there is one.
pub fn make_file(path: &CStr) -> RawCall {
    RawCall::new(libc::SYS_mknodat).int(AT_FDCWD).path(path).int(libc::S_IFREG | MODE)
}

/// A call that makes a copy of the process, with its memory: as fork(2), which not every architecture has.
pub fn fork_by_clone() -> RawCall {
    RawCall::new(libc::SYS_clone).int(libc::SIGCHLD)
}

/// The same by the newer call.
pub fn fork_by_clone3() -> RawCall {
    let arguments = vec![0, 0, 0, 0, libc::SIGCHLD as usize, 0, 0, 0];
    let size = size_of_val(&arguments[..]);
    RawCall::new(libc::SYS_clone3).words(arguments).size(size)
}

/// A copy of this process, which is to have one thread: 0 in the copy.
pub fn fork(avoid: &[&str]) -> Result<usize, Trouble> {
    one_of(avoid, vec![("clone3", fork_by_clone3()), ("clone", fork_by_clone())], &[])
}

/// Tries ways to do the same, those last that are to be avoided, until one works. Some errors may mean that all is well.
pub fn one_of(avoid: &[&str], mut ways: Vec<Way>, fine: &[i32]) -> Result<usize, Trouble> {
    ways.sort_by_key(|(name, _)| avoid.contains(name));
    let mut first = None;
    for (what, call) in &mut ways {
        match call.make() {
            Ok(value) => return Ok(value),
            Err(errno) if fine.contains(&errno) => return Ok(0),
            Err(errno) => first = first.or(Some(Trouble { errno, what })),
        }
    }
    Err(first.unwrap_or(Trouble { errno: libc::ENOSYS, what: "nothing" }))
}

fn open(avoid: &[&str], path: &CString, flags: i32) -> Result<i32, Trouble> {
    let flags = flags | O_CLOEXEC;
    let mode = if flags & libc::O_CREAT == 0 { 0 } else { MODE };
    let how = vec![flags as usize, mode as usize, 0];
    let ways = Vec::from([
        ("openat2", RawCall::new(libc::SYS_openat2).int(AT_FDCWD).path(path).words(how).size(24)),
        ("openat", RawCall::new(libc::SYS_openat).int(AT_FDCWD).path(path).int(flags).int(mode)),
        #[cfg(target_arch = "x86_64")]
        ("open", RawCall::new(libc::SYS_open).path(path).int(flags).int(mode)),
    ]);
    one_of(avoid, ways, &[]).map(|fd| fd as i32)
}

fn make_dir(avoid: &[&str], path: &CString) -> Result<(), Trouble> {
    let ways = Vec::from([
        ("mkdirat", RawCall::new(libc::SYS_mkdirat).int(AT_FDCWD).path(path).int(MODE)),
        #[cfg(target_arch = "x86_64")]
        ("mkdir", RawCall::new(libc::SYS_mkdir).path(path).int(MODE)),
    ]);
    one_of(avoid, ways, &[libc::EEXIST]).map(drop)
}

fn fill(fd: i32) -> Result<(), Trouble> {
    raw::send(fd, b"x").map(drop).map_err(|errno| Trouble { errno, what: "pwritev2" })
}

fn trouble(errno: nix::errno::Errno, what: &'static str) -> Trouble {
    Trouble { errno: errno as i32, what }
}

/// A descriptor that stays open until the process ends: closing it would be a call of its own.
fn kept(fd: std::os::fd::OwnedFd) -> i32 {
    std::os::fd::IntoRawFd::into_raw_fd(fd)
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

/// A path as the kernel takes it. One with a zero byte in it cannot come from a command line.
fn c_path(path: &Path) -> CString {
    CString::new(path.as_os_str().as_bytes()).unwrap_or_default()
}

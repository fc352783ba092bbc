//! A network namespace held by a file descriptor, and work done inside it.
use std::{
    cell::Cell,
    collections::HashSet,
    fs::{self, File},
    io,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
        unix::fs::MetadataExt,
    },
    path::{Path, PathBuf},
    sync::Arc,
    thread,
};

use nix::{
    errno::Errno,
    sched::{CloneFlags, setns, unshare},
};

use super::{error::KernelError, seam};

/// Where names of network namespaces are kept: ip-netns(8), and Docker.
const NAMED: [&str; 3] = ["/run/netns", "/run/docker/netns", "/var/run/docker/netns"];
/// The calling thread's namespace, which differs from `/proc/self/ns/net` (the main thread's) inside [`Netns::enter`].
const OF_THREAD: &str = "/proc/thread-self/ns/net";

mod ioctl {
    // NS_GET_NSTYPE of linux/nsfs.h (ioctl_ns(2)): the CLONE_NEW* flag of the namespace behind a descriptor.
    nix::ioctl_none!(ns_get_nstype, 0xb7, 0x3);
}

/// A network namespace. It stays alive as long as one clone of this exists.
#[derive(Debug, Clone)]
pub struct Netns {
    fd: Arc<OwnedFd>,
    inode: u64,
    description: String,
}

impl Netns {
    /// The process's own, which counts as the host's. Errors: without procfs.
    pub fn own() -> Result<Self, KernelError> {
        Self::by_path(Path::new("/proc/self/ns/net"))
    }

    /// By the name that `ip netns` gave it in `/run/netns`. Errors: absent; not a network namespace.
    pub fn by_name(name: &str) -> Result<Self, KernelError> {
        if name.is_empty() || name.contains('/') || name == "." || name == ".." {
            let error = KernelError::new("open network namespace", format!("{name:?}"), Errno::EINVAL);
            return Err(error.with_hint("a name has no '/'; give a path instead"));
        }
        Self::by_path(&Path::new(NAMED[0]).join(name))
    }

    /// By the path of a bind mount or of a `/proc/PID/ns/net`. Errors: absent; not a network namespace; EACCES for
    /// another process's without CAP_SYS_PTRACE.
    pub fn by_path(path: &Path) -> Result<Self, KernelError> {
        let description = path.display().to_string();
        let file = File::open(path).map_err(|e| KernelError::from_io("open network namespace", &description, &e))?;
        Self::from_fd(Arc::new(file.into()), description)
    }

    /// That of a process. Errors: as [`Netns::by_path`].
    pub fn of_pid(pid: i32) -> Result<Self, KernelError> {
        Self::by_path(&PathBuf::from(format!("/proc/{pid}/ns/net")))
    }

    /// From a descriptor that is open already. Errors: EINVAL when it is not a network namespace.
    pub fn from_fd(fd: Arc<OwnedFd>, description: String) -> Result<Self, KernelError> {
        const OP: &str = "use network namespace";
        // SAFETY: NS_GET_NSTYPE takes no argument and writes no memory; the descriptor is open while `fd` is borrowed.
        let kind = unsafe { ioctl::ns_get_nstype(fd.as_raw_fd()) };
        if kind != Ok(CloneFlags::CLONE_NEWNET.bits()) {
            let error = KernelError::new(OP, description, Errno::EINVAL);
            return Err(error.with_detail("this is not a network namespace"));
        }
        // A duplicate shares the open file; File is only the safe way to fstat it.
        let file = fd.try_clone().map(File::from).map_err(|e| KernelError::from_io(OP, &description, &e))?;
        let inode = file.metadata().map_err(|e| KernelError::from_io(OP, &description, &e))?.ino();
        Ok(Self { fd, inode, description })
    }

    /// A fresh one with only a loopback device that is down, for probes; it is gone with the last clone.
    /// Errors: EPERM without CAP_SYS_ADMIN; ENOSPC at the limit of `user.max_net_namespaces`.
    pub fn scratch() -> Result<Self, KernelError> {
        const OP: &str = "create";
        const OBJECT: &str = "scratch network namespace";
        let make = || {
            unshare(CloneFlags::CLONE_NEWNET).map_err(|errno| KernelError::new(OP, OBJECT, errno))?;
            let file = File::open(OF_THREAD).map_err(|e| KernelError::from_io(OP, OBJECT, &e))?;
            Self::from_fd(Arc::new(file.into()), OBJECT.to_owned())
        };
        // On a thread of its own, as unshare(2) moves the calling thread for good.
        seam::run(OP, OBJECT, || on_thread(OP, OBJECT, make)?)
    }

    /// The inode number, which names the namespace while it lives (namespaces(7)).
    pub fn inode(&self) -> u64 {
        self.inode
    }

    /// Where it was found, for people.
    pub fn description(&self) -> &str {
        &self.description
    }

    /// Runs `work` inside this namespace, on a thread of its own unless this one is [`travelling`], and returns its
    /// result. Sockets that it opens keep belonging to this namespace. Inside, `/proc/sys/net` is this namespace's.
    /// Errors: EPERM without CAP_SYS_ADMIN.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, KernelError> {
        const OP: &str = "enter network namespace";
        if fs::metadata(OF_THREAD).is_ok_and(|here| here.ino() == self.inode) {
            return Ok(work());
        }
        if TRAVELS.get() {
            return self.visit(work);
        }
        on_thread(OP, &self.description, || {
            setns(&self.fd, CloneFlags::CLONE_NEWNET)
                .map_err(|errno| KernelError::new(OP, &self.description, errno))?;
            Ok(work())
        })?
    }

    /// There and back on this thread.
    fn visit<T>(&self, work: impl FnOnce() -> T) -> Result<T, KernelError> {
        let go = |op, fd: BorrowedFd| {
            setns(fd, CloneFlags::CLONE_NEWNET).map_err(|errno| KernelError::new(op, &self.description, errno))
        };
        let home = File::open(OF_THREAD).map_err(|e| KernelError::from_io("leave for", &self.description, &e))?;
        go("enter network namespace", self.as_fd())?;
        let result = work();
        // Where this fails the thread is lost, and with it what was to be done on it.
        go("come back from", home.as_fd())?;
        Ok(result)
    }

    /// All that have a name or a process, each once; not those that may not be opened.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let mut seen = HashSet::new();
        let is_new = |path: &PathBuf| fs::metadata(path).is_ok_and(|found| seen.insert(found.ino()));
        places().filter(is_new).filter_map(|path| Self::by_path(&path).ok()).collect()
    }

    /// Finds a living namespace by its inode: among the named ones, then among those of all processes.
    /// `None` when there is none (any more) or it may not be opened.
    pub fn find_by_inode(inode: u64) -> Option<Self> {
        places()
            .filter(|path| fs::metadata(path).is_ok_and(|found| found.ino() == inode))
            // The namespace may have gone, and its path have come to mean another, before it was opened.
            .find_map(|path| Self::by_path(&path).ok().filter(|netns| netns.inode == inode))
    }
}

/// Where namespaces are found: those with names, and those of processes.
fn places() -> impl Iterator<Item = PathBuf> {
    let named = NAMED.iter().flat_map(|folder| entries(Path::new(folder)));
    let of_processes = entries(Path::new("/proc"))
        .filter(|path| path.file_name().is_some_and(|n| n.as_encoded_bytes().iter().all(u8::is_ascii_digit)))
        .map(|path| path.join("ns/net"));
    named.chain(of_processes)
}

impl AsFd for Netns {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl PartialEq for Netns {
    fn eq(&self, other: &Self) -> bool {
        self.inode == other.inode
    }
}

impl Eq for Netns {}

fn entries(folder: &Path) -> impl Iterator<Item = PathBuf> {
    fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path())
}

thread_local! {
    /// Whether this thread may be in another namespace than its process, because it ends soon.
    static TRAVELS: Cell<bool> = const { Cell::new(false) };
}

/// Runs `work` on a fresh thread that enters namespaces itself: for who enters many of them, since each thread that is made waits for
/// its turn on a busy machine. Errors: EAGAIN where there can be no further thread.
pub fn travelling<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T, KernelError> {
    on_thread("make", "a thread that enters namespaces", || {
        TRAVELS.set(true);
        work()
    })
}

/// Runs `work` on a fresh thread and waits for it.
fn on_thread<T: Send>(op: &'static str, object: &str, work: impl FnOnce() -> T + Send) -> Result<T, KernelError> {
    let failed = |e: &io::Error| KernelError::from_io(op, object, e);
    thread::scope(|scope| {
        let thread = thread::Builder::new().name("netns".to_owned()).spawn_scoped(scope, work);
        match thread.map_err(|e| failed(&e))?.join() {
            Ok(result) => Ok(result),
            // A panic of the work goes on in the caller as if there were no thread.
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    fn here() -> u64 {
        fs::metadata(OF_THREAD).unwrap().ino()
    }

    #[test]
    fn work_runs_inside_and_the_caller_stays_outside() {
        testing::root_or_return!();
        let (outside, scratch) = (here(), Netns::scratch().unwrap());
        assert_ne!(scratch.inode(), outside);
        assert_eq!(scratch.enter(here).unwrap(), scratch.inode());
        assert_eq!(here(), outside);
        // Nested: the inner one is already where it should be.
        assert_eq!(scratch.enter(|| scratch.enter(here).unwrap()).unwrap(), scratch.inode());
        let own = Netns::own().unwrap();
        assert_eq!(scratch.enter(|| own.enter(here).unwrap()).unwrap(), outside);
    }

    #[test]
    fn a_thread_that_travels_comes_back_each_time() {
        testing::root_or_return!();
        let (outside, places) = (here(), [Netns::scratch().unwrap(), Netns::scratch().unwrap()]);
        let [one, other] = &places;
        let ids = || nix::unistd::gettid();
        let seen = travelling(|| {
            let nested = one.enter(|| (here(), other.enter(here).unwrap(), here())).unwrap();
            (nested, here(), other.enter(ids).unwrap() == ids())
        });
        let nested = (one.inode(), other.inode(), one.inode());
        assert_eq!(seen.unwrap(), (nested, outside, true), "back in each, and never on another thread");
        assert_eq!(here(), outside);
    }

    #[test]
    fn found_by_name_path_pid_and_inode() {
        testing::root_or_return!();
        let name = testing::unique("ns");
        testing::ip(&["netns", "add", &name]);
        let named = Netns::by_name(&name).unwrap();
        let by_path = Netns::by_path(&Path::new("/run/netns").join(&name)).unwrap();
        let found = Netns::find_by_inode(named.inode()).unwrap();
        testing::ip(&["netns", "del", &name]);
        assert_eq!((&by_path, &found), (&named, &named));
        assert!(found.description().ends_with(&name));
        assert_eq!(Netns::of_pid(std::process::id().cast_signed()).unwrap(), Netns::own().unwrap());
    }

    #[test]
    fn absent_and_foreign_things_are_errors() {
        let absent = Netns::by_name("no-such-netns-here").unwrap_err();
        assert_eq!(absent.category(), "absent");
        assert_eq!(Netns::by_name("../x").unwrap_err().category(), "invalid");
        let file = Netns::by_path(Path::new("/proc/self/stat")).unwrap_err();
        assert!(file.to_string().contains("not a network namespace"), "{file}");
        let other_kind = Netns::by_path(Path::new("/proc/self/ns/uts")).unwrap_err();
        assert!(other_kind.to_string().contains("not a network namespace"), "{other_kind}");
        assert!(Netns::find_by_inode(1).is_none());
    }
}

//! The process in whose pages threads wait: it has one file, in a file system that is mounted nowhere, and answers each read of it when
//! the reader's time is over.
//!
//! While somebody waits, the kernel holds the lock of this process's memory map (mm/memory.c, `__access_remote_vm`). So it is a process
//! of its own, and asks for no memory once it serves: what it asked for would wait for the waiting.

use super::{
    super::{clock::monotonic as now, error::KernelError},
    OwnCgroup, guard, rights,
    wake::WakeTimes,
    wire::{self, Request},
};
use chaos_abi::{SLEEP_PAGE, SLEEP_SLICE, SLEEP_SLOTS};
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::mman::{MapFlags, MmapAdvise, ProtFlags, madvise, mmap},
};
use rustix::{
    fs::{Mode, OFlags, openat},
    mount::{
        FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount,
        fsopen,
    },
};
use std::{
    fs::File,
    io::{Read, Write},
    num::NonZeroUsize,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    os::unix::net::UnixStream,
};

/// The kernel wants room for a whole write request (linux/fuse.h, FUSE_MIN_READ_BUFFER), which never comes.
const BUFFER: usize = 128 << 10;
const DEVICE: &str = "/dev/fuse";
/// The same, as the first process of the node has it: needs CAP_SYS_PTRACE (proc_pid_root(5)).
const OF_NODE: &str = "/proc/1/root/dev/fuse";
const SIZE: u64 = SLEEP_SLOTS as u64 * SLEEP_PAGE;

/// A read that waits.
#[derive(Clone, Copy)]
struct Waiting {
    until: u64,
    unique: u64,
    thread: u32,
}

/// Serves `parent` until it is gone: first a map's id comes, and the answer is the address of the pages, or 0 and the reason.
pub fn serve(mut parent: UnixStream, own_cgroup: OwnCgroup) -> Result<(), KernelError> {
    let mut id = [0_u8; 4];
    if parent.read_exact(&mut id).is_err() {
        return Ok(());
    }
    let started = Server::start(u32::from_ne_bytes(id), own_cgroup).and_then(|mut server| {
        let address = server.map()?;
        rights::give_up()?;
        Ok((server, address))
    });
    match started {
        Ok((mut server, address)) => {
            say(&mut parent, &address.to_ne_bytes())?;
            server.run(&mut parent)
        }
        Err(error) => {
            say(&mut parent, &0_u64.to_ne_bytes())?;
            say(&mut parent, error.to_string().as_bytes())
        }
    }
}

fn say(parent: &mut UnixStream, bytes: &[u8]) -> Result<(), KernelError> {
    parent.write_all(bytes).map_err(|e| KernelError::from_io("answer", "chaos", &e))
}

/// Opens the device. In a container it is not there, but it is where the node's first process sees it; and the container's runtime may keep
/// it from us, for which there is a way where cgroup v2 is what it does that with.
fn device(own_cgroup: OwnCgroup) -> Result<File, KernelError> {
    let open = |path: &str| File::options().read(true).write(true).open(path);
    let first = match open(DEVICE) {
        Ok(device) => return Ok(device),
        Err(error) => error,
    };
    let failed = |error: &std::io::Error| {
        KernelError::from_io("open", DEVICE, error)
            .unsupported("a thread sleeps by means of FUSE: modprobe fuse; a container needs the device /dev/fuse")
    };
    match open(OF_NODE) {
        Ok(device) => Ok(device),
        Err(error) if error.raw_os_error() == Some(Errno::EPERM as i32) => {
            let device =
                guard::past(own_cgroup, || open(OF_NODE)).map_err(|why| failed(&error).with_detail(why.to_string()))?;
            device.map_err(|error| failed(&error))
        }
        Err(_) => Err(failed(&first)),
    }
}

struct Server {
    device: File,
    mount: OwnedFd,
    slots: WakeTimes,
    waiting: Vec<Waiting>,
    buffer: Vec<u8>,
}

impl Server {
    fn start(slots: u32, own_cgroup: OwnCgroup) -> Result<Self, KernelError> {
        let slots = WakeTimes::of(slots)?;
        let device = device(own_cgroup)?;
        let mount = mounted(&device)?;
        let waiting = Vec::with_capacity(SLEEP_SLOTS as usize);
        let buffer = vec![0; BUFFER];
        rights::hold_memory();
        Ok(Self { device, mount, slots, waiting, buffer })
    }

    /// Maps the file; the address. Answers the kernel meanwhile, from this thread.
    fn map(&mut self) -> Result<u64, KernelError> {
        let mount = self.mount.try_clone().map_err(|e| KernelError::from_io("duplicate", "mount", &e))?;
        let (mut done, other) = UnixStream::pair().map_err(|e| KernelError::from_io("make", "socket pair", &e))?;
        let opener = std::thread::spawn(move || {
            let mapped = pages(&mount);
            drop(other);
            mapped
        });
        loop {
            let [asked, over] = self.ready(&done, PollTimeout::NONE)?;
            if asked {
                self.request()?;
            } else if over {
                let _ = done.read(&mut [0]);
                let failed = || KernelError::new("start", "thread", Errno::EAGAIN);
                return opener.join().map_err(|_| failed())?;
            }
        }
    }

    /// Answers until the parent is gone. What the parent says is said back: it sees that this process lives.
    fn run(&mut self, parent: &mut UnixStream) -> Result<(), KernelError> {
        loop {
            let next = self.waiting.iter().map(|waiting| waiting.until).min();
            let timeout = next.map_or(PollTimeout::NONE, |until| {
                // Rounded down; the last bit of the time is slept without the device.
                let left = until.saturating_sub(now()) / 1_000_000;
                PollTimeout::try_from(left.min(SLEEP_SLICE / 1_000_000) as i32).unwrap_or(PollTimeout::ZERO)
            });
            let [asked, spoken] = self.ready(parent, timeout)?;
            if asked {
                self.request()?;
            }
            if spoken {
                let mut byte = [0];
                match parent.read(&mut byte) {
                    Ok(0) | Err(_) => return Ok(()),
                    Ok(_) => say(parent, &byte)?,
                }
            }
            self.wake();
        }
    }

    /// Which of the two has something to say: the kernel, the other.
    fn ready(&self, other: &UnixStream, timeout: PollTimeout) -> Result<[bool; 2], KernelError> {
        let mut fds =
            [PollFd::new(self.device.as_fd(), PollFlags::POLLIN), PollFd::new(other.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, timeout) {
            Ok(_) | Err(Errno::EINTR) => Ok(fds.map(|fd| fd.any().unwrap_or(false))),
            Err(errno) => Err(KernelError::new("poll", DEVICE, errno)),
        }
    }

    /// Answers those whose time is over.
    fn wake(&mut self) {
        let Some(next) = self.waiting.iter().map(|waiting| waiting.until).min() else { return };
        let left = next.saturating_sub(now());
        if left > 0 && left < 1_000_000 {
            std::thread::sleep(std::time::Duration::from_nanos(left));
        }
        let time = now();
        let mut place = 0;
        while place < self.waiting.len() {
            if self.waiting[place].until > time {
                place += 1;
                continue;
            }
            let over = self.waiting.swap_remove(place);
            self.release(over.unique);
        }
    }

    /// The read fails, and nothing of it is kept: the next one is asked here again.
    fn release(&self, unique: u64) {
        self.send(wire::plain(unique, libc::EIO));
    }

    fn send(&self, mut answer: wire::Answer) {
        // ENOENT: the thread that waited is gone.
        let _ = (&self.device).write(answer.bytes());
    }

    fn request(&mut self) -> Result<(), KernelError> {
        let length = match (&self.device).read(&mut self.buffer) {
            Ok(length) => length,
            // ENOENT: the request was taken back. ENODEV: the file system is gone, and so is the use of this process.
            Err(e) if matches!(e.raw_os_error(), Some(libc::ENOENT | libc::EINTR | libc::EAGAIN)) => return Ok(()),
            Err(e) => return Err(KernelError::from_io("read", DEVICE, &e)),
        };
        let (unique, request) = wire::parse(self.buffer.get(..length).unwrap_or_default());
        match request {
            Request::Read { offset, thread } => {
                let slot = (offset / SLEEP_PAGE) as u32;
                let time = now();
                let until = self.slots.get(slot).min(time + SLEEP_SLICE);
                if until <= time || self.waiting.len() == self.waiting.capacity() {
                    self.release(unique);
                } else {
                    self.waiting.push(Waiting { until, unique, thread });
                }
            }
            Request::Interrupt { unique } => self.interrupted(unique),
            request => {
                if let Some(answer) = wire::answer(unique, &request, SIZE) {
                    self.send(answer);
                }
            }
        }
        Ok(())
    }

    /// A signal came for a waiting thread. As on a slow disk, only one that kills it ends the wait.
    fn interrupted(&mut self, unique: u64) {
        let Some(place) = self.waiting.iter().position(|waiting| waiting.unique == unique) else { return };
        if is_dying(self.waiting[place].thread) {
            let over = self.waiting.swap_remove(place);
            self.release(over.unique);
        }
    }
}

/// Has the thread a SIGKILL pending (the kernel sends one to each thread of a process that a signal ends)? By what /proc says of
/// it, read into memory that is there already.
fn is_dying(thread: u32) -> bool {
    let mut path = [0_u8; 32];
    if write!(&mut path[..31], "/proc/{thread}/status").is_err() {
        return true;
    }
    let Ok(path) = std::ffi::CStr::from_bytes_until_nul(&path) else { return true };
    let Ok(file) = openat(rustix::fs::CWD, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()) else { return true };
    let mut text = [0_u8; 4096];
    let length = rustix::io::read(&file, &mut text).unwrap_or(0);
    let text = text.get(..length).and_then(|text| std::str::from_utf8(text).ok()).unwrap_or("");
    let pending = text.lines().find_map(|line| line.strip_prefix("SigPnd:"));
    let pending = pending.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    pending.is_none_or(|mask| mask & 1 << (libc::SIGKILL - 1) != 0)
}

/// A file system of its own that is in no mount table and goes with its descriptor. Linux 5.2.
fn mounted(device: &File) -> Result<OwnedFd, KernelError> {
    let error = |errno: rustix::io::Errno| {
        KernelError::from_io("mount", "FUSE file system", &errno.into()).with_hint("needs CAP_SYS_ADMIN")
    };
    let context = fsopen("fuse", FsOpenFlags::FSOPEN_CLOEXEC).map_err(error)?;
    for (key, value) in [("source", "chaos"), ("rootmode", "40000"), ("user_id", "0"), ("group_id", "0")] {
        fsconfig_set_string(&context, key, value).map_err(error)?;
    }
    fsconfig_set_string(&context, "fd", device.as_raw_fd().to_string()).map_err(error)?;
    fsconfig_set_flag(&context, "allow_other").map_err(error)?;
    fsconfig_create(&context).map_err(error)?;
    fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty()).map_err(error)
}

/// Maps the file's pages, which nobody has read yet; where they begin. They stay as long as the process.
fn pages(mount: &OwnedFd) -> Result<u64, KernelError> {
    let file = openat(mount, wire::NAME, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
    let file = file.map_err(|errno| KernelError::from_io("open", "file of pages", &errno.into()))?;
    let error = |errno| KernelError::new("map", "file of pages", errno);
    let length = NonZeroUsize::new(SIZE as usize).ok_or_else(|| error(Errno::EINVAL))?;
    // SAFETY: a new mapping at a place that the kernel chooses; nothing here ever reads it.
    let at = unsafe { mmap(None, length, ProtFlags::PROT_READ, MapFlags::MAP_SHARED, &file, 0) }.map_err(error)?;
    // One page at a time: what is read ahead would wait, too.
    // SAFETY: the mapping that was just made; advice changes no content.
    unsafe { madvise(at, SIZE as usize, MmapAdvise::MADV_RANDOM) }.map_err(error)?;
    Ok(at.as_ptr() as u64)
}

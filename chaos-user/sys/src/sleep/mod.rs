//! Threads that are to sleep in a system call wait for a page of another process, which is made before this one has
//! threads of its own: a copy without exec, that dies with this process, holds nothing but `/dev/fuse`, and has no rights once it serves.

mod guard;
mod rights;
mod server;
mod wake;
pub(crate) mod wire;

use super::{datapath::map_error, error::KernelError, seam};
use aya::maps::{Array, IterableMap as _, MapData};
use chaos_abi::{SLEEP_SLOTS, maps as names};
use nix::{
    errno::Errno,
    sys::{
        prctl,
        signal::{SigSet, Signal, kill},
        wait::waitpid,
    },
    unistd::{ForkResult, Pid, fork, getppid},
};
use std::{
    io::{Read, Write},
    os::{fd::AsRawFd as _, unix::net::UnixStream},
    path::PathBuf,
    sync::{Mutex, OnceLock},
    time::Duration,
};

/// How often the server is asked whether it lives, and how long it has for an answer.
const BEAT: Duration = Duration::from_millis(500);
/// Mounting and mapping take about a millisecond.
const START: Duration = Duration::from_secs(5);

/// Where the pages are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pages {
    /// The process, as the initial PID namespace names it.
    pub pid: i32,
    /// Where they begin.
    pub address: u64,
}

struct Idle {
    parent: UnixStream,
    child: Pid,
}

/// Finds the directory of this process's cgroup, or says why there is none. Called in the copy, where the device is opened.
pub type OwnCgroup = fn() -> Result<PathBuf, String>;

static IDLE: Mutex<Option<Result<Idle, KernelError>>> = Mutex::new(None);
static PAGES: OnceLock<Result<Pages, KernelError>> = OnceLock::new();

const WHAT: &str = "process in which threads wait";

/// Makes the process, idle until it is asked for. To be called once, before this process starts a thread. What fails is said when the
/// process is asked for: most commands never do.
pub fn prepare(own_cgroup: OwnCgroup) {
    if let Ok(mut idle) = IDLE.lock() {
        *idle = Some(fork_idle(own_cgroup));
    }
}

fn fork_idle(own_cgroup: OwnCgroup) -> Result<Idle, KernelError> {
    let (parent, child) = UnixStream::pair().map_err(|e| KernelError::from_io("make", "socket pair", &e))?;
    let me = Pid::this();
    // Needed: no safe wrapper exists, and a process made by exec would need a program. Sound: no other thread exists whose locks the
    // copy could inherit.
    // SAFETY: the caller's duty, see above.
    match unsafe { fork() }.map_err(|errno| KernelError::new("start", WHAT, errno))? {
        ForkResult::Parent { child: pid } => Ok(Idle { parent, child: pid }),
        ForkResult::Child => {
            drop(parent);
            let _ = prctl::set_name(c"chaos-sleep");
            let _ = prctl::set_pdeathsig(Signal::SIGKILL);
            // What a terminal sends to all of its processes is for the parent to answer: it still reverts.
            let _ = SigSet::all().thread_block();
            let _ = prctl::set_no_new_privs();
            close_others(&child);
            rights::leave_streams();
            if getppid() == me {
                let _ = server::serve(child, own_cgroup);
            }
            std::process::exit(0)
        }
    }
}

/// Whatever files the caller of chaos left open are not for this process to hold: all but the standard ones and `kept`. Before Linux 5.9
/// the kernel has no such call, and they stay.
fn close_others(kept: &UnixStream) {
    let Ok(kept) = u32::try_from(kept.as_raw_fd()) else { return };
    for (first, last) in [(3, kept.saturating_sub(1)), (kept.saturating_add(1).max(3), u32::MAX)] {
        if first <= last {
            // Needed: no safe wrapper exists. Sound: this process has no owner of another file yet; it is a copy that serves `kept` alone.
            // SAFETY: takes numbers only.
            let _ = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
        }
    }
}

/// BPF_F_MMAPABLE (linux/bpf.h): the server, which has no rights, reads it as memory.
const MAPPED: u32 = 1 << 10;

/// The map of wake times, which server and programs share; one per process.
///
/// # Errors
/// The kernel's answer.
pub fn slots() -> Result<&'static Array<MapData, u64>, KernelError> {
    static SLOTS: OnceLock<Result<Array<MapData, u64>, KernelError>> = OnceLock::new();
    let made =
        SLOTS.get_or_init(|| Array::create(SLEEP_SLOTS, MAPPED).map_err(|e| map_error("make map", names::SLOTS, &e)));
    made.as_ref().map_err(Clone::clone)
}

/// The server's pages; it begins to serve when they are first asked for.
///
/// # Errors
/// Why it cannot: no `/dev/fuse`, no right to mount, not a command that delays calls.
pub fn pages() -> Result<Pages, KernelError> {
    PAGES.get_or_init(|| seam::run("start", WHAT, start)).clone()
}

fn start() -> Result<Pages, KernelError> {
    let absent = || KernelError::new("find", WHAT, Errno::ESRCH);
    let Idle { mut parent, child } = IDLE.lock().ok().and_then(|mut idle| idle.take()).ok_or_else(absent)??;
    let error = |e: &std::io::Error| KernelError::from_io("ask", WHAT, e);
    let map = slots()?.map().info().map_err(|e| map_error("ask for map", names::SLOTS, &e))?.id();
    parent.set_read_timeout(Some(START)).map_err(|e| error(&e))?;
    parent.write_all(&map.to_ne_bytes()).map_err(|e| error(&e))?;
    let mut address = [0_u8; 8];
    parent.read_exact(&mut address).map_err(|e| error(&e))?;
    let address = u64::from_ne_bytes(address);
    if address == 0 {
        let mut why = String::new();
        let _ = parent.read_to_string(&mut why);
        let _ = waitpid(child, None);
        return Err(KernelError::new("start", WHAT, Errno::EOPNOTSUPP).with_detail(why));
    }
    let pid = host_pid(child)?;
    let watch = std::thread::Builder::new().name("chaos-sleep-beat".to_owned());
    watch.spawn(move || watch_over(parent, child)).map_err(|e| KernelError::from_io("start", "thread", &e))?;
    Ok(Pages { pid, address })
}

/// Ends a server that does not answer: whoever waits there is free then (fs/fuse/dev.c, `fuse_abort_conn`).
fn watch_over(mut parent: UnixStream, child: Pid) {
    let _ = parent.set_read_timeout(Some(BEAT));
    loop {
        let answered = parent.write_all(&[1]).is_ok() && parent.read_exact(&mut [0]).is_ok();
        if !answered {
            let _ = kill(child, Signal::SIGKILL);
            let _ = waitpid(child, None);
            tracing::error!(
                "the process in which threads wait did not answer and was ended: calls are delayed no more"
            );
            return;
        }
        std::thread::sleep(BEAT);
    }
}

/// The process as the initial PID namespace names it: the last that `NSpid` gives is this one's own name, the first the outermost that
/// the mounted /proc knows.
fn host_pid(child: Pid) -> Result<i32, KernelError> {
    let path = format!("/proc/{child}/status");
    let text = std::fs::read_to_string(&path).map_err(|e| KernelError::from_io("read", &path, &e))?;
    let pids = text.lines().find_map(|line| line.strip_prefix("NSpid:"));
    let pid = pids.and_then(|pids| pids.split_whitespace().next()?.parse().ok());
    pid.ok_or_else(|| KernelError::malformed("read", path, "no NSpid"))
}

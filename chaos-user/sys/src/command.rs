//! The command that a user gave `chaos run` to start: in a cgroup of its own before it is executed.

use nix::sys::{prctl, signal::Signal};
use std::{
    ffi::OsString,
    fs::{File, OpenOptions},
    io::{self, Write},
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, Stdio},
};

/// Starts it in this cgroup. Its input is ours; its output goes to our standard error, since standard output has the report. It is killed with the
/// thread that calls this (prctl(2), `PR_SET_PDEATHSIG`).
///
/// # Errors
/// What the kernel says of the cgroup, of fork(2) or of execve(2).
pub fn start_in(cgroup: &Path, program: &OsString, arguments: &[OsString]) -> io::Result<Child> {
    let procs = OpenOptions::new().write(true).open(cgroup.join("cgroup.procs"))?;
    let parent = nix::unistd::getpid();
    let mut command = Command::new(program);
    command.args(arguments).stdout(Stdio::from(io::stderr()));
    // SAFETY: between fork and exec only prctl(2), getppid(2) and write(2) are called, which signal-safety(7) allows (prctl is a bare system call);
    // nothing is allocated, and no lock is taken.
    unsafe {
        command.pre_exec(move || enter(&procs, parent));
    }
    command.spawn()
}

/// In the child: enters the cgroup, and ends with its parent.
fn enter(mut procs: &File, parent: nix::unistd::Pid) -> io::Result<()> {
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    if nix::unistd::getppid() != parent {
        // It has ended meanwhile.
        return Err(io::Error::from_raw_os_error(nix::libc::ESRCH));
    }
    // 0 is the process that writes (cgroups(7)).
    procs.write_all(b"0")
}

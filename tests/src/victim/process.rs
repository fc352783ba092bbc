//! Calls about the process: children, programs, signals, memory, chance.

use super::deed::{After, Deed, Trouble};
use super::exec::{Executor, execute};
use super::kit::{Kit, fork_by_clone, fork_by_clone3};
use super::table::Entry;
use crate::sys::raw::RawCall;

pub const CALLS: &[Entry] = &[
    Entry::again("clone", |_| Ok(After::Reap.of(fork_by_clone()))),
    Entry::again("clone3", |_| Ok(After::Reap.of(fork_by_clone3()))),
    #[cfg(target_arch = "x86_64")]
    Entry::again("fork", |_| Ok(After::Reap.of(RawCall::new(libc::SYS_fork)))),
    Entry::once("execve", |kit| executing(kit, RawCall::new(libc::SYS_execve))),
    Entry::once("execveat", |kit| executing(kit, RawCall::new(libc::SYS_execveat).int(libc::AT_FDCWD))),
    Entry::again("kill", |_| Ok(RawCall::new(libc::SYS_kill).int(std::process::id()).int(0).into())),
    Entry::again("getppid", |_| Ok(RawCall::new(libc::SYS_getppid).into())),
    Entry::again("sched_yield", |_| Ok(RawCall::new(libc::SYS_sched_yield).into())),
    // Without libc's wrapper it returns where the break is.
    Entry::again("brk", |_| Ok(RawCall::new(libc::SYS_brk).int(0).into())),
    Entry::again("getrandom", |_| Ok(RawCall::new(libc::SYS_getrandom).bytes(vec![0; 16]).size(16).into())),
];

fn executing(kit: &mut Kit, call: RawCall) -> Result<Deed, Trouble> {
    let call = execute(call, &[c"--nothing".to_owned()], &[])?;
    Ok(Deed::Exec(Executor::new(kit, call)?))
}

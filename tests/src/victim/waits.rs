//! Calls that wait: for descriptors, one of which is ready at once, and for time to pass.

use super::deed::Trouble;
use super::kit::Kit;
use super::table::Entry;
use crate::sys::raw::RawCall;

/// How long the calls wait at most, in milliseconds and in seconds.
const LIMIT_MS: i32 = 1000;
const LIMIT_S: usize = 1;
/// How long the calls sleep.
const SLEEP_NS: usize = 1000;
/// The size of the kernel's `sigset_t`.
const SIGNALS: usize = 8;

pub const CALLS: &[Entry] = &[
    #[cfg(target_arch = "x86_64")]
    Entry::again("epoll_wait", |kit| Ok(on_epoll(libc::SYS_epoll_wait, kit)?.into())),
    Entry::again("epoll_pwait", |kit| Ok(on_epoll(libc::SYS_epoll_pwait, kit)?.int(0).size(SIGNALS).into())),
    #[cfg(target_arch = "x86_64")]
    Entry::again("poll", |kit| Ok(on_pollfd(libc::SYS_poll, kit)?.int(LIMIT_MS).into())),
    Entry::again("ppoll", |kit| {
        Ok(on_pollfd(libc::SYS_ppoll, kit)?.words(vec![LIMIT_S, 0]).int(0).size(SIGNALS).into())
    }),
    #[cfg(target_arch = "x86_64")]
    Entry::again("select", |kit| Ok(on_set(libc::SYS_select, kit)?.words(vec![LIMIT_S, 0]).into())),
    Entry::again("pselect6", |kit| Ok(on_set(libc::SYS_pselect6, kit)?.words(vec![LIMIT_S, 0]).int(0).into())),
    Entry::again("nanosleep", |_| Ok(RawCall::new(libc::SYS_nanosleep).words(vec![0, SLEEP_NS]).into())),
    Entry::again("clock_nanosleep", |_| {
        let call = RawCall::new(libc::SYS_clock_nanosleep).int(libc::CLOCK_MONOTONIC).int(0);
        Ok(call.words(vec![0, SLEEP_NS]).into())
    }),
    Entry::again("futex", |_| {
        let wake = libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG;
        Ok(RawCall::new(libc::SYS_futex).words(vec![0]).int(wake).int(1).into())
    }),
];

fn on_epoll(number: libc::c_long, kit: &Kit) -> Result<RawCall, Trouble> {
    let ready = kit.full_pipe()?;
    let epoll = kit.just("epoll_create1", RawCall::new(libc::SYS_epoll_create1).int(libc::EPOLL_CLOEXEC))?;
    // The events come first in `struct epoll_event`, whose size depends on the architecture.
    let event = vec![libc::EPOLLIN as usize, 0];
    let add = RawCall::new(libc::SYS_epoll_ctl).size(epoll).int(libc::EPOLL_CTL_ADD).int(ready).words(event);
    kit.just("epoll_ctl", add)?;
    Ok(RawCall::new(number).size(epoll).words(vec![0, 0]).int(1).int(LIMIT_MS))
}

fn on_pollfd(number: libc::c_long, kit: &Kit) -> Result<RawCall, Trouble> {
    let mut pollfd = kit.full_pipe()?.to_ne_bytes().to_vec();
    pollfd.extend(libc::POLLIN.to_ne_bytes());
    pollfd.extend([0; 2]);
    Ok(RawCall::new(number).bytes(pollfd).int(1))
}

/// A call with a set of descriptors to read from: as long as the descriptor needs, which libc's would not be.
fn on_set(number: libc::c_long, kit: &Kit) -> Result<RawCall, Trouble> {
    let ready = kit.full_pipe()? as usize;
    let bits = usize::BITS as usize;
    let mut set = vec![0; ready / bits + 1];
    set[ready / bits] = 1 << (ready % bits);
    Ok(RawCall::new(number).size(ready + 1).words(set).int(0).int(0))
}

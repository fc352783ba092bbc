//! A prepared call: made once or more often, with what is due before and after it.

use std::time::Duration;

use nix::errno::Errno;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;

use super::exec::Executor;
use crate::sys::raw::RawCall;

/// Why a call could not be prepared.
#[derive(Clone, Copy)]
pub struct Trouble {
    pub errno: i32,
    pub what: &'static str,
}

/// How a call went: its errno, or 0, and how long it took.
#[derive(Clone, Copy)]
pub struct Went {
    pub errno: i32,
    pub took: Duration,
}

/// What is due when a call has succeeded, by calls that nobody tests.
#[derive(Clone, Copy)]
pub enum After {
    Nothing,
    /// It returned a descriptor, and there would soon be too many.
    Close,
    /// It mapped that many bytes.
    Unmap(usize),
    /// It made a child.
    Reap,
}

pub enum Deed {
    Call { before: Option<RawCall>, call: RawCall, after: After },
    Exec(Executor),
}

impl From<RawCall> for Deed {
    fn from(call: RawCall) -> Self {
        Self::Call { before: None, call, after: After::Nothing }
    }
}

impl Deed {
    /// The same with something that makes a file anew if it is gone.
    pub fn preceded(self, first: RawCall) -> Self {
        match self {
            Self::Call { call, after, .. } => Self::Call { before: Some(first), call, after },
            Self::Exec(executor) => Self::Exec(executor),
        }
    }

    pub fn make(&mut self) -> Result<Went, Trouble> {
        let (before, call, after) = match self {
            Self::Call { before, call, after } => (before, call, *after),
            Self::Exec(executor) => return executor.make(),
        };
        match before.as_mut().map(RawCall::make) {
            None | Some(Ok(_) | Err(libc::EEXIST)) => {}
            Some(Err(errno)) => return Err(Trouble { errno, what: "mknodat" }),
        }
        let (answer, took) = call.make_timed();
        if let Ok(value) = answer {
            after.tidy(value);
        }
        Ok(Went { errno: answer.err().unwrap_or(0), took })
    }
}

impl After {
    /// A deed that ends with this.
    pub fn of(self, call: RawCall) -> Deed {
        Deed::Call { before: None, call, after: self }
    }

    fn tidy(self, value: usize) {
        match self {
            Self::Nothing => {}
            Self::Close => close_range(value, value),
            Self::Unmap(length) => drop(RawCall::new(libc::SYS_munmap).size(value).size(length).make()),
            Self::Reap if value == 0 => exit(0),
            Self::Reap => {
                reap(value);
            }
        }
    }
}

/// Closes descriptors, both ends included, without close(2).
pub fn close_range(first: usize, last: usize) {
    let _ = RawCall::new(libc::SYS_close_range).size(first).size(last).make();
}

/// Waits for a child's end, by wait4(2); returns its exit code.
pub fn reap(child: usize) -> i32 {
    loop {
        match waitpid(Pid::from_raw(child as i32), None) {
            Ok(WaitStatus::Exited(_, code)) => return code,
            Err(Errno::EINTR) => {}
            Ok(_) | Err(_) => return 1,
        }
    }
}

/// Ends this process without any of what is due at a process's end: it is a copy of another.
pub fn exit(code: i32) -> ! {
    loop {
        let _ = RawCall::new(libc::SYS_exit_group).int(code).make();
    }
}

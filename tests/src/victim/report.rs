//! What `chaos-victim` prints about its calls.

use std::fmt::{self, Display, Write};
use std::time::{Duration, Instant};

use nix::errno::Errno;

use super::deed::{Trouble, Went};
use crate::sys::raw;

const STDOUT: i32 = 1;
/// How long it tries to write what it has to say.
const PATIENCE: Duration = Duration::from_secs(5);
/// Longer than any line.
const LINE: usize = 64;

/// A call and how it went.
#[derive(Clone, Copy)]
pub struct Line {
    pub name: &'static str,
    pub went: Result<Went, Trouble>,
}

impl Display for Line {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.went {
            Ok(Went { errno: 0, took }) => write!(out, "{} ok {}", self.name, took.as_micros()),
            Ok(Went { errno, took }) => write!(out, "{} {} {}", self.name, errno_name(errno), took.as_micros()),
            Err(Trouble { errno, what }) => write!(out, "{} prepare {} {what}", self.name, errno_name(errno)),
        }
    }
}

/// `EIO`, or `E` and the number for an errno without a name.
pub fn errno_name(errno: i32) -> impl Display {
    fmt::from_fn(move |out| match Errno::from_raw(errno) {
        Errno::UnknownErrno => write!(out, "E{errno}"),
        known => write!(out, "{known:?}"),
    })
}

/// Room for a report, to be had before the calls are made: memory comes from calls.
pub fn room(lines: usize) -> String {
    String::with_capacity(lines * LINE)
}

/// Writes all lines at once.
pub fn write(mut room: String, lines: &[Line]) {
    for line in lines {
        let _ = writeln!(room, "{line}");
    }
    say(&room);
}

/// Writes to stdout, again and again while that fails.
pub fn say(text: &str) {
    let end = Instant::now() + PATIENCE;
    let mut rest = text.as_bytes();
    while !rest.is_empty() && Instant::now() < end {
        match raw::send(STDOUT, rest) {
            Ok(length) => rest = &rest[length..],
            // Not by sleeping, which is a call that may fail.
            Err(_) => std::thread::yield_now(),
        }
    }
}

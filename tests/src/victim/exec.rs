//! Executing this program anew: in a child, which waits until it is told to.

use std::ffi::CString;
use std::os::unix::ffi::OsStringExt;
use std::time::Duration;

use super::deed::{Trouble, Went, close_range, exit, reap};
use super::kit::{Kit, pipe};
use crate::clock::now_ns;
use crate::sys::raw::{self, RawCall};

/// What the child says before its call: when that begins. And what it can say only after a call that failed.
const BEFORE: usize = 8;
const AFTER: usize = 24;

/// A child that executes this program when told to.
pub struct Executor {
    child: usize,
    go: i32,
    said: i32,
}

impl Executor {
    pub fn new(kit: &Kit, mut call: RawCall) -> Result<Self, Trouble> {
        let ([wait, go], [said, say]) = (pipe()?, pipe()?);
        let child = kit.fork()?;
        if child == 0 {
            keep_only(wait, say);
            serve(&mut call, wait, say);
        }
        // What the child says ends when it has executed, for then nobody holds the other end.
        close_range(wait as usize, wait as usize);
        close_range(say as usize, say as usize);
        Ok(Self { child, go, said })
    }

    /// The call ends, if it succeeds, when the kernel closes what is to be closed then.
    pub fn make(&mut self) -> Result<Went, Trouble> {
        let mut words = [0; AFTER];
        let mut length = 0;
        raw::send(self.go, b"x").map_err(|errno| Trouble { errno, what: "child" })?;
        while let Ok(more @ 1..) = raw::receive(self.said, &mut words[length..]) {
            length += more;
        }
        let end = now_ns();
        let [began, took, errno] =
            [0, 8, 16].map(|at| u64::from_ne_bytes(words[at..at + 8].try_into().unwrap_or_default()));
        reap(self.child);
        match length {
            BEFORE => Ok(Went { errno: 0, took: Duration::from_nanos(end.saturating_sub(began)) }),
            AFTER => Ok(Went { errno: errno as i32, took: Duration::from_nanos(took) }),
            _ => Err(Trouble { errno: libc::ECHILD, what: "child" }),
        }
    }
}

/// The child. It has one thread, and leaves by executing, or without a trace.
fn serve(call: &mut RawCall, wait: i32, say: i32) -> ! {
    if raw::receive(wait, &mut [0]) == Ok(1) && raw::send(say, &now_ns().to_ne_bytes()).is_ok() {
        let (answer, took) = call.make_timed();
        let errno = answer.err().unwrap_or(0) as u64;
        let words = [took.as_nanos() as u64, errno].map(u64::to_ne_bytes);
        let _ = raw::send(say, words.as_flattened());
    }
    exit(1)
}

/// Closes all descriptors but two: what is executed is to print nothing, and other children's pipes are to end.
fn keep_only(a: i32, b: i32) {
    let (low, high) = (a.min(b) as usize, a.max(b) as usize);
    for (first, last) in [(0, low.wrapping_sub(1)), (low + 1, high - 1), (high + 1, u32::MAX as usize)] {
        if first <= last && last != usize::MAX {
            close_range(first, last);
        }
    }
}

/// Completes a call that executes this program: all but a directory to start from.
pub fn execute(mut call: RawCall, arguments: &[CString], environment: &[CString]) -> Result<RawCall, Trouble> {
    let none =
        |error: std::io::Error| Trouble { errno: error.raw_os_error().unwrap_or(libc::ENOENT), what: "readlink" };
    // Its true path, as the name of the process is the last part of it.
    let program = std::env::current_exe().map_err(none)?.into_os_string().into_vec();
    let program = CString::new(program).unwrap_or_default();
    let mut addresses = |strings: &mut dyn Iterator<Item = &CString>| {
        let mut addresses: Vec<usize> =
            strings.map(|text| call.keep_bytes(text.as_bytes_with_nul().to_vec())).collect();
        addresses.push(0);
        addresses
    };
    let arguments = addresses(&mut std::iter::once(&program).chain(arguments));
    let environment = addresses(&mut environment.iter());
    Ok(call.path(&program).words(arguments).words(environment))
}

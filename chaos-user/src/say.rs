//! All that the product prints. The standard library's macros of these names panic where the reader of a pipe has gone or the disk is full,
//! and the verdict would be lost with them: in this crate the ones below stand in their place, and clippy refuses the others.

use std::{
    fmt,
    io::{self, Write},
    sync::atomic::{AtomicI32, Ordering},
};

/// Nothing has failed.
const GOOD: i32 = 0;
/// It failed, and no errno says why.
const UNNAMED: i32 = -1;

/// The errno of the first write to stdout that failed.
static FAILED: AtomicI32 = AtomicI32::new(GOOD);

/// Prints to stdout. The first failure is said on stderr; from then on nothing more is tried.
pub fn out(text: fmt::Arguments<'_>) {
    if FAILED.load(Ordering::Relaxed) != GOOD {
        return;
    }
    let mut stdout = io::stdout().lock();
    if let Err(error) = write(&mut stdout, text) {
        FAILED.store(error.raw_os_error().unwrap_or(UNNAMED), Ordering::Relaxed);
        err(format_args!("write to stdout: {error}; the rest of the output is lost\n"));
    }
}

/// Prints to stderr. There is nobody left to whom a failure could be said.
pub fn err(text: fmt::Arguments<'_>) {
    let _nobody_reads = write(&mut io::stderr().lock(), text);
}

/// One write for one message, so that messages of several processes do not mix.
fn write(to: &mut impl Write, text: fmt::Arguments<'_>) -> io::Result<()> {
    match text.as_str() {
        Some(plain) => to.write_all(plain.as_bytes())?,
        None => to.write_all(text.to_string().as_bytes())?,
    }
    to.flush()
}

/// Whether something that was to be on stdout is not there.
#[must_use]
pub fn failed() -> bool {
    FAILED.load(Ordering::Relaxed) != GOOD
}

/// The same, but for a reader who has gone, as `head` does: he has what he wanted.
#[must_use]
pub fn lost() -> bool {
    ![GOOD, libc::EPIPE].contains(&FAILED.load(Ordering::Relaxed))
}

/// [`out`].
macro_rules! print {
    ($($text:tt)*) => { $crate::say::out(format_args!($($text)*)) };
}

/// [`out`], with the end of a line.
macro_rules! println {
    () => { $crate::say::out(format_args!("\n")) };
    ($($text:tt)*) => { $crate::say::out(format_args!("{}\n", format_args!($($text)*))) };
}

/// [`err`], with the end of a line.
macro_rules! eprintln {
    () => { $crate::say::err(format_args!("\n")) };
    ($($text:tt)*) => { $crate::say::err(format_args!("{}\n", format_args!($($text)*))) };
}

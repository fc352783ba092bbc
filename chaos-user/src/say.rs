//! All that the product prints. The standard library's macros of these names panic where the reader of a pipe has gone or the disk is full,
//! and the verdict would be lost with them: in this crate the ones below stand in their place, and clippy refuses the others.

use std::{
    borrow::Cow,
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
        // Of the product's own words alone.
        Some(plain) => to.write_all(plain.as_bytes())?,
        None => to.write_all(harmless(&text.to_string()).as_bytes())?,
    }
    to.flush()
}

/// The text without what a name from outside could steer a terminal with: control characters but the ends of lines and tabs, and what
/// turns the direction of writing (Unicode, UAX 9).
fn harmless(text: &str) -> Cow<'_, str> {
    let steers = |c: char| {
        c.is_control() && !matches!(c, '\n' | '\t') || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    if !text.contains(steers) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.chars().map(|c| if steers(c) { '?' } else { c }).collect())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_is_printed_steers_a_terminal() {
        let hostile = "\u{1b}]0;x\u{7}\u{1b}[31mRT\r\u{9b}2J\u{202e}";
        let mut printed = Vec::new();
        write(&mut printed, format_args!("error: {hostile}\n\tnext: {}\n", "\u{fc}")).unwrap();
        assert_eq!(String::from_utf8(printed).unwrap(), "error: ?]0;x??[31mRT??2J?\n\tnext: \u{fc}\n");
        assert!(matches!(harmless("plain\n"), Cow::Borrowed(_)));
    }
}

//! A process to aim at: makes real system calls and says which failed with which errno, and how long each took.
//!
//! `chaos-victim [--dir DIR] [--repeat N] [--in thread|grandchild|exec] [--threads T] [--path PATH] [--go-on-stdin] CALL...`
//! prepares all that the CALLs need, then makes each of them once per repetition and prints a line for it:
//!
//! - `NAME ok MICROSECONDS`, or `NAME ERRNO MICROSECONDS`: how the call went and how long it alone took;
//! - `NAME prepare ERRNO WHAT`: the call was not made, for WHAT it needs failed.
//!
//! All lines are written at the end, by one write. Exit code 0: they were; 2: the command line is wrong.
//!
//! - `--dir DIR`: where its files are, which stay; it is made if there is none. Without it, a new directory that is removed at the end.
//! - `--path PATH`: the file to act on, instead of `DIR/file`. It is made if there is none. What calls make anew is named
//!   `PATH.SOMETHING`. With several threads, calls that take the file away each have one of their own.
//! - `--in`: makes the calls in a second thread, or in a child of a child, or after it executed itself.
//! - `--threads T`: T threads make the calls at once.
//! - `--go-on-stdin`: prints `ready` when all is prepared, and waits for a byte on its input.
//!
//! `chaos-victim --list` prints every CALL; `chaos-victim --nothing` does nothing: that is what its execve executes.
//!
//! What is prepared for a repetition stays open to the end: all calls together need about 50 descriptors for each.
//!
//! A call may be failing ever since the process began. What CALLs need is therefore made by other calls than those that were
//! named, where there are any. Before `main`, the dynamic loader and std make calls that must not fail: openat, newfstatat,
//! read, pread64, close, mmap, mprotect, poll. For these, let it wait for its byte. (Linked statically, it needs only the last
//! three.) The connections of connect and accept need the loopback interface.

use std::process::ExitCode;

use chaos_tests::victim;

fn main() -> ExitCode {
    match victim::run(std::env::args_os().skip(1).collect()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

//! Where the calls are made, if not in this process.

use std::ffi::{CString, OsString};
use std::os::unix::ffi::OsStringExt;

use super::deed::{Trouble, reap};
use super::exec::execute;
use super::kit::{fork, one_of};
use super::options::Options;
use super::report::errno_name;
use crate::sys::raw::RawCall;

/// Executes this program anew, with the same command line but for the place. Returns only if that fails.
pub fn execute_again(avoid: &[&str], options: &Options) -> Result<(), String> {
    let c_string = |text: OsString| CString::new(text.into_vec()).unwrap_or_default();
    let arguments: Vec<CString> = options.without_place.iter().cloned().map(c_string).collect();
    let environment: Vec<CString> = std::env::vars_os()
        .map(|(mut name, value)| {
            name.push("=");
            name.push(value);
            c_string(name)
        })
        .collect();
    let ways = || {
        let execveat = RawCall::new(libc::SYS_execveat).int(libc::AT_FDCWD);
        let execve = RawCall::new(libc::SYS_execve);
        let ways = vec![
            ("execve", execute(execve, &arguments, &environment)?),
            ("execveat", execute(execveat, &arguments, &environment)?),
        ];
        one_of(avoid, ways, &[])
    };
    ways().map(drop).map_err(said)
}

/// Goes on in a child of a child; this process and the child between wait for its end.
pub fn become_grandchild(avoid: &[&str]) -> Result<(), String> {
    for _ in 0..2 {
        let child = fork(avoid).map_err(said)?;
        if child != 0 {
            std::process::exit(reap(child));
        }
    }
    Ok(())
}

fn said(trouble: Trouble) -> String {
    format!("{}: {}", trouble.what, errno_name(trouble.errno))
}

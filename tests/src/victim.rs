//! What `chaos-victim` does: prepares system calls, makes them one by one, and says how each went.

mod deed;
mod exec;
mod files;
mod kit;
mod names;
mod options;
mod place;
mod process;
mod report;
mod sockets;
mod table;
mod waits;
mod work;

use std::ffi::OsString;
use std::process::ExitCode;

use kit::{Ground, Kit};
use options::{Options, Place};
use work::Meeting;

use crate::sys;

/// Descriptors that are not used up by preparing calls.
const SPARE: u64 = 16;

/// Runs `chaos-victim` with its arguments. The error says what is wrong with these.
pub fn run(arguments: Vec<OsString>) -> Result<ExitCode, String> {
    match arguments.first().and_then(|word| word.to_str()) {
        Some("--list") => {
            table::all().for_each(|entry| println!("{}", entry.name));
            return Ok(ExitCode::SUCCESS);
        }
        Some("--nothing") => return Ok(ExitCode::SUCCESS),
        _ => {}
    }
    let options = Options::parse(arguments)?;
    let avoid: Vec<&str> = options.calls.iter().map(|entry| entry.system_call()).collect();
    match options.place {
        Place::Exec => place::execute_again(&avoid, &options)?,
        Place::Grandchild => place::become_grandchild(&avoid)?,
        Place::Main | Place::Thread => {}
    }
    // What is prepared stays open, and the calls need descriptors, too.
    let _ = sys::raise_file_limit_but_for(options.threads as u64 + SPARE);
    let meeting = Meeting::new(&options)?;
    let ground = Ground::new(&avoid, &options);
    let mut kits: Vec<Kit> = (0..options.threads).map(|thread| Kit::new(&ground, thread)).collect();
    let work = kits.iter_mut().map(|kit| work::prepare(kit, &options)).collect();
    let _ = sys::raise_file_limit();
    let done = work::run(work, meeting, &options);
    ground.clear(&kits);
    done?;
    // Not by returning: threads are still there, and what they wait in has no end.
    std::process::exit(0);
}

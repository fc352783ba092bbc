//! Whose a cluster is, and what becomes of one that has nobody left: tests may be killed, machines may be started anew.

use std::{fs, io, path::PathBuf};

use anyhow::{Result, bail};

use super::{down, state};

/// Keeps in the cluster that it ends with the process of this number.
pub fn keep(pid: u32) -> Result<()> {
    let Some(started) = started(pid) else { bail!("process {pid}, with which the cluster was to end, has ended") };
    state::write(&file(), &format!("{pid} {started}"))
}

/// Ends a cluster that was made for a process that is no more, and what is left of one of which nothing runs; as root.
pub fn sweep() -> Result<()> {
    if !state::exists() {
        return Ok(());
    }
    match fs::read_to_string(file()) {
        Ok(text) if is_alive(&text) => return Ok(()),
        Ok(_) => println!("there is a cluster of a test that has ended:"),
        Err(error) if error.kind() == io::ErrorKind::NotFound && down::runs() => return Ok(()),
        Err(_) => println!("there is what an earlier cluster left:"),
    }
    down::run()
}

fn file() -> PathBuf {
    state::path("owner")
}

/// A number alone may have been given to another process since.
fn is_alive(owner: &str) -> bool {
    let Some((pid, since)) = owner.split_once(' ') else { return false };
    pid.parse().ok().and_then(started).is_some_and(|started| started == since)
}

/// When a process was started, in ticks since the machine was; proc_pid_stat(5), field 22.
fn started(pid: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is a name, which may hold anything.
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_whitespace().nth(19).map(str::to_owned)
}

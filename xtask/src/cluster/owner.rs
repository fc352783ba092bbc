//! Whose a cluster is, and what becomes of one that has nobody left: tests may be killed, machines may be started anew.

use std::{fs, io, path::PathBuf};

use anyhow::{Result, bail};

use super::{down, state};
use crate::identity;

/// Keeps in the cluster that it ends with the process of this number.
pub fn keep(pid: u32) -> Result<()> {
    let Some(owner) = identity::of(pid) else { bail!("process {pid}, with which the cluster was to end, has ended") };
    state::write(&file(), &owner)
}

/// Ends a cluster that was made for a process that is no more, and what is left of one of which nothing runs; as root.
pub fn sweep() -> Result<()> {
    if !state::exists() {
        return Ok(());
    }
    match fs::read_to_string(file()) {
        Ok(text) if identity::is_alive(&text) => return Ok(()),
        Ok(_) => println!("there is a cluster of a test that has ended:"),
        Err(error) if error.kind() == io::ErrorKind::NotFound && down::runs() => return Ok(()),
        Err(_) => println!("there is what an earlier cluster left:"),
    }
    down::run()
}

fn file() -> PathBuf {
    state::path("owner")
}

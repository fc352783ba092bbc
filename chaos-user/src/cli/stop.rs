//! `chaos stop` and `chaos unlock`. The faults are off by one map write, whatever their process does.

use super::fail;
use crate::{
    engine::{EngineError, RunEntry, journal},
    kernel::{
        datapath::{Datapath, map_error},
        kill_switch::kill_switch,
        seam,
    },
    observe::ExitCode,
};
use chaos_abi::{LEASE_ABORT, LEASE_FINISH, maps};
use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// How long the owner has to take its things away; it does so by itself, the faults are off before.
const PATIENCE: Duration = Duration::from_secs(5);

fn lock_path() -> PathBuf {
    Path::new(journal::DIRECTORY).join("lock")
}

/// `chaos stop`: one, or all where there is no name.
pub fn stop(name: Option<&str>, finish: bool, lock: Option<&str>) -> ExitCode {
    let result = lock.map_or(Ok(()), write_lock).and_then(|()| match name {
        Some(name) => one(name, finish),
        None => all(finish),
    });
    match result {
        Ok(code) => code,
        Err(error) => fail(&error),
    }
}

fn write_lock(reason: &str) -> Result<(), EngineError> {
    let failed = |e: std::io::Error| EngineError::Failed(format!("write {}: {e}", lock_path().display()));
    fs::create_dir_all(journal::DIRECTORY).map_err(failed)?;
    fs::write(lock_path(), format!("{reason}\n")).map_err(failed)
}

/// `chaos unlock`.
pub fn unlock() -> ExitCode {
    match fs::remove_file(lock_path()) {
        Ok(()) => println!("unlocked"),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => println!("was not locked"),
        Err(error) => return fail(&EngineError::Failed(format!("remove {}: {error}", lock_path().display()))),
    }
    ExitCode::Pass
}

fn one(name: &str, finish: bool) -> Result<ExitCode, EngineError> {
    let journal = journal::peek()?;
    let called: Vec<&RunEntry> = journal.runs.iter().filter(|run| run.is_called(name)).collect();
    if let [first, _, ..] = called.as_slice() {
        let text = format!("several experiments are named {name:?}; write NAMESPACE/{}", first.name);
        return Err(EngineError::Invalid(vec![text]));
    }
    let Some(run) = called.first().copied() else {
        let names: Vec<_> = journal.runs.iter().map(|run| run.name.as_str()).collect();
        let active =
            if names.is_empty() { "none is active".to_owned() } else { format!("active: {}", names.join(", ")) };
        return Err(EngineError::Invalid(vec![format!("no experiment {name:?} on this node; {active}")]));
    };
    end(&journal, std::slice::from_ref(run), finish)?;
    Ok(gone(std::slice::from_ref(run)))
}

fn all(finish: bool) -> Result<ExitCode, EngineError> {
    let journal = journal::peek()?;
    if finish {
        end(&journal, &journal.runs, true)?;
    } else {
        let sets = kill_switch()?;
        eprintln!("all faults are off ({sets} set{} of maps)", if sets == 1 { "" } else { "s" });
    }
    Ok(gone(&journal.runs))
}

/// Writes the end into the leases.
fn end(journal: &journal::Journal, runs: &[RunEntry], finish: bool) -> Result<(), EngineError> {
    let (Some(ids), true) = (&journal.datapath, runs.iter().any(|run| run.owner().is_alive())) else { return Ok(()) };
    let mut datapath = Datapath::join(ids)?;
    for run in runs {
        let error = |e| map_error("write map", maps::LEASES, &e);
        let mut lease = datapath.leases.get(&run.lease, 0).map_err(error)?;
        // The slot may have been given to another experiment meanwhile.
        if (lease.pid, lease.pid_start) != (run.pid, run.pid_start) && lease.pid != 0 {
            continue;
        }
        lease.until = 0;
        lease.state = if finish { LEASE_FINISH } else { LEASE_ABORT };
        seam::run("stop", &run.name, || datapath.leases.set(run.lease, lease, 0).map_err(error))?;
    }
    Ok(())
}

/// Waits for the owners to take their things away.
fn gone(runs: &[RunEntry]) -> ExitCode {
    let limit = Instant::now() + PATIENCE;
    let still = |run: &RunEntry| {
        run.owner().is_alive()
            && journal::peek()
                .is_ok_and(|now| now.runs.iter().any(|one| one.lease == run.lease && one.name == run.name))
    };
    for run in runs {
        while still(run) && Instant::now() < limit {
            std::thread::sleep(Duration::from_millis(5));
        }
        if still(run) {
            eprintln!(
                "{}: its faults are off; pid {} does not react, and keeps what it attached until it ends",
                run.name, run.pid
            );
        } else {
            println!("{}: stopped", run.name);
        }
    }
    if runs.is_empty() {
        println!("no experiment was active");
    }
    ExitCode::Pass
}

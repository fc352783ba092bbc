//! `chaos stop` and `chaos unlock`. The faults are off by one map write, whatever their process does.

use super::fail;
use chaos_abi::{STOP_ABORT, STOP_FINISH};
use chaos_engine::{Journal, RunEntry, folder::Folder, journal, marks};
use chaos_outcome::EngineError;
use chaos_outcome::{ExitCode, combined};
use chaos_sys::{error::KernelError, kill_switch::kill_switch, names, stops::Stops};
use nix::errno::Errno;
use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// How long the owner has to take its things away; it does so by itself, the faults are off before.
const PATIENCE: Duration = Duration::from_secs(5);

const LOCK: &str = "lock";

fn lock_path() -> PathBuf {
    Path::new(journal::DIRECTORY).join(LOCK)
}

/// `chaos stop`: one, or all where there is no name.
pub fn stop(name: Option<&str>, finish: bool, lock: Option<&str>) -> ExitCode {
    // First, or another might start behind the stop; that it cannot be written is no reason to let faults act.
    let locked = lock.map_or(Ok(()), write_lock);
    let stopped = match name {
        Some(name) => one(name, finish),
        None => all(finish),
    };
    let code = stopped.unwrap_or_else(|error| fail(&error));
    match locked {
        Ok(()) => code,
        Err(error) => combined([code, fail(&error)]),
    }
}

fn write_lock(reason: &str) -> Result<(), EngineError> {
    let failed = |e: std::io::Error| EngineError::Failed(format!("write {}: {e}", lock_path().display()));
    Folder::node()?.write(LOCK, format!("{reason}\n").as_bytes()).map_err(failed)
}

/// `chaos unlock`.
pub fn unlock() -> ExitCode {
    let failed = |e: std::io::Error| EngineError::Failed(format!("remove {}: {e}", lock_path().display()));
    let removed = Folder::seen().and_then(|folder| folder.map_or(Ok(false), |one| one.remove(LOCK).map_err(failed)));
    match removed {
        Ok(true) => println!("unlocked"),
        Ok(false) => println!("was not locked"),
        Err(error) => return fail(&error),
    }
    ExitCode::Pass
}

fn one(name: &str, finish: bool) -> Result<ExitCode, EngineError> {
    // One that is damaged names nobody; what is wrong with it is said where the maps do not help either.
    let (journal, damage) = match journal::peek() {
        Ok(journal) => (journal, None),
        Err(error) => (Journal::default(), Some(error)),
    };
    if let Some(run) = called(name, journal.runs.iter())? {
        return Ok(End::of(&journal, std::slice::from_ref(run), how(finish))?.awaited());
    }
    let mut lost = marks::lost(&journal)?;
    // Not those of other nodes that share the kernel, or of containers: their names are their own.
    lost.retain(|one| one.runs.iter().any(|run| run.owner().is_alive()));
    if let Some(run) = called(name, lost.iter().flat_map(|one| &one.runs))? {
        let (slot, id) = (run.lease, run.lease_id);
        let mine = lost.iter().find(|one| one.runs.iter().any(|run| (run.lease, run.lease_id) == (slot, id)));
        return mine.map_or(Ok(ExitCode::Error), |mine| Ok(End::of_maps(mine, how(finish))?.awaited()));
    }
    if let Some(damage) = damage {
        return Err(damage);
    }
    let names: Vec<_> =
        journal.runs.iter().chain(lost.iter().flat_map(|one| &one.runs)).map(|run| run.name.as_str()).collect();
    let active = if names.is_empty() { "none is active".to_owned() } else { format!("active: {}", names.join(", ")) };
    Err(EngineError::Invalid(vec![format!("no experiment {name:?} on this node; {active}")]))
}

/// The one of this name.
fn called<'a>(name: &str, runs: impl Iterator<Item = &'a RunEntry>) -> Result<Option<&'a RunEntry>, EngineError> {
    let mut called = runs.filter(|run| run.is_called(name));
    match (called.next(), called.next()) {
        (Some(first), Some(_)) => {
            let text = format!("several experiments are named {name:?}; write NAMESPACE/{}", first.name);
            Err(EngineError::Invalid(vec![text]))
        }
        (first, _) => Ok(first),
    }
}

const fn how(finish: bool) -> u32 {
    if finish { STOP_FINISH } else { STOP_ABORT }
}

fn all(finish: bool) -> Result<ExitCode, EngineError> {
    if !finish {
        // First what needs no journal.
        let sets = kill_switch()?;
        eprintln!("all faults are off ({sets} set{} of maps)", if sets == 1 { "" } else { "s" });
    }
    let journal = journal::peek().unwrap_or_else(|error| {
        // The maps name them, too.
        eprintln!("{error}");
        Journal::default()
    });
    let lost = marks::lost(&journal)?;
    // Also those that are prepared: they would start in the new generation.
    let named = End::of(&journal, &journal.runs, how(finish))?;
    let mut ends = if journal.runs.is_empty() && !lost.is_empty() { Vec::new() } else { vec![named] };
    for one in &lost {
        ends.push(End::of_maps(one, how(finish))?);
    }
    Ok(combined(ends.into_iter().map(End::awaited)))
}

/// The end of experiments, which is asked for until it is seen.
struct End<'a> {
    runs: &'a [RunEntry],
    /// None: the owners are gone, and with them maps, programs and faults.
    stops: Option<Stops>,
    how: u32,
    /// No journal names them: whether they stand is seen by the maps.
    lost: bool,
}

impl<'a> End<'a> {
    /// Asks for it: the faults are off by that.
    fn of(journal: &Journal, runs: &'a [RunEntry], how: u32) -> Result<Self, EngineError> {
        let opened = journal
            .datapath
            .as_ref()
            .map_or_else(|| Err(KernelError::new("find", "the maps of a live experiment", Errno::ENOENT)), Stops::open);
        let stops = match opened {
            Ok(stops) => Some(stops),
            Err(error) if runs.iter().any(|run| run.owner().is_alive()) => return Err(error.into()),
            Err(_) => None,
        };
        let mut end = Self { runs, stops, how, lost: false };
        for run in runs {
            end.ask(run)?;
        }
        Ok(end)
    }

    /// The same of what [`marks::lost`] has found.
    fn of_maps(journal: &'a Journal, how: u32) -> Result<Self, EngineError> {
        Ok(Self { lost: true, ..Self::of(journal, &journal.runs, how)? })
    }

    fn ask(&mut self, run: &RunEntry) -> Result<(), EngineError> {
        let how = self.how;
        Ok(self.stops.as_mut().map_or(Ok(()), |stops| stops.ask(run.lease, run.lease_id, how))?)
    }

    /// Seen, not supposed.
    fn is_off(&self, run: &RunEntry) -> bool {
        self.stops.as_ref().is_none_or(|stops| stops.is_off(run.lease, run.lease_id).unwrap_or(false))
    }

    /// Does its owner still have things to take away?
    fn stands(&self, run: &RunEntry) -> bool {
        let is_it = |one: &names::Named| (one.slot, one.id, one.pid) == (run.lease, run.lease_id, run.pid);
        if self.lost {
            return run.owner().is_alive() && names::all().map_or(true, |all| all.iter().any(is_it));
        }
        run.owner().is_alive()
            && journal::peek().map_or(true, |now| {
                now.runs.iter().any(|one| (one.lease, one.lease_id, &one.name) == (run.lease, run.lease_id, &run.name))
            })
    }

    /// Waits for the owners to take their things away.
    fn awaited(mut self) -> ExitCode {
        let limit = Instant::now() + PATIENCE;
        let mut code = ExitCode::Pass;
        for run in self.runs {
            while self.stands(run) && Instant::now() < limit {
                // Somebody who meant an earlier experiment in this slot may have written over it.
                if !self.is_off(run) {
                    let _next_turn = self.ask(run);
                }
                std::thread::sleep(Duration::from_millis(5));
            }
            let (name, pid) = (&run.name, run.pid);
            match (self.stands(run), self.is_off(run)) {
                (false, _) => println!("{name}: stopped"),
                (true, true) => eprintln!(
                    "{name}: its faults are off; pid {pid} does not react, and keeps what it attached until it ends"
                ),
                (true, false) => {
                    eprintln!("{name}: its faults may still act: the stop was not obeyed; end pid {pid} (kill -KILL)");
                    code = ExitCode::Error;
                }
            }
        }
        if self.runs.is_empty() {
            println!("no experiment was active");
        }
        code
    }
}

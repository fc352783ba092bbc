//! What dead processes left: found by the journal, taken away by the next start and by `chaos cleanup`. A living process's part is
//! never touched.

use super::{EngineError, Locked, expedite, limit, made, release};
use chaos_sys::datapath::Datapath;
use std::{collections::HashMap, path::PathBuf};

/// What was taken away.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reaped {
    /// Experiments whose process is gone.
    pub runs: Vec<String>,
    /// Interfaces with their direction.
    pub points: Vec<String>,
    /// Cgroups that were made.
    pub cgroups: Vec<PathBuf>,
}

/// Takes away what no living process owns. What cannot be taken away keeps nothing else from being so.
///
/// # Errors
/// The first that could not be taken away; the journal still has it.
pub fn reap(locked: &mut Locked) -> Result<Reaped, EngineError> {
    let lowered = expedite::lower(locked);
    let (live, dead): (Vec<_>, Vec<_>) =
        std::mem::take(&mut locked.journal.runs).into_iter().partition(|run| run.owner().is_alive());
    let mut datapath = match &locked.journal.datapath {
        Some(ids) if !live.is_empty() => Some(Datapath::join(ids)?),
        _ => None,
    };
    locked.journal.runs = live;
    let mut reaped = Reaped { cgroups: made::sweep(locked), ..Reaped::default() };
    let mut cleared = Ok(());
    for run in dead {
        match datapath.as_mut().map_or(Ok(()), |datapath| release::clear(datapath, &run)) {
            Ok(()) => reaped.runs.push(run.name),
            Err(error) => {
                // Its points are still in use, too.
                locked.journal.runs.push(run);
                cleared = cleared.and(Err(error.into()));
            }
        }
    }
    let before = locked.journal.points.clone();
    let limits = limit::unused(&locked.journal);
    let result = release::unused_points(locked, datapath.as_mut(), &HashMap::new());
    let gone = before.iter().filter(|entry| !locked.journal.points.contains(entry));
    reaped.points = gone.map(|e| format!("{} {}", e.interface, if e.ingress { "ingress" } else { "egress" })).collect();
    let restored = limits.iter().filter(|entry| !locked.journal.limits.contains(entry));
    reaped.points.extend(restored.map(|entry| format!("{} (gso_max_segs)", entry.interface)));
    if locked.journal.runs.is_empty() {
        locked.journal.datapath = None;
    }
    locked.save()?;
    lowered.and(cleared).and(result).map(|()| reaped)
}

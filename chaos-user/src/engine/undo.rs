//! The way back: of a start that failed, and of one experiment among others.

use super::{Active, EngineError, Locked, Owner, RunEntry, Session, expedite, release, run::BATCH};
use std::collections::HashMap;

/// Takes back what this process has prepared. What cannot be taken back stands in the journal for `chaos cleanup`.
pub fn roll_back(locked: &mut Locked, session: &mut Session, active: &[Active]) {
    let me = Owner::me();
    let mine: Vec<RunEntry> = locked.journal.runs.iter().filter(|run| run.owner() == me).cloned().collect();
    locked.journal.runs.retain(|run| run.owner() != me);
    let mut netns = HashMap::new();
    for run in &mine {
        let _first_error_counts = release::clear(&mut session.datapath, run);
    }
    for one in active {
        netns.extend(one.netns.clone());
    }
    let held = std::mem::take(&mut session.held);
    if held.len() > BATCH {
        let _first_error_counts = expedite::raise(locked);
    }
    drop(held);
    let _first_error_counts = release::unused_points(locked, Some(&mut session.datapath), &netns);
    let _first_error_counts = expedite::lower(locked);
    if locked.journal.runs.is_empty() {
        locked.journal.datapath = None;
    }
    // What could not be taken back stands in the journal for `chaos cleanup`.
    let _first_error_counts = locked.save();
}

/// Drops the links that no other experiment of this process needs, and takes away what nobody needs.
///
/// # Errors
/// What could not be taken away; the rest is gone.
pub fn let_go(locked: &mut Locked, session: &mut Session, active: &Active) -> Result<(), EngineError> {
    let me = Owner::me();
    let mine = locked.journal.runs.iter().filter(|run| run.owner() == me);
    let still: Vec<u32> = mine.flat_map(|run| run.points.clone()).collect();
    let gone: Vec<u32> = active.run.points.iter().copied().filter(|id| !still.contains(id)).collect();
    let raised = if gone.len() > BATCH { expedite::raise(locked) } else { Ok(()) };
    session.held.retain(|id, _| !gone.contains(id));
    let removed = release::unused_points(locked, Some(&mut session.datapath), &active.netns);
    let lowered = expedite::lower(locked);
    if locked.journal.runs.is_empty() {
        locked.journal.datapath = None;
    }
    removed.and(lowered).and(raised)
}

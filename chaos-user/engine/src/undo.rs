//! The way back: of a start that failed, of one experiment among others, of one target of an experiment.

use super::{Active, EngineError, Locked, Owner, RunEntry, Session, expedite, marks, prepare, release, sets};
use chaos_sys::netns::Netns;
use std::collections::HashMap;

/// Takes back what this process has prepared, but for the runs with these leases. What cannot be taken back stands in the journal
/// for `chaos cleanup`.
pub fn roll_back(locked: &mut Locked, session: &mut Session, spared: &[u32]) {
    let me = Owner::me();
    let gone = |run: &RunEntry| run.owner() == me && !spared.contains(&run.lease);
    let mine: Vec<RunEntry> = locked.journal.runs.iter().filter(|run| gone(run)).cloned().collect();
    for run in &mine {
        if let Some(calls) = session.known_calls() {
            let _first_error_counts = calls.remove(&run.rules);
        }
        let _first_error_counts = release::clear(&mut session.datapath, run);
    }
    locked.journal.runs.retain(|run| !gone(run));
    let _first_error_counts = let_go(locked, session, &HashMap::new());
    let _first_error_counts = locked.save();
}

/// Drops the links that no experiment of this process needs, and takes away what nobody needs. `netns` holds those that are at
/// hand.
///
/// # Errors
/// What could not be taken away; the rest is gone.
pub fn let_go(locked: &mut Locked, session: &mut Session, netns: &HashMap<u64, Netns>) -> Result<(), EngineError> {
    let me = Owner::me();
    let mine = locked.journal.runs.iter().filter(|run| run.owner() == me);
    let still: Vec<u32> = mine.flat_map(|run| run.points.clone()).collect();
    let gone = session.held.keys().filter(|id| !still.contains(id)).count();
    let raised = if gone > 0 { expedite::raise(locked) } else { Ok(()) };
    // Which links belong to what the journal does not name is not known: they stay until that has ended.
    if marks::all_named(&locked.journal, &session.datapath).is_ok() {
        session.held.retain(|id, _| still.contains(id));
    }
    let removed = release::unused_points(locked, Some(&mut session.datapath), netns);
    let lowered = expedite::lower(locked);
    if locked.journal.runs.is_empty() {
        locked.journal.datapath = None;
    }
    removed.and(lowered).and(raised)
}

/// Takes one target out of an experiment, with what nobody else needs of what was made for it.
///
/// # Errors
/// What could not be taken away; the rest is gone.
pub fn release(
    locked: &mut Locked,
    session: &mut Session,
    active: &mut Active,
    target: usize,
) -> Result<(), EngineError> {
    let (gone, left): (Vec<_>, Vec<_>) =
        std::mem::take(&mut active.placed).into_iter().partition(|placed| placed.target == target);
    active.placed = left;
    let rules: Vec<u32> = gone.iter().flat_map(|placed| placed.ids.iter().copied()).collect();
    let detached = session.known_calls().map_or(Ok(()), |calls| calls.remove(&rules));
    // Or a rule whose set is empty already would match what it should not.
    release::take_off(&mut session.datapath, &active.run.points, &rules)?;
    let inode = active.targets.get(target).map(|target| target.netns.inode);
    let still = active.placed.iter().any(|placed| active.targets.get(placed.target).map(|t| t.netns.inode) == inode);
    if let Some(inode) = inode.filter(|_| !still) {
        // The number of a namespace that is gone may be another's next.
        let learned = sets::leave(&mut session.datapath, &mut active.sets, inode)?;
        active.run.sets.retain(|set| !learned.contains(set));
        active.known.forget(inode);
    }
    let empty = release::take_rules(&mut session.datapath, &active.run.points, &rules)?;
    active.run.rules.retain(|id| !rules.contains(id));
    // A namespace that comes later may have the same number: nothing of this one may be taken for that one's.
    let elsewhere = |id: &u32| !locked.journal.points.iter().any(|entry| entry.id == *id && Some(entry.netns) == inode);
    active.run.points.retain(|id| !empty.contains(id) && (still || elsewhere(id)));
    if !still {
        active.run.limits.retain(|place| Some(place.netns) != inode);
    }
    prepare::note(locked, &active.run);
    let released = let_go(locked, session, &active.netns);
    if let Some(inode) = inode.filter(|_| !still) {
        active.netns.remove(&inode);
        active.queues.remove(&inode);
    }
    // Or the namespace would live until the experiment ends, and its devices with it.
    if let Some(target) = active.targets.get_mut(target) {
        target.netns.let_go();
    }
    locked.save().and(released).and(detached)
}

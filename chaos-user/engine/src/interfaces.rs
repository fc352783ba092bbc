//! Interfaces that come, go or are replaced while an experiment runs.

use super::{
    Active, Engine, EngineError, Locked, PointKind, Session, marks, prepare, release, undo,
    wants::{self, Around, Want},
};
use chaos_host::{Interface, Target};
use chaos_sys::netns;
use std::collections::BTreeSet;

impl Engine {
    /// Puts the rules of a target onto interfaces that are new to it, and takes them off those that are gone or no longer carry its packets.
    /// Returns the names of the new ones.
    ///
    /// # Errors
    /// By exit code; the target's interfaces are taken for what they were before, so that the next call tries again.
    pub fn renew(
        &self,
        active: &mut Active,
        target: usize,
        interfaces: Vec<Interface>,
    ) -> Result<BTreeSet<String>, EngineError> {
        match active.targets.get(target).filter(|one| one.interfaces != interfaces) {
            Some(before) => {
                let after = Target { interfaces, ..before.clone() };
                self.change(active, target, after)
            }
            None => Ok(BTreeSet::new()),
        }
    }

    /// The same for whatever else has changed of where a target's packets pass.
    pub(super) fn change(
        &self,
        active: &mut Active,
        target: usize,
        after: Target,
    ) -> Result<BTreeSet<String>, EngineError> {
        let Some(before) = active.targets.get(target).cloned() else { return Ok(BTreeSet::new()) };
        let Some(netns) = active.netns.get(&before.netns.inode) else {
            active.targets[target] = after;
            return Ok(BTreeSet::new());
        };
        let local = wants::local_addresses(&active.plan, netns)?;
        let around = Around { local: &local, known: &active.known };
        let wanted = |target_then: &Target| {
            wants::found(&active.plan, &active.placed, target, target_then, around)
                .map_err(|text| EngineError::Invalid(vec![text]))
        };
        let (old, new) = (wanted(&before)?, wanted(&after)?);
        let gone: Vec<Want> = old.iter().filter(|one| !new.iter().any(|other| same(one, other))).cloned().collect();
        let come: Vec<Want> = new.into_iter().filter(|one| !old.iter().any(|other| same(one, other))).collect();
        let names = come.iter().map(|want| want.interface.clone()).collect();
        if gone.is_empty() && come.is_empty() {
            active.targets[target] = after;
            return Ok(names);
        }
        let mut locked = self.home.lock()?;
        let mut session = self.session();
        active.targets[target] = after;
        let done = take_off(&mut locked, &mut session, active, target, &gone)
            .and_then(|()| put_on(&mut locked, &mut session, active, target, come));
        if done.is_err() {
            active.targets[target] = before;
        }
        done.map(|()| names)
    }
}

/// The same rules at the same place?
fn same(one: &Want, other: &Want) -> bool {
    (one.ifindex, one.ingress, &one.cgroup, &one.groups) == (other.ifindex, other.ingress, &other.cgroup, &other.groups)
}

fn take_off(
    locked: &mut Locked,
    session: &mut Session,
    active: &mut Active,
    target: usize,
    gone: &[Want],
) -> Result<(), EngineError> {
    if gone.is_empty() {
        return Ok(());
    }
    let Some(place) = active.targets.get(target) else { return Ok(()) };
    let inode = place.netns.inode;
    let vanished = |ifindex: u32| ifindex != 0 && !place.interfaces.iter().any(|one| one.index == ifindex);
    let is_gone = |kind: &PointKind, ifindex, ingress| {
        gone.iter().any(|want| (&want.kind(), want.ifindex, want.ingress) == (kind, ifindex, ingress))
    };
    let points =
        || locked.journal.points.iter().filter(|one| one.netns == inode && active.run.points.contains(&one.id));
    let here: Vec<u32> =
        points().filter(|one| is_gone(&one.kind, one.ifindex, one.ingress)).map(|one| one.id).collect();
    // Whatever comes with that number later is another interface.
    let dead: Vec<u32> = points().filter(|one| vanished(one.ifindex)).map(|one| one.id).collect();
    let rules: Vec<u32> =
        active.placed.iter().filter(|one| one.target == target).flat_map(|one| one.ids.clone()).collect();
    let empty = release::take_off(&mut session.datapath, &here, &rules)?;
    active.run.points.retain(|id| !empty.contains(id) && !dead.contains(id));
    active.run.limits.retain(|one| one.netns != inode || !vanished(one.ifindex));
    active.queues.remove(&inode);
    prepare::note(locked, &active.run);
    let released = undo::let_go(locked, session, &active.netns);
    locked.save().and(released)
}

fn put_on(
    locked: &mut Locked,
    session: &mut Session,
    active: &mut Active,
    target: usize,
    come: Vec<Want>,
) -> Result<(), EngineError> {
    let Some(inode) = active.targets.get(target).map(|target| target.netns.inode) else { return Ok(()) };
    netns::travelling(|| {
        if !come.is_empty() {
            marks::still_named(&locked.journal, &active.run)?;
            prepare::attach(locked, session, active, &[(inode, come)])?;
        }
        prepare::queues(locked, session, active)
    })?
}

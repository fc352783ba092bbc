//! What is marked as ours and in no journal: the way back where the journal was lost.

use super::{EngineError, Journal, LimitPlace, Locked, Owner, RunEntry, attach, clsact, journal, limit, release};
use chaos_abi::maps;
use chaos_sys::{
    acting::{self, Acting},
    datapath::{Datapath, Ids},
    error::KernelError,
    filter::{self, Direction, Place},
    link,
    names::{self, Named},
    netlink::Rtnl,
    netns::Netns,
};
use nix::errno::Errno;

/// Experiments that act and that the journal does not name.
///
/// # Errors
/// Where we may not look.
pub fn unnamed(journal: &Journal) -> Result<Vec<Acting>, EngineError> {
    let named = journal.datapath.as_ref().and_then(|ids| ids.maps.get(maps::LEASES)).copied();
    let is_it = |one: &Acting, run: &RunEntry| one.is(run.lease, run.lease_id);
    let is_named = |one: &Acting| named == Some(one.map) && journal.runs.iter().any(|run| is_it(one, run));
    let mut found = acting::acting()?;
    found.retain(|one| !is_named(one));
    Ok(found)
}

/// A run as the maps have it.
#[must_use]
pub fn named(run: &RunEntry) -> Named {
    Named {
        slot: run.lease,
        id: run.lease_id,
        pid: run.pid,
        pid_start: run.pid_start,
        namespace: run.namespace.clone(),
        name: run.name.clone(),
        ids: Ids::default(),
    }
}

/// The same with their names, and those that are prepared by a live process and do not act yet, as journals of their own: each with one
/// experiment and the maps that it is in.
///
/// # Errors
/// Where we may not look.
pub fn lost(journal: &Journal) -> Result<Vec<Journal>, EngineError> {
    let acting = unnamed(journal)?;
    let map = |one: &Named| one.ids.maps.get(maps::LEASES).copied();
    let acts = |one: &Named| acting.iter().any(|two| Some(two.map) == map(one) && two.is(one.slot, one.id));
    let here = journal.datapath.as_ref().and_then(|ids| ids.maps.get(maps::LEASES)).copied();
    let is_named = |one: &Named| {
        let same = |run: &RunEntry| (run.lease, run.lease_id) == (one.slot, one.id);
        here.is_some() && here == map(one) && journal.runs.iter().any(same)
    };
    let lives = |one: &Named| Owner { pid: one.pid, start: one.pid_start }.is_alive();
    let mut all = names::all()?;
    all.retain(|one| !is_named(one) && (acts(one) || lives(one)));
    let journals = all.into_iter().map(|one| Journal {
        runs: vec![RunEntry {
            name: one.name,
            namespace: one.namespace,
            pid: one.pid,
            pid_start: one.pid_start,
            lease: one.slot,
            lease_id: one.id,
            ..RunEntry::default()
        }],
        datapath: Some(one.ids),
        ..Journal::default()
    });
    Ok(journals.collect())
}

/// Whether a live process owns experiments that the journal does not name: their things are not to be taken away.
///
/// # Errors
/// `Failed` where that is so, with what to do; where we may not look.
pub fn nobody_is_unnamed(journal: &Journal) -> Result<(), EngineError> {
    // Whose owner is seen needs not to be watched for renewals.
    let seen = lost(journal)?.iter().flat_map(|one| &one.runs).filter(|run| run.owner().is_alive()).count();
    let kept = if seen > 0 { seen } else { acting::kept(&unnamed(journal)?)? };
    if kept == 0 {
        return Ok(());
    }
    let text = format!(
        "{kept} experiments are active that the journal does not name: `chaos stop --all` ends them; then clean up"
    );
    Err(EngineError::Failed(text))
}

/// The journal's lock for a start or an end. A damaged journal is set aside where nobody lives who owns what it named; what is marked
/// as ours is then taken away. The flag: it was so.
///
/// # Errors
/// As [`journal::lock`].
pub fn lock() -> Result<(Locked, bool), EngineError> {
    let (locked, damage) = journal::lock_any()?;
    let Some(damage) = damage else { return Ok((locked, false)) };
    nobody_is_unnamed(&locked.journal).map_err(|owned| EngineError::Failed(format!("{damage}; {owned}")))?;
    let aside = locked.set_aside()?;
    tracing::warn!("{damage}; nobody uses it: set aside as {aside}");
    Ok((locked, true))
}

/// Before a start: nothing that is marked as ours and has no owner is to stand in the way. `netns`: where to look; None: everywhere, where the
/// journal names nothing.
///
/// # Errors
/// `Failed` where such things in these namespaces may have a live owner: a start would share them. Elsewhere that is said.
pub fn clear_way(journal: &Journal, netns: Option<Vec<Netns>>) -> Result<(), EngineError> {
    let is_asked = netns.is_some();
    let names_any = !journal.points.is_empty() || !journal.runs.is_empty() || !journal.limits.is_empty();
    if names_any && !is_asked {
        return Ok(());
    }
    let mut places = netns.unwrap_or_else(Netns::all);
    places.sort_by_key(Netns::inode);
    places.dedup_by_key(|netns| netns.inode());
    match swept(journal, places) {
        Ok((gone, failed)) => {
            gone.iter().for_each(|mark| tracing::warn!("removed {mark}"));
            failed.iter().for_each(|error| tracing::warn!("{error}"));
            Ok(())
        }
        Err(error) if is_asked => Err(error),
        Err(error) => {
            tracing::warn!("{error}");
            Ok(())
        }
    }
}

impl RunEntry {
    /// The same experiment? After a journal was lost, another one may have the same slot.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        (self.lease, self.lease_id) == (other.lease, other.lease_id)
    }
}

impl Journal {
    /// Is this run in it?
    #[must_use]
    pub fn names(&self, run: &RunEntry) -> bool {
        self.runs.iter().any(|one| one.is_same(run))
    }
}

/// Does the journal name all that lives in these maps? Else the numbers in use are not known, and none may be given out.
///
/// # Errors
/// `Failed`, with the remedy; what the kernel says.
pub fn all_named(journal: &Journal, datapath: &Datapath) -> Result<(), EngineError> {
    let is_named = |one: &Named| journal.runs.iter().any(|run| (run.lease, run.lease_id) == (one.slot, one.id));
    let lives = |one: &Named| Owner { pid: one.pid, start: one.pid_start }.is_alive();
    match names::within(datapath)?.into_iter().find(|one| !is_named(one) && lives(one)) {
        Some(one) => Err(not_named(&one.name)),
        None => Ok(()),
    }
}

/// Does the journal name this run yet?
///
/// # Errors
/// `Failed`, with the remedy.
pub fn still_named(journal: &Journal, run: &RunEntry) -> Result<(), EngineError> {
    if journal.names(run) { Ok(()) } else { Err(not_named(&run.name)) }
}

fn not_named(name: &str) -> EngineError {
    EngineError::Failed(format!(
        "the experiment {name:?} is active and the journal does not name it: `chaos stop {name}` ends it; then start again"
    ))
}

/// What [`sweep`] would take away.
#[must_use]
pub fn left(journal: &Journal) -> Vec<String> {
    let found = |netns: Netns| netns.enter(|| find(journal, netns.inode())).and_then(|found| found).unwrap_or_default();
    Netns::all().into_iter().flat_map(found).map(|mark| mark.text()).collect()
}

/// Takes away what is marked as ours and in no journal, in all namespaces that have a name or a process; the names of what is gone.
/// Whoever calls holds the journal's lock.
///
/// # Errors
/// `Failed` where live processes may own them; what could not be taken away.
pub fn sweep(journal: &Journal) -> Result<Vec<String>, EngineError> {
    sweep_in(journal, Netns::all())
}

/// The same in these namespaces.
///
/// # Errors
/// As [`sweep`].
pub fn sweep_in(journal: &Journal, all: Vec<Netns>) -> Result<Vec<String>, EngineError> {
    let (gone, failed) = swept(journal, all)?;
    if failed.is_empty() { Ok(gone) } else { Err(EngineError::Failed(failed.join("\n"))) }
}

/// What is gone, and why the rest is not. Errors: live processes may own them.
fn swept(journal: &Journal, all: Vec<Netns>) -> Result<(Vec<String>, Vec<String>), EngineError> {
    let (mut gone, mut failed, mut may) = (Vec::new(), Vec::new(), false);
    for netns in all {
        // One that cannot be entered is gone, or not ours to enter.
        let Ok(Ok(found)) = netns.enter(|| find(journal, netns.inode())) else { continue };
        if found.is_empty() {
            continue;
        }
        if !may {
            nobody_is_unnamed(journal)?;
            may = true;
        }
        for mark in found {
            match netns.enter(|| mark.remove()).and_then(|removed| removed) {
                Ok(()) => gone.push(mark.text()),
                Err(error) => failed.push(error.to_string()),
            }
        }
    }
    Ok((gone, failed))
}

/// One thing.
enum Mark {
    Pair(String),
    /// With its clsact, where that was made for it.
    Filter {
        interface: String,
        place: Place,
        clsact: bool,
    },
    /// `gso_max_segs` as it was before.
    Limit {
        interface: String,
        before: u32,
    },
}

fn find(journal: &Journal, netns: u64) -> Result<Vec<Mark>, KernelError> {
    if journal.foreign.hides_marks() {
        // It may be a later version's, which is alive.
        return Ok(Vec::new());
    }
    let mut rtnl = Rtnl::open()?;
    let here = || journal.points.iter().filter(|entry| entry.netns == netns);
    let interfaces = link::list(&mut rtnl)?;
    let mut found = Vec::new();
    for one in &interfaces {
        if let Some(number) = one.name.strip_prefix("chq").and_then(|id| id.parse().ok()) {
            let (_, rx) = attach::pair_names(number);
            let is_known = here().any(|entry| entry.pair.as_ref().is_some_and(|pair| pair.tx == one.name));
            if !is_known && release::is_pair(one, interfaces.iter().find(|other| other.name == rx)) {
                found.push(Mark::Pair(one.name.clone()));
            }
        }
        // Filters on the ends of a pair go with it.
        if one.alias.as_deref().is_some_and(|alias| alias.starts_with(attach::ALIAS)) {
            continue;
        }
        let place = LimitPlace { netns, ifindex: one.index };
        if let Some(before) = limit::before(one).filter(|_| !journal.limits.iter().any(|entry| entry.place == place)) {
            found.push(Mark::Limit { interface: one.name.clone(), before });
        }
        for direction in [Direction::Egress, Direction::Ingress] {
            let ingress = direction == Direction::Ingress;
            if here().any(|entry| (entry.ifindex, entry.ingress) == (one.index, ingress)) {
                continue;
            }
            // Without clsact there are none.
            let listed = filter::list(&mut rtnl, one.index, direction).unwrap_or_default();
            let ours = listed.iter().filter(|filter| clsact::is_ours(filter));
            found.extend(ours.map(|filter| Mark::Filter {
                interface: one.name.clone(),
                place: Place { interface: one.index, direction, pref: filter.pref, handle: filter.handle },
                clsact: clsact::made_for(filter),
            }));
        }
    }
    Ok(found)
}

impl Mark {
    fn text(&self) -> String {
        match self {
            Self::Pair(name) => format!("{name}, which no journal named"),
            Self::Filter { interface, .. } => format!("{interface} as a filter that no journal named"),
            Self::Limit { interface, .. } => format!("{interface} (gso_max_segs), which no journal named"),
        }
    }

    fn remove(&self) -> Result<(), KernelError> {
        let mut rtnl = Rtnl::open()?;
        let (removed, absent): (_, &[Errno]) = match self {
            Self::Pair(name) => match link::find_by_name(&mut rtnl, name)? {
                Some(interface) => (link::delete(&mut rtnl, &interface), &ABSENT),
                None => return Ok(()),
            },
            Self::Filter { place, clsact, .. } => {
                let removed = filter::delete(&mut rtnl, *place)
                    .and_then(|()| if *clsact { clsact::remove_if_empty(&mut rtnl, place.interface) } else { Ok(()) });
                (removed, &ABSENT)
            }
            Self::Limit { interface, before } => match link::find_by_name(&mut rtnl, interface)? {
                // A mark that stays is not gone, whatever the kernel finds wrong with it.
                Some(interface) => (limit::give_back(&mut rtnl, &interface, *before), &[Errno::ENODEV]),
                None => return Ok(()),
            },
        };
        match removed {
            Err(error) if absent.contains(&error.errno) => Ok(()),
            other => other,
        }
    }
}

/// What the kernel says of that which is gone already.
const ABSENT: [Errno; 3] = [Errno::ENODEV, Errno::ENOENT, Errno::EINVAL];

#[cfg(test)]
mod tests;

//! The lease: every 500 ms to 2 s from now, by an OS thread of its own, so that nothing else that this process does can keep it
//! waiting. A lease that was missed is not taken up again: the faults have been off, and the report says so.

use super::EngineError;
use chaos_abi::{Clock, LEASE_FREE, LEASE_PAUSED, LEASE_RUNNING, Lease, STOP_ABORT, maps, stop_of};
use chaos_sys::{
    datapath::{Datapath, map_error},
    error::KernelError,
};
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread::JoinHandle,
    time::Duration,
};

/// How long a lease holds.
pub const LENGTH: Duration = Duration::from_secs(2);
/// How often it is renewed.
pub const PERIOD: Duration = Duration::from_millis(500);

/// What became of a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It holds.
    Held,
    /// It lapsed before its deadline: this process was stopped or starved.
    Lost,
    /// Somebody else ended it; `STOP_*`.
    Ended(u32),
}

struct Keeper {
    datapath: Datapath,
    hz: u64,
    slots: HashMap<u32, Fate>,
    /// When they were renewed last, ns of CLOCK_MONOTONIC.
    renewed: Arc<AtomicU64>,
}

/// Keeps the leases of this process.
pub struct Leases {
    keeper: Arc<Mutex<Keeper>>,
    stop: mpsc::Sender<()>,
    thread: Option<JoinHandle<()>>,
}

fn error(e: aya::maps::MapError) -> KernelError {
    map_error("write map", maps::LEASES, &e)
}

/// A time on CLOCK_BOOTTIME, ns, in jiffies: the next tick behind it.
fn end(now: &Clock, hz: u64, deadline: u64) -> u64 {
    let ticks = u128::from(deadline.saturating_sub(now.boot)) * u128::from(hz);
    now.jiffies.saturating_add(u64::try_from(ticks.div_ceil(1_000_000_000)).unwrap_or(u64::MAX))
}

/// How somebody else ended an experiment that was started, by its lease and the word for its slot: `STOP_*`.
fn ended(lease: &Lease, word: u64) -> Option<u32> {
    match stop_of(lease.id, word) {
        0 if matches!(lease.state, LEASE_RUNNING | LEASE_PAUSED) => None,
        0 => Some(STOP_ABORT),
        how => Some(how),
    }
}

/// A lease as it is to stand after this time, if anything of it is to change; and whether it was lost before. The end in jiffies comes
/// nearer where the machine was suspended meanwhile: they stood still, and the time did not.
fn renewed(mut lease: Lease, clock: &Clock, hz: u64) -> (Option<Lease>, bool) {
    /// Two readings of one end may differ by a tick.
    const TICKS: u64 = 2;
    let is_over = clock.boot >= lease.deadline;
    let end = if is_over { clock.jiffies } else { end(clock, hz, lease.deadline) };
    let is_late = end.saturating_add(TICKS) < lease.end;
    if is_late {
        lease.end = end;
    }
    let is_lost = !is_over && clock.jiffies >= lease.until;
    if is_lost {
        lease.until = 0;
    } else if !is_over {
        // Where the process is stopped between the clock and the write, the lease is 2 s from the clock's reading.
        lease.until = clock.jiffies + LENGTH.as_secs() * hz;
    }
    ((is_late || !is_over).then_some(lease), is_lost)
}

impl Keeper {
    fn renew(&mut self) {
        self.renew_with(|| {});
    }

    /// `between` is called between the reading and the writing of each lease: what others write then must not be lost.
    fn renew_with(&mut self, mut between: impl FnMut()) {
        let Ok(clock) = self.datapath.clock() else { return };
        self.renewed.store(clock.ns, Ordering::Relaxed);
        for (slot, fate) in &mut self.slots {
            let (Ok(lease), Ok(word)) = (self.datapath.leases.get(slot, 0), self.datapath.stops.get(slot, 0)) else {
                continue;
            };
            if *fate != Fate::Held {
                continue;
            }
            between();
            let ended = ended(&lease, word);
            if ended.is_none() && lease.state == LEASE_PAUSED {
                continue;
            }
            if let Some(how) = ended {
                *fate = Fate::Ended(how);
                continue;
            }
            let (renewed, is_lost) = renewed(lease, &clock, self.hz);
            if is_lost {
                *fate = Fate::Lost;
            }
            if let Some(lease) = renewed {
                // One that fails lapses, or is written the next time.
                let _next_round = self.datapath.leases.set(*slot, lease, 0);
            }
        }
    }
}

impl Leases {
    /// Starts the thread.
    ///
    /// # Errors
    /// Where the maps cannot be opened again or no thread can be made.
    pub fn new(datapath: Datapath, hz: u64) -> Result<Self, EngineError> {
        Self::going_on(datapath, hz, Arc::default())
    }

    /// The same in the place of others, whose [`Leases::renewed`] somebody watches.
    ///
    /// # Errors
    /// As [`Leases::new`].
    pub fn going_on(datapath: Datapath, hz: u64, renewed: Arc<AtomicU64>) -> Result<Self, EngineError> {
        renewed.store(datapath.clock()?.ns, Ordering::Relaxed);
        let keeper = Arc::new(Mutex::new(Keeper { datapath, hz, slots: HashMap::new(), renewed }));
        let (stop, stopped) = mpsc::channel();
        let shared = Arc::clone(&keeper);
        let thread = std::thread::Builder::new()
            .name("lease".to_owned())
            .spawn(move || {
                while stopped.recv_timeout(PERIOD) == Err(mpsc::RecvTimeoutError::Timeout) {
                    shared.lock().unwrap_or_else(PoisonError::into_inner).renew();
                }
            })
            .map_err(|e| EngineError::Failed(format!("start thread lease: {e}")))?;
        Ok(Self { keeper, stop, thread: Some(thread) })
    }

    /// When the leases were renewed last, or would have been: ns of CLOCK_MONOTONIC, kept up to date.
    #[must_use]
    pub fn renewed(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.keeper.lock().unwrap_or_else(PoisonError::into_inner).renewed)
    }

    /// Starts an experiment: one write, and all its faults act. Its phases (`after`, `for`) count from `began` (CLOCK_BOOTTIME in ns), where an
    /// earlier process started it; 0: from now.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn start(&self, slot: u32, id: u64, duration: Duration, began: u64) -> Result<(), EngineError> {
        let mut keeper = self.keeper.lock().unwrap_or_else(PoisonError::into_inner);
        let generation = keeper.datapath.control.get(&0, 0).map_err(error)?.generation;
        let clock = keeper.datapath.clock()?;
        let deadline = clock.boot.saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX));
        let lease = Lease {
            until: clock.jiffies + LENGTH.as_secs() * keeper.hz,
            end: end(&clock, keeper.hz, deadline),
            deadline,
            start: if began == 0 { clock.boot } else { began.min(clock.boot) },
            generation,
            id,
            state: LEASE_RUNNING,
            reserved: 0,
        };
        keeper.slots.insert(slot, Fate::Held);
        chaos_sys::seam::run("start", "lease", || keeper.datapath.leases.set(slot, lease, 0).map_err(error))?;
        Ok(())
    }

    /// What became of a lease, as of now.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn fate(&self, slot: u32) -> Result<Fate, EngineError> {
        let keeper = self.keeper.lock().unwrap_or_else(PoisonError::into_inner);
        let fate = keeper.slots.get(&slot).copied().unwrap_or(Fate::Held);
        if fate != Fate::Held {
            return Ok(fate);
        }
        let lease = keeper.datapath.leases.get(&slot, 0).map_err(error)?;
        let word = keeper.datapath.stops.get(&slot, 0).map_err(|e| map_error("read map", maps::STOPS, &e))?;
        if let Some(how) = ended(&lease, word) {
            return Ok(Fate::Ended(how));
        }
        let control = keeper.datapath.control.get(&0, 0).map_err(error)?;
        Ok(if control.generation == lease.generation { Fate::Held } else { Fate::Ended(STOP_ABORT) })
    }

    /// What is left of the duration; zero: the deadline has passed.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn remaining(&self, slot: u32) -> Result<Duration, EngineError> {
        let keeper = self.keeper.lock().unwrap_or_else(PoisonError::into_inner);
        let lease = keeper.datapath.leases.get(&slot, 0).map_err(error)?;
        Ok(Duration::from_nanos(lease.deadline.saturating_sub(keeper.datapath.clock()?.boot)))
    }

    /// Lets the rules of a running experiment rest, or act again. Its end does not move.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn pause(&self, slot: u32, paused: bool) -> Result<(), EngineError> {
        let keeper = &mut *self.keeper.lock().unwrap_or_else(PoisonError::into_inner);
        let mut lease = keeper.datapath.leases.get(&slot, 0).map_err(error)?;
        let (from, to) = if paused { (LEASE_RUNNING, LEASE_PAUSED) } else { (LEASE_PAUSED, LEASE_RUNNING) };
        if lease.state != from {
            return Ok(());
        }
        lease.state = to;
        lease.until = if paused { 0 } else { keeper.datapath.clock()?.jiffies + LENGTH.as_secs() * keeper.hz };
        Ok(keeper.datapath.leases.set(slot, lease, 0).map_err(error)?)
    }

    /// Ends a running experiment earlier: this long after its start. A later end than its own changes nothing.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn shorten(&self, slot: u32, duration: Duration) -> Result<(), EngineError> {
        let keeper = &mut *self.keeper.lock().unwrap_or_else(PoisonError::into_inner);
        let mut lease = keeper.datapath.leases.get(&slot, 0).map_err(error)?;
        let duration = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let deadline = lease.start.saturating_add(duration);
        if deadline >= lease.deadline {
            return Ok(());
        }
        lease.deadline = deadline;
        lease.end = end(&keeper.datapath.clock()?, keeper.hz, deadline);
        Ok(keeper.datapath.leases.set(slot, lease, 0).map_err(error)?)
    }

    /// The end of an experiment on CLOCK_BOOTTIME, ns; 0 before its start.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn deadline(&self, slot: u32) -> Result<u64, EngineError> {
        let keeper = self.keeper.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(keeper.datapath.leases.get(&slot, 0).map_err(error)?.deadline)
    }

    /// When an experiment first started, CLOCK_BOOTTIME in ns.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn began(&self, slot: u32) -> Result<u64, EngineError> {
        let keeper = self.keeper.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(keeper.datapath.leases.get(&slot, 0).map_err(error)?.start)
    }

    /// Rules off, slot given back. The packets that wait go on waiting.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn end(&self, slot: u32) -> Result<(), EngineError> {
        let mut keeper = self.keeper.lock().unwrap_or_else(PoisonError::into_inner);
        keeper.slots.remove(&slot);
        let lease = Lease { state: LEASE_FREE, ..Lease::zeroed() };
        chaos_sys::seam::run("end", "lease", || keeper.datapath.leases.set(slot, lease, 0).map_err(error))?;
        Ok(())
    }
}

impl Drop for Leases {
    fn drop(&mut self) {
        let _thread_gone = self.stop.send(());
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
    }
}

#[cfg(test)]
mod tests;

//! That a thread or task lives: when it last came round.

use nix::time::{ClockId, clock_gettime};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// CLOCK_MONOTONIC in ns; 0 where there is none.
fn monotonic() -> u64 {
    clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(0, |now| u64::try_from(Duration::from(now).as_nanos()).unwrap_or(0))
}

/// When it last came round: ns of CLOCK_MONOTONIC; 0: never.
#[derive(Clone, Debug, Default)]
pub struct Beat(Arc<AtomicU64>);

impl Beat {
    /// One that others write.
    #[must_use]
    pub const fn new(cell: Arc<AtomicU64>) -> Self {
        Self(cell)
    }

    /// It comes round now.
    pub fn now(&self) {
        self.0.store(monotonic(), Ordering::Relaxed);
    }

    /// How long ago that was.
    #[must_use]
    pub fn age(&self) -> Duration {
        Duration::from_nanos(monotonic().saturating_sub(self.0.load(Ordering::Relaxed)))
    }
}

//! Room for the kernel's events on their way to the worker: any program of any pod makes one.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Most events that wait; what comes then is dropped, and every pod is looked at instead.
pub const MOST: usize = 1024;

/// How many wait, and whether some were dropped.
#[derive(Debug, Default)]
pub struct Room {
    waiting: AtomicUsize,
    dropped: AtomicBool,
}

impl Room {
    /// Before an event is sent: false where it is to be dropped.
    pub fn enter(&self) -> bool {
        // One thread sends, so that nobody comes between.
        let free = self.waiting.load(Ordering::Acquire) < MOST;
        if free {
            self.waiting.fetch_add(1, Ordering::AcqRel);
        } else {
            self.dropped.store(true, Ordering::Release);
        }
        free
    }

    /// After one was heard.
    pub fn leave(&self) {
        // The worker may be fed by others in tests.
        let _none_waits = self.waiting.fetch_update(Ordering::AcqRel, Ordering::Acquire, |n| n.checked_sub(1));
    }

    /// Were some dropped since this was asked last?
    pub fn take_dropped(&self) -> bool {
        self.dropped.swap(false, Ordering::AcqRel)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_storm_is_dropped_and_told_once() {
        let room = Room::default();
        assert_eq!((0..3 * MOST).filter(|_| room.enter()).count(), MOST);
        assert!(room.take_dropped() && !room.take_dropped());
        room.leave();
        assert!(room.enter() && !room.enter());
        (0..2 * MOST).for_each(|_| room.leave());
        assert!(room.enter());
    }
}

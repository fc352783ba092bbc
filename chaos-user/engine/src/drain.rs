//! The packets that wait when faults end: they are sent on their way before the queue is taken away.

use super::{Active, collect};
use std::time::{Duration, Instant};

/// The longest that a revert waits for packets in the queue.
const DRAIN: Duration = Duration::from_secs(2);

/// Waits for packets that wait in the queue, at most as long as they may.
pub fn drain(active: &Active) {
    let longest = active.plan.rules.iter().filter_map(|rule| rule.queue).map(|queue| queue.longest).max();
    let Some(longest) = longest else { return };
    let limit = Instant::now() + DRAIN.min(Duration::from_nanos(longest));
    while Instant::now() < limit {
        let waiting = active.queues.iter().filter_map(|(inode, (pairs, _))| {
            active.netns.get(inode).and_then(|netns| collect::queues(netns, pairs).ok()).map(|(_, waiting)| waiting)
        });
        if waiting.sum::<u64>() == 0 {
            return;
        }
        // The qdisc tells nobody when it runs empty.
        std::thread::sleep(Duration::from_millis(10));
    }
}

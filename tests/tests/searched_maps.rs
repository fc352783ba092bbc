//! Whoever looks at what acts while a run ends makes the kernel keep nothing of it.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use chaos_tests::clock::wait_until;
use chaos_tests::lab::Lab;
use chaos_tests::scene::Direction;
use chaos_tests::sys::BpfKind;

/// The ids of all maps. They are not opened: that would be the very look that may keep one (kernel/bpf/arraymap.c, `prog_array_map_clear`).
fn maps() -> BTreeSet<u32> {
    let (mut ids, mut last) = (BTreeSet::new(), 0);
    while let Ok(next) = BpfKind::Map.next_id(last) {
        ids.insert(next);
        last = next;
    }
    ids
}

#[test]
fn no_map_stays_beside_those_who_search() {
    const RUNS: usize = 12;
    let Some(lab) = Lab::alone() else { return };
    let before = maps();
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        // Both look for what no journal names.
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                lab.chaos.command(&["status"]);
                lab.chaos.command(&["stop", "nosuch"]);
            }
        });
        for round in 0..RUNS {
            let running = Direction::Egress.inject(&lab, "partition: true");
            if round % 2 == 0 {
                running.kill9();
            } else {
                lab.chaos.command(&["stop", "--all"]).expect_code(0);
                running.ended();
            }
        }
        over.store(true, Ordering::Relaxed);
    });
    lab.chaos.command(&["cleanup"]).expect_code(0);
    let left = || maps().difference(&before).copied().collect::<Vec<_>>();
    assert!(wait_until(Duration::from_secs(5), || left().is_empty()), "maps stay: {:?}", left());
}

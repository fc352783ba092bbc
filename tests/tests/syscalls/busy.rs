//! Delays of system calls that are too short to sleep: the thread keeps its processor.

use super::{Victim, fault, inject, inside, outside, scene};
use std::time::Duration;

use chaos_tests::stats::quantile::median;

/// Never shorter than asked, for as many threads as there may be; and not much longer, beside the same calls without a delay.
#[test]
fn a_short_delay_holds_each_thread_for_as_long_as_asked() {
    let Some((chaos, _slice, cgroup, target)) = scene() else { return };
    let delay = Duration::from_micros(50);
    for (threads, repeat) in [(1, 200), (8, 50), (64, 10)] {
        let (threads, repeat) = (threads.to_string(), repeat.to_string());
        let more = ["--threads", &threads, "--repeat", &repeat];
        let (victim, beside) = (inside(&cgroup, &more, &["bind"]), outside(&more, &["bind"]));
        let running = inject(&chaos, &target, &fault(&["bind"], "latency: { delay: 50us }, match: { all: true }"));
        let made = |mut victim: Victim| {
            victim.begin();
            victim.made()
        };
        let (beside, made) = (made(beside), made(victim));
        let report = running.finish_any().report().clone();
        let counted = report.only_fault();
        let short = made.iter().filter(|one| one.took < delay).count() as u64;
        // Where a thread was interrupted in the program, the kernel let others pass it, and says how many.
        assert!(short <= counted.count("recursionMisses"), "{short} of {} took less than {delay:?}", made.len());
        let (delayed, all) = (counted.action("delayed"), made.len() as u64);
        assert!(delayed <= all && delayed + counted.count("recursionMisses") >= all, "{delayed} of {all}: {report:?}");
        assert!(made.iter().chain(&beside).all(|one| one.result == "ok"));
        if threads == "1" {
            let middle =
                |all: &[super::Made]| median(&all.iter().map(|one| one.took.as_secs_f64() * 1e6).collect::<Vec<_>>());
            let (ours, alone) = (middle(&made), middle(&beside));
            // Emulated, the program that decides takes longer than the call.
            assert!(ours < 5.0 * (50.0 + alone), "{ours} us, without a delay {alone} us");
        }
    }
}

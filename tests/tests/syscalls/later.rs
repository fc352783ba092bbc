//! Delays of system calls in which no thread may sleep: it does so once the call is done, on its way back to user space.

use std::fs;
use std::io::{Read, Write};
use std::process::Stdio;
use std::time::{Duration, Instant};

use super::sleeping::{AFTERWARDS, assert_all, later_here, place_for};
use super::{Victim, fault, inject, inside, outside};
use chaos_tests::clock::wait_until;
use chaos_tests::need;

/// Those that read this file, and no others.
#[test]
fn a_call_in_which_nobody_may_sleep_is_delayed_once_it_is_done() {
    if !later_here() {
        need::absent("threads that sleep on their way back: no bpf_task_work_schedule_resume (Linux 6.18), or no cx16");
        return;
    }
    let Some(place) = place_for(AFTERWARDS, "later") else { return };
    for (asked, delay) in [("1ms", 1), ("100ms", 100), ("3s", 3000)].map(|(s, ms)| (s, Duration::from_millis(ms))) {
        let (mut victim, mut beside) =
            (place.victim(&["--threads", "8"]), outside(&["--path", &place.path], &[AFTERWARDS]));
        let mut elsewhere = inside(&place.cgroup, &[], &[AFTERWARDS]);
        let running = inject(&place.chaos, &place.target, &place.slow(&format!("delay: {asked}")));
        [&mut victim, &mut beside, &mut elsewhere].into_iter().for_each(Victim::begin);
        let mut made = victim.made();
        assert_all(&made, 8, "ok", delay, Duration::from_secs(60));
        made.sort_by_key(|one| one.took);
        assert!(made[4].took < delay * 2 || delay < Duration::from_millis(10), "{asked}: {:?}", made[4].took);
        let spared = [beside, elsewhere].map(Victim::made).concat();
        assert_all(&spared, 2, "ok", Duration::ZERO, Duration::from_secs(2));
        let report = running.finish_any().report().clone();
        assert_eq!((report.only_fault().injected(), report.only_fault().action("delayed")), (8, 8), "{asked}");
    }
}

/// However long the call itself lasts.
#[test]
fn a_delay_on_the_way_back_begins_when_the_call_is_done() {
    let Some(place) = place_for(AFTERWARDS, "done").filter(|_| later_here()) else { return };
    let delay = Duration::from_secs(2);
    // A target is one that somebody lives in.
    let _resident = place.victim(&[]);
    let running = inject(&place.chaos, &place.target, &fault(&["read"], "latency: { delay: 2s }, match: { fd: pipe }"));
    let mut cat = place.cgroup.command(None, &["cat"]);
    let mut cat = cat.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let wchan = format!("/proc/{}/wchan", cat.id());
    let waits = || fs::read_to_string(&wchan).is_ok_and(|at| at.ends_with("pipe_read"));
    assert!(wait_until(Duration::from_secs(60), waits), "cat does not read");
    // Longer than the delay.
    std::thread::sleep(delay + delay / 2);
    let (mut to, mut from) = (cat.stdin.take().unwrap(), cat.stdout.take().unwrap());
    let begin = Instant::now();
    to.write_all(b"x").unwrap();
    from.read_exact(&mut [0]).unwrap();
    let took = begin.elapsed();
    assert!(took >= delay && took < delay * 15, "{took:?}");
    // What is still read when the experiment ends is not delayed, and not counted as if it were.
    assert!(wait_until(Duration::from_secs(60), waits), "cat does not read on");
    let report = running.finish_any().report().clone();
    assert_eq!((report.only_fault().matched(), report.only_fault().injected()), (2, 1));
    drop(to);
    cat.wait().unwrap();
}

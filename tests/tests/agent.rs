//! A node's agent beside a small API server: what it holds, and for how long faults are off while one process of it follows another.

use std::time::{Duration, Instant};

use chaos_tests::{
    clock::wait_until,
    need,
    node::{Cut, Scene},
};
use nix::sys::signal::Signal;

const PATIENCE: Duration = Duration::from_secs(30);
/// Anonymous memory of an agent, in MiB: what is its own whatever the build. Types of the kernel, objects and lists take five times as much
/// while they are read.
const LEAN: f64 = 12.0;

#[test]
fn what_was_needed_once_goes_back_to_the_kernel() {
    let Some(scene) = Scene::of_twenty() else { return };
    let agent = &scene.agent;
    let lean = |when: &str| {
        // Once it says that it lives, at the latest.
        let lean = wait_until(PATIENCE, || agent.memory("RssAnon") <= LEAN);
        let [all, own, peak] = ["VmRSS", "RssAnon", "VmHWM"].map(|key| agent.memory(key));
        need::measured(&format!("{when}: {all:.1} MiB resident, {own:.1} of them anonymous; at most it was {peak:.1}"));
        assert!(lean, "{when}: {own:.1} MiB are anonymous");
    };
    lean("with a list of 110 pods");
    scene.cut("192.0.2.7");
    lean("with 20 targets");
}

#[test]
fn a_process_that_stands_by_takes_over_and_hardly_a_packet_gets_through() {
    let Some(mut cut) = Cut::open() else { return };
    let (alone, of_start) = cut.replaced(Signal::SIGTERM);
    let (killed, of_next) = cut.replaced(Signal::SIGKILL);
    let before = cut.matched();
    let beside = cut.handed_over();
    need::measured(&format!(
        "packets got through for {beside:.0?} from one process to the next beside it; for {alone:.0?} to one that was started after it \
         ({of_start:.0?} of them from its start on), for {killed:.0?} after SIGKILL ({of_next:.0?} of them)"
    ));
    assert!(beside < alone / 3, "{beside:?} instead of {alone:?}");
    // Counts go on, and so do the faults.
    assert!(wait_until(PATIENCE, || cut.matched() > before), "{} matched, {before} before", cut.matched());
    let node = || cut.scene.server.get("nodeagents", "node1")["status"]["active"][0] == "shop/cut";
    assert!(wait_until(PATIENCE, node), "{}", cut.scene.agent.said());
}

#[test]
fn a_process_that_stands_by_touches_nothing_and_leaves_a_stopped_ones_lease_alone() {
    let Some(cut) = Cut::open() else { return };
    let prepares = Instant::now();
    let mut next = cut.scene.follower();
    assert_eq!(cut.knocks.since(prepares), 0, "it touched what the other one owns");
    cut.scene.agent.signal(Signal::SIGSTOP);
    // The lease is over; who stands by does not know why, and the kernel would let both act.
    cut.knocks.await_open();
    assert!(!next.has_ended(), "{}", next.said());
    cut.scene.agent.signal(Signal::SIGCONT);
    cut.scene.await_phase("Aborted", &cut.scene.agent);
    cut.scene.agent.signal(Signal::SIGKILL);
    next.await_ready();
    // What is over for good stays so for the next one.
    assert!(wait_until(PATIENCE, || next.said().contains("takes over")), "{}", next.said());
    cut.scene.await_phase("Aborted", &next);
    cut.knocks.await_open();
}

//! Delays of system calls that are too long for a thread to keep its processor: the thread sleeps.

use super::{Made, Victim, calls, fault, inject, inside, outside, promised, scene};
use std::fs;
use std::time::{Duration, Instant};

use chaos_tests::clock::wait_until;
use chaos_tests::need;
use chaos_tests::net::Cgroup;
use chaos_tests::product::{Chaos, Experiment, Running};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Calls in whose security hooks a thread may sleep, but those that the victim needs before it is ready or that end it.
const CALLS: [&str; 20] = [
    "open",
    "openat",
    "openat2",
    "creat",
    "stat",
    "fstat",
    "statx",
    "truncate",
    "ioctl",
    "flock",
    "clone",
    "socket",
    "connect",
    "accept4",
    "bind",
    "listen",
    "sendto",
    "recvfrom",
    "shutdown",
    "getsockopt",
];

/// What a kernel must have for it: asked of the kernel, not of the product, so that a product that fails does not pass for a kernel
/// that cannot.
pub fn sleeps_here(chaos: &Chaos) -> bool {
    let symbols = fs::read_to_string("/proc/kallsyms").unwrap();
    let has = |name: &str| symbols.lines().any(|line| line.split(' ').nth(2) == Some(name));
    // A kernel that runs no program at a security hook (lockdown) promises no call that only passes one.
    let can = has("bpf_task_from_pid") && has("bpf_lsm_file_open") && promised(chaos).contains_key("openat");
    can || need::absent("threads that sleep in calls: no LSM programs, or no bpf_task_from_pid (Linux 6.2)")
}

struct Place {
    chaos: Chaos,
    _slice: Cgroup,
    cgroup: Cgroup,
    target: String,
    path: String,
}

fn place(name: &str) -> Option<Place> {
    let (chaos, slice, cgroup, target) = scene()?;
    let path = format!("/tmp/chaos-{name}-{}", std::process::id());
    sleeps_here(&chaos).then(|| fs::write(&path, "x").unwrap())?;
    Some(Place { chaos, _slice: slice, cgroup, target, path })
}

impl Place {
    fn slow(&self, latency: &str) -> String {
        self.slow_with(latency, "")
    }

    fn slow_with(&self, latency: &str, more: &str) -> String {
        fault(&["openat"], &format!("latency: {{ {latency} }}, {more}match: {{ paths: [\"{}\"] }}", self.path))
    }

    fn victim(&self, more: &[&str]) -> Victim {
        inside(&self.cgroup, &[&["--path", &self.path], more].concat(), &["openat"])
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// Waits until a thread of the process waits for an answer of a FUSE file system (fs/fuse/dev.c, `request_wait_answer`).
fn await_asleep(pid: u32) {
    let waits = || fs::read_to_string(format!("/proc/{pid}/wchan")).is_ok_and(|at| at == "request_wait_answer");
    assert!(wait_until(Duration::from_secs(60), waits), "{pid} does not sleep");
}

/// The process in whose pages threads wait: the only child of a run.
fn server(running: &Running) -> Pid {
    let pid = running.pid();
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    Pid::from_raw(children.trim().parse().unwrap_or_else(|e| panic!("one child: {children:?}: {e}")))
}

/// All ended with this, and took at least, and less than so long.
fn assert_all(made: &[Made], number: usize, result: &str, least: Duration, most: Duration) {
    assert_eq!(made.len(), number, "{made:?}");
    let as_asked = |one: &Made| one.result == result && one.took >= least && one.took < most;
    assert!(made.iter().all(as_asked), "{result} after {least:?} to {most:?}: {made:?}");
}

/// A victim that sleeps for a minute if nobody wakes it, and the run that has it sleep.
fn asleep(place: &Place) -> (Victim, Running) {
    let mut victim = place.victim(&[]);
    let running = inject(&place.chaos, &place.target, &place.slow("delay: 60s"));
    victim.begin();
    await_asleep(victim.child.id());
    (victim, running)
}

/// It was woken, long before its time.
fn assert_woken(victim: Victim) {
    assert_all(&victim.made(), 1, "ok", Duration::ZERO, Duration::from_secs(30));
}

#[test]
fn threads_sleep_side_by_side_and_others_do_not() {
    let Some(place) = place("side") else { return };
    let delay = Duration::from_secs(3);
    let (mut victim, mut other) = (place.victim(&["--threads", "8"]), outside(&["--path", &place.path], &["openat"]));
    let running = inject(&place.chaos, &place.target, &place.slow("delay: 3s"));
    other.begin();
    victim.begin();
    // One after the other they would take 24 s.
    assert_all(&victim.made(), 8, "ok", delay, delay * 8);
    assert_all(&other.made(), 1, "ok", Duration::ZERO, delay);
    let report = running.finish_any().report().clone();
    assert_eq!((report.only_fault().injected(), report.only_fault().action("delayed")), (8, 8));
}

/// Never shorter than asked; the half of them less than twice as long, where the emulation of a machine does not take as long itself.
#[test]
fn delays_are_as_long_as_asked() {
    let Some(place) = place("long") else { return };
    for (asked, delay) in [("1ms", 1), ("100ms", 100), ("3s", 3000)].map(|(s, ms)| (s, Duration::from_millis(ms))) {
        let victims = [1, 64].map(|threads| (threads, place.victim(&["--threads", &threads.to_string()])));
        let running = inject(&place.chaos, &place.target, &place.slow(&format!("delay: {asked}")));
        for (threads, mut victim) in victims {
            victim.begin();
            let mut made = victim.made();
            assert_all(&made, threads, "ok", delay, Duration::from_secs(60));
            made.sort_by_key(|one| one.took);
            let median = made[threads / 2].took;
            assert!(median < delay * 2 || delay < Duration::from_millis(10), "{threads} threads, {asked}: {median:?}");
        }
        let report = running.finish_any().report().clone();
        assert_eq!(report.only_fault().injected(), 65, "{asked}");
    }
}

#[test]
fn a_sleeper_needs_no_processor() {
    let Some(place) = place("idle") else { return };
    let (victim, running) = asleep(&place);
    let on_cpu = || {
        let path = format!("/proc/{0}/task/{0}/schedstat", victim.child.id());
        let text = fs::read_to_string(path).unwrap();
        Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())
    };
    let (before, start) = (on_cpu(), Instant::now());
    // Nothing happens that could be awaited: that is what is measured.
    std::thread::sleep(Duration::from_secs(5));
    let (used, passed) = (on_cpu() - before, start.elapsed());
    assert!(used * 50 < passed, "{used:?} of {passed:?} on the processor");
    running.kill9();
    assert_woken(victim);
}

#[test]
fn an_error_comes_after_the_sleep() {
    let Some(place) = place("error") else { return };
    let mut victim = place.victim(&[]);
    let running = inject(&place.chaos, &place.target, &place.slow_with("delay: 700ms", "errno: EIO, "));
    victim.begin();
    assert_all(&victim.made(), 1, "EIO", Duration::from_millis(700), Duration::from_secs(30));
    let report = running.finish_any().report().clone();
    assert_eq!((report.only_fault().injected(), report.only_fault().action("errors")), (1, 1));
}

#[test]
fn every_call_that_may_sleep_does() {
    let Some(place) = place("every") else { return };
    for call in CALLS {
        let row = calls(&place.chaos).iter().find(|row| row["call"] == call).unwrap();
        assert_eq!(row["sleeps"], true, "check does not promise what is tried here: {row}");
    }
    let mut victim = inside(&place.cgroup, &[], &CALLS);
    let slow = fault(&CALLS, "latency: { delay: 300ms }, match: { all: true }");
    let running = Running::start(&place.chaos, &Experiment::on(&place.target).duration("600s").fault(&slow));
    // A program or two for each hook: an emulated machine takes its time.
    assert!((0..8).any(|_| running.wait_for("injected", "50s").code == 0), "not injected");
    victim.begin();
    assert_all(&victim.made(), CALLS.len(), "ok", Duration::from_millis(300), Duration::from_secs(60));
    running.finish_any();
}

#[test]
fn a_dead_owner_wakes_them_and_leaves_no_process() {
    let Some(place) = place("owner") else { return };
    let (victim, running) = asleep(&place);
    let server = server(&running);
    running.kill9();
    assert_woken(victim);
    let gone = || !fs::exists(format!("/proc/{server}")).unwrap();
    assert!(wait_until(Duration::from_secs(10), gone), "process {server} is left");
}

#[test]
fn a_stopped_owner_wakes_them() {
    let Some(place) = place("stopped") else { return };
    let (victim, running) = asleep(&place);
    running.signal(Signal::SIGSTOP);
    assert_woken(victim);
    running.kill9();
}

#[test]
fn a_stopped_server_wakes_them() {
    let Some(place) = place("server") else { return };
    let (victim, running) = asleep(&place);
    kill(server(&running), Signal::SIGSTOP).unwrap();
    assert_woken(victim);
    running.kill9();
}

/// As a frozen container does. Nobody of ours is left to wake anyone, so it takes a kernel that looks after its FUSE servers.
#[test]
fn the_kernel_wakes_them_where_all_of_ours_is_frozen() {
    let Some(place) = place("frozen") else { return };
    if !fs::exists("/proc/sys/fs/fuse/default_request_timeout").unwrap() {
        need::absent("requests of FUSE that time out (Linux 6.15)");
        return;
    }
    let (mut victim, running) = asleep(&place);
    kill(server(&running), Signal::SIGSTOP).unwrap();
    running.signal(Signal::SIGSTOP);
    // The kernel's shortest time, and as long again until it looks.
    let ended = || victim.child.try_wait().unwrap().is_some();
    assert!(wait_until(Duration::from_secs(60), ended), "it sleeps for ever");
    running.kill9();
}

#[test]
fn the_end_wakes_them_without_the_error() {
    let Some(place) = place("end") else { return };
    let mut victim = place.victim(&[]);
    let running = inject(&place.chaos, &place.target, &place.slow_with("delay: 60s", "errno: EIO, "));
    victim.begin();
    await_asleep(victim.child.id());
    let report = running.finish_any().report().clone();
    assert_woken(victim);
    assert_eq!((report.only_fault().injected(), report.only_fault().action("errors")), (1, 0));
}

#[test]
fn only_a_signal_that_kills_ends_a_sleep() {
    let Some(place) = place("signal") else { return };
    let delay = Duration::from_secs(5);
    let mut victim = place.victim(&[]);
    let running = inject(&place.chaos, &place.target, &place.slow("delay: 5s"));
    victim.begin();
    await_asleep(victim.child.id());
    let to = Pid::from_raw(victim.child.id() as i32);
    for signal in [Signal::SIGSTOP, Signal::SIGCONT] {
        kill(to, signal).unwrap();
    }
    assert_all(&victim.made(), 1, "ok", delay, delay * 8);
    running.finish_any();

    let (victim, running) = asleep(&place);
    kill(Pid::from_raw(victim.child.id() as i32), Signal::SIGTERM).unwrap();
    let begin = Instant::now();
    assert!(victim.made().is_empty());
    assert!(begin.elapsed() < Duration::from_secs(30), "{:?}", begin.elapsed());
    running.kill9();
}

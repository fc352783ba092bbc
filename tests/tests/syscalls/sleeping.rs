//! Delays of system calls that are too long for a thread to keep its processor: the thread sleeps.

use super::{Made, Victim, calls, fault, inject, inside, listed, outside, promised, scene};
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

/// A victim's call, a file that it is about, and a cgroup that the victim is in.
pub struct Place {
    call: &'static str,
    pub chaos: Chaos,
    _slice: Cgroup,
    pub cgroup: Cgroup,
    pub target: String,
    pub path: String,
}

fn place(name: &str) -> Option<Place> {
    place_for("openat", name)
}

pub fn place_for(call: &'static str, name: &str) -> Option<Place> {
    let (chaos, slice, cgroup, target) = scene()?;
    let path = format!("/tmp/chaos-{name}-{}", std::process::id());
    sleeps_here(&chaos).then(|| fs::write(&path, "x").unwrap())?;
    Some(Place { call, chaos, _slice: slice, cgroup, target, path })
}

/// One for a call in which threads sleep, then, where the kernel can, one for a call after which they do. That it cannot is said by one test
/// alone, `a_call_in_which_nobody_may_sleep_is_delayed_once_it_is_done`.
fn places(name: &str) -> impl Iterator<Item = Place> {
    ["openat", AFTERWARDS]
        .into_iter()
        .filter(|call| *call != AFTERWARDS || later_here())
        .filter_map(move |call| place_for(call, name))
}

/// Of a file that is open; no thread may sleep in it.
pub const AFTERWARDS: &str = "pread64";

/// What a kernel must have for sleeps on the way back from calls: asked of the kernel, again. The emulator's processors lack what it
/// needs where there are several (kernel/bpf/helpers.c, `bpf_task_work_schedule`: memory without locks, by cmpxchg16b).
pub fn later_here() -> bool {
    let symbols = fs::read_to_string("/proc/kallsyms").unwrap();
    let has = symbols.lines().any(|line| line.contains(" bpf_task_work_schedule_resume"));
    let flags = fs::read_to_string("/proc/cpuinfo").unwrap();
    has && (cfg!(not(target_arch = "x86_64")) || flags.split_whitespace().any(|flag| flag == "cx16"))
}

impl Place {
    pub fn slow(&self, latency: &str) -> String {
        self.slow_with(latency, "")
    }

    fn slow_with(&self, latency: &str, more: &str) -> String {
        fault(&[self.call], &format!("latency: {{ {latency} }}, {more}match: {{ paths: [\"{}\"] }}", self.path))
    }

    pub fn victim(&self, more: &[&str]) -> Victim {
        inside(&self.cgroup, &[&["--path", &self.path], more].concat(), &[self.call])
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
pub fn assert_all(made: &[Made], number: usize, result: &str, least: Duration, most: Duration) {
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
    for place in places("side") {
        let delay = Duration::from_secs(3);
        let (mut victim, mut other) =
            (place.victim(&["--threads", "8"]), outside(&["--path", &place.path], &[place.call]));
        let running = inject(&place.chaos, &place.target, &place.slow("delay: 3s"));
        other.begin();
        victim.begin();
        // One after the other they would take 24 s.
        assert_all(&victim.made(), 8, "ok", delay, delay * 8);
        assert_all(&other.made(), 1, "ok", Duration::ZERO, delay);
        let report = running.finish_any().report().clone();
        assert_eq!((report.only_fault().injected(), report.only_fault().action("delayed")), (8, 8));
    }
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
    for place in places("idle") {
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
}

#[test]
fn an_error_comes_after_the_sleep() {
    for place in places("error") {
        let mut victim = place.victim(&[]);
        let running = inject(&place.chaos, &place.target, &place.slow_with("delay: 700ms", "errno: EIO, "));
        victim.begin();
        assert_all(&victim.made(), 1, "EIO", Duration::from_millis(700), Duration::from_secs(30));
        let report = running.finish_any().report().clone();
        assert_eq!((report.only_fault().injected(), report.only_fault().action("errors")), (1, 1));
    }
}

#[test]
fn every_call_that_may_sleep_does() {
    let Some(place) = place("every") else { return };
    let sleeps = |call: &str| calls(&place.chaos).iter().any(|row| row["call"] == call && row["sleeps"] == true);
    let listed = listed();
    let promised: Vec<&str> = listed.iter().map(String::as_str).filter(|call| sleeps(call)).collect();
    for call in CALLS {
        assert!(sleeps(call), "check does not promise what is tried here: {call}");
    }
    // What else sleeps does so on its way back, and that any call can.
    let later = later_here();
    let calls = if later { promised.as_slice() } else { &CALLS };
    let at_entry = super::promised(&place.chaos).get("fsync").is_some_and(|by| by == "entry");
    let others: &[&str] = if at_entry { &["fsync", "close", "futex"] } else { &[] };
    assert!(!later || [&[AFTERWARDS, "unlink"], others].concat().iter().all(|call| calls.contains(call)), "{calls:?}");
    let mut victim = inside(&place.cgroup, &[], calls);
    let experiment = calls.chunks(60).fold(Experiment::on(&place.target).duration("600s"), |experiment, calls| {
        experiment.fault(&fault(calls, "latency: { delay: 300ms }, match: { all: true }"))
    });
    let running = Running::start(&place.chaos, &experiment);
    // A program or two for each hook: an emulated machine takes its time.
    assert!((0..8).any(|_| running.wait_for("injected", "50s").code == 0), "not injected");
    victim.begin();
    assert_all(&victim.made(), calls.len(), "ok", Duration::from_millis(300), Duration::from_secs(60));
    running.finish_any();
    need::measured(&format!("{} calls sleep", calls.len()));
}

/// An error and a delay of the same call are of programs that stand side by side: each counts what it is to count.
#[test]
fn a_delay_and_an_error_of_one_call_count_it_once_each() {
    for place in places("both") {
        let mut victim = place.victim(&[]);
        let error =
            fault(&[place.call], &format!("mechanism: lsm, errno: EIO, match: {{ paths: [\"{}\"] }}", place.path));
        let experiment = Experiment::on(&place.target)
            .duration("120s")
            .fault(&place.slow("delay: 300ms"))
            .fault(&format!("when: {{ nth: 2 }}, {error}"));
        let mut running = Running::start(&place.chaos, &experiment);
        running.await_injected();
        victim.begin();
        assert_all(&victim.made(), 1, "ok", Duration::from_millis(300), Duration::from_secs(60));
        let report = running.finish_any().report().clone();
        let counts = |fault: &str| (report.fault(fault).matched(), report.fault(fault).injected());
        assert_eq!((counts("fault-0"), counts("fault-1")), ((1, 1), (1, 0)), "{}", place.call);
    }
}

#[test]
fn a_dead_owner_wakes_them_and_leaves_no_process() {
    for place in places("owner") {
        let (victim, running) = asleep(&place);
        let server = server(&running);
        let killed = Instant::now();
        running.kill9();
        assert_woken(victim);
        need::measured(&format!("{}: woken {} ms after SIGKILL", place.call, killed.elapsed().as_millis()));
        let gone = || !fs::exists(format!("/proc/{server}")).unwrap();
        assert!(wait_until(Duration::from_secs(10), gone), "process {server} is left");
    }
}

#[test]
fn a_stopped_owner_wakes_them() {
    for place in places("stopped") {
        let (victim, running) = asleep(&place);
        running.signal(Signal::SIGSTOP);
        assert_woken(victim);
        running.kill9();
    }
}

/// Once threads wait in it, it has next to nothing that it could do harm with.
#[test]
fn the_server_has_no_rights_and_few_files() {
    let Some(place) = place("rights") else { return };
    let (victim, running) = asleep(&place);
    let server = server(&running);
    let status = fs::read_to_string(format!("/proc/{server}/status")).unwrap();
    for line in ["CapEff:\t0000000000000000", "CapPrm:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"] {
        assert!(status.lines().any(|one| one == line), "{line}: {status}");
    }
    let files = fs::read_dir(format!("/proc/{server}/fd")).unwrap().flatten();
    let files: Vec<_> = files.filter_map(|file| fs::read_link(file.path()).ok()).collect();
    let is_needed = |file: &std::path::PathBuf| {
        let name = file.to_string_lossy();
        ["/dev/null", "/dev/fuse", "/"].contains(&&*name) || name.starts_with("socket:")
    };
    assert!(files.iter().all(is_needed) && files.len() <= 6, "{files:?}");
    assert_eq!(fs::read_to_string(format!("/proc/{server}/oom_score_adj")).unwrap().trim(), "-900");
    running.finish_any();
    assert_woken(victim);
}

#[test]
fn a_stopped_server_wakes_them() {
    for place in places("server") {
        let (victim, running) = asleep(&place);
        kill(server(&running), Signal::SIGSTOP).unwrap();
        assert_woken(victim);
        running.kill9();
    }
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
    for place in places("end") {
        let mut victim = place.victim(&[]);
        let running = inject(&place.chaos, &place.target, &place.slow_with("delay: 60s", "errno: EIO, "));
        victim.begin();
        await_asleep(victim.child.id());
        let report = running.finish_any().report().clone();
        // On its way back it has the error already.
        let (result, errors) = if place.call == AFTERWARDS { ("EIO", 1) } else { ("ok", 0) };
        assert_all(&victim.made(), 1, result, Duration::ZERO, Duration::from_secs(30));
        assert_eq!((report.only_fault().injected(), report.only_fault().action("errors")), (1, errors));
    }
}

#[test]
fn only_a_signal_that_kills_ends_a_sleep() {
    for place in places("signal") {
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
}

//! The mechanism `kprobe`, asked for by its name: where a kernel has it, mostly another one is better, and chosen.

use super::{calls, fault, inject, inside, outside, scene};
use std::fs;
use std::time::Duration;

use chaos_tests::need;
use chaos_tests::net::Cgroup;
use chaos_tests::product::{Chaos, Experiment, Running};

/// Calls of all sorts: with a security hook, with none, and (the last three) without arguments, of whose functions kernels have no types.
const CALLS: [&str; 24] = [
    "openat",
    "read",
    "write",
    "fsync",
    "fdatasync",
    "close",
    "sendfile",
    "splice",
    "copy_file_range",
    "epoll_wait",
    "poll",
    "ppoll",
    "select",
    "pselect6",
    "socket",
    "connect",
    "brk",
    "execve",
    "getrandom",
    "nanosleep",
    "futex",
    "fork",
    "getppid",
    "sched_yield",
];

/// Asked of the kernel, not of the product, so that a product that fails does not pass for a kernel that cannot: the helper is there only
/// where it was asked for when the kernel was built (kernel/trace/bpf_trace.c, CONFIG_BPF_KPROBE_OVERRIDE).
fn place() -> Option<(Chaos, Cgroup, Cgroup, String)> {
    let found = scene()?;
    let symbols = fs::read_to_string("/proc/kallsyms").unwrap();
    let here = symbols.lines().any(|line| line.split(' ').nth(2) == Some("bpf_override_return"));
    (here || need::absent("kprobes that override: no CONFIG_BPF_KPROBE_OVERRIDE")).then_some(found)
}

/// By a kprobe, and always.
fn by_kprobe(calls: &[&str], rest: &str) -> String {
    fault(calls, &format!("{rest}, mechanism: kprobe"))
}

#[test]
fn a_kprobe_fails_calls_of_all_sorts_and_only_inside() {
    let Some((chaos, _slice, cgroup, target)) = place() else { return };
    let (hit, spared) = (inside(&cgroup, &[], &CALLS), outside(&[], &CALLS));
    let experiment = Experiment::on(&target).duration("600s");
    let experiment = experiment.fault(&by_kprobe(&CALLS, "errno: ENXIO, match: { all: true }"));
    let running = Running::start(&chaos, &experiment);
    // A program for each call: an emulated machine takes its time.
    assert!((0..8).any(|_| running.wait_for("injected", "50s").code == 0), "not injected");
    let (results, beside) = (hit.go(), spared.go());
    let report = running.finish_any().report().clone();
    let wrong: Vec<_> = results.iter().filter(|(_, result)| result != "ENXIO").collect();
    assert!(results.len() == CALLS.len() && wrong.is_empty(), "{wrong:?} of {results:?}");
    assert!(beside.len() == CALLS.len() && beside.iter().all(|(_, result)| result == "ok"), "{beside:?}");
    assert!(report.only_fault().injected() >= CALLS.len() as u64, "{report:?}");
    need::measured(&format!("{} calls fail by a kprobe", CALLS.len()));
    // Afterwards it is as if nothing had been.
    let after = inside(&cgroup, &[], &CALLS).go();
    assert!(after.iter().all(|(_, result)| result == "ok"), "{after:?}");
}

#[test]
fn calls_without_types_are_hit_by_a_kprobe_unasked() {
    let Some((chaos, _slice, cgroup, target)) = place() else { return };
    // Where all else can be hit at its entry.
    let entry = calls(&chaos).iter().any(|row| row["call"] == "fsync" && row["mechanism"] == "entry");
    assert!(entry, "a kernel with CONFIG_FUNCTION_ERROR_INJECTION lets fmod_ret change calls");
    let victim = inside(&cgroup, &[], &["getppid", "sched_yield", "fsync"]);
    let running = inject(&chaos, &target, &fault(&["getppid", "sched_yield"], "errno: EPERM, match: { all: true }"));
    let went = |call: &str, result: &str| (call.to_owned(), result.to_owned());
    assert_eq!(victim.go(), [went("getppid", "EPERM"), went("sched_yield", "EPERM"), went("fsync", "ok")]);
    let report = running.finish_any().report().clone();
    assert_eq!(report.only_fault().injected(), 2);
}

#[test]
fn a_kprobe_counts_each_call_once_with_many_threads() {
    let Some((chaos, _slice, cgroup, target)) = place() else { return };
    let fault = by_kprobe(&["socket"], "errno: EMFILE, match: { comm: \"chaos-vict*\" }");
    let victim = inside(&cgroup, &["--threads", "8", "--repeat", "100"], &["socket"]);
    let running = inject(&chaos, &target, &format!("when: {{ every: 10 }}, {fault}"));
    let results = victim.go();
    let hits = results.iter().filter(|(_, result)| result == "EMFILE").count() as u64;
    let report = running.finish_any().report().clone();
    let counted = report.only_fault();
    // No thread is interrupted by another in a kprobe: none is left out.
    assert_eq!((counted.matched(), counted.injected(), hits, counted.count("recursionMisses")), (800, 80, 80, 0));
}

/// A kprobe would have no effect at a function where a program of the other kind stands, and would count hits that are none.
#[test]
fn a_kprobe_and_an_entry_of_one_call_are_refused() {
    let Some((chaos, _slice, cgroup, target)) = place() else { return };
    let victim = inside(&cgroup, &[], &["fsync"]);
    let experiment = Experiment::on(&target)
        .fault(&fault(&["fsync"], "errno: EIO, mechanism: entry, match: { all: true }"))
        .fault(&by_kprobe(&["fsync"], "errno: ENXIO, match: { all: true }"));
    let ended = Running::start(&chaos, &experiment).ended();
    assert_eq!(ended.output.code, 3, "{}", ended.output.text());
    assert!(ended.output.text().contains("hit by both entry and kprobe"), "{}", ended.output.text());
    assert_eq!(victim.go(), [("fsync".to_owned(), "ok".to_owned())]);
}

#[test]
fn a_kprobe_knows_paths_of_descriptors_and_waits() {
    let Some((chaos, _slice, cgroup, target)) = place() else { return };
    let path = format!("/tmp/chaos-kprobe-{}", std::process::id());
    let wait = Duration::from_micros(150);
    let latency = format!("errno: EIO, latency: {{ delay: {}us }}", wait.as_micros());
    let fault = by_kprobe(&["pread64", "fsync"], &format!("{latency}, match: {{ paths: [\"{path}\"] }}"));
    for (file, result) in [(path.clone(), "EIO"), (format!("{path}-other"), "ok")] {
        let mut victim = inside(&cgroup, &["--path", &file], &["pread64", "fsync"]);
        let running = inject(&chaos, &target, &fault);
        victim.begin();
        let made = victim.made();
        running.finish_any();
        let as_asked = made.iter().all(|one| one.result == result && (one.result == "ok" || one.took >= wait));
        assert!(made.len() == 2 && as_asked, "{file}: {made:?}");
        fs::remove_file(&file).unwrap();
    }
}

#[test]
fn a_killed_owner_leaves_no_kprobe() {
    let Some((chaos, _slice, cgroup, target)) = place() else { return };
    let victim = inside(&cgroup, &[], &["fsync"]);
    let running = inject(&chaos, &target, &by_kprobe(&["fsync"], "errno: EIO, match: { all: true }"));
    running.kill9();
    assert_eq!(victim.go(), [("fsync".to_owned(), "ok".to_owned())]);
}

//! What a process needs while it holds targets: memory and processor time; and how long its begin takes, from exec on.

use std::{
    env, fs,
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use chaos_engine::{self as engine, journal, reap};
use chaos_tests::figure::{self, Figure, absent};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{FAULTS, MOST, stage::Stage};

/// Names the product's binary.
const PRODUCT: &str = "CHAOS_BIN";

/// Most entries of `selector.local`: a process with more targets is a node's agent, for which this program stands in.
const MOST_LOCAL: usize = 64;
/// Tells this program to hold the faults on these namespaces until it is killed.
const HOLD: &str = "CHAOS_HOLD";

/// Where this program was started to hold faults: does, and returns true at the end of that.
pub fn held_for_another() -> bool {
    let Ok(names) = env::var(HOLD) else { return false };
    let (engine, mut active) = engine::prepare(vec![Stage::request_for(names.split(','), FAULTS)]).expect("prepare");
    engine.start(&mut active).expect("start");
    thread::sleep(Duration::from_secs(60));
    true
}

/// A process that holds faults, once they act.
type Begin<'a> = &'a dyn Fn(usize) -> Command;

pub fn measure(stage: &Stage) {
    let own = |count: usize| {
        let mut command = Command::new(env::current_exe().expect("this program"));
        command.env(HOLD, stage.names()[..count].join(","));
        command
    };
    each("engine", MOST, &own);
    let Some(product) = env::var_os(PRODUCT).map(PathBuf::from) else {
        return absent("lifecycle/run", "CHAOS_BIN does not name the product; `cargo xtask bench` sets it");
    };
    let run = |count: usize| {
        let mut command = Command::new(&product);
        command.arg("run").arg(written(stage, count));
        command
    };
    each("run", 1, &run);
    each("run", MOST_LOCAL, &run);
}

/// Resident memory, the part of it that is no file's, processor time, and how long the begin took.
fn each(what: &str, count: usize, begin: Begin) {
    let [mut took, mut resident, mut anonymous, mut share] = [const { Vec::new() }; 4];
    for _ in 0..figure::rounds() {
        let since = Instant::now();
        let child = started(begin(count));
        took.push(since.elapsed().as_secs_f64() * 1000.0);
        share.push(processor_share(&child));
        resident.push(memory(&child, "VmRSS:"));
        anonymous.push(memory(&child, "RssAnon:"));
        end(child, what == "run");
    }
    let name = |figure: &str| format!("lifecycle/{what}/{figure}/{count}-targets");
    Figure::alone(&name("rss"), "MiB", &resident).print();
    Figure::alone(&name("rss-anonymous"), "MiB", &anonymous).print();
    Figure::alone(&name("cpu"), "% of a processor", &share).print();
    Figure::alone(&name("begin"), "ms", &took).print();
}

fn end(mut child: Child, by_itself: bool) {
    let signal = if by_itself { Signal::SIGINT } else { Signal::SIGKILL };
    kill(Pid::from_raw(child.id() as i32), signal).expect("a signal");
    child.wait().expect("its end");
    reap::reap(&mut journal::lock().expect("the journal")).expect("what it left");
}

/// An experiment on so many targets, as a file.
fn written(stage: &Stage, count: usize) -> PathBuf {
    let file = PathBuf::from("/run/chaos/bench.yaml");
    let targets: String = stage.names()[..count].iter().map(|name| format!("      - {{ netns: {name} }}\n")).collect();
    let text = format!(
        "apiVersion: chaos-ebpf.dev/v1alpha1\nkind: Experiment\nmetadata: {{ name: held }}\nspec:\n  duration: 60s\n  \
         selector:\n    local:\n{targets}  faults:{FAULTS}\n"
    );
    fs::write(&file, text).expect("an experiment");
    file
}

/// Starts it; the journal says that its faults act.
fn started(mut command: Command) -> Child {
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("a process");
    let limit = Instant::now() + Duration::from_secs(20);
    while !journal::peek().is_ok_and(|journal| journal.runs.iter().any(|run| !run.started_at.is_empty())) {
        assert!(Instant::now() < limit && child.try_wait().is_ok_and(|end| end.is_none()), "the faults act");
        thread::sleep(Duration::from_millis(1));
    }
    child
}

/// A line of `/proc/PID/status`, MiB.
fn memory(child: &Child, field: &str) -> f64 {
    let text = fs::read_to_string(format!("/proc/{}/status", child.id())).expect("procfs");
    let line = text.lines().find_map(|line| line.strip_prefix(field)).expect("a size");
    line.trim().trim_end_matches(" kB").trim().parse::<f64>().expect("a number") / 1024.0
}

/// Of one processor over some seconds, in percent.
fn processor_share(child: &Child) -> f64 {
    let seconds = if figure::quick() { 1 } else { 3 };
    let (begin, before) = (Instant::now(), ran(child));
    thread::sleep(Duration::from_secs(seconds));
    (ran(child) - before) / begin.elapsed().as_secs_f64() * 100.0
}

/// Seconds that its threads have run; exact, where `/proc/PID/stat` counts ticks.
fn ran(child: &Child) -> f64 {
    let tasks = fs::read_dir(format!("/proc/{}/task", child.id())).expect("procfs").flatten();
    let nanoseconds = tasks.filter_map(|task| {
        let text = fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<f64>().ok()
    });
    nanoseconds.sum::<f64>() / 1e9
}

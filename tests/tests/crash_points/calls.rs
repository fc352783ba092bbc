//! A cgroup whose processes make system calls, an experiment that fails and delays them as far as the kernel allows, and what
//! must be as before after it.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::fs;
use std::process::Child;
use std::time::Duration;

use chaos_tests::clock::{now_ns, wait_until};
use chaos_tests::need;
use chaos_tests::net::{Cgroup, mounts};
use chaos_tests::product::binary::Output;
use chaos_tests::product::{Chaos, Experiment};

use super::scene::{LEASE, Stage, Strike};
use super::{binary, host, orphans::orphans};

/// How long a call would be held if nobody ended the delay.
const DELAY: &str = "60s";
/// A call that nobody holds takes less, in a machine that is emulated, too.
const AT_ONCE: Duration = Duration::from_secs(1);
/// The experiment's duration, the lease, and as much again where the processor is emulated.
const RELEASED: Duration = Duration::from_secs(10);

/// The stage.
pub struct Calls {
    chaos: Chaos,
    _slice: Cgroup,
    cgroup: Cgroup,
    /// An empty cgroup is refused: nobody knows whose network it has.
    inhabitant: Child,
    /// The file whose opening fails, and the one whose opening takes long; and whether this kernel lets us.
    failing: (String, bool),
    slow: (String, bool),
    before: BTreeSet<String>,
    orphans_before: BTreeSet<String>,
    longest: Cell<Duration>,
    /// Whether a victim's calls failed or waited while an experiment ran.
    felt: Cell<bool>,
}

impl Calls {
    /// A cgroup, in a mount namespace of the calling thread with a `/run/chaos` of its own.
    pub fn open() -> Option<Self> {
        if !need::root() || !need::cgroup2() {
            return None;
        }
        let chaos = binary::find().unwrap_or_else(|why| panic!("{why}"));
        let check = chaos.command(&["check", "-o", "json"]);
        let check: serde_json::Value = serde_json::from_str(&check.stdout).expect("what check says");
        let row = |call: &str| check["calls"].as_array()?.iter().find(|row| row["call"] == call).cloned();
        if row("bind").is_none_or(|row| row["mechanism"].is_null()) {
            need::absent("programs for calls: they need Linux 5.17");
            return None;
        }
        let open = row("openat").expect("a row of openat");
        let file = |name: &str| {
            let path = format!("/tmp/chaos-crash-{name}-{}", std::process::id());
            fs::write(&path, "x").expect("a file");
            path
        };
        mounts::own(&["/run/chaos", "/run/netns"]);
        let slice = Cgroup::new("crash");
        let cgroup = slice.child("victim");
        let mut calls = Self {
            chaos,
            _slice: slice,
            inhabitant: cgroup.resident(None),
            cgroup,
            failing: (file("failing"), !open["mechanism"].is_null()),
            slow: (file("slow"), open["sleeps"] == true),
            before: BTreeSet::new(),
            orphans_before: orphans(),
            longest: Cell::new(Duration::ZERO),
            felt: Cell::new(false),
        };
        // The first run makes what stays: the folder and its lock.
        calls.run(Strike::None);
        assert!(calls.felt.get(), "an undisturbed run is felt by nobody");
        calls.before = calls.now();
        Some(calls)
    }

    fn experiment(&self) -> Experiment {
        let fault = |name: &str, path: &str, effect: &str| {
            format!("name: {name}, syscall: {{ calls: [openat], match: {{ paths: [\"{path}\"] }}, {effect} }}")
        };
        let mut experiment = Experiment::on(&format!("cgroup: {}", self.cgroup.name()))
            .named("crash-points")
            // A victim of each fault is to start and to meet it meanwhile, where the processor is emulated, too.
            .duration(if self.slow.1 { "3s" } else { "300ms" })
            .fault("name: bind, syscall: { calls: [bind], match: { all: true }, errno: EADDRINUSE }");
        if let (path, true) = &self.failing {
            experiment = experiment.fault(&fault("failing", path, "errno: EIO"));
        }
        if let (path, true) = &self.slow {
            experiment = experiment.fault(&fault("slow", path, &format!("latency: {{ delay: {DELAY} }}")));
        }
        experiment
    }

    fn run_with(&self, strike: Strike, log: Option<&str>) -> Output {
        binary::run(&self.chaos, &self.experiment(), strike, log, || {
            if !self.untouched() {
                self.felt.set(true);
            }
        })
    }

    /// Whether a victim's calls all succeed at once.
    fn untouched(&self) -> bool {
        self.victim(&self.failing.0, &["bind", "openat"]) & self.victim(&self.slow.0, &["openat"])
    }

    fn victim(&self, path: &str, calls: &[&str]) -> bool {
        let words = [&[env!("CARGO_BIN_EXE_chaos-victim"), "--path", path], calls].concat();
        let output = self.cgroup.command(None, &words).output().expect("a victim");
        let text = String::from_utf8_lossy(&output.stdout);
        let ended: Vec<(&str, Duration)> = text.lines().filter_map(ended).collect();
        let longest = ended.iter().map(|(_, took)| *took).max().unwrap_or_default();
        self.longest.set(self.longest.get().max(longest));
        ended.len() == calls.len() && ended.iter().all(|(result, took)| *result == "ok" && *took < AT_ONCE)
    }

    fn now(&self) -> BTreeSet<String> {
        let mut things = host::things();
        // The process in whose pages threads wait has the product's program, too. It holds the FUSE mount, which is attached nowhere.
        let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
        let ours =
            processes.filter(|entry| fs::read_link(entry.path().join("exe")).is_ok_and(|exe| exe == self.chaos.path()));
        things.extend(ours.map(|entry| format!("process {}", entry.file_name().display())));
        things
    }
}

impl Stage for Calls {
    fn operations(&self) -> Vec<String> {
        binary::operations(|log| self.run_with(Strike::None, Some(log)))
    }

    fn run(&self, strike: Strike) -> Output {
        self.longest.set(Duration::ZERO);
        self.run_with(strike, None)
    }

    fn effect_left(&self) -> Option<String> {
        let begin = now_ns();
        let gone = wait_until(LEASE, || self.untouched());
        let longest = self.longest.get();
        if longest > RELEASED {
            return Some(format!("a call was held for {longest:?}"));
        }
        (!gone).then(|| format!("calls still fail or wait {} ms later", (now_ns() - begin) / 1_000_000))
    }

    fn chaos(&self) -> &Chaos {
        &self.chaos
    }

    fn left_behind(&self) -> Vec<String> {
        host::difference(&self.before, &self.orphans_before, || self.now())
    }
}

impl Drop for Calls {
    fn drop(&mut self) {
        let _ = self.inhabitant.kill();
        let _ = self.inhabitant.wait();
        for file in [&self.failing, &self.slow] {
            let _ = fs::remove_file(&file.0);
        }
    }
}

/// `openat EIO 123`: how a call ended, and after how many microseconds.
fn ended(line: &str) -> Option<(&str, Duration)> {
    let mut words = line.split(' ').skip(1);
    Some((words.next()?, Duration::from_micros(words.next()?.parse().ok()?)))
}

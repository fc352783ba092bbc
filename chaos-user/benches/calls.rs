//! What a system call costs: left alone, with an empty program at the hook of its fault, and under the fault as somebody out of scope,
//! as a target that is not matched, and as one whose call fails. In ns per call, seen by who makes them.
#![allow(missing_docs, reason = "a benchmark")]

#[path = "calls/delays.rs"]
mod delays;
#[path = "calls/preload.rs"]
mod preload;
#[path = "../tests/endurance/stage.rs"]
mod stage;
#[path = "calls/tracer.rs"]
mod tracer;
#[path = "calls/victim.rs"]
mod victim;

use std::os::fd::OwnedFd;

use chaos_engine::{
    self as engine,
    syscall::attach_empty,
    trial::{Trial, cgroup_root},
};
use chaos_host::Wanted;
use chaos_spec::plan::call::{CallPlan, HookSite};
use chaos_sys::btf::KernelTypes;
use chaos_tests::{
    figure::{self, Figure, Rounds, absent},
    lab::NodeLock,
    need,
    net::{Cgroup, mounts},
};
use stage::Stage;
use victim::Victim;

/// Tells that the processor is emulated.
const MACHINE: &str = "CHAOS_BENCH_MACHINE";
/// What is not matched is so by the caller's name, which every hook knows, or by a path.
const BY_NAME: &str = "match: { comm: nobody }";
const BY_PATH: &str = "match: { paths: [\"/nowhere/**\"] }";

fn main() {
    if victim::is_one() {
        return victim::serve();
    }
    if !need::root() || !need::cgroup2() {
        return;
    }
    let _alone = NodeLock::exclusive();
    mounts::own(&["/run/chaos", "/run/netns"]);
    let cgroup = Cgroup::new("calls");
    let (mut inside, mut outside) = (Victim::inside(&cgroup), Victim::outside(&[]));
    // Those that have a hook on every kernel are measured where the processor is none of ours.
    let emulated = std::env::var_os(MACHINE).is_some();
    for call in victim::CALLS.into_iter().skip(if emulated { 3 } else { 0 }) {
        match stands(call) {
            Ok(stands) => measure(call, &stands, &cgroup, &mut inside, &mut outside),
            Err(why) => absent(&format!("calls/error/{call}"), &why),
        }
    }
    delays::measure(&cgroup, &mut inside);
    if !emulated {
        tracer::measure(&mut outside);
        preload::measure(&mut outside);
    }
}

/// Where the programs for this call stand; the reason where there is no place for them on this kernel.
fn stands(call: &str) -> Result<Vec<HookSite>, String> {
    Ok(Trial::get().best(&CallPlan::of_all(call), call)?.sites)
}

/// What one round measures, ns.
#[derive(Default)]
struct Times {
    alone: Vec<f64>,
    empty: Vec<f64>,
    /// Of the one who is out of scope: another process, elsewhere in the tree of cgroups.
    empty_outside: Vec<f64>,
    out_of_scope: Vec<f64>,
    no_match: Vec<f64>,
    no_match_path: Vec<f64>,
    error: Vec<f64>,
}

fn measure(call: &str, stands: &[HookSite], cgroup: &Cgroup, inside: &mut Victim, outside: &mut Victim) {
    let mut times = Times::default();
    for _ in 0..figure::rounds() {
        times.alone.push(inside.time(call));
        let empty = empty(stands);
        times.empty.push(inside.time(call));
        times.empty_outside.push(outside.time(call));
        drop(empty);
        under(call, cgroup, BY_NAME, || {
            times.no_match.push(inside.time(call));
            times.out_of_scope.push(outside.time(call));
        });
        if matches!(call, "openat" | "pread64") {
            under(call, cgroup, BY_PATH, || times.no_match_path.push(inside.time(call)));
        }
        under(call, cgroup, "match: { all: true }", || times.error.push(inside.time(call)));
    }
    let beside =
        |values: &[f64], pair: &[f64]| -> Rounds { values.iter().copied().zip(pair.iter().copied()).collect() };
    let name = |what: &str| format!("calls/{what}/{call}");
    Figure::alone(&name("alone"), "ns", &times.alone).print();
    Figure::over(&name("empty-hook"), "ns over a call left alone", &beside(&times.empty, &times.alone)).print();
    for (what, values, empty) in [
        ("out-of-scope", &times.out_of_scope, &times.empty_outside),
        ("no-match", &times.no_match, &times.empty),
        ("no-match-path", &times.no_match_path, &times.empty),
    ] {
        if !values.is_empty() {
            Figure::over(&name(what), "ns over an empty hook", &beside(values, empty)).print();
        }
    }
    Figure::beside(&name("error"), "ns", &beside(&times.error, &times.alone)).print();
}

/// A program at each of these places that does nothing.
fn empty(stands: &[HookSite]) -> Vec<OwnedFd> {
    let root = cgroup_root().expect("a cgroup2 tree");
    let kernel = KernelTypes::shared().as_ref().ok();
    stands.iter().flat_map(|stand| attach_empty(stand, kernel, &root).expect("an empty program")).collect()
}

/// Does something while a fault of this call acts on the cgroup.
fn under(call: &str, cgroup: &Cgroup, matched: &str, deed: impl FnOnce()) {
    let faults = format!("\n    - {{ name: f, syscall: {{ calls: [{call}], errno: EIO, {matched} }} }}");
    let request = Stage::request_on(vec![Wanted::Cgroup(cgroup.name())], &faults);
    let (engine, mut active) = engine::prepare(vec![request]).expect("prepare");
    engine.start(&mut active).expect("start");
    deed();
    for one in &active {
        engine.revert(one).expect("revert");
    }
}

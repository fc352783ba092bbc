//! How long an experiment takes to begin and to end, by number of targets, and what the process that holds it needs. Milliseconds,
//! seen from outside where a packet is the measure.
#![allow(missing_docs, reason = "a benchmark")]

#[path = "lifecycle/holder.rs"]
mod holder;
#[path = "../tests/endurance/stage.rs"]
mod stage;
#[path = "lifecycle/watch.rs"]
mod watch;

use std::{collections::HashMap, time::Instant};

use chaos_abi::PROGRAM_FAULT;
use chaos_engine::{self as engine, Active, Engine};
use chaos_sys::{datapath::Datapath, kill_switch::kill_switch};
use chaos_tests::{
    figure::{self, Figure},
    lab::NodeLock,
};
use stage::Stage;
use watch::{Until, until};

/// In both directions of one interface: two attach points for each target.
pub const FAULTS: &str = "
    - { name: cut, network: { direction: both, match: { protocol: udp, ports: [7000], interfaces: [eth0] }, partition: true } }";
/// Most targets; one more is there to hold what is loaded.
pub const MOST: usize = 250;

fn main() {
    if holder::held_for_another() {
        return;
    }
    let Some(stage) = Stage::with_targets(MOST + 1) else { return };
    // Tests that count what is on this machine, or live on it, must not meet ours.
    let _alone = NodeLock::exclusive();
    load();
    attach(&stage);
    one_target(&stage);
    all_targets(&stage);
    holder::measure(&stage);
}

fn ms(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1000.0
}

fn print(name: &str, values: &[f64]) {
    Figure::alone(&format!("lifecycle/{name}"), "ms", values).print();
}

fn each_round(mut measure: impl FnMut() -> f64) -> Vec<f64> {
    (0..figure::rounds()).map(|_| measure()).collect()
}

/// The programs of packets with their maps, verified; and what an attach point needs of its own.
fn load() {
    let timed = || {
        let begin = Instant::now();
        let datapath = Datapath::load(chaos_objects::NET).expect("the programs");
        (ms(begin), datapath)
    };
    print("load", &each_round(|| timed().0));
    let (_, datapath) = timed();
    let stub = || {
        let begin = Instant::now();
        drop(datapath.stub(PROGRAM_FAULT, 2).expect("a stub"));
        ms(begin)
    };
    print("load-stub", &each_round(stub));
}

/// Holds the first target, so that others are attached to what is loaded.
fn held(stage: &Stage) -> (Engine, Vec<Active>) {
    begun(stage, 0, 1)
}

fn begun(stage: &Stage, first: usize, count: usize) -> (Engine, Vec<Active>) {
    let (engine, mut active) = engine::prepare(vec![request(stage, first, count)]).expect("prepare");
    engine.start(&mut active).expect("start");
    (engine, active)
}

fn request(stage: &Stage, first: usize, count: usize) -> engine::Request {
    Stage::request_for(stage.names()[first..first + count].iter().map(String::as_str), FAULTS)
}

fn ended(engine: &Engine, active: &[Active]) {
    for one in active {
        engine.revert(one).expect("revert");
    }
}

fn join(engine: &Engine, active: &mut [Active], targets: Vec<chaos_host::Target>) {
    engine.join(&mut active[0], targets, &HashMap::new()).expect("more targets");
}

/// Targets, rules written and both directions attached, with the programs loaded before.
fn attach(stage: &Stage) {
    let mut cases = Vec::new();
    let mut reverts = Vec::new();
    for count in [1, 10, 20, 100, MOST] {
        reverts.clear();
        let attached = each_round(|| {
            let (engine, mut active) = held(stage);
            let targets = request(stage, 1, count).targets;
            let begin = Instant::now();
            join(&engine, &mut active, targets);
            let took = ms(begin);
            let begin = Instant::now();
            ended(&engine, &active);
            reverts.push(ms(begin));
            took
        });
        print(&format!("attach/{count}-targets"), &attached);
        print(&format!("revert/{count}-targets"), &reverts);
        cases.push((count as f64, attached));
    }
    Figure::slope("lifecycle/attach/per-target", "ms each", &cases).print();
}

/// From the deed to the first datagram that is lost, or passes again. The last target is the one that sends.
fn one_target(stage: &Stage) {
    let (engine, mut active) = held(stage);
    let mut reverts = Vec::new();
    let joins = each_round(|| {
        let targets = request(stage, MOST, 1).targets;
        let took = until(stage, Until::Lost, || join(&engine, &mut active, targets));
        let last = active[0].targets.len() - 1;
        reverts.push(until(stage, Until::Passed, || {
            drop(engine.release(&mut active[0], last, |_, _| None).expect("release"))
        }));
        took
    });
    ended(&engine, &active);
    print("first-packet", &joins);
    print("release-to-first-packet", &reverts);
    let starts = each_round(|| {
        let (engine, mut active) = engine::prepare(vec![request(stage, MOST, 1)]).expect("prepare");
        let took = until(stage, Until::Lost, || engine.start(&mut active).expect("start"));
        ended(&engine, &active);
        took
    });
    print("start-to-first-packet", &starts);
    let cold = each_round(|| {
        let mut made = None;
        let took = until(stage, Until::Lost, || made = Some(begun(stage, MOST, 1)));
        made.iter().for_each(|(engine, active)| ended(engine, active));
        took
    });
    print("load-to-first-packet", &cold);
}

/// The kill switch, with all targets hit.
fn all_targets(stage: &Stage) {
    let stops = each_round(|| {
        let (engine, active) = begun(stage, 1, MOST);
        let took = until(stage, Until::Passed, || assert!(kill_switch().expect("the kill switch") > 0));
        ended(&engine, &active);
        took
    });
    print("stop-all", &stops);
}

//! What a long life and many targets cost: 1,000 times apply and revert in one process, and 20 and 250 targets at once.
//! Slow, so ignored by default: `cargo test --release -p chaos --test endurance -- --ignored --nocapture --test-threads 1`.

mod endurance {
    pub mod held;
    pub mod stage;
}

use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use chaos_engine as engine;
use endurance::{held, stage::Stage};

const FAULTS: &str = "
    - { name: cut, network: { direction: both, match: { protocol: udp, ports: [7000], peers: [ { cidr: 10.99.0.0/16 } ] }, partition: true } }
    - { name: lossy, network: { direction: both, match: { peers: [ { cidr: 10.98.0.1/32 } ] }, loss: { percent: 50 } } }";

/// Applies to all targets and reverts; how long prepare, start and revert took.
fn cycle(stage: &Stage) -> [Duration; 3] {
    let begin = Instant::now();
    let (engine, mut active) = engine::prepare(vec![stage.request(FAULTS)]).expect("prepare");
    let prepared = begin.elapsed();
    engine.start(&mut active).expect("start");
    let started = begin.elapsed() - prepared;
    for one in &active {
        engine.revert(one).expect("revert");
    }
    [prepared, started, begin.elapsed() - prepared - started]
}

#[test]
#[ignore = "takes minutes"]
fn a_thousand_cycles_leave_the_process_as_it_was() {
    let Some(stage) = Stage::with_targets(1) else { return };
    let cycles: u32 = std::env::var("CHAOS_CYCLES").ok().and_then(|text| text.parse().ok()).unwrap_or(1000);
    let mut seen = held::Ids::default();
    // What is made once: the allocator's arenas, the cache of the thread's stack.
    for _ in 0..20 {
        cycle(&stage);
    }
    let before = held::now();
    let begin = Instant::now();
    for number in 1..=cycles {
        let (engine, mut active) = engine::prepare(vec![stage.request(FAULTS)]).expect("prepare");
        engine.start(&mut active).expect("start");
        seen.add(&held::ids());
        for one in &active {
            engine.revert(one).expect("revert");
        }
        drop((engine, active));
        if number % (cycles / 10).max(1) == 0 {
            println!(
                "{number} cycles, {:.1} ms each: {}",
                begin.elapsed().as_secs_f64() * 1000.0 / f64::from(number),
                held::now()
            );
        }
    }
    let after = held::now();
    println!("before: {before}\nafter:  {after}");
    assert_eq!(
        (after.fds, after.threads, after.bpf),
        (before.fds, before.threads, 0),
        "descriptors, threads, BPF objects"
    );
    assert!(after.rss_kib <= before.rss_kib + 2048, "resident memory grew: {before} to {after}");
    assert!(seen.maps.len() >= cycles as usize, "each cycle has maps of its own: {}", seen.maps.len());
    let left = seen.left();
    assert!(left.is_empty(), "{} BPF objects are left: {left:?}", left.len());
}

#[test]
#[ignore = "makes 250 network namespaces"]
fn many_targets_are_applied_and_reverted_together() {
    for count in [20, 250] {
        let Some(stage) = Stage::with_targets(count) else { return };
        cycle(&stage);
        let mut times: Vec<[Duration; 3]> = (0..5).map(|_| cycle(&stage)).collect();
        times.sort();
        let [prepare, start, revert] = times[2].map(|time| time.as_secs_f64() * 1000.0);
        println!(
            "{count} targets, both directions: prepare {prepare:.1} ms, start {start:.2} ms, revert {revert:.1} ms (medians of 5)"
        );
        assert!(start < 1000.0, "all start by one write each");
        let (effect, links) = kill(&stage);
        println!("{count} targets, SIGKILL: packets pass after {effect:.1} ms, all links gone after {links:.1} ms");
        assert!(effect < 2500.0, "the lease bounds it");
        let reaped = Instant::now();
        engine::reap::reap(&mut engine::journal::lock().expect("the journal")).expect("reap");
        println!("{count} targets, cleanup after it: {:.1} ms", reaped.elapsed().as_secs_f64() * 1000.0);
        let journal = engine::journal::peek().expect("the journal");
        assert!(journal.runs.is_empty() && journal.points.is_empty(), "{journal:?}");
    }
}

/// Has another process hold the faults, kills it, and measures until packets pass and until the last link is gone, in ms.
fn kill(stage: &Stage) -> (f64, f64) {
    let mut child = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "holds_the_faults_of_another_test", "--ignored", "--nocapture"])
        .env("CHAOS_HOLD", stage.names().join(","))
        .stdout(Stdio::piped())
        .spawn()
        .expect("a process");
    let out = BufReader::new(child.stdout.take().expect("its output"));
    let active = out.lines().map_while(Result::ok).any(|line| line.ends_with("active"));
    assert!(active, "the other process applies the faults");
    assert!(!stage.passes(), "they act");
    let links: Vec<u32> =
        engine::journal::peek().expect("the journal").points.iter().filter_map(|point| point.link).collect();
    child.kill().expect("SIGKILL");
    let begin = Instant::now();
    while !stage.passes() {
        assert!(begin.elapsed() < Duration::from_secs(10), "packets never pass again");
    }
    let effect = begin.elapsed();
    child.wait().expect("its end");
    while links.iter().any(|id| chaos_sys::bpf::link_by_id(*id).is_ok()) {
        assert!(begin.elapsed() < Duration::from_secs(60), "links stay");
        std::thread::sleep(Duration::from_millis(5));
    }
    (effect.as_secs_f64() * 1000.0, begin.elapsed().as_secs_f64() * 1000.0)
}

/// The process that `kill` kills.
#[test]
#[ignore = "a child process of another test"]
fn holds_the_faults_of_another_test() {
    let Ok(names) = std::env::var("CHAOS_HOLD") else { return };
    let request = Stage::request_for(names.split(','), FAULTS);
    let (engine, mut active) = engine::prepare(vec![request]).expect("prepare");
    engine.start(&mut active).expect("start");
    println!("active");
    std::thread::sleep(Duration::from_secs(60));
}

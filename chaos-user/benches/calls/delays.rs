//! How much later than asked a call returns that is delayed, beside strace(1), which lets its caller wait, too.

use chaos_tests::{
    figure::{self, Figure, Rounds, absent},
    net::Cgroup,
    product::{Chaos, Experiment, Running},
    stats::quantile::{median, quantile},
};

use super::{
    tracer,
    victim::{self, Victim},
};

/// Written, in microseconds, and how many calls are timed in a round: below 0.2 ms the caller keeps its processor, above it sleeps.
const DELAYS: [(&str, f64, usize); 3] = [("50us", 50.0, 200), ("1ms", 1_000.0, 100), ("100ms", 100_000.0, 10)];
const CALL: &str = "openat";

pub fn measure(cgroup: &Cgroup, inside: &mut Victim) {
    // The longer ones need a kernel in which threads can sleep.
    let chaos = Chaos::find().expect("the product");
    if !sleeps(&chaos) {
        return absent(&format!("calls/delay-1ms/{CALL}"), "no thread can sleep in it on this kernel");
    }
    if !tracer::is_there() {
        return absent(&format!("calls/delay-1ms/{CALL}"), "strace, its pair, is not installed");
    }
    DELAYS.into_iter().for_each(|delay| beside_strace(delay, &chaos, cgroup, inside));
}

/// What the product says: a trial of this process has no process of its own to wait for.
fn sleeps(chaos: &Chaos) -> bool {
    let check = chaos.command(&["check", "-o", "json"]);
    let check: serde_json::Value = serde_json::from_str(&check.stdout).expect("what chaos check says");
    let mut calls = check["calls"].as_array().into_iter().flatten();
    calls.any(|row| row["call"] == CALL && row["sleeps"] == true)
}

/// The median and the 99th percentile of what it took beyond what was asked, us.
fn beyond(times: &[f64], asked: f64) -> (f64, f64) {
    let late: Vec<f64> = times.iter().map(|ns| ns / 1000.0 - asked).collect();
    (median(&late), quantile(&late, 0.99))
}

fn beside_strace((name, asked, count): (&str, f64, usize), chaos: &Chaos, cgroup: &Cgroup, inside: &mut Victim) {
    let target = format!("cgroup: {}", cgroup.name());
    let fault =
        format!("syscall: {{ calls: [{CALL}], latency: {{ delay: {name} }}, match: {{ paths: [/dev/null] }} }}");
    let (mut middle, mut late) = (Rounds::new(), Rounds::new());
    for _ in 0..figure::rounds() {
        let mut running = Running::start(chaos, &Experiment::on(&target).duration("120s").fault(&fault));
        running.await_injected();
        let ours = beyond(&inside.each(CALL, count), asked);
        drop(running.finish_any());
        let strace = beyond(&traced(asked, count), asked);
        middle.push((ours.0, strace.0));
        late.push((ours.1, strace.1));
    }
    Figure::beside(&format!("calls/delay-{name}/p50"), "us too late", &middle).print();
    Figure::beside(&format!("calls/delay-{name}/p99"), "us too late", &late).print();
}

/// The same by strace.
fn traced(asked: f64, count: usize) -> Vec<f64> {
    let inject = format!("inject={CALL}:delay_enter={asked}:when={}+", victim::OPENED_BEFORE);
    let words = ["strace", "-qq", "-f", "--seccomp-bpf", "-o", "/dev/null", "-e", "trace=openat", "-e", &inject];
    let mut traced = Victim::outside(&words);
    // The first calls are let through.
    traced.each(CALL, victim::OPENED_BEFORE);
    traced.each(CALL, count)
}

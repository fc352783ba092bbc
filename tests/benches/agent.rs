//! What a node's agent holds, and for how long faults are off while one process of it follows another.
#![allow(missing_docs, reason = "a benchmark")]

use std::time::Duration;

use chaos_tests::{
    clock::wait_until,
    figure::{self, Figure},
    node::{Agent, Cut, Scene},
};
use nix::sys::signal::Signal;

/// Longer than an agent is silent: it gives back what it no longer needs each time that it says that it lives.
const SETTLED: Duration = Duration::from_secs(12);

fn main() {
    memory();
    changes();
}

/// The least within that time.
fn resident(agent: &Agent) -> [f64; 2] {
    let mut least = [f64::INFINITY; 2];
    wait_until(SETTLED, || {
        let now = ["VmRSS", "RssAnon"].map(|key| agent.memory(key));
        least = if now[0] < least[0] { now } else { least };
        false
    });
    least
}

fn memory() {
    let [mut idle, mut busy] = [const { Vec::new() }; 2];
    for _ in 0..figure::rounds() {
        let Some(scene) = Scene::of_twenty() else { return };
        idle.push(resident(&scene.agent));
        scene.cut("192.0.2.7");
        busy.push(resident(&scene.agent));
    }
    for (when, values) in [("110-pods", idle), ("20-targets", busy)] {
        for (index, what) in ["rss", "rss-anonymous"].into_iter().enumerate() {
            let values: Vec<f64> = values.iter().map(|of| of[index]).collect();
            Figure::alone(&format!("agent/{what}/{when}"), "MiB", &values).print();
        }
    }
}

fn changes() {
    let [mut beside, mut after, mut killed] = [const { Vec::new() }; 3];
    let ms = |time: Duration| time.as_secs_f64() * 1000.0;
    for _ in 0..figure::rounds() {
        // A second SIGKILL within minutes is another case.
        let Some(mut cut) = Cut::open() else { return };
        beside.push(ms(cut.handed_over()));
        after.push(ms(cut.replaced(Signal::SIGTERM).0));
        killed.push(ms(cut.replaced(Signal::SIGKILL).1));
    }
    Figure::alone("agent/gap/update", "ms", &beside).print();
    Figure::alone("agent/gap/restart", "ms", &after).print();
    Figure::alone("agent/gap/killed", "ms", &killed).print();
}

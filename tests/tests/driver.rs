//! The driver of the product proved on a stand-in that does what the commands promise and no more: a script.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use chaos_tests::product::{Chaos, Experiment};
use nix::sys::signal::Signal;

/// `run` says that it is injected by a file, ends on a signal or when told to by another file, and prints a report.
const STAND_IN: &str = r#"#!/bin/sh
here=$(dirname "$0")
case "$1" in
  --version) echo "chaos stand-in" ;;
  run)
    name=$(sed -n 's/^  name: //p' "$4")
    grep -q 'percent: 101' "$4" && { echo "$4:9: no" >&2; exit 2; }
    trap 'echo "{\"verdict\":\"Aborted\",\"reason\":\"signal\",\"faults\":[]}"; exit 5' TERM
    touch "$here/$name.injected"
    while [ ! -e "$here/$name.finish" ]; do sleep 0.01; done
    echo '{"verdict":"Pass","reason":"","seed":1,"faults":[{"name":"f","matched":3,"injected":3,"skipped":0}]}' ;;
  wait)
    for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do [ -e "$here/$2.injected" ] && exit 0; sleep 0.05; done
    echo "not $4" >&2; exit 1 ;;
  stop) touch "$here/$2.finish" ;;
esac
"#;

/// The stand-in in a folder of its own, removed at the end.
struct StandIn {
    folder: PathBuf,
    chaos: Chaos,
}

impl StandIn {
    fn new(label: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("chaos-stand-in-{}-{label}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let script = folder.join("chaos");
        // A sibling's fork may hold a file that is open for writing, and exec then fails: another process writes it.
        let from = folder.join("script");
        std::fs::write(&from, STAND_IN).unwrap();
        chaos_tests::command::run(&format!("cp {} {}", from.display(), script.display()));
        std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
        let chaos = Chaos::at(script).unwrap();
        Self { folder, chaos }
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn experiment() -> Experiment {
    Experiment::on_netns("web").fault("name: f, network: { match: { all: true }, loss: { percent: 2 } }")
}

#[test]
fn a_run_is_awaited_finished_and_read() {
    let stand_in = StandIn::new("finish");
    let report = stand_in.chaos.run(&experiment()).finish();
    assert_eq!((report.verdict(), report.fault("f").injected(), report.only_fault().matched()), ("Pass", 3, 3));
}

#[test]
// SIGTERM: where the tests run in the background SIGINT is ignored, and a shell cannot catch what it was born to ignore.
fn a_signal_gives_an_exit_code_and_a_report() {
    let stand_in = StandIn::new("signal");
    let running = stand_in.chaos.run(&experiment());
    running.signal(Signal::SIGTERM);
    let ended = running.ended();
    assert_eq!((ended.output.code, ended.report().verdict(), ended.report().reason()), (5, "Aborted", "signal"));
}

#[test]
fn a_killed_run_is_gone() {
    let stand_in = StandIn::new("kill");
    let running = stand_in.chaos.run(&experiment());
    let pid = running.pid();
    running.kill9();
    assert!(nix::sys::signal::kill(pid, None).is_err());
}

#[test]
fn a_run_that_is_never_injected_fails_with_what_it_said() {
    let stand_in = StandIn::new("refused");
    let refused = experiment().fault("network: { match: { all: true }, loss: { percent: 101 } }");
    let output = stand_in.chaos.run_to_end(&refused, &[]).expect_code(2);
    assert!(output.text().contains(":9: no"));
    let chaos = stand_in.chaos.clone();
    let panic = std::thread::spawn(move || chaos.run(&refused)).join().unwrap_err();
    let said = panic.downcast_ref::<String>().expect("a message");
    assert!(said.contains("not injected") && said.contains(":9: no"), "{said}");
}

#[test]
fn a_forgotten_run_is_interrupted() {
    let stand_in = StandIn::new("drop");
    let running = stand_in.chaos.run(&experiment());
    let pid = running.pid();
    drop(running);
    assert!(nix::sys::signal::kill(pid, None).is_err());
}

#[test]
fn what_is_not_the_product_is_not_taken_for_it() {
    assert!(Chaos::at("/bin/true".into()).unwrap_err().contains("--version"));
    assert!(Chaos::at("/nonexistent".into()).is_err());
}

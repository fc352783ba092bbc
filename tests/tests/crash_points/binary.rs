//! The product with its crash points.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use chaos_tests::clock::wait_until;
use chaos_tests::product::binary::Output;
use chaos_tests::product::{Chaos, Experiment};

use super::scene::Strike;

/// `CHAOS_CRASH_POINTS_BIN`, which `cargo xtask test` builds and names.
pub fn find() -> Result<Chaos, String> {
    let path = std::env::var_os("CHAOS_CRASH_POINTS_BIN")
        .ok_or("no CHAOS_CRASH_POINTS_BIN: run `cargo xtask test`, or name a build with the feature crash-points")?;
    Chaos::at(path.into())
}

/// A command of a binary with the variables of a strike.
pub fn command(binary: &Path, strike: Strike) -> Command {
    let mut command = Command::new(binary);
    match strike {
        Strike::None => &mut command,
        Strike::Crash(number) => command.env("CHAOS_CRASH_AT", number.to_string()),
        Strike::Fail(number) => command.env("CHAOS_FAIL_AT", number.to_string()),
    };
    command
}

/// Runs a short experiment to its end, and meanwhile, again and again, what is to meet it.
pub fn run(chaos: &Chaos, experiment: &Experiment, strike: Strike, log: Option<&str>, meet: impl Fn()) -> Output {
    let file = experiment.write();
    let mut command = command(chaos.path(), strike);
    command.envs(log.map(|path| ("CHAOS_SEAM_LOG", path))).args(["run", "-o", "json"]).arg(file.path());
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("chaos run");
    let ended = wait_until(Duration::from_secs(20), || {
        meet();
        matches!(child.try_wait(), Ok(Some(_)))
    });
    if !ended {
        let _ = child.kill();
    }
    let output = child.wait_with_output().expect("its output");
    assert!(ended, "a short run hangs with {strike:?}: {}", String::from_utf8_lossy(&output.stderr));
    Output {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// The operations of a whole run that logs them, in order: `12 attach tcx link to eth0 egress`.
pub fn operations(run: impl Fn(&str) -> Output) -> Vec<String> {
    let path = format!("/run/chaos-seam-{}", std::process::id());
    let _ = fs::remove_file(&path);
    let output = run(&path);
    assert_eq!(output.code, 0, "an undisturbed run passes: {}", output.text());
    let log = fs::read_to_string(&path).expect("a log of operations");
    let _ = fs::remove_file(&path);
    log.lines().map(str::to_owned).collect()
}

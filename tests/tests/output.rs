//! What cannot be printed changes neither what is done nor the exit code; what is over is known for a while.

use std::fs::OpenOptions;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use chaos_tests::clock::wait_until;
use chaos_tests::lab::Lab;
use chaos_tests::net::Family;
use chaos_tests::product::binary::Output;
use chaos_tests::product::experiment::SpecFile;
use chaos_tests::product::{Chaos, Experiment};
use chaos_tests::scene::Direction;

/// A pipe whose reader has gone.
fn closed() -> Stdio {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    writer.into()
}

/// A disk without room.
fn full() -> Stdio {
    OpenOptions::new().write(true).open("/dev/full").expect("/dev/full").into()
}

/// A command of the product with these as stdout and stderr.
fn command(chaos: &Chaos, args: &[&str], stdout: Stdio, stderr: Stdio) -> Output {
    let mut child = Command::new(chaos.path());
    let output = child.args(args).stdin(Stdio::null()).stdout(stdout).stderr(stderr).output().expect("chaos starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Output { code: output.status.code().unwrap_or(-1), stdout: text(&output.stdout), stderr: text(&output.stderr) }
}

#[test]
fn a_reader_who_goes_away_and_a_full_disk_end_no_command_by_a_panic() {
    let chaos = Chaos::find().expect("the product");
    let file = Experiment::on_netns("some").fault(&Direction::Egress.fault("partition: true")).write();
    let path = file.path().to_string_lossy().into_owned();
    let wrong = SpecFile::with("wrong", "kind: Nothing\n");
    let wrong = wrong.path().to_string_lossy().into_owned();
    for (args, good, when_full) in [
        (vec!["crd"], 0, 1),
        (vec!["--help"], 0, 0),
        (vec!["run", "--help"], 0, 0),
        (vec!["--version"], 0, 0),
        (vec!["nonsense"], 2, 2),
        (vec!["validate", &path], 0, 0),
        (vec!["validate", &wrong], 2, 2),
        (vec!["report", "../x"], 2, 2),
    ] {
        let said = command(&chaos, &args, closed(), Stdio::piped()).expect_code(good);
        assert!(!said.stderr.contains("panicked"), "{args:?}: {}", said.stderr);
        command(&chaos, &args, closed(), closed()).expect_code(good);
        command(&chaos, &args, full(), full()).expect_code(when_full);
        command(&chaos, &args, Stdio::piped(), full()).expect_code(good);
    }
    let said = command(&chaos, &["crd"], full(), Stdio::piped());
    assert!(said.stderr.starts_with("write to stdout: No space left on device"), "{}", said.stderr);
    assert_eq!(said.stderr.lines().count(), 1, "said once: {}", said.stderr);
}

#[test]
fn a_report_that_cannot_be_printed_leaves_the_verdict_and_can_be_asked_for() {
    let Some(lab) = Lab::open() else { return };
    for (stdout, stderr, spoken) in [
        (closed(), Stdio::piped(), true),
        (full(), Stdio::piped(), true),
        (full(), full(), false),
        (closed(), closed(), false),
    ] {
        let experiment = lab.experiment().duration("800ms").fault(&Direction::Egress.fault("partition: true"));
        let (file, name) = (experiment.write(), experiment.name().to_owned());
        let path = file.path().to_string_lossy().into_owned();
        let chaos = lab.chaos.clone();
        let run = std::thread::spawn(move || command(&chaos, &["run", &path], stdout, stderr));
        lab.chaos.command(&["wait", &name, "--for", "injected"]).expect_code(0);
        assert_eq!(Direction::Egress.send(&lab, Family::V4, |flow| flow.count(10)).lost(), 10);
        let said = run.join().expect("the run").expect_code(0);
        if spoken {
            assert!(said.stderr.contains("write to stdout: ") && said.stderr.contains(&format!("{name}: Pass")));
        }
        let kept = lab.chaos.command(&["report", &name, "-o", "json"]).expect_code(0);
        assert!(kept.stdout.contains(&name) && kept.stdout.contains("\"injected\": 10"), "{}", kept.text());
        lab.chaos.command(&["wait", &name, "--for", "ended"]).expect_code(0);
    }
    let mode = |path: &str| std::fs::metadata(path).expect(path).permissions().mode() & 0o777;
    assert_eq!(mode("/run/chaos/reports"), 0o700);
}

#[test]
fn the_end_of_what_nobody_remembers_is_not_reached() {
    let Some(lab) = Lab::open() else { return };
    let said = lab.chaos.command(&["wait", "nosuch", "--for", "ended"]).expect_code(2);
    assert!(said.stderr.contains("no experiment \"nosuch\""), "{}", said.stderr);
    let said = lab.chaos.command(&["report", "nosuch"]).expect_code(2);
    assert!(said.stderr.contains("no experiment \"nosuch\""), "{}", said.stderr);

    // The verdict of one that was stopped is kept with the rest; while it acts there is none.
    let running = lab.inject(&Direction::Egress.fault("partition: true"));
    let name = running.name().to_owned();
    let said = lab.chaos.command(&["report", &name]).expect_code(2);
    assert!(said.stderr.contains("still active"), "{}", said.stderr);
    let waits = lab.chaos.start(&["wait", &name, "--for", "ended", "--timeout", "30s"]);
    lab.chaos.command(&["stop", &name]).expect_code(0);
    let ended = waits.wait_with_output().expect("wait");
    assert_eq!(ended.status.code(), Some(0), "{}", String::from_utf8_lossy(&ended.stderr));
    assert_eq!(running.ended().output.code, 5);
    assert!(wait_until(Duration::from_secs(5), || lab.chaos.command(&["report", &name]).code == 5));
}

//! Probes: what is asked of the world outside before, during and after the faults, and what follows from the answers.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use chaos_tests::clock::wait_until;
use chaos_tests::lab::Lab;
use chaos_tests::net::Family;
use chaos_tests::product::{Experiment, Report};
use chaos_tests::scene::Direction;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

/// A web server on host `b` that answers with the status that stands in the cell.
fn serve(lab: &Lab) -> Arc<AtomicU16> {
    let status = Arc::new(AtomicU16::new(200));
    let b = &lab.hosts.b;
    let listener = b.ns.run(|| TcpListener::bind(b.at(Family::V4, 80)).expect("a listener"));
    let shared = Arc::clone(&status);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            let mut request = [0; 1024];
            let _ = stream.read(&mut request);
            let _ = write!(stream, "HTTP/1.1 {} X\r\nContent-Length: 0\r\n\r\n", shared.load(Ordering::Relaxed));
        }
    });
    status
}

/// Cuts host `a` off from the web server of `b` for a time, with probes.
fn experiment(lab: &Lab, duration: &str, probes: &str) -> Experiment {
    let cut = "name: cut, optional: true, network: { match: { protocol: tcp, ports: [80] }, partition: true }";
    lab.experiment().duration(duration).setting(&format!("probes: [ {probes} ]")).fault(cut)
}

struct Ended {
    code: i32,
    report: Report,
    /// Since the signal, or since its start where there was none.
    took: Duration,
}

impl Ended {
    /// A probe's phases.
    fn phases(&self, probe: &str) -> Vec<Value> {
        let probes = self.report.json["probes"].as_array().cloned().unwrap_or_default();
        let found = probes.iter().find(|one| one["name"] == probe).unwrap_or_else(|| panic!("{}", self.report.json));
        found["phases"].as_array().cloned().unwrap_or_default()
    }

    fn phase(&self, probe: &str, phase: &str) -> Value {
        let phases = self.phases(probe);
        phases.into_iter().find(|one| one["phase"] == phase).unwrap_or_else(|| panic!("{}", self.report.json))
    }
}

/// Runs it where the faults are, so that probes meet them; with SIGINT in a phase.
fn run(lab: &Lab, experiment: &Experiment, interrupted: Option<&str>) -> Ended {
    let file = experiment.write();
    let mut begin = Instant::now();
    let child = Command::new("nsenter")
        .arg(format!("--net={}", lab.hosts.a.ns.path().display()))
        .arg(lab.chaos.path())
        .args(["run", "--yes", "-o", "json"])
        .arg(file.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("nsenter of util-linux");
    if let Some(phase) = interrupted {
        if phase != "before" {
            // Loading alone may take half a minute in an emulated machine.
            let waited = lab.chaos.command(&["wait", experiment.name(), "--for", "injected", "--timeout", "60s"]);
            assert_eq!(waited.code, 0, "{}", waited.text());
        }
        // Nothing tells from outside that the probe waits for its answer; the phase after begins 2 s later.
        std::thread::sleep(Duration::from_secs(if phase == "after" { 4 } else { 2 }));
        begin = Instant::now();
        kill(Pid::from_raw(child.id() as i32), Signal::SIGINT).expect("a signal");
    }
    let output = child.wait_with_output().expect("its output");
    let text = String::from_utf8_lossy(&output.stdout);
    let said = || panic!("no report: {text}{}", String::from_utf8_lossy(&output.stderr));
    let report = Report::parse(&text).unwrap_or_else(said);
    Ended { code: output.status.code().unwrap_or(-1), report, took: begin.elapsed() }
}

const WEB: &str = "name: web, http: { url: 'http://10.77.0.2/health' }, every: 100ms, timeout: 200ms";

#[test]
fn a_probe_that_fails_before_attaches_nothing() {
    let Some(lab) = Lab::open() else { return };
    serve(&lab).store(503, Ordering::Relaxed);
    let ended = run(&lab, &experiment(&lab, "30s", &format!("{{ {WEB}, when: before }}")), None);
    assert_eq!((ended.code, ended.report.verdict()), (6, "Fail"), "{}", ended.report.json);
    assert!(
        ended.report.reason().contains("web") && ended.report.reason().contains("503"),
        "{}",
        ended.report.reason()
    );
    assert_eq!((ended.report.target_states(), ended.report.json["startedAt"].as_str()), (vec!["Pending"], Some("")));
    let phase = ended.phase("web", "before");
    assert_eq!((phase["runs"].as_u64(), phase["uptimePercent"].as_f64()), (Some(3), Some(0.0)), "{phase}");
    assert!(ended.took < Duration::from_secs(10), "{:?}", ended.took);
}

#[test]
fn a_probe_that_fails_during_stops_the_fault_at_once() {
    let Some(lab) = Lab::open() else { return };
    serve(&lab);
    let ended = run(&lab, &experiment(&lab, "60s", &format!("{{ {WEB}, failures: 2 }}")), None);
    assert_eq!((ended.code, ended.report.verdict()), (6, "Fail"), "{}", ended.report.json);
    assert!(ended.report.reason().contains("during"), "{}", ended.report.reason());
    assert_eq!(ended.report.target_states(), ["Reverted"]);
    assert!(ended.took < Duration::from_secs(10), "two failures of 200 ms took {:?}", ended.took);
    let (before, during, after) =
        (ended.phase("web", "before"), ended.phase("web", "during"), ended.phase("web", "after"));
    assert_eq!(before["uptimePercent"].as_f64(), Some(100.0), "{before}");
    assert_eq!((during["runs"].as_u64(), during["failed"].as_bool()), (Some(2), Some(true)), "{during}");
    assert_eq!((after["uptimePercent"].as_f64(), after["failed"].as_bool()), (Some(100.0), Some(false)), "{after}");
    assert!(before["latency"]["p50Ms"].as_f64().is_some_and(|ms| ms < 200.0) && during["latency"].is_null());
}

#[test]
fn probes_that_bear_the_fault_are_told_with_their_uptime() {
    let Some(lab) = Lab::open() else { return };
    serve(&lab);
    let quiet = experiment(&lab, "2s", &format!("{{ {WEB}, when: during, failures: 1000 }}"));
    let ended = run(&lab, &quiet, None);
    assert_eq!((ended.code, ended.report.verdict()), (0, "Pass"), "{}", ended.report.json);
    let during = ended.phase("web", "during");
    assert!(during["runs"].as_u64().is_some_and(|runs| (6..=11).contains(&runs)), "every 200 ms for 2 s: {during}");
    assert_eq!((during["uptimePercent"].as_f64(), during["failed"].as_bool()), (Some(0.0), Some(false)), "{during}");
}

#[test]
fn a_service_that_does_not_recover_fails_the_run() {
    let Some(lab) = Lab::open() else { return };
    let status = serve(&lab);
    let watched = experiment(&lab, "1s", &format!("{{ {WEB}, when: after }}"));
    status.store(500, Ordering::Relaxed);
    let ended = run(&lab, &watched, None);
    assert_eq!((ended.code, ended.report.verdict()), (6, "Fail"), "{}", ended.report.json);
    assert!(ended.report.reason().contains("not recovered"), "{}", ended.report.reason());
    assert_eq!(ended.report.target_states(), ["Reverted"]);
    status.store(200, Ordering::Relaxed);
    let ended = run(&lab, &watched.again(), None);
    assert_eq!((ended.code, ended.phase("web", "after")["runs"].as_u64()), (0, Some(1)), "{}", ended.report.json);
}

#[test]
fn an_interrupt_in_any_phase_still_reports() {
    let Some(lab) = Lab::open() else { return };
    // Nobody answers at .99, so each phase lasts until the signal comes.
    let silent =
        |when: &str| format!("{{ name: silent, tcp: {{ address: '10.77.0.99:1' }}, timeout: 30s, when: {when} }}");
    for (when, duration, state) in
        [("before", "60s", "Pending"), ("during", "60s", "Reverted"), ("after", "2s", "Reverted")]
    {
        let ended = run(&lab, &experiment(&lab, duration, &silent(when)), Some(when));
        assert_eq!((ended.code, ended.report.verdict()), (5, "Aborted"), "{when}: {}", ended.report.json);
        assert!(ended.report.reason().contains("SIGINT"), "{when}: {}", ended.report.reason());
        assert_eq!(ended.report.target_states(), [state], "{when}");
        // The probe itself would take 30 s.
        assert!(ended.took < Duration::from_secs(20), "{when}: nobody waits for the probe: {:?}", ended.took);
    }
    assert!(wait_until(Duration::from_secs(2), || Direction::Egress
        .send(&lab, Family::V4, |flow| flow.count(10))
        .lost()
        == 0));
}

#[test]
fn what_cannot_be_asked_is_refused_before_anything_is_attached() {
    let Some(lab) = Lab::open() else { return };
    for (probe, code, word) in [
        ("http: { url: 'http://10.77.0.2/', insecureSkipVerify: true }", 2, "https"),
        ("tcp: { address: 'no-such-name.invalid:80' }", 3, "/etc/hosts"),
        ("tcp: { address: '10.77.0.2:70000' }", 2, "port"),
    ] {
        let output = lab.chaos.run_to_end(&experiment(&lab, "1s", &format!("{{ name: p, {probe} }}")), &[]);
        assert_eq!(output.code, code, "{probe}: {}", output.text());
        assert!(
            output.text().contains("spec.probes[0].") && output.text().contains(word),
            "{probe}: {}",
            output.text()
        );
    }
}

//! Probes against sockets of this process.

mod https;

use super::{Anywhere, Cause, Phase, Place, Places, Probes, Reach, Refused};
use chaos_spec::{Probe, ProbePhase};
use std::{
    io::{Read, Write},
    net::{IpAddr, Ipv4Addr, TcpListener},
    sync::Arc,
    time::{Duration, Instant},
};

fn probe(json: &str) -> Probe {
    serde_json::from_str(json).unwrap()
}

fn new(all: &[Probe], hosts: &str) -> Result<Probes, Refused> {
    let reach = |_: &str| -> Arc<dyn Reach> { Arc::new(Anywhere) };
    Probes::new(all, &Place { hosts, reach: &reach, places: Places::unbounded() })
}

fn probes(json: &str) -> Probes {
    new(&[probe(json)], "").unwrap()
}

fn listener() -> (TcpListener, u16) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

/// A web server that answers each connection with these bytes, the last of them for ever after.
fn server(answers: &'static [&'static str]) -> u16 {
    let (listener, port) = listener();
    std::thread::spawn(move || {
        for (index, stream) in listener.incoming().enumerate() {
            let mut stream = stream.unwrap();
            let mut request = [0; 1024];
            let length = stream.read(&mut request).unwrap();
            let request = String::from_utf8_lossy(&request[..length]);
            assert!(request.starts_with("GET /health?x=1 HTTP/1.1\r\nHost: localhost:"), "{request}");
            stream.write_all(answers[index.min(answers.len() - 1)].as_bytes()).unwrap();
        }
    });
    port
}

fn until(limit_ms: u64, mut condition: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + Duration::from_millis(limit_ms);
    while Instant::now() < end {
        if condition() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    false
}

fn decide(probes: &mut Probes, phase: ProbePhase) -> chaos_outcome::PhaseReport {
    let running: Phase = probes.start(phase, None).unwrap();
    assert!(until(5000, || running.decided()), "no verdict in 5 s");
    probes.keep(running);
    probes.reports()[0].phases.last().unwrap().clone()
}

#[test]
fn tcp_succeeds_where_somebody_listens() {
    let (_listener, port) = listener();
    let mut probes = probes(&format!(r#"{{"name":"db","tcp":{{"address":"localhost:{port}"}}}}"#));
    let report = decide(&mut probes, ProbePhase::Before);
    assert_eq!((report.phase.as_str(), report.runs, report.uptime_percent, report.failed), ("before", 1, 100.0, false));
    assert!(report.latency.unwrap().p50_ms < 1000.0);
}

#[test]
fn tcp_fails_after_so_many_refusals() {
    let (listener, port) = listener();
    drop(listener);
    let json = format!(r#"{{"name":"db","tcp":{{"address":"127.0.0.1:{port}"}},"every":"100ms","failures":3}}"#);
    let mut probes = probes(&json);
    let begin = Instant::now();
    let report = decide(&mut probes, ProbePhase::After);
    assert!(begin.elapsed() >= Duration::from_millis(200), "three runs 100 ms apart");
    assert_eq!((report.runs, report.uptime_percent, report.failed), (3, 0.0, true));
    assert!(report.last_error.unwrap().contains("refused"));
}

#[test]
fn http_wants_its_status_and_passes_interim_answers() {
    const OK: &str = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 204 No Content\r\nDate: x\r\n\r\n";
    let port = server(&["HTTP/1.1 503 Busy\r\n\r\n", "garbage\r\n\r\n", OK]);
    let json = format!(
        r#"{{"name":"web","http":{{"url":"http://localhost:{port}/health?x=1","status":204}},"every":"100ms","failures":4}}"#
    );
    let mut probes = probes(&json);
    let report = decide(&mut probes, ProbePhase::Before);
    assert_eq!((report.runs, report.uptime_percent, report.failed), (3, 33.333, false), "{report:?}");
    assert!(report.last_error.unwrap().contains("not HTTP"));
}

#[test]
fn an_answer_that_does_not_come_is_a_failure_at_the_timeout() {
    let (_listener, port) = listener();
    let json = format!(r#"{{"name":"web","http":{{"url":"http://127.0.0.1:{port}"}},"timeout":"150ms","failures":1}}"#);
    let mut probes = probes(&json);
    let begin = Instant::now();
    let report = decide(&mut probes, ProbePhase::During);
    let took = begin.elapsed();
    assert!((140..1000).contains(&took.as_millis()), "{took:?}");
    assert_eq!((report.failed, report.last_error.as_deref()), (true, Some("no answer in time")));
}

#[test]
fn the_end_waits_for_no_answer() {
    let (_listener, port) = listener();
    let json = format!(r#"{{"name":"web","http":{{"url":"http://127.0.0.1:{port}"}},"timeout":"60s"}}"#);
    let mut probes = probes(&json);
    let running = probes.start(ProbePhase::During, None).unwrap();
    std::thread::sleep(Duration::from_millis(50));
    let begin = Instant::now();
    probes.keep(running);
    assert!(begin.elapsed() < Duration::from_millis(100));
    assert!(probes.reports()[0].phases.is_empty(), "a run without an answer says nothing");
}

#[test]
fn a_phase_runs_its_own_probes_and_those_without_a_phase() {
    let (_listener, port) = listener();
    let one =
        |name: &str, when: &str| probe(&format!(r#"{{"name":"{name}","tcp":{{"address":"127.0.0.1:{port}"}}{when}}}"#));
    let all = [one("a", r#","when":"before""#), one("b", ""), one("c", r#","when":"during""#)];
    let mut probes = new(&all, "").unwrap();
    let running = probes.start(ProbePhase::Before, None).unwrap();
    assert!(until(5000, || running.decided()));
    probes.keep(running);
    let ran: Vec<bool> = probes.reports().iter().map(|report| !report.phases.is_empty()).collect();
    assert_eq!(ran, [true, true, false]);
}

#[test]
fn what_cannot_be_asked_is_refused_with_its_field() {
    let refused = |json: &str| new(&[probe(json)], "10.0.0.1 db").err().unwrap();
    let name = refused(r#"{"name":"a","tcp":{"address":"nowhere:1"}}"#);
    assert!(
        name.text.contains("spec.probes[0].tcp.address: \"nowhere\" is neither") && name.cause == Cause::Impossible,
        "{name:?}"
    );
    assert_eq!(refused(r#"{"name":"a","tcp":{"address":"db:0"}}"#).cause, Cause::Invalid);
    assert!(new(&[probe(r#"{"name":"a","tcp":{"address":"db:1"}}"#)], "10.0.0.1 db").is_ok());
}

#[test]
fn what_answers_too_late_belongs_to_another_phase() {
    let (listener, port) = listener();
    let mut probes = probes(&format!(r#"{{"name":"a","tcp":{{"address":"127.0.0.1:{port}"}}}}"#));
    let running = probes.start(ProbePhase::During, Some(Instant::now())).unwrap();
    // The first run is over when it has been taken off the listener's queue.
    listener.accept().unwrap();
    std::thread::sleep(Duration::from_millis(100));
    probes.keep(running);
    assert!(probes.reports()[0].phases.is_empty());
}

/// Reaches while its cell says so.
struct Gate(Arc<std::sync::atomic::AtomicBool>);

impl Reach for Gate {
    fn allows(&self, _: IpAddr) -> bool {
        self.0.load(std::sync::atomic::Ordering::Relaxed)
    }
    fn why(&self, host: &str) -> String {
        format!("{host} is not reached")
    }
    fn cause(&self) -> Cause {
        Cause::Forbidden
    }
}

#[test]
fn an_address_is_judged_at_the_beginning_and_before_each_connection() {
    let (listener, port) = listener();
    listener.set_nonblocking(true).unwrap();
    let gate = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let reach = |_: &str| -> Arc<dyn Reach> { Arc::new(Gate(Arc::clone(&gate))) };
    let place = Place { hosts: "", reach: &reach, places: Places::of("judged") };
    let all = [probe(&format!(r#"{{"name":"a","tcp":{{"address":"127.0.0.1:{port}"}},"failures":1}}"#))];
    let refused = Probes::new(&all, &place).err().unwrap();
    let text = "spec.probes[0].tcp.address: 127.0.0.1 is not reached".to_owned();
    assert_eq!(refused, Refused { text, cause: Cause::Forbidden });
    gate.store(true, std::sync::atomic::Ordering::Relaxed);
    let mut probes = Probes::new(&all, &place).unwrap();
    gate.store(false, std::sync::atomic::Ordering::Relaxed);
    let report = decide(&mut probes, ProbePhase::During);
    assert_eq!(report.last_error.as_deref(), Some("no address that probes may reach"));
    assert!(listener.accept().is_err(), "nobody connects");
}

fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").unwrap().count()
}

#[test]
fn a_thousand_experiments_of_sixteen_probes_keep_nobody_elses_out() {
    // Full, so that each connection is waited for until its timeout.
    let (_silent, port) = listener();
    let many: Vec<Probe> = (0..16)
        .map(|index| {
            let url = format!("http://127.0.0.1:{port}");
            probe(&format!(r#"{{"name":"p{index}","http":{{"url":"{url}"}},"every":"100ms","timeout":"60s"}}"#))
        })
        .collect();
    let reach = |_: &str| -> Arc<dyn Reach> { Arc::new(Anywhere) };
    let before = threads();
    let of = |all: &[Probe], namespace: &str| {
        Probes::new(all, &Place { hosts: "", reach: &reach, places: Places::of(namespace) }).unwrap()
    };
    let crowd: Vec<Phase> = (0..1000).map(|_| of(&many, "crowd").start(ProbePhase::During, None).unwrap()).collect();
    let (_open, port) = listener();
    let one = [probe(&format!(r#"{{"name":"one","tcp":{{"address":"127.0.0.1:{port}"}}}}"#))];
    let mut other = of(&one, "other");
    assert!(!decide(&mut other, ProbePhase::Before).failed);
    // Other tests of this process have threads, too, but not thousands.
    assert!(threads() < before + 100, "{before} -> {}", threads());
    drop(crowd);
}

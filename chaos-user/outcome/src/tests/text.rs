//! What people and build servers read.

use std::time::Duration;

use quick_xml::events::Event;

use super::{idle, probe, report, slow};
use crate::{
    Actions, FaultProgress, FaultReport, Format, HostAddresses, LatencyReport, RejectedBy, Report, Verdict, line,
    lines, render,
};

fn text(reports: &[Report], format: Format) -> String {
    render(reports, format).expect("a report")
}

/// Two targets, a fault without effect, and names that try to break the format.
fn busy() -> Report {
    let second = FaultReport {
        latency: Some(LatencyReport { requested_ms: None, p50_ms: 99.0, p99_ms: 130.25 }),
        dropped: 2,
        overflow: 1,
        ..slow("db")
    };
    let addresses = vec!["10.0.0.1".into(), "::1".into()];
    let hosts = vec![HostAddresses { host: "*.example.com".into(), addresses, unlearned: 0 }];
    let reset = FaultReport {
        mechanism: "tcx".into(),
        rejected_by: RejectedBy { port: 3, time: 4, ..RejectedBy::default() },
        actions: Actions { lost: 1200, reset: 2, ..Actions::default() },
        hosts,
        ..idle("cut", 7)
    };
    Report {
        verdict: Verdict::NoEffect,
        reason: "a <b> & \"c\"\u{1b}[31m".into(),
        warnings: vec!["first".into(), "sec]]>ond".into()],
        faults: vec![slow("web"), second, reset],
        probes: vec![probe("during", true)],
        ..report()
    }
}

#[test]
fn table() {
    let expected = "\
experiment  checkout-slow-db
verdict     NoEffect
reason      a <b> & \"c\"?[31m
seed        42
started     2026-01-02T03:04:05Z
ended       2026-01-02T03:06:05Z
warning     first
warning     sec]]>ond

TARGET  KIND   STATE     GAPS
web     netns  Reverted     0

FAULT  MECHANISM  TARGETS    SEEN  MATCHED  INJECTED  SKIPPED           P50            P99  DONE
slow   tcx+fq           2  24,068    2,620     2,620        0  99.0-100.1ms  100.9-130.2ms  delayed 2,620
cut    tcx              1       7        0         0        0             -              -  lost 1,200, reset 2

slow: rejected by peer 21,984
slow: not as asked: dropped by our queue 2, over the limit 1
slow: for example 10.1.0.7:41822 -> 10.1.2.9:5432 tcp; 10.1.0.7:41822 -> 10.1.2.9:5432 tcp
cut: rejected by port 3, time 4
cut: *.example.com 10.0.0.1, ::1

PROBE  PHASE   RUNS  UPTIME  P50  P99
up     during   120   97.5%    -    -
";
    let shown = text(&[busy()], Format::Table);
    assert_eq!(shown, expected, "\n{shown}");
    assert_eq!(text(&[busy(), busy()], Format::Table), format!("{expected}\n{expected}"));
    let empty = text(&[Report { experiment: "e".into(), ..Report::default() }], Format::Table);
    assert_eq!(empty, "experiment  e\nverdict     Pass\nseed        0\n");
}

#[test]
fn a_dry_run_shows_what_it_would_have_done() {
    let fault = FaultReport { would_inject: 5, injected: 0, latency: None, actions: Actions::default(), ..slow("web") };
    let shown = text(&[Report { faults: vec![fault], ..report() }], Format::Table);
    assert!(shown.contains("MATCHED  WOULD INJECT") && shown.contains("  1,310             5  "), "\n{shown}");
}

#[test]
fn json_and_yaml_say_the_same() {
    let one = text(&[busy()], Format::Json);
    assert!(one.ends_with("}\n"));
    assert_eq!(serde_json::from_str::<Report>(&one).expect("an object"), busy());
    let two = text(&[busy(), report()], Format::Json);
    let objects: Result<Vec<Report>, _> = serde_json::Deserializer::from_str(&two).into_iter().collect();
    assert_eq!(objects.expect("an object for each"), [busy(), report()]);
    assert!(two.starts_with(&one), "one has the shape of the first of two");
    assert_eq!(yaml_serde::from_str::<Report>(&text(&[busy()], Format::Yaml)).expect("YAML"), busy());
    let documents = text(&[busy(), report()], Format::Yaml);
    let names: Vec<&str> = documents.split("---\n").filter_map(|d| d.lines().next()).collect();
    assert_eq!(names, ["experiment: checkout-slow-db"; 2]);
}

#[test]
fn junit_is_valid_xml() {
    let shown = text(&[busy(), report()], Format::Junit);
    let mut reader = quick_xml::Reader::from_str(&shown);
    let mut cases = 0;
    loop {
        match reader.read_event().unwrap_or_else(|error| panic!("{error}\n{shown}")) {
            Event::Start(tag) | Event::Empty(tag) => {
                for attribute in tag.attributes() {
                    let value = attribute.expect("an attribute").value;
                    assert!(!value.contains('<') && !value.contains('\u{1b}'), "{shown}");
                }
                cases += usize::from(tag.name().as_ref() == "testcase");
            }
            Event::Eof => break,
            _ => {}
        }
    }
    assert_eq!(cases, 4 + 2, "{shown}");
}

#[test]
fn junit() {
    let expected = r#"<?xml version="1.0" encoding="UTF-8"?>
<testsuites>
  <testsuite name="checkout-slow-db" tests="4" failures="2" errors="0" skipped="1" timestamp="2026-01-02T03:04:05Z">
    <testcase classname="checkout-slow-db" name="verdict">
      <failure message="NoEffect: a &lt;b&gt; &amp; &quot;c&quot;?[31m"/>
      <system-out>first
sec]]&gt;ond</system-out>
    </testcase>
    <testcase classname="checkout-slow-db" name="slow">
      <system-out>matched 2620 injected 2620 skipped 0</system-out>
    </testcase>
    <testcase classname="checkout-slow-db" name="cut">
      <skipped message="injected nothing"/>
      <system-out>matched 0 injected 0 skipped 0</system-out>
    </testcase>
    <testcase classname="checkout-slow-db" name="probe up">
      <failure message="failed during the faults"/>
    </testcase>
  </testsuite>
</testsuites>
"#;
    let shown = text(&[busy()], Format::Junit);
    assert_eq!(shown, expected, "\n{shown}");
    let refused = Report { verdict: Verdict::Refused, reason: "locked".into(), ..Report::default() };
    let shown = text(&[refused], Format::Junit);
    assert!(
        shown.contains("failures=\"0\" errors=\"1\"") && shown.contains("<error message=\"Refused: locked\"/>"),
        "{shown}"
    );
    let passed = text(&[Report::default()], Format::Junit);
    assert!(passed.contains("name=\"verdict\"/>"), "{passed}");
}

#[test]
fn formats_by_name() {
    for (name, format) in
        [("table", Format::Table), ("json", Format::Json), ("yaml", Format::Yaml), ("junit", Format::Junit)]
    {
        assert_eq!(name.parse(), Ok(format));
    }
    assert_eq!("xml".parse::<Format>(), Err("\"xml\" is no format; write table, json, yaml or junit".to_owned()));
}

#[test]
fn progress() {
    let sums = FaultProgress::sums(&[slow("a"), idle("cut-off", 3), slow("b")]);
    let left = Duration::from_millis(117_200);
    let expected = [
        "1m58s left  slow     matched 2,620  injected 2,620  skipped 0",
        "1m58s left  cut-off  matched 0  injected 0  skipped 0",
    ];
    assert_eq!(lines(&sums, left, false), expected);
    let fault = FaultProgress { name: "a\u{1b}".into(), matched: 9, would_inject: 4, ..FaultProgress::default() };
    assert_eq!(line(&fault, Duration::ZERO, true), "0s left  a?  matched 9  would inject 4  skipped 0");
    let clocks = [(1, "1s"), (59, "59s"), (60, "1m00s"), (3_661, "1h01m01s"), (86_400, "24h00m00s")];
    for (seconds, shown) in clocks {
        assert!(line(&fault, Duration::from_secs(seconds), false).starts_with(&format!("{shown} left")));
    }
}

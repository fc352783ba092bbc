//! The report's field names are a contract.

use serde_json::{Value, json};

use super::report;
use crate::{LatencyReport, Report, percentile};

#[test]
fn the_contract_of_the_report() {
    let expected = json!({
        "experiment": "checkout-slow-db", "verdict": "Pass", "reason": "", "seed": 42, "warnings": [],
        "startedAt": "2026-01-02T03:04:05Z", "endedAt": "2026-01-02T03:06:05Z",
        "targets": [{ "kind": "netns", "name": "web", "cgroupId": 4711, "state": "Reverted", "gaps": [] }],
        "faults": [{
            "name": "slow", "target": "web", "mechanism": "tcx+fq", "seen": 12034, "matched": 1310, "injected": 1310,
            "skipped": 0, "skbs": 1042, "bytes": 812_345,
            "actions": { "delayed": 1310, "lost": 0, "duplicated": 0, "corrupted": 0, "detectedByDrop": 0, "reordered": 0,
                         "reset": 0, "errors": 0 },
            "dropped": 0, "overflow": 0, "skippedByLease": 0, "recursionMisses": 0,
            "rejectedBy": { "direction": 0, "peer": 10992, "protocol": 0, "port": 0, "connection": 0, "scope": 0, "time": 0,
                            "except": 0 },
            "samples": { "hits": ["10.1.0.7:41822 -> 10.1.2.9:5432 tcp"],
                         "missed": [{ "peer": "10.96.0.12:5432", "count": 9120 }] },
            "latency": { "requestedMs": 100.0, "p50Ms": 100.1, "p99Ms": 100.9 }
        }]
    });
    assert_eq!(serde_json::to_value(report()).expect("JSON"), expected);
    assert_eq!(serde_json::from_value::<Report>(expected).expect("a report"), report());
}

#[test]
fn what_was_not_measured_is_absent() {
    let mut report = report();
    report.faults[0].latency = None;
    report.targets[0].cgroup_id = None;
    let value = serde_json::to_value(&report).expect("JSON");
    let absent = |value: &Value, field: &str| value.get(field).is_none();
    assert!(absent(&value["faults"][0], "latency") && absent(&value["faults"][0], "wouldInject"));
    assert!(absent(&value["targets"][0], "cgroupId") && absent(&value, "probes"));
    assert_eq!(serde_json::from_value::<Report>(value).expect("a report"), report);
}

#[test]
fn percentiles_by_nearest_rank() {
    let hundred: Vec<u64> = (1..=100).collect();
    let cases = [(0.0, 1), (1.0, 1), (50.0, 50), (50.1, 51), (99.0, 99), (100.0, 100), (-5.0, 1), (500.0, 100)];
    for (percent, expected) in cases {
        assert_eq!(percentile(&hundred, percent), Some(expected), "{percent} %");
    }
    assert_eq!(percentile(&[], 50.0), None);
    assert_eq!(percentile(&[7], 99.0), Some(7));
    let mut samples = [100_900_000, 100_000_400, 100_100_000];
    let measured = LatencyReport::from_nanos(Some(100_000_000), &mut samples).expect("samples");
    assert_eq!(measured, LatencyReport { requested_ms: Some(100.0), p50_ms: 100.1, p99_ms: 100.9 });
    assert_eq!(LatencyReport::from_nanos(None, &mut []), None);
}

/// All keys of the one are in the other, with the same values.
fn kept(before: &Value, now: &Value) -> bool {
    match (before, now) {
        (Value::Object(before), Value::Object(now)) => {
            before.iter().all(|(key, value)| now.get(key).is_some_and(|now| kept(value, now)))
        }
        (Value::Array(before), Value::Array(now)) => {
            before.len() == now.len() && before.iter().zip(now).all(|(before, now)| kept(before, now))
        }
        _ => before == now,
    }
}

#[test]
fn reports_of_0_1_0_are_read_and_written_back() {
    for name in ["network", "cgroup", "calls", "command"] {
        let path = format!("{}/../../tests/golden/0.1.0/report-{name}.json", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(path).expect("a report");
        let before: Value = serde_json::from_str(&text).expect("JSON");
        let report: Report = serde_json::from_value(before.clone()).expect("a report");
        let now = serde_json::to_value(&report).expect("JSON");
        assert!(kept(&before, &now), "{name}: {before:#} became {now:#}");
    }
}

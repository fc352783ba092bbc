//! Verdicts, reasons and exit codes.

use super::{idle, probe, slow};
use crate::{
    Ending, ExitCode, FaultPlanned, FaultReport, MissedPeer, RejectedBy, TakenOver, Unit, Verdict, combined, judge,
};

fn planned(name: &str, optional: bool) -> FaultPlanned {
    FaultPlanned { name: name.into(), optional, unit: Unit::Packets }
}

/// The verdict of one finished experiment with these faults, all of them required.
fn finished(dry_run: bool, faults: &[FaultReport]) -> (Verdict, String) {
    let mut names: Vec<&str> = faults.iter().map(|fault| fault.name.as_str()).collect();
    names.dedup();
    let planned: Vec<FaultPlanned> = names.into_iter().map(|name| planned(name, false)).collect();
    judge(&Ending::Finished, dry_run, &planned, faults, &[])
}

#[test]
fn pass_where_every_required_fault_had_an_effect() {
    assert_eq!(finished(false, &[slow("web")]), (Verdict::Pass, String::new()));
    // One of several targets is enough.
    assert_eq!(finished(false, &[FaultReport { injected: 0, ..slow("a") }, slow("b")]).0, Verdict::Pass);
    let all = [planned("slow", false), planned("rare", true)];
    assert_eq!(
        judge(&Ending::Finished, false, &all, &[slow("web"), idle("rare", 9)], &[]),
        (Verdict::Pass, String::new())
    );
}

/// All of them chosen, and some that the kernel would not touch.
fn refused(errors: u64) -> FaultReport {
    let mut fault = FaultReport { matched: 1310, injected: 1310 - errors, skipped: errors, ..idle("slow", 12_034) };
    fault.actions.errors = errors;
    fault
}

#[test]
fn one_that_the_kernel_did_not_refuse_is_an_effect() {
    assert_eq!(finished(false, &[refused(1309)]), (Verdict::Pass, String::new()));
}

/// They are what was asked for.
#[test]
fn errors_that_calls_return_are_an_effect() {
    let calls = FaultPlanned { unit: Unit::Calls, ..planned("slow", false) };
    let returned = FaultReport { injected: 1310, skipped: 0, ..refused(1310) };
    assert_eq!(judge(&Ending::Finished, false, &[calls], &[returned], &[]), (Verdict::Pass, String::new()));
}

#[test]
fn no_effect_explains_itself() {
    let missed = |known: Option<&str>, suggestion: Option<&str>| MissedPeer {
        peer: "10.96.0.12:5432".into(),
        count: 9120,
        known_as: known.map(str::to_owned),
        suggestion: suggestion.map(str::to_owned),
    };
    let by_peer = |peer: MissedPeer| {
        let mut fault = idle("slow", 12_034);
        fault.rejected_by.peer = 12_034;
        fault.samples.missed = vec![MissedPeer { peer: "10.0.0.1:53".into(), count: 7, ..MissedPeer::default() }, peer];
        fault
    };
    let mixed = RejectedBy { port: 4, peer: 10, time: 4, ..RejectedBy::default() };
    let cases = [
        (idle("slow", 0), "slow: no packet of the target was seen while the fault was active"),
        (
            by_peer(missed(Some("Service shop/db"), Some("service: db"))),
            "slow: 12,034 packets seen, all rejected by peer; most went to 10.96.0.12:5432 (Service shop/db): did you mean \
             service: db?",
        ),
        (by_peer(missed(None, None)), "slow: 12,034 packets seen, all rejected by peer; most went to 10.96.0.12:5432"),
        (
            FaultReport { rejected_by: mixed, ..idle("slow", 18) },
            "slow: 18 packets seen, rejected 10 by peer, 4 by port, 4 by time",
        ),
        (idle("slow", 1), "slow: 1 packet seen, none matched"),
        (
            FaultReport { matched: 1310, skipped: 1310, ..idle("slow", 12_034) },
            "slow: 1,310 packets matched, but percent or when let all pass: none was injected",
        ),
        (refused(1310), "slow: 1,310 packets chosen, but the kernel refused to act on any of them"),
        (FaultReport { skipped_by_lease: 5, ..idle("slow", 5) }, "slow: 5 packets passed because the lease had lapsed"),
    ];
    for (fault, reason) in cases {
        assert_eq!(finished(false, &[fault]), (Verdict::NoEffect, reason.to_owned()));
    }
}

#[test]
fn no_effect_of_several_faults_names_each() {
    let (verdict, reason) = finished(false, &[idle("a", 0), slow("web"), idle("b", 2)]);
    assert_eq!(verdict, Verdict::NoEffect);
    assert_eq!(
        reason,
        "a: no packet of the target was seen while the fault was active; b: 2 packets seen, none matched"
    );
    let calls = FaultPlanned { unit: Unit::Calls, ..planned("io", false) };
    let (_, reason) = judge(&Ending::Finished, false, &[calls], &[idle("io", 3)], &[]);
    assert_eq!(reason, "io: 3 calls seen, none matched");
    let (verdict, reason) = judge(&Ending::Finished, false, &[planned("a", false)], &[], &[]);
    assert_eq!((verdict, reason.as_str()), (Verdict::NoEffect, "a: there was no target to inject into"));
}

#[test]
fn a_dry_run_is_judged_by_what_it_would_have_done() {
    let would = FaultReport { would_inject: 3, matched: 3, ..idle("slow", 9) };
    assert_eq!(finished(true, &[would]), (Verdict::Pass, String::new()));
    let (verdict, reason) = finished(true, &[FaultReport { matched: 3, skipped: 3, ..idle("slow", 9) }]);
    assert_eq!(verdict, Verdict::NoEffect);
    assert_eq!(reason, "slow: 3 packets matched, but percent or when let all pass: none would have been injected");
}

#[test]
fn how_it_ended_comes_before_what_was_counted() {
    let why = || "because".to_owned();
    let cases = [
        (Ending::Error(why()), Verdict::Error),
        (Ending::Unsupported(why()), Verdict::Unsupported),
        (Ending::Refused(why()), Verdict::Refused),
        (Ending::Invalid(why()), Verdict::Invalid),
        (Ending::Aborted(why()), Verdict::Aborted),
    ];
    for (ending, verdict) in cases {
        assert_eq!(judge(&ending, false, &[planned("a", false)], &[idle("a", 0)], &[]), (verdict, why()));
    }
}

#[test]
fn a_failed_probe_outweighs_all_but_our_errors() {
    let all = [planned("a", false)];
    let cases = [
        ("before", "probe up failed before the faults: nothing was injected"),
        ("during", "probe up failed during the faults: they were stopped at once"),
        ("after", "probe up failed after the faults: the service has not recovered"),
    ];
    for (phase, reason) in cases {
        for ending in [Ending::Finished, Ending::Aborted("stopped".into())] {
            let judged = judge(&ending, false, &all, &[idle("a", 0)], &[probe(phase, true)]);
            assert_eq!(judged, (Verdict::Fail, reason.to_owned()));
        }
    }
    let ending = Ending::Error("broken".into());
    assert_eq!(judge(&ending, false, &all, &[], &[probe("during", true)]).0, Verdict::Error);
    assert_eq!(judge(&Ending::Finished, false, &[], &[], &[probe("during", false)]).0, Verdict::Pass);
}

#[test]
fn exit_codes() {
    let codes = [
        (Verdict::Pass, 0),
        (Verdict::Error, 1),
        (Verdict::Invalid, 2),
        (Verdict::Unsupported, 3),
        (Verdict::NoEffect, 4),
        (Verdict::Aborted, 5),
        (Verdict::Fail, 6),
        (Verdict::Refused, 7),
    ];
    for (verdict, number) in codes {
        assert_eq!(ExitCode::from(verdict).number(), number);
    }
}

#[test]
fn the_gravest_of_several_codes() {
    use ExitCode::{Aborted, Error, Fail, Invalid, NoEffect, Pass, Refused, Unsupported};
    let gravity = [Error, Unsupported, Refused, Invalid, Fail, Aborted, NoEffect, Pass];
    assert_eq!(gravity.map(ExitCode::number), [1, 3, 7, 2, 6, 5, 4, 0]);
    for (rank, code) in gravity.into_iter().enumerate() {
        let lighter = gravity[rank..].iter().rev().copied();
        assert_eq!(combined(lighter), code);
    }
    assert_eq!(combined([]), Pass);
}

#[test]
fn connections_that_a_local_proxy_takes_over_are_why_nothing_was_hit() {
    let proxy = |container: Option<&str>, process: Option<&str>| TakenOver {
        connection: "10.1.0.7:41822 -> 10.1.2.9:5432".into(),
        at: "127.0.0.1:15001".into(),
        connections: 9,
        container: container.map(str::to_owned),
        process: process.map(str::to_owned),
        pid: process.map(|_| 4711),
    };
    let reason = |proxies: Vec<TakenOver>| {
        let (verdict, reason) = finished(false, &[FaultReport { taken_over: proxies, ..idle("cut", 0) }]);
        assert_eq!(verdict, Verdict::NoEffect);
        reason.split_once("taken over by a local proxy: ").map(|(_, rest)| rest.to_owned()).unwrap_or_default()
    };
    assert_eq!(reason(Vec::new()), "");
    assert_eq!(
        reason(vec![proxy(Some("envoy"), Some("haproxy"))]),
        "container envoy (haproxy) at 127.0.0.1:15001; select container envoy, or the whole pod"
    );
    assert_eq!(
        reason(vec![proxy(None, Some("haproxy")), proxy(None, Some("haproxy"))]),
        "process haproxy (pid 4711) at 127.0.0.1:15001; select that process, or the whole network namespace"
    );
    assert!(reason(vec![proxy(None, None)]).starts_with("a listener at 127.0.0.1:15001;"));
    let hit = FaultReport { taken_over: vec![proxy(Some("envoy"), None)], ..slow("web") };
    assert_eq!(finished(false, &[hit]), (Verdict::Pass, String::new()), "of another connection");
}

#[test]
fn what_was_spared_on_a_guess_keeps_a_pass_from_being_a_plain_one() {
    let spared = |count: u64, target: &str| FaultReport { spared_by_address: count, ..slow(target) };
    assert_eq!(finished(false, &[spared(0, "a")]), (Verdict::Pass, String::new()));
    let (verdict, reason) = finished(false, &[spared(3, "shop/a"), spared(4, "shop/b"), spared(0, "shop/c")]);
    assert_eq!(verdict, Verdict::Pass);
    assert!(reason.starts_with("slow: 7 packets spared by address alone, on shop/a, shop/b: "), "{reason}");
    assert!(reason.ends_with("match.node: true hits them"), "{reason}");
}

#[test]
fn a_target_behind_a_proxy_keeps_a_pass_from_being_a_plain_one_where_another_is_hit() {
    let proxy = |container: &str| TakenOver {
        connection: "10.1.0.7:41822 -> 10.1.2.9:5432".into(),
        at: "127.0.0.1:15001".into(),
        container: Some(container.to_owned()),
        ..TakenOver::default()
    };
    let behind = |target: &str, container: &str| FaultReport {
        target: target.into(),
        taken_over: vec![proxy(container)],
        ..idle("slow", 9)
    };
    let all = [slow("shop/a"), behind("shop/b", "envoy"), behind("shop/c", "envoy"), behind("shop/d", "linkerd")];
    let connections = "connections such as 10.1.0.7:41822 -> 10.1.2.9:5432 are taken over by a local proxy";
    let expected = format!(
        "slow: no effect on shop/b, shop/c; {connections}: container envoy at 127.0.0.1:15001; select container envoy, or the whole pod; \
         slow: no effect on shop/d; {connections}: container linkerd at 127.0.0.1:15001; select container linkerd, or the whole pod"
    );
    assert_eq!(finished(false, &all), (Verdict::Pass, expected));
    let would = FaultReport { injected: 0, would_inject: 9, ..slow("shop/a") };
    assert!(finished(true, &[would, behind("shop/b", "envoy")]).1.starts_with("slow: no effect on shop/b; "));
    // Of one that may have no effect nothing is said.
    let optional = [planned("slow", true)];
    assert_eq!(judge(&Ending::Finished, false, &optional, &all, &[]), (Verdict::Pass, String::new()));
    // Many are counted.
    let many = (0..100).map(|number| behind(&format!("shop/{number}"), &format!("envoy-{}", number % 10)));
    let (verdict, reason) = finished(false, &many.chain([slow("shop/a")]).collect::<Vec<_>>());
    assert_eq!(verdict, Verdict::Pass);
    assert!(reason.contains("no effect on shop/0, shop/10, ") && reason.contains("shop/70 and 2 more; "), "{reason}");
    assert!(reason.ends_with("; slow: no effect on 60 more, behind such proxies, too"), "{reason}");
}

//! Corruption, of two kinds: `detected` must never reach an application and must be noticed by the kernel, `delivered`
//! must reach it. Between hosts of one machine nobody computes checksums, so that the two differ in earnest.

use chaos_tests::lab::Lab;
use chaos_tests::net::{Counters, Family, offload};
use chaos_tests::scene::{Direction, PORT};
use chaos_tests::stats::binomial::{assert_percent, interval_correlated};
use chaos_tests::stats::bursts::Bursts;
use chaos_tests::traffic::tcp::{Until, transfer};

/// The counters that move when a receiver finds a checksum wrong.
const CHECKSUM_ERRORS: [&str; 4] = ["IpExtInCsumErrors", "UdpInCsumErrors", "Udp6InCsumErrors", "TcpInCsumErrors"];

/// Runs a case with checksums and segments left to the device, as virtual ones do, and computed by the sender.
fn with_offloads_on_and_off(case: impl Fn(&Lab, &str)) {
    let Some(lab) = Lab::open() else { return };
    case(&lab, "offloads on");
    for host in [&lab.hosts.a, &lab.hosts.b] {
        offload::set_all(&host.ns, "eth0", false);
    }
    case(&lab, "offloads off");
}

#[test]
fn detected_corruption_is_noticed_and_never_delivered() {
    with_offloads_on_and_off(|lab, offloads| {
        for direction in Direction::BOTH {
            let what = format!("{direction}, {offloads}");
            let receiver = &direction.ends(lab).1.ns;
            let before = Counters::of(receiver);
            let play = direction.play(lab, "corrupt: { percent: 10, mode: detected }", |flow| flow.count(10_000));
            let moved = Counters::of(receiver).since(&before);
            for outcome in &play.outcomes {
                assert_eq!(outcome.damaged, 0, "{what}: the application got damaged data");
                assert_percent(&what, outcome.lost(), outcome.sent, 10.0);
            }
            play.assert_counts(play.sum(|outcome| outcome.lost()));
            // What the kernel noticed and what had to be dropped for lack of a checksum is all that was hit.
            let fault = play.report.only_fault();
            let noticed = moved.sum(&CHECKSUM_ERRORS) as u64;
            assert_eq!(noticed + fault.action("detectedByDrop"), fault.injected(), "{what}: {}", moved.moved());
            // IPv4 has a header checksum, so half of the packets can be caught by the kernel itself.
            assert!(noticed > 0, "{what}: no checksum error was counted");
        }
    });
}

#[test]
fn delivered_corruption_reaches_the_application() {
    with_offloads_on_and_off(|lab, offloads| {
        for direction in Direction::BOTH {
            let what = format!("{direction}, {offloads}");
            let play =
                direction.play(lab, "corrupt: { percent: 10, mode: delivered }", |flow| flow.count(10_000).size(400));
            for outcome in &play.outcomes {
                assert_eq!(outcome.lost(), 0, "{what}: damaged packets arrive, too");
                assert_percent(&what, outcome.damaged, outcome.sent, 10.0);
            }
            let damaged = play.sum(|outcome| outcome.damaged);
            play.assert_counts(damaged);
            assert_eq!(play.report.only_fault().action("corrupted"), damaged, "{what}");
        }
    });
}

#[test]
fn tcp_repairs_detected_corruption() {
    with_offloads_on_and_off(|lab, offloads| {
        for direction in Direction::BOTH {
            let (from, to) = direction.ends(lab);
            let running = lab.inject(&direction.fault_on("tcp", "corrupt: { percent: 2, mode: detected }"));
            for family in Family::BOTH {
                let what = format!("{direction} {family}, {offloads}");
                let before = Counters::of(&from.ns);
                let done = transfer(&from.ns, &to.ns, to.at(family, PORT), Until::Bytes(20_000_000));
                assert_eq!((done.bytes, done.wrong_bytes, done.error), (20_000_000, 0, None), "{what}");
                assert!(
                    Counters::of(&from.ns).since(&before).get("TcpRetransSegs") > 0,
                    "{what}: nothing was sent again"
                );
            }
            running.finish();
        }
    });
}

#[test]
fn tcp_hands_delivered_corruption_on() {
    with_offloads_on_and_off(|lab, offloads| {
        for direction in Direction::BOTH {
            let (from, to) = direction.ends(lab);
            for family in Family::BOTH {
                let what = format!("{direction} {family}, {offloads}");
                let running = lab.inject(&direction.fault_on("tcp", "corrupt: { percent: 5, mode: delivered }"));
                let done = transfer(&from.ns, &to.ns, to.at(family, PORT), Until::Bytes(20_000_000));
                let report = running.finish();
                assert_eq!((done.bytes, done.error), (20_000_000, None), "{what}: the stream itself must survive");
                assert!(done.wrong_bytes > 0, "{what}: {} hit, no byte wrong", report.only_fault().injected());
            }
        }
    });
}

#[test]
fn correlated_corruption_comes_in_bursts_at_the_same_rate() {
    let Some(lab) = Lab::open() else { return };
    for direction in Direction::BOTH {
        for mode in ["detected", "delivered"] {
            let what = format!("{direction}, {mode}");
            let action = format!("corrupt: {{ percent: 20, correlation: 50, mode: {mode} }}");
            let play = direction.play(&lab, &action, |flow| flow.count(20_000));
            for outcome in &play.outcomes {
                // Not intact: lost to the kernel, or damaged in the application's hands.
                let hit = outcome.missing().len() as u64;
                let expected = interval_correlated(outcome.sent, 0.2, 0.5);
                assert!(expected.contains(&hit), "{what}: {hit} hit, not {expected:?}");
                assert_eq!(if mode == "detected" { outcome.lost() } else { outcome.damaged }, hit, "{what}");
                let correlation = Bursts::of(&outcome.fates()).correlation();
                assert!((correlation - 0.5).abs() < 0.06, "{what}: correlation {correlation}");
            }
            play.assert_counts(play.sum(|outcome| outcome.missing().len() as u64));
        }
    }
}

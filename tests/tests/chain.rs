//! A second program behind ours, as a network plugin has, sees each packet that leaves exactly once.

use chaos_tests::lab::Lab;
use chaos_tests::need;
use chaos_tests::net::{Family, Onlooker};
use chaos_tests::scene::{Direction, PORT};

fn onlooker(lab: &Lab, direction: Direction) -> Option<Onlooker> {
    let attached = Onlooker::attach(&lab.hosts.a.ns, "eth0", direction == Direction::Egress, PORT);
    attached.map_err(|error| need::absent(&format!("this kernel has no tcx: {error}"))).ok()
}

#[test]
fn a_second_program_sees_each_packet_once() {
    let Some(lab) = Lab::open() else { return };
    for direction in Direction::BOTH {
        let Some(onlooker) = onlooker(&lab, direction) else { return };
        let mut before = onlooker.count();
        for (action, arrive) in [
            ("duplicate: { percent: 100 }", 1_000),
            ("corrupt: { percent: 100, mode: delivered }", 500),
            ("partition: true", 0),
        ] {
            let running = direction.inject(&lab, action);
            let outcome = direction.send(&lab, Family::V4, |flow| flow.count(500));
            running.finish_any();
            let seen = onlooker.count() - before;
            assert_eq!(outcome.arrivals.len() as u64 + outcome.damaged, arrive, "{direction} {action}");
            assert_eq!(seen, arrive, "{direction} {action}: what the second program saw");
            before += seen;
        }
    }
}

#[test]
fn a_packet_that_a_trigger_spares_is_seen_once() {
    let Some(lab) = Lab::open() else { return };
    for direction in Direction::BOTH {
        let Some(onlooker) = onlooker(&lab, direction) else { return };
        let running = lab.inject(&format!("when: {{ nth: 3 }}, {}", direction.fault("duplicate: { percent: 100 }")));
        let outcome = direction.send(&lab, Family::V4, |flow| flow.count(500));
        running.finish();
        assert_eq!((outcome.arrivals.len(), onlooker.count()), (501, 501), "{direction}");
    }
}

#[test]
fn a_delayed_packet_is_seen_once_too() {
    let Some(lab) = Lab::delaying() else { return };
    for direction in Direction::BOTH {
        let Some(onlooker) = onlooker(&lab, direction) else { return };
        for action in ["latency: { delay: 20ms }", "bandwidth: { rate: 50mbit }"] {
            let before = onlooker.count();
            let running = direction.inject(&lab, action);
            let outcome = direction.send(&lab, Family::V4, |flow| flow.count(200).rate(1_000));
            running.finish();
            assert_eq!((outcome.lost(), onlooker.count() - before), (0, 200), "{direction} {action}");
        }
    }
}

#[test]
fn a_program_that_was_there_before_works_afterwards() {
    let Some(lab) = Lab::open() else { return };
    for direction in Direction::BOTH {
        let Some(onlooker) = onlooker(&lab, direction) else { return };
        direction.inject(&lab, "partition: true").finish_any();
        assert_eq!(direction.send(&lab, Family::V4, |flow| flow.count(50)).lost(), 0, "{direction}");
        assert_eq!(onlooker.count(), 50, "{direction}");
    }
}

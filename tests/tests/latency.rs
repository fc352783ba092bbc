//! Latency: as long as was asked for, in the directions asked for, and without the harm that a queue could do. Needs fq.

use std::io::{ErrorKind, Read, Write};
use std::time::Duration;

use chaos_tests::clock::wait_until;
use chaos_tests::lab::Lab;
use chaos_tests::need;
use chaos_tests::net::{Counters, Family, tun};
use chaos_tests::product::Leftovers;
use chaos_tests::scene::{Direction, PORT};
use chaos_tests::stats::quantile::median;
use chaos_tests::traffic::Flow;
use chaos_tests::traffic::connect::{Pair, await_end};
use chaos_tests::traffic::ping::{Answers, Ping};
use chaos_tests::traffic::tcp::{Until, transfer};

fn pings(lab: &Lab, family: Family) -> Answers {
    Ping::to(lab.hosts.b.ip(family)).count(20).interval(Duration::from_millis(20)).run(&lab.hosts.a.ns)
}

/// The median round trip from `a` to `b`.
fn rtt_ms(lab: &Lab, family: Family) -> f64 {
    let answers = pings(lab, family);
    assert_eq!(answers.received(), 20, "{family}: a delay loses nothing: {answers:?}");
    median(&answers.rtts_ms())
}

/// Panics unless a time is what was asked for, or a little more: a timer is never early, and an emulated machine is slow.
#[track_caller]
fn assert_about(what: &str, measured_ms: f64, asked_ms: f64) {
    let ratio = measured_ms / asked_ms;
    assert!((0.97..1.25).contains(&ratio), "{what}: {measured_ms:.1} ms instead of {asked_ms} ms");
}

#[test]
fn round_trips_take_longer_by_the_delay() {
    let Some(lab) = Lab::delaying() else { return };
    let without = Family::BOTH.map(|family| rtt_ms(&lab, family));
    for (direction, delay_ms) in [("egress", 50.0), ("ingress", 50.0), ("both", 100.0)] {
        let fault = format!(
            "name: f, network: {{ direction: {direction}, match: {{ all: true }}, latency: {{ delay: 50ms }} }}"
        );
        let running = lab.inject(&fault);
        for (family, without) in Family::BOTH.into_iter().zip(without) {
            assert_about(&format!("{direction} {family}"), rtt_ms(&lab, family) - without, delay_ms);
        }
        let report = running.finish();
        let fault = report.only_fault();
        fault.assert_adds_up();
        assert_eq!(
            (fault.action("delayed"), fault.count("overflow"), fault.count("dropped")),
            (fault.injected(), 0, 0)
        );
        for family in Family::BOTH {
            assert!(rtt_ms(&lab, family) < 25.0, "{direction} {family}: no delay after the end");
        }
    }
}

/// Whether a packet that was held says for when: from Linux 5.18 on (`bpf_skb_set_tstamp`). Before, the product measures nothing.
fn says_when_it_left() -> bool {
    need::linux_is_at_least(5, 18)
}

#[test]
fn datagrams_arrive_all_and_late_and_almost_all_in_order() {
    let Some(lab) = Lab::delaying() else { return };
    for direction in Direction::BOTH {
        let play = direction.play(&lab, "latency: { delay: 80ms }", |flow| flow.count(1_000).rate(1_000));
        for outcome in &play.outcomes {
            assert_eq!((outcome.lost(), outcome.duplicates), (0, 0), "{direction}");
            // The sender itself may move from one CPU to another and overtake its own packets on the way to the queue.
            assert!(outcome.reordered <= 10, "{direction}: {} of 1,000 reordered", outcome.reordered);
            assert_about(&format!("{direction}"), median(&outcome.delays_ms()), 80.0);
        }
        play.assert_counts(2_000);
        let measured = &play.report.only_fault().json["latency"];
        if measured.is_null() && !says_when_it_left() {
            continue;
        }
        assert_eq!(measured["requestedMs"].as_f64(), Some(80.0), "{measured}");
        assert_about(&format!("{direction}, as reported"), measured["p50Ms"].as_f64().expect("a median"), 80.0);
    }
}

#[test]
fn batches_are_delayed_whole() {
    let Some(lab) = Lab::delaying() else { return };
    for direction in Direction::BOTH {
        let in_batches = |flow: Flow| flow.count(4_000).size(200).segments(40).rate(4_000);
        let play = direction.play(&lab, "latency: { delay: 50ms }", in_batches);
        for outcome in &play.outcomes {
            assert_eq!((outcome.lost(), outcome.duplicates, outcome.damaged), (0, 0, 0), "{direction}");
            assert_about(&format!("{direction}"), median(&outcome.delays_ms()), 50.0);
        }
        play.assert_counts(8_000);
    }
}

#[test]
fn only_what_matches_is_delayed() {
    let Some(lab) = Lab::delaying() else { return };
    let without = rtt_ms(&lab, Family::V4);
    let running = Direction::Egress.inject(&lab, "latency: { delay: 200ms }");
    assert!(rtt_ms(&lab, Family::V4) < without + 100.0, "an echo request is not a datagram to the port");
    let outcome = Direction::Egress.send(&lab, Family::V4, |flow| flow.count(50).rate(500));
    assert_about("the flow", median(&outcome.delays_ms()), 200.0);
    running.finish();
}

/// A sender that waits for its own packets to leave a queue sends a millisecond's worth in each delay: 2 Mbit/s, whatever the
/// machine, where netem gives hundreds of times that.
#[test]
fn tcp_keeps_its_throughput() {
    let Some(lab) = Lab::delaying().filter(|_| need::netem()) else { return };
    for direction in Direction::BOTH {
        let (from, to) = direction.ends(&lab);
        let four_seconds = || transfer(&from.ns, &to.ns, to.at(Family::V4, PORT), Until::Time(Duration::from_secs(4)));
        from.ns.tc("qdisc add dev eth0 root netem limit 100000 delay 50ms");
        let reference = four_seconds().mbit_per_s();
        from.ns.tc("qdisc del dev eth0 root");
        let running = lab.inject(&direction.fault_on("tcp", "latency: { delay: 50ms }"));
        let done = four_seconds();
        let report = running.finish();
        assert_eq!((done.wrong_bytes, done.error), (0, None), "{direction}");
        assert_eq!(report.only_fault().count("overflow"), 0, "{direction}");
        let speed = done.mbit_per_s();
        assert!(speed >= 0.5 * reference, "{direction}: {speed:.1} Mbit/s where netem gives {reference:.1}");
    }
}

#[test]
fn delays_of_two_faults_and_of_two_runs_add_up() {
    let Some(lab) = Lab::delaying() else { return };
    let delay = "network: { match: { all: true }, latency: { delay: 50ms } }";
    let without = rtt_ms(&lab, Family::V4);
    let running = lab.chaos.run(&lab.experiment().fault(delay).fault(delay));
    assert_about("two faults", rtt_ms(&lab, Family::V4) - without, 100.0);
    running.finish();
    let (first, second) = (lab.inject(delay), lab.inject(delay));
    assert_about("two runs", rtt_ms(&lab, Family::V4) - without, 100.0);
    first.finish();
    assert_about("the second run alone", rtt_ms(&lab, Family::V4) - without, 50.0);
    second.finish();
    assert!(rtt_ms(&lab, Family::V4) < 25.0 + without);
}

#[test]
fn either_of_two_delays_may_go_and_the_other_stays() {
    let Some(lab) = Lab::delaying_alone() else { return };
    let namespaces = [&lab.hosts.a.ns, &lab.hosts.b.ns];
    let delay = "network: { direction: both, match: { all: true }, latency: { delay: 50ms } }";
    lab.inject(delay).finish_any();
    let before = Leftovers::now(&namespaces);
    let without = rtt_ms(&lab, Family::V4);
    for (killed, first_goes) in [(false, true), (false, false), (true, true), (true, false)] {
        let what = format!("killed: {killed}, the first goes: {first_goes}");
        let (first, second) = (lab.inject(delay), lab.inject(delay));
        assert_about(&format!("{what}: both"), rtt_ms(&lab, Family::V4) - without, 200.0);
        let (goes, stays) = if first_goes { (first, second) } else { (second, first) };
        if killed {
            goes.kill9();
            let gone = || rtt_ms(&lab, Family::V4) - without < 150.0;
            assert!(wait_until(Duration::from_secs(5), gone), "{what}: its delay outlives it");
        } else {
            goes.finish();
        }
        for family in Family::BOTH {
            assert_about(&format!("{what}: the other, {family}"), rtt_ms(&lab, family) - without, 100.0);
        }
        let during = Leftovers::now(&namespaces);
        lab.chaos.command(&["cleanup"]).expect_code(0);
        let changed = Leftovers::now(&namespaces).difference(&during);
        assert!(killed || changed.is_empty(), "{what}: there was nothing to clean: {changed:#?}");
        for family in Family::BOTH {
            assert_about(
                &format!("{what}: the other after a cleanup, {family}"),
                rtt_ms(&lab, family) - without,
                100.0,
            );
        }
        let report = stays.finish();
        let fault = report.only_fault();
        assert_eq!((fault.count("overflow"), fault.count("dropped")), (0, 0), "{what}: {}", fault.json);
        assert!(rtt_ms(&lab, Family::V4) - without < 25.0, "{what}: none is left");
        lab.chaos.command(&["cleanup"]).expect_code(0);
        before.assert_restored(&namespaces);
    }
}

/// The bridge and its port are two devices on one way.
#[test]
fn behind_a_bridge_a_packet_is_delayed_once() {
    let Some(lab) = Lab::bridged().filter(|_| need::fq()) else { return };
    let without = Family::BOTH.map(|family| rtt_ms(&lab, family));
    for direction in Direction::BOTH {
        let everything =
            format!("network: {{ direction: {direction}, match: {{ all: true }}, latency: {{ delay: 80ms }} }}");
        let running = lab.inject(&everything);
        for (family, without) in Family::BOTH.into_iter().zip(without) {
            assert_about(&format!("{direction} {family}"), rtt_ms(&lab, family) - without, 80.0);
        }
        running.finish();
        let play = direction.play(&lab, "latency: { delay: 80ms }", |flow| flow.count(500).rate(1_000));
        for outcome in &play.outcomes {
            assert_eq!((outcome.lost(), outcome.duplicates), (0, 0), "{direction}");
            assert_about(&format!("{direction}, datagrams"), median(&outcome.delays_ms()), 80.0);
        }
        play.assert_counts(1_000);
    }
}

#[test]
fn a_root_qdisc_survives() {
    let Some(lab) = Lab::delaying() else { return };
    let ns = &lab.hosts.a.ns;
    ns.tc("qdisc add dev eth0 root tbf rate 100mbit burst 64kb latency 100ms");
    let before = ns.tc("qdisc show dev eth0 root");
    let without = rtt_ms(&lab, Family::V4);
    let running = lab.inject("network: { direction: both, match: { all: true }, latency: { delay: 50ms } }");
    assert_about("over tbf", rtt_ms(&lab, Family::V4) - without, 100.0);
    assert_eq!(ns.tc("qdisc show dev eth0 root"), before, "during the run");
    running.finish();
    assert_eq!(ns.tc("qdisc show dev eth0 root"), before, "after the run");
}

#[test]
fn what_exceeds_the_limit_is_dropped_and_counted() {
    let Some(lab) = Lab::delaying() else { return };
    let play =
        Direction::Egress.play(&lab, "latency: { delay: 300ms, limit: 100 }", |flow| flow.count(1_000).flat_out());
    let lost = play.sum(|outcome| outcome.lost());
    let fault = play.report.only_fault();
    assert_eq!(fault.count("overflow") + fault.count("dropped"), lost, "{}", fault.json);
    assert!(lost > 0 && play.outcomes.iter().all(|outcome| outcome.received() >= 100), "{lost} of 2,000 lost");
}

#[test]
fn packets_under_way_arrive_after_the_end() {
    let Some(lab) = Lab::delaying() else { return };
    let (a, b) = (&lab.hosts.a.ns, &lab.hosts.b.ns);
    let running = Direction::Egress.inject(&lab, "latency: { delay: 1s }");
    let flow = Flow::to(lab.hosts.b.at(Family::V4, PORT)).count(100).flat_out();
    let stream = chaos_tests::traffic::udp::Stream::start(flow, a, b);
    running.wait_for("hit", "10s").expect_code(0);
    // The end waits for what is held; the receiver goes on until nothing more comes.
    let report = running.finish();
    let outcome = stream.stop(b);
    assert_eq!((outcome.sent, outcome.lost()), (100, 0), "{}", report.json);
}

#[test]
fn a_killed_run_delays_nothing_for_long_and_cleanup_takes_the_rest() {
    let Some(lab) = Lab::delaying_alone() else { return };
    let namespaces = [&lab.hosts.a.ns, &lab.hosts.b.ns];
    Direction::Egress.inject(&lab, "latency: { delay: 10ms }").finish_any();
    let before = Leftovers::now(&namespaces);
    for direction in Direction::BOTH {
        let without = rtt_ms(&lab, Family::V4);
        let running = lab.inject(&format!(
            "network: {{ direction: {direction}, match: {{ all: true }}, latency: {{ delay: 100ms }} }}"
        ));
        assert_about(&format!("{direction}"), rtt_ms(&lab, Family::V4) - without, 100.0);
        running.kill9();
        // What a queue holds when its owner dies is lost with it.
        let undelayed = || {
            let answers = pings(&lab, Family::V4);
            answers.received() == 20 && median(&answers.rtts_ms()) < without + 50.0
        };
        assert!(wait_until(Duration::from_secs(5), undelayed), "{direction}: the delay outlives its process");
        lab.chaos.command(&["cleanup"]).expect_code(0);
        before.assert_restored(&namespaces);
        assert!(rtt_ms(&lab, Family::V4) < without + 50.0, "{direction}: the wire works after the cleanup");
    }
}

/// The RST must not overtake the data that was sent before the packet that it answers.
#[test]
fn a_reset_takes_the_delay_that_its_packet_would_have_had() {
    let Some(lab) = Lab::delaying() else { return };
    let at = lab.hosts.b.at(Family::V4, PORT);
    let pair = Pair::open(&lab.hosts.a.ns, &lab.hosts.b.ns, at);
    pair.client.set_nodelay(true).unwrap();
    let experiment = lab
        .experiment()
        .fault(&Direction::Egress.fault_on("tcp", "latency: { delay: 300ms }").replace("name: f", "name: slow"))
        .fault(&format!("when: {{ nth: 2 }}, {}", Direction::Egress.fault_on("tcp", "reset: { percent: 100 }")));
    let running = lab.chaos.run(&experiment);
    let before = Counters::of(&lab.hosts.a.ns).get("TcpOutSegs");
    (&pair.client).write_all(b"one").unwrap();
    let sent = || Counters::of(&lab.hosts.a.ns).get("TcpOutSegs") > before;
    assert!(wait_until(Duration::from_secs(2), sent));
    (&pair.client).write_all(b"two").unwrap();
    assert_eq!(await_end(&pair.client, Duration::from_secs(5)), Some(ErrorKind::ConnectionReset));
    let mut got = [0u8; 3];
    pair.server.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    (&pair.server).read_exact(&mut got).expect("the data sent before");
    assert_eq!(&got, b"one");
    assert_eq!(await_end(&pair.server, Duration::from_secs(5)), Some(ErrorKind::ConnectionReset));
    assert_eq!(running.finish().fault("f").action("reset"), 1);
}

#[test]
fn a_device_without_a_link_header_is_delayed_too() {
    let Some(lab) = Lab::delaying() else { return };
    let Some(_link) = tun::join(&lab.hosts) else { return };
    let rtt_ms = |family| {
        let to = tun::at(2, family);
        let answers = Ping::to(to).count(20).interval(Duration::from_millis(20)).run(&lab.hosts.a.ns);
        assert_eq!(answers.received(), 20, "{family}: a delay loses nothing: {answers:?}");
        median(&answers.rtts_ms())
    };
    let without = Family::BOTH.map(rtt_ms);
    for (direction, delay_ms) in [("egress", 50.0), ("ingress", 50.0), ("both", 100.0)] {
        let running = lab.inject(&format!(
            "name: f, network: {{ direction: {direction}, match: {{ interfaces: [tun0] }}, latency: {{ delay: 50ms }} }}"
        ));
        for (family, without) in Family::BOTH.into_iter().zip(without) {
            assert_about(&format!("{direction} {family}"), rtt_ms(family) - without, delay_ms);
        }
        let outcome = Flow::to((tun::at(2, Family::V4), PORT).into()).count(100).run(&lab.hosts.a.ns, &lab.hosts.b.ns);
        assert_eq!((outcome.lost(), outcome.duplicates), (0, 0), "{direction}");
        let report = running.finish();
        let fault = report.only_fault();
        fault.assert_adds_up();
        assert_eq!(
            (fault.action("delayed"), fault.action("errors")),
            (fault.injected(), 0),
            "{direction}: {}",
            fault.json
        );
        assert!(fault.injected() >= 40, "{direction}: {}", fault.json);
    }
}

/// What goes to loopback without its route is lost there: a delay that is a partition is none.
#[test]
fn loopback_is_refused_or_left_alone() {
    let Some(lab) = Lab::delaying() else { return };
    for matches in ["interfaces: [lo]", "peers: [{ cidr: 127.0.0.1/32 }]", "peers: [{ cidr: '::1/128' }]"] {
        for action in ["latency: { delay: 50ms }", "bandwidth: { rate: 1mbit }"] {
            let fault = format!("name: f, network: {{ match: {{ {matches} }}, {action} }}");
            for verb in ["run", "plan"] {
                let output = lab.chaos.on_file(verb, &lab.experiment().duration("1s").fault(&fault));
                let text = output.text();
                assert!(text.contains("loopback") && text.contains("partition or reset"), "{verb} {fault}: {text}");
                output.expect_code(3);
            }
        }
    }
    let fault = "name: f, network: { match: { peers: [{ cidr: 10.77.0.0/24 }] }, latency: { delay: 50ms } }";
    let running = lab.inject(fault);
    let own = Ping::to(lab.hosts.a.ip(Family::V4)).count(10).interval(Duration::from_millis(20)).run(&lab.hosts.a.ns);
    assert_eq!(own.received(), 10, "its own address: {own:?}");
    assert!(median(&own.rtts_ms()) < 25.0, "{own:?}");
    let other = Ping::to(lab.hosts.b.ip(Family::V4)).count(10).interval(Duration::from_millis(20)).run(&lab.hosts.a.ns);
    assert_eq!(other.received(), 10);
    let report = running.finish();
    assert_eq!(report.only_fault().action("delayed"), 10, "{}", report.json);
    let said = report.json["warnings"].to_string();
    assert!(said.contains("loopback") && said.contains("not held back"), "{said}");
}

#[test]
fn what_finds_the_queue_full_is_lost_once_and_said() {
    let Some(lab) = Lab::delaying() else { return };
    for direction in Direction::BOTH {
        let play = direction.play(&lab, "latency: { delay: 700ms, limit: 100 }", |flow| flow.count(300));
        let fault = play.report.only_fault();
        let lost = play.sum(|outcome| outcome.lost());
        assert!(lost > 0, "{direction}: nothing was over the limit");
        play.assert_counts(600);
        assert_eq!((fault.count("overflow"), fault.count("dropped")), (lost, 0), "{direction}: {}", fault.json);
        assert_eq!(fault.action("delayed"), 600 - lost, "{direction}: {}", fault.json);
        let said = play.report.json["warnings"].to_string();
        assert!(
            said.contains(&format!("{lost} packets")) && said.contains("raise latency.limit"),
            "{direction}: {said}"
        );
    }
}

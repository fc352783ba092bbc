//! What acts while the journal is damaged or lost is named, ended by its name, and leaves nothing.

use std::fs;
use std::path::Path;
use std::time::Duration;

use chaos_tests::clock::wait_until;
use chaos_tests::command::run;
use chaos_tests::lab::Lab;
use chaos_tests::need;
use chaos_tests::net::Family;
use chaos_tests::product::{Experiment, Running};
use chaos_tests::scene::{Direction, PORT};
use chaos_tests::traffic::Flow;

/// Where the product keeps it.
fn journal() -> &'static Path {
    Path::new("/run/chaos/journal.json")
}

/// What becomes of the journal.
type Harm = (&'static str, fn(&Path));

const HARMS: [Harm; 6] = [
    ("removed", |path| fs::remove_file(path).unwrap()),
    ("empty", |path| fs::write(path, "").unwrap()),
    ("half", |path| {
        let text = fs::read(path).unwrap();
        fs::write(path, &text[..text.len() / 2]).unwrap();
    }),
    ("no text", |path| fs::write(path, [0xff, 0xfe, 0, 1]).unwrap()),
    ("a number out of range", |path| fs::write(path, r#"{"boot":"x","runs":[{"pid":-1}]}"#).unwrap()),
    ("a folder", |path| {
        fs::remove_file(path).unwrap();
        fs::create_dir(path).unwrap();
    }),
];

/// How many of ten datagrams are lost.
fn lost(lab: &Lab) -> u64 {
    let to = lab.hosts.b.at(Family::V4, PORT);
    Flow::to(to).count(10).run(&lab.hosts.a.ns, &lab.hosts.b.ns).lost()
}

fn begin(lab: &Lab, action: &str) -> Running {
    Direction::Egress.inject(lab, action)
}

/// Cleanup and, after it, an experiment as if nothing had been.
fn recover(lab: &Lab, what: &str) {
    let cleaned = lab.chaos.command(&["cleanup"]);
    let again = lab.chaos.command(&["cleanup"]);
    assert_eq!((cleaned.code, again.code), (0, 0), "{what}: {}{}", cleaned.text(), again.text());
    assert!(again.text().contains("nothing was left"), "{what}: {}", again.text());
    let next = begin(lab, "partition: true");
    assert_eq!(lost(lab), 10, "{what}: the next one acts");
    next.finish();
    set_aside_no_more();
}

/// What a test could find different on the host: its links and their further names, queues, filters.
fn seen(lab: &Lab) -> String {
    let ns = &lab.hosts.a.ns;
    let links = ns.ip("-d -o link");
    // Whether the wire's other end is up yet is not ours.
    let is_ours = |word: &&str| !word.starts_with('<') && !matches!(*word, "UP" | "DOWN");
    let words = links.split_whitespace().filter(is_ours).collect::<Vec<_>>().join(" ");
    format!("{words}\n{}", run(&format!("tc -n {} qdisc show", ns.name())))
}

fn set_aside_no_more() {
    for aside in fs::read_dir("/run/chaos").unwrap().flatten().map(|entry| entry.path()) {
        if aside.to_string_lossy().contains("damaged") {
            let _ = fs::remove_file(&aside).or_else(|_| fs::remove_dir(&aside));
        }
    }
}

#[test]
fn what_acts_is_named_and_ended_by_its_name() {
    let Some(lab) = Lab::alone() else { return };
    for (what, harm) in HARMS {
        let running = begin(&lab, "partition: true");
        let (name, path) = (running.name().to_owned(), journal());
        harm(path);
        assert_eq!(lost(&lab), 10, "{what}: it acts");
        let status = lab.chaos.command(&["status"]);
        assert_eq!(status.code, i32::from(what != "removed"), "{what}: {}", status.text());
        assert!(status.text().contains(&format!("chaos stop {name}")), "{what}: {}", status.text());
        if what != "removed" {
            assert!(status.text().contains("chaos cleanup"), "{what}: {}", status.text());
        }
        let other = lab.chaos.command(&["stop", "nosuch"]);
        assert!(other.code != 0 && lost(&lab) == 10, "{what}: another name ends nothing: {}", other.text());
        let stopped = lab.chaos.command(&["stop", &name]);
        assert_eq!(stopped.code, 0, "{what}: {}", stopped.text());
        assert_eq!(lost(&lab), 0, "{what}: it is off: {}", stopped.text());
        running.ended();
        recover(&lab, what);
    }
}

#[test]
fn stop_all_succeeds_once_all_is_off() {
    let Some(lab) = Lab::alone() else { return };
    for (what, harm) in HARMS {
        let running = begin(&lab, "partition: true");
        harm(journal());
        let stopped = lab.chaos.command(&["stop", "--all"]);
        assert_eq!((stopped.code, lost(&lab)), (0, 0), "{what}: {}", stopped.text());
        running.ended();
        recover(&lab, what);
    }
}

/// What a killed run left, and what a run leaves whose journal is lost meanwhile, does not stand in the way of the next.
#[test]
fn the_next_run_needs_no_cleanup() {
    let Some(lab) = Lab::alone() else { return };
    let action = if need::has_fq() { "latency: { delay: 5ms }" } else { "partition: true" };
    for (what, harm) in HARMS {
        for killed in [true, false] {
            let case = format!("{what}, killed {killed}");
            let before = seen(&lab);
            let running = begin(&lab, action);
            harm(journal());
            if killed {
                running.kill9();
            } else {
                let name = running.name().to_owned();
                // Or it would have had no effect.
                lost(&lab);
                lab.chaos.command(&["stop", &name, "--finish"]).expect_code(0);
                let ended = running.ended();
                assert_eq!(ended.output.code, 0, "{case}: {}", ended.output.stderr);
                assert_eq!(seen(&lab), before, "{case}: it took its things away");
            }
            let next = begin(&lab, "partition: true");
            assert_eq!(lost(&lab), 10, "{case}: the next one acts");
            next.finish();
            assert_eq!(seen(&lab), before, "{case}: and leaves the host as it was");
            set_aside_no_more();
        }
    }
}

/// It leaves a mark on every kernel: the limit.
const FAULT: &str = "name: f, network: { match: { protocol: tcp }, duplicate: { percent: 1 }, perPacket: true }";

/// A limit is the interface's own memory, and comes back without a journal.
#[test]
fn a_limit_comes_back() {
    let Some(lab) = Lab::alone() else { return };
    let a = &lab.hosts.a.ns;
    a.ip("link set eth0 gso_max_segs 17");
    let before = seen(&lab);
    for next in ["cleanup", "run"] {
        lab.inject(FAULT).kill9();
        assert!(a.ip("-d link show eth0").contains("gso_max_segs 1 "), "nobody is left to give it back");
        fs::remove_file(journal()).unwrap();
        // The maps of the killed run, by which it would be active, go a moment later.
        let says = || lab.chaos.command(&["status"]).text().contains("eth0 (gso_max_segs)");
        assert!(wait_until(Duration::from_secs(5), says), "{}", lab.chaos.command(&["status"]).text());
        if next == "run" {
            lab.inject(FAULT).finish_any();
        } else {
            lab.chaos.command(&["cleanup"]).expect_code(0);
        }
        assert_eq!(seen(&lab), before, "{next}");
    }
}

/// The pair and its queue outlive a killed owner, and nothing but their alias says whose they are.
#[test]
fn what_queued_is_found_by_its_marks() {
    let Some(lab) = Lab::alone().filter(|_| need::fq()) else { return };
    let before = lab.hosts.a.ns.ip("-o link").lines().count();
    for (what, harm) in [HARMS[0], HARMS[1]] {
        for killed in [true, false] {
            let running = begin(&lab, "latency: { delay: 50ms }");
            let name = running.name().to_owned();
            harm(journal());
            if killed {
                running.kill9();
            } else {
                let stopped = lab.chaos.command(&["stop", &name]);
                assert_eq!(stopped.code, 0, "{what}: {}", stopped.text());
                running.ended();
            }
            let cleaned = || lab.chaos.command(&["cleanup"]).code == 0;
            assert!(wait_until(Duration::from_secs(5), cleaned), "{what}, killed {killed}");
            let left = lab.hosts.a.ns.ip("-o link");
            assert_eq!(left.lines().count(), before, "{what}, killed {killed}: {left}");
            recover(&lab, what);
        }
    }
}

/// Both have the same numbers, each in its own maps.
#[test]
fn the_end_of_a_run_that_no_journal_names_spares_a_later_one() {
    let Some(lab) = Lab::alone() else { return };
    let (a, b) = (&lab.hosts.a.ns, &lab.hosts.b.ns);
    let is_limited = || a.ip("-d link show eth0").contains("gso_max_segs 1 ");
    let first = lab.chaos.run(&Experiment::on_netns(b.name()).fault(&Direction::Egress.fault("partition: true")));
    fs::remove_file(journal()).unwrap();
    let second = lab.inject(FAULT);
    let name = first.name().to_owned();
    lab.chaos.command(&["stop", &name, "--finish"]).expect_code(0);
    first.ended();
    assert!(is_limited(), "what the second one needs is still there");
    let named = fs::read_to_string(journal()).unwrap();
    assert!(named.contains(second.name()), "it is still named: {named}");
    second.finish_any();
    assert!(!is_limited());
    recover(&lab, "after both");
}

#[test]
fn a_start_beside_what_no_journal_names_is_refused_and_takes_nothing_of_it() {
    let Some(lab) = Lab::alone() else { return };
    let a = &lab.hosts.a.ns;
    let action = if need::has_fq() { "latency: { delay: 5ms }" } else { "partition: true" };
    let first =
        lab.chaos.run(&lab.experiment().fault(FAULT).fault(&Direction::Egress.fault(action).replace(": f,", ": g,")));
    fs::remove_file(journal()).unwrap();
    let before = seen(&lab);
    let other = Experiment::on_netns(lab.hosts.b.ns.name()).fault(&Direction::Egress.fault("partition: true"));
    // Another one that the journal names changes nothing.
    let mut elsewhere = None;
    for round in 0..2 {
        let refused = lab.chaos.run_to_end(&lab.experiment().fault(FAULT), &[]);
        assert!(refused.code != 0 && refused.stderr.contains("stop --all"), "{round}: {}", refused.text());
        assert_eq!(seen(&lab), before, "{round}: nothing is taken away");
        elsewhere.get_or_insert_with(|| lab.chaos.run(&other));
    }
    assert!(a.ip("-d link show eth0").contains("gso_max_segs 1 "));
    lab.chaos.command(&["stop", "--all"]).expect_code(0);
    first.ended();
    if let Some(one) = elsewhere {
        one.ended();
    }
    recover(&lab, "after all");
}

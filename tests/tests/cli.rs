//! The commands and their exit codes.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::Duration;

use chaos_tests::clock::wait_until;
use chaos_tests::lab::Lab;
use chaos_tests::net::Family;
use chaos_tests::product::{Experiment, Leftovers, Running};
use chaos_tests::scene::{Direction, PORT};
use chaos_tests::traffic::Flow;
use nix::sys::signal::Signal;

const CUT: &str = "partition: true";
/// A fault that no packet of a test meets.
const IDLE: &str = "name: idle, network: { match: { peers: [ { cidr: 192.0.2.1/32 } ] }, partition: true }";

fn lost(lab: &Lab) -> u64 {
    Direction::Egress.send(lab, Family::V4, |flow| flow.count(50)).lost()
}

#[test]
fn a_run_that_hit_passes_at_the_end_of_its_duration() {
    let Some(lab) = Lab::open() else { return };
    let running = lab.chaos.run(&lab.experiment().duration("1s").fault(&Direction::Egress.fault(CUT)));
    assert_eq!(lost(&lab), 50);
    let ended = running.ended();
    assert_eq!((ended.output.code, ended.report().verdict()), (0, "Pass"), "{}", ended.output.text());
    assert_eq!(ended.report().target_states(), ["Reverted"]);
    assert_eq!(lost(&lab), 0, "nothing acts after the end");
}

#[test]
fn an_absent_target_is_invalid_input() {
    let Some(lab) = Lab::open() else { return };
    for (target, field) in [
        ("netns: no-such-namespace", "netns"),
        ("pid: 4194303", "pid"),
        ("cgroup: /no/such/group", "cgroup"),
        ("unit: no-such.service", "unit"),
        ("container: ffffffffffff", "container"),
    ] {
        let experiment = Experiment::on(target).fault(&Direction::Egress.fault(CUT));
        let output = lab.chaos.run_to_end(&experiment, &[]).expect_code(2);
        assert!(output.text().contains(field), "{target}: {}", output.text());
    }
}

#[test]
fn a_fault_without_effect_is_named() {
    let Some(lab) = Lab::open() else { return };
    let running = lab.inject(IDLE);
    assert_eq!(lost(&lab), 0);
    let ended = running.finish_any();
    assert_eq!((ended.output.code, ended.report().verdict()), (4, "NoEffect"), "{}", ended.output.text());
    assert!(ended.report().reason().contains("peer"), "the reason explains: {}", ended.report().reason());
    assert!(ended.report().fault("idle").count("rejectedBy.peer") >= 50, "{}", ended.report().json);
}

#[test]
fn an_optional_fault_may_have_no_effect() {
    let Some(lab) = Lab::open() else { return };
    let experiment = lab.experiment().fault(&format!("optional: true, {IDLE}")).fault(&Direction::Egress.fault(CUT));
    let running = lab.chaos.run(&experiment);
    assert_eq!(lost(&lab), 50);
    assert_eq!(running.finish().fault("idle").injected(), 0);
}

#[test]
fn an_interrupt_reverts_and_still_reports() {
    let Some(lab) = Lab::open() else { return };
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let running = lab.inject(&Direction::Egress.fault(CUT));
        assert_eq!(lost(&lab), 50);
        running.signal(signal);
        let ended = running.ended();
        assert_eq!((ended.output.code, ended.report().verdict()), (5, "Aborted"), "{signal}: {}", ended.output.text());
        assert_eq!(ended.report().only_fault().injected(), 50, "{signal}");
        assert_eq!(lost(&lab), 0, "{signal}");
    }
}

#[test]
fn stop_ends_a_run_by_name() {
    let Some(lab) = Lab::open() else { return };
    let other = lab.inject(&Direction::Ingress.fault(CUT));
    let running = lab.inject(&Direction::Egress.fault(CUT));
    assert_eq!(lost(&lab), 50);
    lab.chaos.command(&["stop", running.name()]).expect_code(0);
    let ended = running.ended();
    assert_eq!((ended.output.code, ended.report().verdict()), (5, "Aborted"));
    assert_eq!(lost(&lab), 0);
    let ingress = Direction::Ingress.send(&lab, Family::V4, |flow| flow.count(50)).lost();
    assert_eq!(ingress, 50, "the other run goes on");
    other.finish();
    assert_ne!(lab.chaos.command(&["stop", "no-such-run"]).code, 0);
}

#[test]
fn stop_all_ends_every_run_and_later_ones_work() {
    let Some(lab) = Lab::alone() else { return };
    lab.add_clsact();
    let runs = [lab.inject(&Direction::Egress.fault(CUT)), lab.inject(&Direction::Ingress.fault(CUT))];
    assert_eq!(lost(&lab), 50);
    let stopped = lab.chaos.command(&["stop", "--all"]).expect_code(0);
    assert_eq!(lost(&lab), 0, "the effect is gone when the command returns: {}", stopped.text());
    for run in runs {
        assert_eq!(run.ended().output.code, 5);
    }
    let later = lab.inject(&Direction::Egress.fault(CUT));
    assert_eq!(lost(&lab), 50);
    later.finish();
}

#[test]
fn a_lock_refuses_new_runs_until_it_is_opened() {
    let Some(lab) = Lab::alone() else { return };
    lab.chaos.command(&["stop", "--all", "--lock", "incident-7"]).expect_code(0);
    let refused = lab.chaos.run_to_end(&lab.experiment().duration("1s").fault(&Direction::Egress.fault(CUT)), &[]);
    lab.chaos.command(&["unlock"]).expect_code(0);
    assert_eq!(refused.code, 7, "{}", refused.text());
    assert!(refused.text().contains("incident-7"), "{}", refused.text());
    let later = lab.inject(&Direction::Egress.fault(CUT));
    assert_eq!(lost(&lab), 50);
    later.finish();
}

#[test]
fn status_lists_what_runs() {
    let Some(lab) = Lab::open() else { return };
    let running = lab.inject(&Direction::Egress.fault(CUT));
    let name = running.name().to_owned();
    let entry = || -> Option<serde_json::Value> {
        let text = lab.chaos.command(&["status", "-o", "json"]).expect_code(0).stdout;
        let status: serde_json::Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
        let experiments = status["experiments"].as_array().cloned().unwrap_or_default();
        experiments.into_iter().find(|experiment| experiment["name"] == name.as_str())
    };
    let listed = entry().expect("the run is listed");
    assert_eq!(listed["source"], "cli", "{listed}");
    assert_eq!(listed["startedBy"]["pid"], running.pid().as_raw(), "{listed}");
    assert_eq!(lost(&lab), 50);
    running.finish();
    assert!(wait_until(Duration::from_secs(5), || entry().is_none()), "an ended run is no longer listed");
}

#[test]
fn wait_returns_at_the_first_hit_and_gives_up_in_time() {
    let Some(lab) = Lab::open() else { return };
    let running = lab.inject(&Direction::Egress.fault(CUT));
    assert_ne!(running.wait_for("hit", "200ms").code, 0, "nothing was hit yet");
    assert_eq!(lost(&lab), 50);
    running.wait_for("hit", "10s").expect_code(0);
    assert_ne!(running.wait_for("ended", "200ms").code, 0, "it has not ended yet");
    running.finish();
}

#[test]
fn two_active_runs_never_share_a_name() {
    let Some(lab) = Lab::open() else { return };
    let experiment = lab.experiment().fault(&Direction::Egress.fault(CUT));
    let running = lab.chaos.run(&experiment);
    let second = lab.chaos.run_to_end(&experiment, &[]);
    assert!(second.code != 0 && second.text().contains(experiment.name()), "{}", second.text());
    assert_eq!(lost(&lab), 50, "the first goes on");
    running.finish();
}

#[test]
fn plan_tells_and_attaches_nothing() {
    let Some(lab) = Lab::alone() else { return };
    let namespaces = [&lab.hosts.a.ns, &lab.hosts.b.ns];
    let before = Leftovers::now(&namespaces);
    let file = lab.experiment().fault(&Direction::Egress.fault(CUT)).write();
    let plan = lab.chaos.command(&["plan", &file.path().to_string_lossy()]).expect_code(0);
    assert!(plan.stdout.contains(lab.hosts.a.ns.name()), "{}", plan.stdout);
    assert!(["by tcx", "by clsact"].iter().any(|by| plan.stdout.contains(by)), "{}", plan.stdout);
    before.assert_restored(&namespaces);
}

#[test]
fn plan_says_what_how_much_where_and_by_what() {
    let Some(lab) = Lab::open() else { return };
    let fault = "name: some, when: { nth: 3 }, network: { direction: both, match: { protocol: udp, ports: [7] }, loss: { percent: 2.5 } }";
    let file = lab.experiment().duration("90s").fault(fault).fault(IDLE).write();
    let path = file.path().to_string_lossy().into_owned();
    let text = lab.chaos.command(&["plan", &path]).expect_code(0).stdout;
    for part in ["1m 30s", "loss { percent: 2.5 }", "both", "protocol: udp", "when { nth: 3 }", "(both)"] {
        assert!(text.contains(part), "{part} is missing:\n{text}");
    }
    let json = lab.chaos.command(&["plan", "-o", "json", &path]).expect_code(0).stdout;
    let plan: serde_json::Value = serde_json::from_str(&json).unwrap_or_else(|error| panic!("{error}: {json}"));
    assert_eq!(plan["targets"][0]["name"], lab.hosts.a.ns.name(), "{plan}");
    let fault =
        plan["faults"].as_array().and_then(|all| all.iter().find(|one| one["name"] == "some")).expect("the fault");
    assert_eq!((&fault["direction"], &fault["action"]), (&"both".into(), &"loss { percent: 2.5 }".into()), "{fault}");
    assert!(!fault["mechanisms"].as_array().expect("mechanisms").is_empty(), "{fault}");
    let place = &fault["places"][0];
    assert_eq!((&place["target"], &place["direction"]), (&plan["targets"][0]["name"], &"both".into()), "{fault}");
    assert!(lab.hosts.a.ns.ip("-o link show").contains(place["interface"].as_str().expect("a name")), "{fault}");
}

#[test]
fn plan_refuses_what_run_refuses() {
    let Some(lab) = Lab::open() else { return };
    let experiment = lab.experiment().fault("network: { match: { interfaces: [eth9] }, partition: true }");
    let file = experiment.write();
    let path = file.path().to_string_lossy().into_owned();
    let line = 1 + experiment.yaml().lines().position(|line| line.contains("eth9")).expect("the line");
    for verb in ["plan", "run"] {
        let text = lab.chaos.command(&[verb, &path]).expect_code(2).text();
        assert!(text.contains(&format!("{path}:{line}")) && text.contains("eth9"), "{verb}: {text}");
    }
    let running = lab.inject(&Direction::Egress.fault(CUT));
    let again = Experiment::on_netns(lab.hosts.a.ns.name()).fault(&Direction::Egress.fault(CUT));
    let renamed = again.yaml().replace(again.name(), running.name());
    let file = chaos_tests::product::experiment::SpecFile::with("taken", &renamed);
    let path = file.path().to_string_lossy().into_owned();
    for verb in ["plan", "run"] {
        let text = lab.chaos.command(&[verb, &path]).expect_code(2).text();
        assert!(text.contains("is active on this node"), "{verb}: {text}");
    }
    running.finish_any();
}

/// The process in which threads wait is a copy of the run's, and no place for what the caller of chaos left open.
#[test]
fn the_copy_of_a_run_holds_no_file_of_its_caller() {
    let Some(lab) = Lab::open() else { return };
    let path = std::env::temp_dir().join(format!("chaos-open-{}", std::process::id()));
    let file = std::fs::File::create(&path).expect("a file");
    nix::fcntl::fcntl(&file, nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::empty())).expect("it is inherited");
    let running = lab.inject(&Direction::Egress.fault(CUT));
    drop(file);
    let children = format!("/proc/{0}/task/{0}/children", running.pid());
    let text = std::fs::read_to_string(&children).expect("a list of children");
    let copy = text.split_whitespace().next().expect("a child").to_owned();
    let holds = |pid: &str| {
        let files = std::fs::read_dir(format!("/proc/{pid}/fd")).expect("its files").flatten();
        files.filter_map(|file| std::fs::read_link(file.path()).ok()).any(|file| file == path)
    };
    assert!(holds(&running.pid().to_string()), "the run has inherited it");
    assert!(!holds(&copy), "its copy has closed it");
    let status = std::fs::read_to_string(format!("/proc/{copy}/status")).expect("its status");
    assert!(status.contains("NoNewPrivs:\t1"), "{status}");
    running.finish_any();
    std::fs::remove_file(&path).expect("the file");
}

#[test]
fn a_run_leaves_the_machine_as_it_was() {
    let Some(lab) = Lab::alone() else { return };
    let namespaces = [&lab.hosts.a.ns, &lab.hosts.b.ns];
    let warm_up = lab.inject(&Direction::Egress.fault(CUT));
    // The first run may make what stays for good, as `/run/chaos` itself.
    warm_up.finish_any();
    let before = Leftovers::now(&namespaces);
    let running = lab.inject(&Direction::Egress.fault(CUT));
    let during = Leftovers::now(&namespaces).difference(&before);
    assert!(!during.is_empty(), "a fault that acts is visible");
    running.finish_any();
    before.assert_restored(&namespaces);
}

#[test]
fn cleanup_spares_the_living() {
    let Some(lab) = Lab::open() else { return };
    let running = lab.inject(&Direction::Egress.fault(CUT));
    lab.chaos.command(&["cleanup"]).expect_code(0);
    assert_eq!(lost(&lab), 50);
    running.finish();
}

#[test]
fn without_root_nothing_is_attached_nor_stopped_and_the_lack_is_named() {
    let Some(lab) = Lab::open() else { return };
    // The build folder is often closed to others.
    let copy = std::env::temp_dir().join(format!("chaos-{}", std::process::id()));
    std::fs::copy(lab.chaos.path(), &copy).unwrap();
    std::fs::set_permissions(&copy, std::fs::Permissions::from_mode(0o755)).unwrap();
    let file = lab.experiment().duration("1s").fault(&Direction::Egress.fault(CUT)).write();
    let run = ["run".as_ref(), file.path().as_os_str()];
    let outputs = [&run[..], &["stop".as_ref(), "--all".as_ref()]].map(|words| {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"]).arg(&copy).args(words).output()
    });
    std::fs::remove_file(&copy).unwrap();
    for output in outputs {
        let output = output.expect("setpriv of util-linux");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(3), "{said}");
        assert!(said.contains("root") || said.contains("CAP_"), "{said}");
    }
}

#[test]
fn the_hosts_own_network_is_refused() {
    let Some(lab) = Lab::open() else { return };
    let experiment = Experiment::on("netns: /proc/self/ns/net").duration("1s").fault(IDLE);
    let output = lab.chaos.run_to_end(&experiment, &[]);
    assert!(matches!(output.code, 2 | 7), "{}: {}", output.code, output.text());
}

#[test]
fn dry_run_is_a_switch_too() {
    let Some(lab) = Lab::open() else { return };
    let experiment = lab.experiment().duration("2s").fault(&Direction::Egress.fault(CUT));
    let file = experiment.write();
    let path = file.path().to_string_lossy().into_owned();
    let child = lab.chaos.start(&["run", "--dry-run", "-o", "json", &path]);
    lab.chaos.command(&["wait", experiment.name(), "--for", "injected", "--timeout", "10s"]).expect_code(0);
    assert_eq!(lost(&lab), 0);
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let report = chaos_tests::product::Report::parse(&text).unwrap_or_else(|| panic!("no report: {text}"));
    assert_eq!((report.only_fault().matched(), report.only_fault().injected()), (50, 0));
}

#[test]
fn every_output_format_carries_the_verdict() {
    let Some(lab) = Lab::open() else { return };
    for (format, wanted) in
        [("table", "Pass"), ("json", "\"verdict\""), ("yaml", "verdict: Pass"), ("junit", "<testsuite")]
    {
        let experiment = lab.experiment().duration("1s").fault(&Direction::Egress.fault(CUT));
        let file = experiment.write();
        let child = lab.chaos.start(&["run", "-o", format, &file.path().to_string_lossy()]);
        lab.chaos.command(&["wait", experiment.name(), "--for", "injected", "--timeout", "10s"]).expect_code(0);
        assert_eq!(lost(&lab), 50);
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success() && text.contains(wanted), "{format}: {text}");
    }
}

#[test]
fn a_run_that_starts_under_traffic_counts_from_its_start() {
    let Some(lab) = Lab::open() else { return };
    let (a, b) = (&lab.hosts.a.ns, &lab.hosts.b.ns);
    lab.add_clsact();
    let flow = Flow::to(lab.hosts.b.at(Family::V4, PORT)).rate(2_000).endless();
    let stream = chaos_tests::traffic::udp::Stream::start(flow, a, b);
    let running: Running = lab.inject(&Direction::Egress.fault("loss: { percent: 30 }"));
    running.wait_for("hit", "10s").expect_code(0);
    let report = running.finish();
    let outcome = stream.stop(b);
    report.only_fault().assert_adds_up();
    assert_eq!(report.only_fault().injected(), outcome.lost(), "no packet is lost that the report does not know");
}

//! What `chaos check` says is what a run does: a fault that it calls supported acts, by the mechanism that it names, and one that
//! it does not is refused before anything is attached.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::time::Duration;

use chaos_tests::lab::Lab;
use chaos_tests::need;
use chaos_tests::net::{Cgroup, Family, NetNs};
use chaos_tests::product::{Chaos, Experiment, Leftovers};
use chaos_tests::scene::{Direction, PORT};
use chaos_tests::stats::quantile::median;
use chaos_tests::traffic::connect::{Pair, await_end};
use chaos_tests::traffic::sink::{Sink, send};
use chaos_tests::traffic::source::Source;
use chaos_tests::traffic::{Flow, Outcome};
use serde_json::Value;

const COUNT: u64 = 100;
const DELAY_MS: f64 = 80.0;
const LIMIT: Duration = Duration::from_secs(5);

/// One line of the check.
#[derive(Debug)]
struct Row {
    fault: String,
    variant: String,
    direction: Direction,
    supported: bool,
    mechanism: String,
}

impl Row {
    fn read(json: &Value) -> Self {
        let text = |field: &str| json[field].as_str().unwrap_or_default().to_owned();
        let direction = match json["direction"].as_str() {
            Some("egress") => Direction::Egress,
            Some("ingress") => Direction::Ingress,
            other => panic!("direction {other:?}: {json}"),
        };
        let supported = json["supported"].as_bool().unwrap_or_else(|| panic!("supported: {json}"));
        let row =
            Self { fault: text("fault"), variant: text("variant"), direction, supported, mechanism: text("mechanism") };
        // What is not there is explained, and what is there has a name.
        assert_eq!((row.mechanism.is_empty(), text("why").is_empty()), (!supported, supported), "{json}");
        row
    }

    fn name(&self) -> String {
        format!("{} {} {}", self.fault, self.variant, self.direction)
    }

    fn family(&self) -> Family {
        if self.variant == "IPv6" { Family::V6 } else { Family::V4 }
    }

    fn action(&self) -> &'static str {
        match (self.fault.as_str(), self.variant.as_str()) {
            ("partition", "" | "IPv6" | "cgroup") => "partition: true",
            ("loss", "") => "loss: { percent: 100 }",
            ("reset", "") => "reset: { percent: 100 }",
            ("duplicate", "") => "duplicate: { percent: 100 }",
            ("corrupt", "detected") => "corrupt: { percent: 100, mode: detected }",
            ("corrupt", "delivered") => "corrupt: { percent: 100, mode: delivered }",
            ("latency", "" | "IPv6") => "latency: { delay: 80ms }",
            ("reorder", "") => "latency: { delay: 80ms }, reorder: { percent: 100, gap: 2 }",
            ("bandwidth", "") => "bandwidth: { rate: 200kbit, burst: 1kb }",
            _ => panic!("the check lists a fault that this test does not know: {self:?}"),
        }
    }

    fn spec(&self) -> String {
        let protocol = if self.fault == "reset" { "tcp" } else { "udp" };
        self.direction.fault_on(protocol, self.action())
    }

    /// Whether a flow shows what was promised.
    fn judge(&self, outcome: &Outcome) -> bool {
        let whole = (outcome.lost(), outcome.damaged) == (0, 0);
        match self.action().split(':').next().expect("a name") {
            "partition" | "loss" => outcome.lost() == outcome.sent,
            "duplicate" => whole && outcome.duplicates == outcome.sent,
            "corrupt" if self.variant == "detected" => outcome.lost() == outcome.sent,
            "corrupt" => outcome.damaged == outcome.sent,
            "latency" if self.fault == "reorder" => whole && outcome.reordered > 0,
            "latency" => whole && median(&outcome.delays_ms()) >= 0.99 * DELAY_MS,
            // 1,242 bytes in each frame, at 200 kbit/s: 49.7 ms.
            "bandwidth" => whole && span_ms(outcome) >= 0.9 * 49.7 * (outcome.sent - 1) as f64,
            other => panic!("no flow shows {other}"),
        }
    }

    fn flow(&self, flow: Flow) -> Flow {
        if self.fault == "bandwidth" { flow.count(12).size(1_200).flat_out() } else { flow.count(COUNT).rate(2_000) }
    }
}

/// From the first arrival to the last.
fn span_ms(outcome: &Outcome) -> f64 {
    let times = || outcome.arrivals.iter().map(|(_, at)| *at);
    (times().max().unwrap_or(0) - times().min().unwrap_or(0)) as f64 / 1e6
}

fn check(chaos: &Chaos) -> Value {
    let output = chaos.command(&["check", "-o", "json"]).expect_code(0);
    serde_json::from_str(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", output.text()))
}

fn both(lab: &Lab) -> [&NetNs; 2] {
    [&lab.hosts.a.ns, &lab.hosts.b.ns]
}

/// Runs what the check promises and has it shown.
#[track_caller]
fn assert_acts(lab: &Lab, row: &Row) {
    let what = row.name();
    let pair = (row.fault == "reset").then(|| {
        let (from, to) = row.direction.ends(lab);
        Pair::open(&from.ns, &to.ns, to.at(row.family(), PORT))
    });
    let running = lab.inject(&row.spec());
    if let Some(pair) = &pair {
        (&pair.client).write_all(b"x").expect("a byte");
        assert!(await_end(&pair.client, LIMIT).is_some_and(|end| end == std::io::ErrorKind::ConnectionReset), "{what}");
        assert!(await_end(&pair.server, LIMIT).is_some_and(|end| end == std::io::ErrorKind::ConnectionReset), "{what}");
    } else {
        let outcome = row.direction.send(lab, row.family(), |flow| row.flow(flow));
        assert!(row.judge(&outcome), "{what}: {} sent, {} lost: {outcome:?}", outcome.sent, outcome.lost());
    }
    let report = running.finish();
    let fault = report.only_fault();
    assert!(fault.matched() > 0 && fault.injected() > 0 && fault.action("errors") == 0, "{what}: {}", fault.json);
    assert_eq!(fault.mechanism(), row.mechanism, "{what}: the mechanism that the check names");
    let after = row.direction.send(lab, row.family(), |flow| flow.count(COUNT));
    assert_eq!((after.lost(), after.damaged, after.duplicates), (0, 0, 0), "{what}: after the end");
}

/// The same with a process in a cgroup as the target, and one beside it.
#[track_caller]
fn assert_acts_on_a_cgroup(lab: &Lab, row: &Row) {
    let slice = Cgroup::new("slice");
    let (target, beside) = (slice.child("target"), slice.child("beside"));
    let to = lab.hosts.b.at(Family::V4, PORT).to_string();
    let program = [env!("CARGO_BIN_EXE_chaos-datagrams"), &to, &COUNT.to_string()];
    let [mut inside, mut outside] =
        [&target, &beside].map(|cgroup| Source::start(cgroup.command(Some(&lab.hosts.a.ns), &program)));
    let experiment = Experiment::on(&format!("cgroup: {}", target.name())).fault(&row.spec());
    let running = lab.chaos.run(&experiment);
    let arrivals = [&mut inside, &mut outside].map(|source| source.arrivals(&lab.hosts.b.ns, PORT) as u64);
    assert_eq!(arrivals, [0, COUNT], "{}: inside, beside", row.name());
    let report = running.finish();
    assert_eq!(report.only_fault().injected(), COUNT, "{}", report.json);
    assert_eq!(report.only_fault().mechanism(), row.mechanism, "{}", row.name());
}

/// The same for what arrives for it.
#[track_caller]
fn assert_acts_on_arrivals(lab: &Lab, row: &Row) {
    let slice = Cgroup::new("slice");
    let (target, beside) = (slice.child("target"), slice.child("beside"));
    let sink = |cgroup: &Cgroup, port: u16| {
        let program = [env!("CARGO_BIN_EXE_chaos-sink"), &port.to_string()];
        Sink::start(cgroup.command(Some(&lab.hosts.a.ns), &program))
    };
    let (mut inside, mut outside) = (sink(&target, PORT), sink(&beside, PORT + 1));
    // Of every port: nothing but the cgroup tells the two apart.
    let fault = format!("name: f, network: {{ direction: ingress, match: {{ protocol: udp }}, {} }}", row.action());
    let running = lab.chaos.run(&Experiment::on(&format!("cgroup: {}", target.name())).fault(&fault));
    for port in [PORT, PORT + 1] {
        send(&lab.hosts.b.ns, lab.hosts.a.at(Family::V4, port), COUNT);
    }
    assert_eq!([inside.count(), outside.count()], [0, COUNT], "{}: inside, beside", row.name());
    let report = running.finish();
    assert_eq!(report.only_fault().injected(), COUNT, "{}", report.json);
    assert_eq!(report.only_fault().mechanism(), row.mechanism, "{}", row.name());
}

#[test]
fn what_is_supported_acts_by_the_mechanism_that_is_named() {
    let Some(lab) = Lab::open() else { return };
    let rows: Vec<Row> = check(&lab.chaos)["faults"].as_array().expect("faults").iter().map(Row::read).collect();
    let supported: Vec<&Row> = rows.iter().filter(|row| row.supported).collect();
    assert!(!supported.is_empty(), "{rows:?}");
    for row in &supported {
        println!("{}: {}", row.name(), row.mechanism);
        match row.variant.as_str() {
            "cgroup" if row.direction == Direction::Ingress => assert_acts_on_arrivals(&lab, row),
            "cgroup" => assert_acts_on_a_cgroup(&lab, row),
            _ => assert_acts(&lab, row),
        }
    }
    need::measured(&format!("{} of {} faults act", supported.len(), rows.len()));
}

#[test]
fn what_is_not_supported_is_refused_and_nothing_is_attached() {
    let Some(lab) = Lab::alone() else { return };
    let rows: Vec<Row> = check(&lab.chaos)["faults"].as_array().expect("faults").iter().map(Row::read).collect();
    let unsupported: Vec<&Row> = rows.iter().filter(|row| !row.supported && row.variant != "cgroup").collect();
    if unsupported.is_empty() {
        need::absent("this kernel can do every fault, so nothing is refused");
        return;
    }
    // The first run may make what stays for good.
    lab.chaos.run_to_end(&lab.experiment().duration("100ms").fault(&Direction::Egress.fault("partition: true")), &[]);
    let before = Leftovers::now(&both(&lab));
    for row in unsupported {
        let what = row.name();
        let output = lab.chaos.run_to_end(&lab.experiment().duration("2s").fault(&row.spec()), &[]).expect_code(3);
        let field = row.action().split(':').next().expect("a name");
        assert!(output.text().contains(&format!("spec.faults[0].network.{field}")), "{what}: {}", output.text());
        let outcome = row.direction.send(&lab, row.family(), |flow| flow.count(COUNT));
        assert_eq!((outcome.lost(), outcome.duplicates, outcome.damaged), (0, 0, 0), "{what}");
        println!("{what}: refused");
    }
    before.assert_restored(&both(&lab));
}

/// The calls that can be hit are held to it where their effect is tested.
#[test]
fn a_call_that_cannot_be_hit_is_refused_and_nothing_is_attached() {
    let Some(lab) = Lab::alone() else { return };
    if !need::cgroup2() {
        return;
    }
    let check = check(&lab.chaos);
    let calls = check["calls"].as_array().expect("calls");
    let unsupported: Vec<&Value> = calls.iter().filter(|row| row["supported"] == false).collect();
    if unsupported.is_empty() {
        need::absent("this kernel can fail every call, so nothing is refused");
        return;
    }
    let slice = Cgroup::new("slice");
    let target = slice.child("target");
    let _resident = Sink::start(target.command(None, &[env!("CARGO_BIN_EXE_chaos-sink"), "0"]));
    let before = Leftovers::now(&[]);
    for call in &one_for_each_reason(&unsupported) {
        let fault = format!("syscall: {{ calls: [{call}], errno: EIO, match: {{ all: true }} }}");
        let experiment = Experiment::on(&format!("cgroup: {}", target.name())).duration("2s").fault(&fault);
        let output = lab.chaos.run_to_end(&experiment, &[]).expect_code(3);
        assert!(output.text().contains("spec.faults[0].syscall"), "{call}: {}", output.text());
    }
    before.assert_restored(&[]);
    println!("{} of {} calls cannot be hit: one for each reason was refused", unsupported.len(), calls.len());
}

/// What many calls lack is tried with one of them.
fn one_for_each_reason<'a>(rows: &[&'a Value]) -> BTreeSet<&'a str> {
    let reason = |row: &'a Value| {
        let (call, why) = (row["call"].as_str().expect("a name"), row["why"].as_str().expect("a reason"));
        (why.replace(call, "it"), call)
    };
    rows.iter().map(|row| reason(row)).collect::<BTreeMap<_, _>>().into_values().collect()
}

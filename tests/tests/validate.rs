//! Bad input: refused with exit code 2, with the place and the remedy, every problem at once, and nothing attached.

use chaos_tests::need;
use chaos_tests::product::experiment::SpecFile;
use chaos_tests::product::{Chaos, Experiment};

/// A spec on a target that need not exist: only `run` and `plan` look for it.
fn with(fault: &str) -> Experiment {
    Experiment::on_netns("web").fault(fault)
}

/// What `chaos validate` says of a file that it must refuse.
#[track_caller]
fn refusal(chaos: &Chaos, experiment: &Experiment) -> String {
    let file = experiment.write();
    chaos.command(&["validate", &file.path().to_string_lossy()]).expect_code(2).text()
}

fn chaos() -> Option<Chaos> {
    need::product().then(|| Chaos::find().expect("it was found a moment ago"))
}

#[test]
fn every_fault_of_the_format_is_valid() {
    let Some(chaos) = chaos() else { return };
    for action in [
        "loss: { percent: 1, correlation: 0 }",
        "loss: { gilbertElliott: { p: 1, r: 10, h: 0, k: 100 } }",
        "duplicate: { percent: 1, correlation: 0 }",
        "corrupt: { percent: 1, correlation: 0, mode: detected }",
        "latency: { delay: 50ms }, reorder: { percent: 25, correlation: 50, gap: 5 }",
        "latency: { delay: 100ms, jitter: 10ms, correlation: 25, distribution: normal, keepOrder: false, limit: 10000 }",
        "bandwidth: { rate: 10mbit, burst: 32kb, limit: 1000 }",
        "partition: true",
    ] {
        let file = with(&format!("network: {{ match: {{ all: true }}, {action} }}")).write();
        chaos.command(&["validate", &file.path().to_string_lossy()]).expect_code(0);
    }
    let file = with("network: { match: { protocol: tcp, ports: [5432] }, reset: { percent: 100 } }").write();
    chaos.command(&["validate", &file.path().to_string_lossy()]).expect_code(0);
}

#[test]
fn a_refusal_names_the_line_the_field_and_the_remedy() {
    let Some(chaos) = chaos() else { return };
    let experiment = with("network: { match: { all: true }, latency: { delay: 100 } }");
    let file = experiment.write();
    let path = file.path().to_string_lossy().into_owned();
    let text = chaos.command(&["validate", &path]).expect_code(2).text();
    let line = 1 + experiment.yaml().lines().position(|line| line.contains("delay: 100")).unwrap();
    assert!(text.contains(&format!("{path}:{line}")), "file and line {line}: {text}");
    assert!(text.contains(&format!("Experiment/{}", experiment.name())), "{text}");
    assert!(text.contains("spec.faults[0].network.latency.delay"), "{text}");
    assert!(text.contains("has no unit") && text.contains("100ms"), "{text}");
}

#[test]
fn a_misspelt_field_is_not_dropped() {
    let Some(chaos) = chaos() else { return };
    for (fault, wanted) in [
        ("network: { match: { all: true }, loss: { percnt: 2 } }", "percent"),
        ("network: { match: { al: true }, loss: { percent: 2 } }", "all"),
        ("network: { match: { all: true }, los: { percent: 2 } }", "loss"),
        ("network: { match: { port: [80] }, loss: { percent: 2 } }", "ports"),
    ] {
        let text = refusal(&chaos, &with(fault));
        assert!(text.contains("did you mean") && text.contains(wanted), "{fault}: {text}");
    }
}

#[test]
fn contradictions_and_impossible_values_are_refused() {
    let Some(chaos) = chaos() else { return };
    for (fault, wanted) in [
        ("network: { match: { all: true }, latency: { delay: 10ms, jitter: 20ms } }", "jitter"),
        ("network: { match: { all: true }, reorder: { percent: 25 } }", "reorder"),
        ("network: { match: { protocol: udp, connections: new }, partition: true }", "connections"),
        ("network: { match: { all: true }, loss: { percent: 101 } }", "percent"),
        ("network: { match: { all: true }, loss: { percent: -1 } }", "percent"),
        ("network: { match: {}, partition: true }", "match"),
        ("network: { partition: true }", "match"),
        ("network: { match: { all: true } }", "network"),
        ("network: { match: { peers: [ {} ] }, partition: true }", "peers"),
        ("network: { match: { peers: [ { cidr: 10.0.0.0/33 } ] }, partition: true }", "cidr"),
        ("network: { match: { ports: [\"90-80\"] }, partition: true }", "ports"),
        ("network: { match: { ports: [70000] }, partition: true }", "ports"),
        ("network: { match: { all: true }, bandwidth: { rate: fast } }", "rate"),
        ("when: { every: 0 }, network: { match: { all: true }, partition: true }", "every"),
    ] {
        let text = refusal(&chaos, &with(fault));
        assert!(text.contains(wanted), "{fault}: {text}");
    }
    let good = "network: { match: { all: true }, partition: true }";
    for (experiment, wanted) in [
        (with(good).duration("10ms"), "duration"),
        (with(good).duration("25h"), "duration"),
        (with(good).duration("soon"), "duration"),
        (with(good).setting("seed: -1"), "seed"),
        (with(good).setting("onUnsupported: perhaps"), "onUnsupported"),
        (with(&format!("name: x, {good}")).fault(&format!("name: x, {good}")), "name"),
    ] {
        let text = refusal(&chaos, &experiment);
        assert!(text.contains(wanted), "{}: {text}", experiment.yaml());
    }
}

#[test]
fn all_problems_are_told_at_once() {
    let Some(chaos) = chaos() else { return };
    let experiment = with("network: { match: { all: true }, loss: { percent: 200 } }")
        .fault("network: { match: { all: true }, latency: { delay: 100 } }")
        .duration("5");
    let text = refusal(&chaos, &experiment);
    for wanted in ["spec.duration", "faults[0]", "faults[1]"] {
        assert!(text.contains(wanted), "{wanted} is missing: {text}");
    }
}

#[test]
fn a_suspicious_spec_warns_and_is_valid() {
    let Some(chaos) = chaos() else { return };
    let fault = "network: { direction: ingress, match: { protocol: tcp, ports: [80] }, partition: true }";
    let file = with(fault).write();
    let text = chaos.command(&["validate", &file.path().to_string_lossy()]).expect_code(0).text();
    assert!(text.contains("localPorts"), "{text}");
}

#[test]
fn what_is_no_experiment_is_refused() {
    let Some(chaos) = chaos() else { return };
    for text in ["", "::: not yaml", "apiVersion: v1\nkind: Pod\nmetadata: { name: x }\n", "[1, 2]"] {
        let file = SpecFile::with("broken", text);
        chaos.command(&["validate", &file.path().to_string_lossy()]).expect_code(2);
    }
    chaos.command(&["validate", "/nonexistent.yaml"]).expect_code(2);
}

/// A word that no kernel knows is a typo for every verb: 2, with file, line and remedy.
#[test]
fn a_call_that_does_not_exist_is_refused_by_the_first_verb() {
    let Some(chaos) = chaos() else { return };
    let experiment = with("syscall: { calls: [fsnyc], errno: EIO, match: { all: true } }");
    let file = experiment.write();
    let path = file.path().to_string_lossy().into_owned();
    let line = 1 + experiment.yaml().lines().position(|line| line.contains("fsnyc")).unwrap();
    let mut said = Vec::new();
    for verb in ["validate", "plan", "run"] {
        let output = chaos.command(&[verb, &path]).expect_code(2);
        assert!(output.text().contains(&format!("{path}:{line}")), "{verb}: {}", output.text());
        assert!(output.text().contains("spec.faults[0].syscall.calls[0]"), "{verb}: {}", output.text());
        assert!(output.text().contains("did you mean fsync?"), "{verb}: {}", output.text());
        said.push(output.stderr);
    }
    assert!(said.iter().all(|one| *one == said[0]), "the same answer: {said:?}");
}

#[test]
fn programs_read_one_object_for_each_experiment() {
    let Some(chaos) = chaos() else { return };
    let good = with("network: { direction: ingress, match: { protocol: tcp, ports: [80] }, partition: true }").write();
    let bad = with("network: { match: { all: true }, delay: 10ms }").write();
    let paths = [good.path().to_string_lossy().into_owned(), bad.path().to_string_lossy().into_owned()];
    let objects = |words: &[&str], code| -> Vec<serde_json::Value> {
        let output = chaos.command(words).expect_code(code);
        let read = serde_json::Deserializer::from_str(&output.stdout).into_iter();
        read.map(|one| one.unwrap_or_else(|error| panic!("{error}: {}", output.text()))).collect()
    };
    let both = objects(&["validate", "-o", "json", "-f", &paths[0], "-f", &paths[1]], 2);
    assert_eq!(both.len(), 2, "{both:?}");
    assert!(both[0]["valid"] == true && both[0]["warnings"][0].to_string().contains("localPorts"), "{}", both[0]);
    assert!(both[1]["valid"] == false && both[1]["problems"][0].to_string().contains("delay: 10ms"), "{}", both[1]);
    assert_eq!(objects(&["validate", "-o", "json", &paths[0]], 0), both[..1], "one has the shape of the first of two");
}

//! The two documents that define the format, and the samples.

use super::file;
use crate::{Direction, Experiment, parse, require_local, require_pods, schema};

fn only(name: &str) -> (Experiment, Vec<String>) {
    let parsed = parse(name, &file(name)).unwrap_or_else(|problems| panic!("{name}: {problems:#?}"));
    let [parsed] = <[_; 1]>::try_from(parsed).expect("one document");
    (parsed.experiment, parsed.warnings)
}

/// Compares with the golden file, or writes it where CHAOS_UPDATE_GOLDEN is set.
fn assert_golden(name: &str, text: &str) {
    if std::env::var_os("CHAOS_UPDATE_GOLDEN").is_some() {
        std::fs::write(format!("{}/../../{name}", env!("CARGO_MANIFEST_DIR")), text).expect("golden file is written");
    }
    let golden = file(name);
    let differs = text.lines().zip(golden.lines()).find(|(new, old)| new != old);
    assert!(text == golden, "{name} differs, first here: {differs:?}; CHAOS_UPDATE_GOLDEN=1 writes it anew");
}

#[test]
fn golden_documents() {
    for name in ["checkout-slow-db", "every-fault"] {
        let (experiment, warnings) = only(&format!("tests/golden/{name}.yaml"));
        assert_eq!(warnings, Vec::<String>::new());
        let json = serde_json::to_string_pretty(&experiment).expect("JSON") + "\n";
        assert_golden(&format!("tests/golden/{name}.json"), &json);
        let again: Experiment = serde_json::from_str(&json).expect("its own JSON");
        assert_eq!(again, experiment);
        let yaml = yaml_serde::to_string(&experiment).expect("YAML");
        let [parsed] = <[_; 1]>::try_from(parse("again", &yaml).expect("its own YAML")).expect("one document");
        assert_eq!(parsed.experiment, experiment);
    }
}

#[test]
fn a_typed_experiment_is_checked_like_a_file() {
    let (mut experiment, _) = only("tests/golden/checkout-slow-db.yaml");
    experiment = Experiment::new("of-a-resource", Some("shop".to_owned()), experiment.spec);
    assert_eq!(experiment.check().expect("JSON").errors, []);
    experiment.spec.duration = crate::value::Duration::from_millis(1);
    let latency = experiment.spec.faults[0].network.as_mut().and_then(|network| network.latency.as_mut());
    latency.expect("a latency").jitter = Some("1s".parse().expect("valid"));
    let found: Vec<String> = experiment.check().expect("JSON").errors.iter().map(ToString::to_string).collect();
    let expected = [
        "spec.duration: 1ms is out of range; write 100ms to 24h",
        "spec.faults[0].network.latency.jitter: 1s is more than the delay; write at most 100ms, or a longer delay",
    ];
    assert_eq!(found, expected);
}

#[test]
fn golden_schema() {
    let name = "tests/golden/schema.json";
    if std::env::var_os("CHAOS_UPDATE_GOLDEN").is_some() {
        assert_golden(name, &(serde_json::to_string_pretty(&schema()).expect("JSON") + "\n"));
    }
    // As values: the order of the keys depends on a feature of serde_json that any dependency may switch on.
    let golden: serde_json::Value = serde_json::from_str(&file(name)).expect("JSON");
    assert!(schema() == golden, "{name} differs; CHAOS_UPDATE_GOLDEN=1 writes it anew");
}

#[test]
fn local_and_pods_are_told_apart() {
    let (of_cluster, _) = only("tests/golden/checkout-slow-db.yaml");
    let (of_machine, _) = only("tests/golden/every-fault.yaml");
    assert_eq!(require_pods(&of_cluster), Ok(()));
    assert_eq!(require_local(&of_machine), Ok(()));
    let refused = require_local(&of_cluster).expect_err("pods need a cluster").to_string();
    assert!(refused.starts_with("spec.selector.pods: ") && refused.contains("kubectl chaos run"), "{refused}");
    let refused = require_pods(&of_machine).expect_err("a cluster takes no local").to_string();
    assert!(refused.starts_with("spec.selector.local: ") && refused.contains("chaos run"), "{refused}");
}

#[test]
fn a_later_step_can_name_the_line() {
    let parsed = parse("f.yaml", &file("tests/golden/every-fault.yaml")).expect("golden");
    let path = crate::Path::root().field("spec.selector.local").index(1).field("netns");
    let problem = parsed[0].problem(crate::Finding::new(path, "no network namespace is called \"web\""));
    let expected =
        "f.yaml:9 (Experiment/every-fault): spec.selector.local[1].netns: no network namespace is called \"web\"";
    assert_eq!(problem.to_string(), expected);
}

#[test]
fn samples() {
    let names =
        ["latency", "loss", "gilbert-elliott", "duplicate", "corrupt", "reorder", "bandwidth", "partition", "reset"];
    for name in names {
        let (experiment, warnings) = only(&format!("manifests/samples/{name}.yaml"));
        assert_eq!((experiment.metadata.name.as_str(), warnings.len()), (name, 0));
        assert_eq!(require_local(&experiment), Ok(()));
        let network = experiment.spec.faults[0].network.as_ref().expect("a network fault");
        assert_ne!(network.direction, Direction::Both);
    }
    for folder in ["manifests/samples", "manifests/samples/kubernetes"] {
        let path = format!("{}/../../{folder}", env!("CARGO_MANIFEST_DIR"));
        for entry in std::fs::read_dir(path).expect("samples") {
            let name = entry.expect("entry").file_name().into_string().expect("UTF-8");
            // A quota is the API server's to read.
            if name.ends_with(".yaml") && name != "quota.yaml" {
                let text = file(&format!("{folder}/{name}"));
                assert!(parse(&name, &text).is_ok(), "{name}: {:#?}", parse(&name, &text).err());
            }
        }
    }
}

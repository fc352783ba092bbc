//! Messages about the text itself.

use super::problems;
use crate::parse;

const GOOD: &str = "apiVersion: chaos-ebpf.dev/v1alpha1
kind: Experiment
metadata: { name: t }
spec:
  duration: 30s
  selector: { local: [ { netns: web } ] }
  faults:
    - network:
        match: { all: true }
        loss: { percent: 1 }
";

#[track_caller]
fn assert_problems(from: &str, to: &str, expected: &[&str]) {
    assert!(GOOD.contains(from), "{from}");
    assert_eq!(problems(&GOOD.replacen(from, to, 1)), expected);
}

#[test]
fn the_contract_of_an_error() {
    let text = GOOD.replace("loss: { percent: 1 }", "latency: { delay: \"100\" }").replace("name: t", "name: name");
    let problems = parse("FILE", &text).expect_err("no unit");
    let shown: Vec<String> = problems.iter().map(ToString::to_string).collect();
    let expected =
        "FILE:10 (Experiment/name): spec.faults[0].network.latency.delay: \"100\" has no unit; write \"100ms\"";
    assert_eq!(shown, [expected]);
    let text = text.replace("\"100\"", "100");
    assert_eq!(parse("FILE", &text).expect_err("no unit")[0].to_string(), expected);
}

#[test]
fn all_problems_at_once() {
    let text = "apiVersion: chaos-ebpf.dev/v1
kind: Experimnt
metadata: { name: Shop }
spec:
  durations: 30s
  seed: -1
  selector: {}
  faults:
    - network:
        direction: egres
        match: {}
        latncy: { delay: 1s }
      when: { per: peer }
    - syscall: { calls: [openat], match: { all: true } }
";
    let expected = [
        "1 apiVersion: \"chaos-ebpf.dev/v1\" is not possible here; write chaos-ebpf.dev/v1alpha1",
        "2 kind: \"Experimnt\" is not possible here; write Experiment",
        "3 metadata.name: \"Shop\" is not possible here; use lower-case letters, digits, '-' and '.', with a letter or digit at both ends of each part",
        "4 spec.duration: is missing; add it: how long the faults act, from the first injection on; it runs on while paused. 100ms to 24h, enforced in the kernel",
        "5 spec.durations: unknown field; did you mean duration?",
        "6 spec.seed: -1 is out of range; write 0 to 9007199254740992",
        "7 spec.selector: selects nobody; add pods (in a cluster) or local (on this machine)",
        "10 spec.faults[0].network.direction: \"egres\" is not possible here; did you mean egress? (one of egress, ingress, both)",
        "11 spec.faults[0].network.match: selects by nothing; add peers, protocol, ports, localPorts, connections or interfaces, or write all: true for all packets",
        "12 spec.faults[0].network.latncy: unknown field; did you mean latency?",
        "13 spec.faults[0].when.per: per: peer needs percent beside it; add percent: 10, or remove per",
        "14 spec.faults[1].syscall: does nothing to the calls; add errno, latency or both",
    ];
    assert_eq!(problems(text), expected);
}

#[test]
fn what_yaml_allows_and_we_do_not() {
    assert_problems(
        "kind: Experiment\n",
        "kind: Experiment\nkind: Experiment\n",
        &["3 kind: the key is given twice; remove one of them"],
    );
    assert_problems(
        "{ percent: 1 }",
        "{ percent: 1, percent: 2 }",
        &["10 spec.faults[0].network.loss.percent: the key is given twice; remove one of them"],
    );
    assert_problems(
        "30s",
        "!!str 30s",
        &["5 spec.duration: tags (!name) are not read; write a string in quotes instead"],
    );
}

#[test]
fn anchors_aliases_and_merges_are_written_out() {
    let lossy = "{ match: &m { protocol: tcp, ports: [80] }, loss: &l { percent: 1, correlation: 5 } }";
    let merged = "{ match: *m, loss: { <<: *l, percent: 2 } }";
    let many = "{ match: { ports: [81], <<: [*m, { protocol: udp, localPorts: [9] }] }, loss: *l }";
    let head = GOOD.split("    - network").next().expect("a head");
    let text = format!("{head}    - network: {lossy}\n    - network: {merged}\n    - network: {many}\n");
    let read = serde_json::to_value(&parse("f", &text).expect("anchors")[0].experiment).expect("JSON");
    let network = |index: usize| read["spec"]["faults"][index]["network"].clone();
    assert_eq!(network(1)["match"], network(0)["match"]);
    assert_eq!(network(1)["loss"], serde_json::json!({ "percent": 2, "correlation": 5 }));
    let expected = serde_json::json!({ "protocol": "tcp", "ports": [81], "localPorts": [9] });
    assert_eq!(network(2)["match"], expected);
}

/// Of one that is refused: what is said, within a bound of time that a slow machine keeps.
fn refused(text: &str) -> String {
    let begin = std::time::Instant::now();
    let said = problems(text).last().cloned().unwrap_or_default();
    assert!(begin.elapsed() < std::time::Duration::from_secs(20), "{:?}", begin.elapsed());
    said
}

#[test]
fn what_would_grow_is_refused() {
    let mut laughs = String::from("a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol, lol]\n");
    for level in 1..10 {
        let below = vec![format!("*a{}", level - 1); 10].join(", ");
        laughs += &format!("a{level}: &a{level} [{below}]\n");
    }
    assert!(refused(&laughs).contains("the file is too large"), "{}", refused(&laughs));
    let long = "x".repeat(100_000);
    let texts = format!("a: &a {long}\nb: [{}]\n", vec!["*a"; 1000].join(", "));
    assert!(refused(&texts).contains("the file is too large"));
    assert!(refused("a: &a [*a]\n").contains("within what it names"));
    let merged = problems("a: &a 1\nb: { <<: *a }\n");
    assert!(merged.iter().any(|line| line.contains("<< merges mappings")), "{merged:?}");
    let ones = vec!["1"; 400_000].join(",");
    assert!(refused(&format!("? \"{}\"\n: [{ones}]\n", "k".repeat(400_000))).contains("a key is longer than 256"));
    assert!(refused(&format!("a: [{ones}]\n")).contains("the file is too large"));
    let key = "k".repeat(250);
    let nested = format!("{}[{ones}]{}", format!("{{ {key}: ").repeat(30), "}".repeat(30));
    assert!(refused(&nested).contains("the file is too large"));
}

/// What one document may grow to, many may not each.
#[test]
fn many_documents_grow_no_further_than_one() {
    let ones = vec!["1"; 1000].join(",");
    let document = format!("---\na: &a [{ones}]\nb: [{}]\n", ["*a"; 20].join(", "));
    assert!(!problems(&document).iter().any(|line| line.contains("too large")));
    assert!(refused(&document.repeat(20)).contains("the file is too large"));
}

#[test]
fn what_is_no_yaml() {
    assert_eq!(problems(""), ["1 holds no experiment; see the samples"]);
    assert_eq!(problems("---\n---\n# nothing\n"), ["1 holds no experiment; see the samples"]);
    let broken = problems("kind: Experiment\nspec: [\n");
    assert!(broken.len() == 1 && broken[0].contains("this is no YAML"), "{broken:?}");
    let tab = problems("kind: Experiment\nspec:\n\tduration: 1s\n");
    assert!(tab.len() == 1 && tab[0].starts_with("3 this is no YAML"), "{tab:?}");
    let deep = problems(&"[".repeat(100));
    assert!(deep.len() == 1 && deep[0].ends_with("nested too deeply"), "{deep:?}");
    assert_eq!(problems(&"[".repeat(100_000)).len(), 1);
    assert_eq!(problems(&"- ".repeat(100_000)).len(), 1);
    let long = problems(&"a".repeat(2_000_000));
    assert!(long.len() == 1 && long[0].contains("at most 1500000 are read"), "{long:?}");
    assert_eq!(problems("just a word"), ["1 needs fields below it, not the string \"just a word\""]);
    assert_eq!(problems("{ [1, 2]: 3 }"), ["1 a key must be a plain word"]);
}

#[test]
fn several_documents() {
    let second = GOOD.replace("name: t", "name: u").replace("percent: 1", "percent: 101");
    let text = format!("{GOOD}---\n{second}---\n");
    assert_eq!(problems(&text), ["21 spec.faults[0].network.loss.percent: 101 is out of range; write 0 to 100"]);
    let both = parse("f", &text.replace("percent: 101", "percent: 100")).expect("valid");
    let names: Vec<&str> = both.iter().map(|parsed| parsed.experiment.metadata.name.as_str()).collect();
    assert_eq!(names, ["t", "u"]);
    let same = problems(&format!("{GOOD}---\n{GOOD}"));
    assert_eq!(same, ["14 metadata.name: \"t\" is the name of the experiment at line 3 already; give each its own"]);
    // What stands before a text that breaks is still checked.
    let broken = problems(&format!("{}---\nkind: [", GOOD.replace("percent: 1", "percent: -1")));
    assert_eq!(broken.len(), 2, "{broken:?}");
}

#[test]
fn scalars_and_types() {
    let duration = |bad: &str, expected: &str| assert_problems("30s", bad, &[&format!("5 spec.duration: {expected}")]);
    duration("~", "has no value; give it one or remove it");
    duration("", "has no value; give it one or remove it");
    duration("[1s]", "needs a string, not a list");
    duration("yes", "\"yes\" is not a duration; write for example \"100ms\" or \"2m30s\"");
    duration("true", "needs a string, not true; put it in quotes");
    duration("'3 days'", "\"3 days\" has the unknown unit \"days\"; use ns, us, ms, s, m or h");
    duration("-5s", "\"-5s\" is negative; write for example \"100ms\"");
    assert_problems(
        "web",
        "1e3",
        &["6 spec.selector.local[0].netns: needs a string, not the number 1000.0; put it in quotes"],
    );
    assert_problems(
        "percent: 1 ",
        "percent: '1' ",
        &["10 spec.faults[0].network.loss.percent: needs a number, not the string \"1\"; write 1"],
    );
    assert_problems(
        "percent: 1 ",
        "percent: .inf ",
        &["10 spec.faults[0].network.loss.percent: needs a number, not the string \".inf\""],
    );
    assert_problems(
        "{ all: true }",
        "{ all: yes }",
        &["9 spec.faults[0].network.match.all: needs true or false, not the string \"yes\"; write true"],
    );
    assert_problems(
        "30s\n",
        "30s\n  seed: 9007199254740993\n",
        &["6 spec.seed: 9007199254740993 is out of range; write 0 to 9007199254740992"],
    );
    let quoted = GOOD.replace("percent: 1 ", "percent: 0.1 ").replace("30s", "\"30s\"");
    assert_eq!(problems(&quoted), [""; 0]);
}

//! What a new fault consists of.

use anyhow::{Result, ensure};

/// A fault's name in its spellings.
pub struct Name {
    words: Vec<String>,
}

/// Cannot be modules.
const KEYWORDS: [&str; 22] = [
    "as", "async", "box", "break", "const", "continue", "crate", "do", "dyn", "else", "enum", "extern", "final", "fn",
    "for", "if", "impl", "in", "loop", "match", "mod", "move",
];

impl Name {
    /// `drop-syn`: lower-case words joined by hyphens.
    pub fn parse(text: &str) -> Result<Self> {
        let words: Vec<String> = text.split('-').map(str::to_owned).collect();
        let is_word = |word: &String| {
            word.starts_with(|first: char| first.is_ascii_lowercase())
                && word.chars().all(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit())
        };
        ensure!(words.iter().all(is_word), "{text:?} is no name for a fault; write words as in drop-syn");
        ensure!(!KEYWORDS.contains(&text), "{text} is a word of Rust; choose another name");
        Ok(Self { words })
    }

    /// `drop_syn`
    pub fn module(&self) -> String {
        self.words.join("_")
    }

    /// `dropSyn`
    pub fn yaml(&self) -> String {
        let (first, rest) = self.words.split_at(1);
        first.concat() + &rest.iter().map(|word| capital(word)).collect::<String>()
    }

    /// `DropSyn`
    pub fn type_name(&self) -> String {
        self.words.iter().map(|word| capital(word)).collect()
    }

    /// `ACTION_DROP_SYN`
    fn action(&self) -> String {
        format!("ACTION_{}", self.module().to_uppercase())
    }

    /// `drop-syn`
    pub fn sample(&self) -> String {
        self.words.join("-")
    }

    fn fill(&self, template: &str) -> String {
        template
            .replace("{module}", &self.module())
            .replace("{yaml}", &self.yaml())
            .replace("{Type}", &self.type_name())
            .replace("{ACTION}", &self.action())
            .replace("{sample}", &self.sample())
    }
}

fn capital(word: &str) -> String {
    word[..1].to_uppercase() + &word[1..]
}

/// Lines for a registry, before a marked line.
pub struct Registration {
    /// The word after `// new-fault: `.
    pub marker: String,
    /// The lines.
    pub lines: String,
}

/// Every place that must know the fault.
pub fn registrations(name: &Name, number: u32) -> Vec<(&'static str, Registration)> {
    let number = number.to_string();
    let entries = [
        ("chaos-ebpf/abi/src/rule.rs", "action", "/// {Type}.\npub const {ACTION}: u32 = {number};"),
        ("chaos-ebpf/src/lib.rs", "module", "#[cfg(target_arch = \"bpf\")]\npub mod {module};"),
        (
            "chaos-ebpf/src/rule.rs",
            "action",
            "chaos_abi::{ACTION} => crate::{module}::act(skb, rule, counters, scratch),",
        ),
        ("chaos-user/spec/src/faults/mod.rs", "module", "pub mod {module};"),
        (
            "chaos-user/spec/src/faults/mod.rs",
            "compile",
            "if let Some({module}) = &network.{module} {\n    return Some({module}::compile({module}));\n}",
        ),
        ("chaos-user/spec/src/faults/mod.rs", "order", "chaos_abi::{ACTION},"),
        (
            "chaos-user/spec/src/network.rs",
            "field",
            "/// {Type}.\n#[serde(default, skip_serializing_if = \"Option::is_none\")]\npub {module}: Option<super::{Type}>,",
        ),
        ("chaos-user/spec/src/action.rs", "type", TYPE),
        ("chaos-user/spec/src/lib.rs", "type", "pub use action::{Type};"),
        ("chaos-user/spec/src/rules/action.rs", "name", "\"{yaml}\","),
        (CASE, "kind", "/// What `judge` asks of it.\n{Type},"),
        (CASE, "name", "Self::{Type} => (\"{yaml}\", None),"),
        (CASE, "value", "Self::{Type} => (\"{yaml}\", always),"),
        (CASE, "case", "(Kind::{Type}, 0),"),
        ("chaos-user/engine/src/check/judge.rs", "proof", "Kind::{Type} => arrived == 0,"),
    ];
    let fill = |(path, marker, lines): (&'static str, &str, &str)| {
        let lines = name.fill(&lines.replace("{number}", &number));
        (path, Registration { marker: marker.to_owned(), lines })
    };
    entries.into_iter().map(fill).collect()
}

const CASE: &str = "chaos-user/engine/src/check/case.rs";

/// The files that are new.
pub fn files(name: &Name) -> Vec<(String, String)> {
    let paths = [
        ("chaos-ebpf/src/{module}.rs", KERNEL_HALF),
        ("chaos-user/spec/src/faults/{module}.rs", USER_HALF),
        ("manifests/samples/{sample}.yaml", SAMPLE),
        ("manifests/samples/kubernetes/{sample}.yaml", CLUSTER_SAMPLE),
        ("docs/src/faults/{sample}.md", PAGE),
        ("tests/tests/{module}.rs", TEST),
    ];
    paths.map(|(path, content)| (name.fill(path), name.fill(content))).into()
}

const TYPE: &str = "\
/// {Type}: say here what it does to a packet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = \"camelCase\")]
pub struct {Type} {
    /// Share of the packets that are hit, 0 to 100.
    pub percent: Percent,
}
";

const KERNEL_HALF: &str = "\
//! {Type}: what it does to a packet. So far it drops it.

use crate::{rule::DROP, skb::Skb, walk::Scratch};
use chaos_abi::{Counters, Rule};

/// Acts on a packet that was hit: [`DROP`] drops it without a word, [`crate::rule::ON`] lets it go on to the next fault. What was done is
/// counted here.
#[inline(always)]
pub fn act(skb: Skb, _rule: &Rule, counters: &mut Counters, _scratch: &mut Scratch) -> u32 {
    let packets = skb.packets();
    counters.injected += packets;
    counters.bytes += u64::from(skb.len());
    counters.lost += packets;
    DROP
}
";

const USER_HALF: &str = "\
//! {Type}: its parameters as the kernel takes them.

use super::Compiled;
use crate::{Type};
use chaos_abi::{{ACTION}, Dice};

/// `percent` of the matched packets.
#[must_use]
pub fn compile({module}: &{Type}) -> Compiled {
    let args = Dice { percent: {module}.percent.scaled(), correlation: 0 }.encode();
    Compiled { name: \"{yaml}\", action: {ACTION}, args, queue: None }
}
";

const SAMPLE: &str = "\
# Say here what happens to the target.
apiVersion: chaos-ebpf.dev/v1alpha1
kind: Experiment
metadata: { name: {sample} }
spec:
  duration: 1m
  selector:
    local: [ { netns: web } ]
  faults:
    - name: first
      network:
        match: { all: true }
        {yaml}: { percent: 1 }
";

const CLUSTER_SAMPLE: &str = "\
# Say here what happens to the pods.
apiVersion: chaos-ebpf.dev/v1alpha1
kind: Experiment
metadata: { name: {sample}, namespace: default }
spec:
  duration: 30s
  selector:
    pods:
      labelSelector: { matchLabels: { app: web } }
  faults:
    - name: first
      network:
        match: { all: true }
        {yaml}: { percent: 1 }
";

const PAGE: &str = "\
# {Type}

Say here what the fault does to a packet.

## In the kernel

Say here what the program does.

## Parameters

| field | unit and range | default |
|---|---|---|
| `{yaml}.percent` | percent, 0 to 100, fractions possible | required |

The [common fields](common.md) apply.
";

const TEST: &str = "\
//! {Type}, seen from outside.

use chaos_tests::lab::Lab;
use chaos_tests::scene::Direction;

#[test]
fn every_packet_is_hit_and_dropped() {
    let Some(lab) = Lab::open() else { return };
    for direction in Direction::BOTH {
        let play = direction.play(&lab, \"{yaml}: { percent: 100 }\", |flow| flow.count(500));
        for outcome in &play.outcomes {
            assert_eq!(outcome.received(), 0, \"{direction}\");
        }
        play.assert_counts(1_000);
    }
}
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings() {
        let name = Name::parse("drop-syn").unwrap();
        assert_eq!(
            (name.module(), name.yaml(), name.type_name()),
            ("drop_syn".into(), "dropSyn".into(), "DropSyn".into())
        );
        assert_eq!((name.action(), name.sample()), ("ACTION_DROP_SYN".into(), "drop-syn".into()));
        for bad in ["", "Drop", "drop_syn", "-x", "x-", "1x", "loop", "../x"] {
            assert!(Name::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn nothing_is_left_to_fill() {
        let name = Name::parse("drop-syn").unwrap();
        for (path, content) in files(&name) {
            // In the test, {direction} belongs to a format string.
            let content = content.replace("{direction}", "");
            assert!(
                !["{module}", "{yaml}", "{Type}", "{ACTION}", "{sample}"].iter().any(|hole| content.contains(hole))
            );
            assert!(!path.contains('{'));
        }
    }
}

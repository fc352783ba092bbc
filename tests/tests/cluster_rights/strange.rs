//! Objects that nobody would write, as far as the API server takes them: whoever wrote them, everybody else is still served.

use std::time::Duration;

use chaos_tests::{
    cluster::{Asked, Scene, Shop},
    need,
};
use serde_json::{Value, json};

use super::strange_nodes::{plugin, stand};

/// The same each time; another number is another test.
pub(super) const SEED: u64 = 4711;
const OBJECTS: usize = 160;

/// Words and numbers where others are expected.
pub(super) const TEXTS: &[&str] = &[
    "",
    " ",
    "0",
    "-1",
    "1e999",
    "0s",
    "1ns",
    "24h",
    "999999999h",
    "1h1h",
    "10.0.0.7/8",
    "10.0.0.0/33",
    "::/129",
    "::ffff:10.0.0.1/128",
    "fe80::1/64",
    "0.0.0.0/0",
    "a..b",
    "*.com",
    "*",
    "9-1",
    "99999",
    "80",
    "1-65535",
    "ENOPE",
    "EAGAIN",
    "512",
    ".bit",
    "1bit",
    "99tbit",
    "100%",
    "-5%",
    "1e-300",
    "NaN",
    "../../etc",
    "/a/../b",
    "\u{202e}x",
    "\u{0}",
    "\u{1f980}",
    "{{x}}",
    "tcp",
    "connect",
    "true",
];

pub(super) struct Dice(pub(super) u64);

impl Dice {
    /// Below `most` (Knuth's linear congruential generator; its upper bits).
    pub(super) fn below(&mut self, most: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % most
    }

    /// Another value of the same kind most of the time: others are refused by the schema.
    fn value(&mut self, before: &Value) -> Value {
        let kind = if self.below(8) == 0 { self.below(3) } else { 3 };
        match (kind, before) {
            (0, _) | (3, Value::Number(_)) => [0, -1, 1, 2, 50, 65_536, i64::MAX, i64::MIN][self.below(8)].into(),
            (1, _) | (3, Value::Bool(_)) => (self.below(2) == 0).into(),
            (3, Value::String(text)) if self.below(3) > 0 => self.misspelt(text).into(),
            _ => {
                let text = TEXTS[self.below(TEXTS.len())];
                if self.below(8) == 0 { text.repeat(253).into() } else { text.into() }
            }
        }
    }

    /// With a character more, or another one.
    fn misspelt(&mut self, text: &str) -> String {
        const LETTERS: &[u8] = b"0123456789.:/-*%amsEx_";
        let mut letters: Vec<char> = text.chars().collect();
        let letter = char::from(LETTERS[self.below(LETTERS.len())]);
        match (self.below(letters.len() + 1), self.below(2)) {
            (at, 0) if at < letters.len() => letters[at] = letter,
            (at, _) => letters.insert(at, letter),
        }
        letters.into_iter().collect()
    }
}

/// The places of all that is no object and no list.
fn leaves(value: &Value, at: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(map) => map.iter().for_each(|(key, one)| leaves(one, &format!("{at}/{key}"), found)),
        Value::Array(all) => {
            all.iter().enumerate().for_each(|(index, one)| leaves(one, &format!("{at}/{index}"), found))
        }
        _ => found.push(at.to_owned()),
    }
}

/// With one or two of its values replaced, and seldom a field that nobody has.
pub(super) fn mutated(base: &Value, dice: &mut Dice) -> Value {
    let (mut spec, mut places) = (base.clone(), Vec::new());
    leaves(&spec, "", &mut places);
    for _ in 0..=dice.below(2) {
        let place = &places[dice.below(places.len())];
        if let Some(one) = spec.pointer_mut(place) {
            *one = dice.value(&one.clone());
        }
    }
    if dice.below(20) == 0 {
        spec["later"] = dice.value(&Value::Null);
    }
    spec
}

fn faults() -> Vec<Value> {
    let peers = json!([{ "cidr": "203.0.113.0/24" }, { "cidr": "2001:db8::/32" }]);
    let network = |key: &str, action: Value| {
        let matches =
            json!({ "protocol": "tcp", "ports": ["80", "90-99"], "peers": peers, "except": [{ "ports": ["81"] }] });
        json!({ "name": "f", "network": { "direction": "both", "match": matches, key: action } })
    };
    vec![
        network("partition", json!(true)),
        network("loss", json!({ "percent": 1.5 })),
        network("latency", json!({ "delay": "10ms", "jitter": "1ms" })),
        network("bandwidth", json!({ "rate": "1mbit" })),
        network("corrupt", json!({ "percent": 1.5 })),
        json!({ "syscall": { "calls": ["connect"], "match": { "comm": "sh", "peers": peers }, "errno": "EAGAIN" } }),
        json!({ "syscall": { "calls": ["openat"], "match": { "paths": ["/etc/**"] }, "latency": { "delay": "100us" } } }),
    ]
}

fn object(kind: &str, namespace: &str, number: usize, spec: &Value) -> Value {
    let name = format!("strange-{}-{number}", kind.to_lowercase());
    json!({
        "apiVersion": "chaos-ebpf.dev/v1alpha1", "kind": kind, "metadata": { "name": name, "namespace": namespace }, "spec": spec,
    })
}

/// Of the kinds that tell others what to do. Orders are written as the controller would write them.
fn objects(namespace: &str) -> Vec<Value> {
    let (mut dice, faults) = (Dice(SEED), faults());
    let one = |number: usize| {
        let fault = &faults[number % faults.len()];
        let pods = json!({ "labelSelector": { "matchLabels": { "app": "prey" } }, "percent": 50 });
        let (kind, spec) = match number % 4 {
            0 => {
                let targets = json!([{ "namespace": namespace, "name": "prey", "uid": "0" }]);
                let follow = json!({ "namespaces": [namespace], "labels": [{ "matchLabels": { "app": "prey" } }] });
                let spec = json!({
                    "nodeName": "node1", "experiment": format!("none-{number}"), "remaining": "10s", "seed": 1, "start": true, "faults": [fault],
                    "targets": targets, "follow": follow, "peerSets": [{ "fault": 0, "sets": ["strange-peerset-1"] }],
                });
                ("Injection", spec)
            }
            1 => ("PeerSet", json!({ "addresses": [{ "cidr": "203.0.113.7/32", "port": 80 }, { "cidr": "::1/128" }] })),
            _ => {
                let spec = json!({
                    "duration": "20s", "seed": 1, "startDeadline": "5s", "ttlSecondsAfterFinished": 600, "onUnsupported": "skip",
                    "selector": { "pods": pods }, "faults": [fault],
                });
                ("Experiment", spec)
            }
        };
        object(kind, namespace, number, &mutated(&spec, &mut dice))
    };
    (0..OBJECTS).map(one).collect()
}

#[test]
fn strange_objects_harm_themselves_alone() {
    let Some(shop) = Shop::open() else { return };
    let cluster = &shop.scene.cluster;
    let scene = Scene::new(cluster);
    scene.start(&[scene.pod("prey", "prey", "node1")]);
    let restarts = || -> u64 {
        let pods = cluster.list("pods -n chaos-system");
        pods.iter().filter_map(|pod| pod["status"]["containerStatuses"][0]["restartCount"].as_u64()).sum()
    };
    let before = restarts();
    let list = json!({ "apiVersion": "v1", "kind": "List", "items": objects(&scene.namespace) });
    let controller = "--as=system:serviceaccount:chaos-system:chaos-controller";
    // Some are refused; what is taken is what this is about. The controller may make no Experiments, and nobody else makes orders.
    for words in
        [&["create", "--validate=false", "-f", "-"][..], &[controller, "create", "--validate=false", "-f", "-"]]
    {
        let _refused = cluster.ask(words, &list.to_string());
    }
    let count = |kind: &str| cluster.list(&format!("{kind} -n {}", scene.namespace)).len();
    let taken = ["experiments", "injections", "peersets"].map(count);
    need::measured(&format!(
        "of {OBJECTS} strange objects of seed {SEED} these were taken: {taken:?} experiments, injections, sets of peers"
    ));
    assert!(taken.iter().all(|taken| *taken > 0), "{taken:?}");
    let ghosts = stand(cluster);
    need::measured(&format!("and of {} nodes that are not there, what their agents say", ghosts.taken));
    assert!(ghosts.taken > 0);
    // Everybody else is served: by both nodes, by a controller that lists all anew, and by the plugin.
    let served = |name: &str| {
        let cut = Asked::apply(&shop.scene, name, 120, "web", &Shop::cut());
        cut.await_injected();
        shop.only_the_database_is_cut_off();
        let (code, said) = plugin(cluster, &["stop", name, "-n", &shop.scene.namespace]);
        assert_eq!(code, Some(0), "{said}");
        cut.delete();
        shop.web[0].wait_reaches(&shop.db.ip, true, Duration::from_secs(20));
    };
    served("beside-strange-ones");
    assert_eq!(restarts(), before, "something was started anew by its kubelet");
    cluster.kubectl("-n chaos-system rollout restart deployment/chaos-controller daemonset/chaos-agent");
    shop.install.await_ready();
    served("after-all-began-anew");
    for words in [&["list", "-A"][..], &["check"]] {
        let (code, said) = plugin(cluster, words);
        assert_eq!(code, Some(0), "{words:?}: {said}");
    }
    // Those of new pods count from nothing.
    assert!(restarts() <= before, "something was started anew by its kubelet");
    for kind in ["experiments", "injections", "peersets"] {
        cluster.kubectl(&format!("delete {kind} --all -n {}", scene.namespace));
    }
    assert!(shop.all_is_well());
}

//! The sample experiments that the demonstration runs, and by what it can tell that they worked.

use std::fs;
use std::path::Path;

use crate::net::{Family, Hosts};
use crate::scene::Direction;

use super::Phases;

/// A file of `manifests/samples`, made to fit the two hosts.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// The file's name without `.yaml`.
    pub name: &'static str,
    /// What is asked for, in words.
    pub asked: &'static str,
    /// Whether it holds packets back, which needs the fq qdisc.
    pub delays: bool,
    /// Which way the measured data flow, seen from the target.
    pub direction: Direction,
    /// What is put in place of what in the file, beside the target's name and the experiment's.
    changes: &'static [(&'static str, &'static str)],
    /// What must have been measured.
    pub worked: fn(&Phases) -> bool,
}

/// All of them, in the order in which they are shown.
pub const SAMPLES: [Sample; 5] = [
    Sample {
        name: "loss",
        asked: "2 % of all packets that the target sends are lost",
        delays: false,
        direction: Direction::Egress,
        changes: &[("percent: 1 ", "percent: 2 ")],
        worked: |phases| {
            (1.2..=2.8).contains(&phases.during.lost) && phases.before.lost == 0.0 && phases.after.lost == 0.0
        },
    },
    Sample {
        name: "partition",
        asked: "nothing that the target sends reaches its peer",
        delays: false,
        direction: Direction::Egress,
        changes: &[("{ host: db.example.com }", "{ cidr: PEER4/32 }, { cidr: \"PEER6/128\" }")],
        worked: |phases| phases.during.lost == 100.0 && phases.after.lost == 0.0 && phases.after.failed == 0.0,
    },
    Sample {
        name: "reset",
        asked: "10 % of the connections to port 5432 are reset",
        delays: false,
        direction: Direction::Egress,
        changes: &[],
        worked: |phases| (4.0..=17.0).contains(&phases.during.failed) && phases.after.failed == 0.0,
    },
    Sample {
        name: "latency",
        asked: "TCP to port 5432 leaves the target 100 ms late, give or take 10 ms",
        delays: true,
        direction: Direction::Egress,
        changes: &[],
        worked: |phases| {
            let during = phases.during.rtt_p50.unwrap_or_default();
            let after = phases.after.rtt_p50.unwrap_or(f64::MAX);
            (95.0..=125.0).contains(&during) && after < 50.0
        },
    },
    Sample {
        name: "bandwidth",
        asked: "the target receives 10 Mbit/s (frames; payload is about 5 % less)",
        delays: true,
        direction: Direction::Ingress,
        changes: &[],
        worked: |phases| (7.0..=10.2).contains(&phases.during.mbit.unwrap_or_default()),
    },
];

impl Sample {
    /// By its name.
    pub fn named(name: &str) -> Option<Self> {
        SAMPLES.into_iter().find(|sample| sample.name == name)
    }

    /// The experiment's name on this machine.
    pub fn experiment(&self) -> String {
        format!("demo-{}", self.name)
    }

    /// The experiment for two hosts, and what was put in place of what. An error where the file no longer has it.
    pub fn adapt(&self, hosts: &Hosts) -> Result<(String, Vec<String>), String> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../manifests/samples/{}.yaml", self.name));
        let mut text = fs::read_to_string(&path).map_err(|error| format!("read {}: {error}", path.display()))?;
        let name = (format!("name: {} }}", self.name), format!("name: {} }}", self.experiment()));
        let target = ("netns: web".to_owned(), format!("netns: {}", hosts.a.ns.name()));
        let peer = |text: &str| {
            let text = text.replace("PEER4", &hosts.b.ip(Family::V4).to_string());
            text.replace("PEER6", &hosts.b.ip(Family::V6).to_string())
        };
        let further = self.changes.iter().map(|(old, new)| ((*old).to_owned(), peer(new)));
        let mut said = Vec::new();
        for (old, new) in [name, target].into_iter().chain(further) {
            if text.matches(&old).count() != 1 {
                return Err(format!(
                    "{} does not have {old:?} exactly once; mend tests/src/demo/sample.rs",
                    path.display()
                ));
            }
            text = text.replace(&old, &new);
            said.push(format!("{} instead of {}", new.trim_end_matches([' ', '}']), old.trim_end_matches([' ', '}'])));
        }
        Ok((text, said))
    }
}

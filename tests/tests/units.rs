//! Units of a real systemd: those that restart, that are not started yet, templates, aliases, slices of users.
//!
//! What a unit sends is seen at a peer, what its calls come to is written down by the unit itself.

use std::collections::BTreeMap;
use std::fs;
use std::net::UdpSocket;
use std::path::PathBuf;
use std::time::Duration;

use chaos_tests::clock::wait_until;
use chaos_tests::lab::Lab;
use chaos_tests::product::{Chaos, Experiment, Leftovers, Running};
use chaos_tests::systemd::Systemd;

const PATIENCE: Duration = Duration::from_secs(20);
const PORT: u16 = 4711;
const CUT: &str = "name: cut, network: { match: { all: true }, partition: true }";
const REFUSED: &str = "name: refused, syscall: { calls: [connect], errno: ECONNREFUSED, match: { all: true } }";
/// Sends a datagram with its unit's name and its own number fifty times a second, from its begin on.
const SENDER: &str = "#!/bin/bash\nwhile :; do echo \"$1 $$\" > /dev/udp/PEER; sleep 0.02; done\n";
/// Connects once, writes down how that went, and stays.
const CALLER: &str = "#!/bin/sh\nVICTIM connect >> FOLDER/$1\nexec sleep infinity\n";

/// Two hosts, of which the first has a systemd.
struct Scene {
    machine: Systemd,
    chaos: Chaos,
    peer: UdpSocket,
    lab: Lab,
}

impl Scene {
    #[track_caller]
    fn open() -> Option<Self> {
        let lab = Lab::alone()?;
        let machine = Systemd::start(&lab.hosts.a.ns)?;
        let chaos = machine.chaos(&lab.chaos);
        let peer = lab.hosts.b.ns.run(|| UdpSocket::bind((lab.hosts.b.v4, PORT)).expect("a port"));
        peer.set_nonblocking(true).expect("a socket");
        machine.program("sender", &SENDER.replace("PEER", &format!("{}/{PORT}", lab.hosts.b.v4)));
        let folder = machine.folder().display().to_string();
        machine.program(
            "caller",
            &CALLER.replace("VICTIM", env!("CARGO_BIN_EXE_chaos-victim")).replace("FOLDER", &folder),
        );
        Some(Self { machine, chaos, peer, lab })
    }

    /// Units of a kind of program, started or not.
    fn units(&self, program: &str, units: &[(&str, &str)]) {
        for (name, more) in units {
            let program = self.machine.folder().join(program);
            let text = format!("[Service]\nExecStart={} %n\nKillMode=control-group\n{more}\n", program.display());
            self.machine.unit(name, &text);
        }
        self.machine.does(&["daemon-reload"]);
    }

    /// What has come since the last look: how many datagrams of each unit.
    fn heard(&self) -> BTreeMap<String, usize> {
        let (mut heard, mut buffer) = (BTreeMap::new(), [0; 256]);
        while let Ok(length) = self.peer.recv(&mut buffer) {
            let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
            *heard.entry(text.split(' ').next().unwrap_or_default().to_owned()).or_default() += 1;
        }
        heard
    }

    /// Waits until so many of this one have come; all that came meanwhile.
    #[track_caller]
    fn hears(&self, unit: &str, many: usize) -> BTreeMap<String, usize> {
        let mut all = BTreeMap::new();
        let heard = wait_until(PATIENCE, || {
            self.heard().into_iter().for_each(|(name, count)| *all.entry(name).or_default() += count);
            all.get(unit).is_some_and(|count| *count >= many)
        });
        assert!(heard, "{unit} is not heard: {all:?}; {:?}", self.machine.systemctl(&["status", unit]));
        all
    }

    fn inject(&self, target: &str, fault: &str) -> Running {
        let mut running = Running::start(&self.chaos, &Experiment::on(target).duration("600s").fault(fault));
        running.await_injected();
        running
    }

    /// The cgroup of a service, seen from outside.
    fn cgroup(&self, unit: &str) -> PathBuf {
        self.machine.root("sys/fs/cgroup/system.slice").join(unit)
    }

    /// Stops it; it may be started at any time later.
    #[track_caller]
    fn stop(&self, unit: &str) {
        self.stop_in("", unit);
    }

    /// The same of one in a slice of its own below that of services.
    #[track_caller]
    fn stop_in(&self, slice: &str, unit: &str) {
        self.machine.does(&["stop", unit]);
        let prepared = wait_until(PATIENCE, || self.cgroup(slice).join(unit).is_dir());
        assert!(prepared, "nothing is prepared for {unit}, which may start again");
    }

    /// Nothing is written down any more of what was made on this machine.
    #[track_caller]
    fn assert_forgotten(&self, before: &Leftovers) {
        let text = fs::read_to_string(self.machine.root("run/chaos/journal.json")).expect("the journal");
        let journal: serde_json::Value = serde_json::from_str(&text).expect("the journal");
        for kind in ["runs", "points", "cgroups"] {
            assert_eq!(journal[kind].as_array().map(Vec::len), Some(0), "{kind}: {text}");
        }
        before.assert_restored(&[&self.lab.hosts.a.ns]);
    }

    /// How the calls of a unit went, since it was first started.
    fn calls(&self, unit: &str) -> Vec<String> {
        let text = fs::read_to_string(self.machine.folder().join(unit)).unwrap_or_default();
        text.lines().filter_map(|line| line.split(' ').nth(1).map(str::to_owned)).collect()
    }

    /// Starts or restarts it; how its call went.
    #[track_caller]
    fn call(&self, verb: &str, unit: &str) -> String {
        self.call_of(unit, &[verb])
    }

    /// The same by a command of several words.
    #[track_caller]
    fn call_of(&self, unit: &str, words: &[&str]) -> String {
        let before = self.calls(unit).len();
        self.machine.does(&[words, &[unit]].concat());
        assert!(wait_until(PATIENCE, || self.calls(unit).len() > before), "{unit} made no call");
        self.calls(unit).pop().unwrap_or_default()
    }
}

#[test]
fn a_unit_that_restarts_is_cut_off_from_its_first_packet() {
    let Some(scene) = Scene::open() else { return };
    let before = Leftovers::now(&[&scene.lab.hosts.a.ns]);
    scene.units("sender", &[("web.service", "Restart=always\nRestartSec=0"), ("db.service", "")]);
    scene.machine.does(&["start", "web.service", "db.service"]);
    scene.hears("web.service", 3);
    scene.hears("db.service", 3);

    let running = scene.inject("unit: web.service", CUT);
    scene.heard();
    let cut = |when: &str| {
        let heard = scene.hears("db.service", 20);
        assert_eq!(heard.get("web.service"), None, "{when}: {heard:?}");
    };
    cut("as it was found");
    for number in 0..5 {
        scene.machine.does(&["restart", "web.service"]);
        cut(&format!("restart {number}"));
    }
    for number in 0..5 {
        scene.machine.does(&["kill", "-s", "KILL", "web.service"]);
        cut(&format!("killed {number}"));
    }
    for number in 0..3 {
        scene.stop("web.service");
        cut(&format!("stopped {number}"));
        scene.machine.does(&["start", "web.service"]);
        cut(&format!("started again {number}"));
    }
    let ended = running.finish_any();
    assert_eq!(ended.output.code, 0, "{}", ended.output.text());
    scene.hears("web.service", 3);
    scene.assert_forgotten(&before);
}

#[test]
fn a_unit_is_hit_at_its_first_call_whenever_it_starts() {
    let Some(scene) = Scene::open() else { return };
    let before = Leftovers::now(&[&scene.lab.hosts.a.ns]);
    scene.units("caller", &[("web.service", "Restart=always\nRestartSec=0"), ("db.service", "")]);
    // The slice of services is there once one runs, as on every machine that is up.
    assert_eq!(scene.call("start", "db.service"), "ok");
    let running = scene.inject("unit: web.service", REFUSED);
    assert_eq!(scene.call("start", "web.service"), "ECONNREFUSED", "it was not started yet");
    assert_eq!(scene.call("restart", "db.service"), "ok", "others are untouched");
    for number in 0..5 {
        assert_eq!(scene.call("restart", "web.service"), "ECONNREFUSED", "restart {number}");
    }
    for number in 0..5 {
        assert_eq!(scene.call_of("web.service", &["kill", "-s", "KILL"]), "ECONNREFUSED", "killed {number}");
    }
    for number in 0..5 {
        scene.stop("web.service");
        assert_eq!(scene.call("restart", "db.service"), "ok");
        assert_eq!(scene.call("start", "web.service"), "ECONNREFUSED", "started again {number}");
    }
    let report = running.finish();
    // Where Unix sockets are hit, too, so is what systemd connects to before the program begins.
    assert!(report.only_fault().injected() >= 16, "{report:?}");
    assert_eq!(report.json["targets"][0]["state"], "Reverted", "{report:?}");
    assert_eq!(scene.call("restart", "web.service"), "ok", "reverted");
    scene.assert_forgotten(&before);
}

#[test]
fn a_unit_that_is_stopped_until_the_end_leaves_nothing() {
    let Some(scene) = Scene::open() else { return };
    let before = Leftovers::now(&[&scene.lab.hosts.a.ns]);
    scene.units("caller", &[("web.service", ""), ("db.service", "")]);
    assert_eq!((scene.call("start", "web.service"), scene.call("start", "db.service")), ("ok".into(), "ok".into()));
    let running = scene.inject("unit: web.service", REFUSED);
    assert_eq!(scene.call("restart", "web.service"), "ECONNREFUSED");
    scene.stop("web.service");
    let report = running.finish();
    assert_eq!(report.json["targets"][0]["state"], "Gone", "{report:?}");
    assert!(report.reason().contains("gone until the end"), "{report:?}");
    assert!(!scene.cgroup("web.service").exists(), "its cgroup is left");
    assert_eq!(scene.call("start", "web.service"), "ok", "reverted");
    scene.assert_forgotten(&before);
}

#[test]
fn instances_aliases_and_slices_of_users_are_units() {
    let Some(scene) = Scene::open() else { return };
    let units = [
        ("web@.service", ""),
        ("db.service", "[Install]\nAlias=database.service"),
        ("one.service", "Slice=user-4711.slice"),
        ("other.service", "Slice=user-4712.slice"),
    ];
    scene.units("caller", &units);
    scene.machine.does(&["enable", "db.service"]);
    assert_eq!(scene.call("start", "web@2.service"), "ok");
    let of_instance = scene.inject("unit: web@1", REFUSED);
    assert_eq!(scene.call("start", "web@1.service"), "ECONNREFUSED", "an instance that was not started yet");
    assert_eq!(scene.call("restart", "web@2.service"), "ok", "another instance");
    assert_eq!(scene.call("restart", "web@1.service"), "ECONNREFUSED");
    // With the last instance their slice goes, too.
    scene.machine.does(&["stop", "web@2.service"]);
    scene.stop_in("system-web.slice", "web@1.service");
    assert_eq!(scene.call("start", "web@1.service"), "ECONNREFUSED", "an instance that is started again");
    assert_eq!(scene.call("start", "web@2.service"), "ok", "another instance");
    of_instance.finish();

    assert_eq!(scene.call("start", "db.service"), "ok");
    let by_alias = scene.inject("unit: database.service", REFUSED);
    assert_eq!(scene.call("restart", "db.service"), "ECONNREFUSED", "by its other name");
    assert_eq!(scene.call("restart", "web@1.service"), "ok");
    by_alias.finish();

    assert_eq!((scene.call("start", "one.service"), scene.call("start", "other.service")), ("ok".into(), "ok".into()));
    let of_user = scene.inject("unit: user-4711.slice", REFUSED);
    assert_eq!(scene.call("restart", "one.service"), "ECONNREFUSED");
    assert_eq!(scene.call("restart", "other.service"), "ok", "another user's");
    of_user.finish();
    assert_eq!(scene.call("restart", "one.service"), "ok", "reverted");
}

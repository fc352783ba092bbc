//! Calls need no network: a cgroup is enough, whoever is in it or comes later, in whichever network namespaces.
//!
//! `connect` fails by the cgroup's own hook, which every kernel from Linux 5.17 on has.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use chaos_tests::clock::wait_until;
use chaos_tests::lab::Lab;
use chaos_tests::net::{Cgroup, NetNs};
use chaos_tests::product::{Chaos, Experiment, Running};

const REFUSED: &str = "name: cut, syscall: { calls: [connect], errno: ECONNREFUSED, match: { all: true } }";

/// How a `connect` of a new process there ends: the process has made no other before.
fn connect(mut command: Command) -> String {
    let output = command.stdout(Stdio::piped()).output().expect("the victim");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.split_whitespace().nth(1).unwrap_or_default().to_owned()
}

fn words() -> [&'static str; 2] {
    [env!("CARGO_BIN_EXE_chaos-victim"), "connect"]
}

fn outside() -> String {
    let mut command = Command::new(words()[0]);
    command.arg(words()[1]);
    connect(command)
}

fn inject(chaos: &Chaos, target: &str) -> Running {
    let mut running = Running::start(chaos, &Experiment::on(target).duration("120s").fault(REFUSED));
    running.await_injected();
    running
}

#[test]
fn processes_in_two_namespaces_are_one_target() {
    let Some(lab) = Lab::open() else { return };
    let group = Cgroup::new("two");
    let spaces = [NetNs::new("c"), NetNs::new("c")];
    let mut residents: Vec<_> = spaces.iter().map(|ns| group.resident(Some(ns))).collect();
    for ns in &spaces {
        ns.ip("link set lo up");
    }
    let within = |ns| connect(group.command(Some(ns), &words()));
    assert_eq!(within(&spaces[0]), "ok", "before");
    let running = inject(&lab.chaos, &format!("cgroup: {}", group.name()));
    for ns in &spaces {
        assert_eq!(within(ns), "ECONNREFUSED");
    }
    assert_eq!(outside(), "ok", "others are untouched");
    let report = running.finish();
    assert_eq!(report.only_fault().injected(), 2, "{report:?}");
    assert_eq!(within(&spaces[1]), "ok", "reverted");
    for resident in &mut residents {
        resident.kill().and_then(|()| resident.wait()).expect("the resident");
    }
}

#[test]
fn the_first_process_of_an_empty_cgroup_is_hit_at_its_first_call() {
    let Some(lab) = Lab::open() else { return };
    let group = Cgroup::new("empty");
    assert!(group.processes().is_empty());
    let running = inject(&lab.chaos, &format!("cgroup: {}", group.name()));
    assert_eq!(connect(group.command(None, &words())), "ECONNREFUSED");
    assert_eq!(outside(), "ok", "others are untouched");
    let report = running.finish();
    assert_eq!(report.only_fault().injected(), 1, "{report:?}");
}

/// A unit that systemd would know: its file, and the slice in which it would start.
struct Unit {
    name: String,
    file: PathBuf,
    /// Folders that were made for it, the deepest first.
    made: Vec<PathBuf>,
}

impl Unit {
    fn known() -> Self {
        let name = format!("chaos-test-{}.service", std::process::id());
        let (folder, slice) =
            (Path::new("/etc/systemd/system"), chaos_tests::net::cgroup::mount_point().join("system.slice"));
        let mut made = Vec::new();
        for one in [folder, folder.parent().expect("a parent"), &slice] {
            if !one.exists() {
                made.push(one.to_owned());
            }
        }
        std::fs::create_dir_all(folder).expect("a folder of units");
        std::fs::create_dir_all(&slice).expect("a slice");
        let file = folder.join(&name);
        std::fs::write(&file, "[Service]\nExecStart=/bin/true\n").expect("a unit");
        Self { name, file, made }
    }

    fn cgroup(&self) -> PathBuf {
        chaos_tests::net::cgroup::mount_point().join("system.slice").join(&self.name)
    }

    /// What systemd does: the cgroup is made unless it is there, the process enters it and then becomes the program.
    fn start(&self) -> Command {
        let place = self.cgroup();
        let script = format!("mkdir -p {0} && echo $$ > {0}/cgroup.procs && exec \"$@\"", place.display());
        let mut shell = Command::new("sh");
        shell.args(["-c", &script, "sh"]).args(words());
        shell
    }
}

impl Drop for Unit {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir(self.cgroup());
        let _ = std::fs::remove_file(&self.file);
        for folder in &self.made {
            let _ = std::fs::remove_dir(folder);
        }
    }
}

#[test]
fn a_unit_that_is_started_later_is_hit_at_its_first_call() {
    let Some(lab) = Lab::alone() else { return };
    let unit = Unit::known();
    let target = format!("unit: {}", unit.name);
    assert!(!unit.cgroup().exists());
    let running = inject(&lab.chaos, &target);
    assert_eq!(connect(unit.start()), "ECONNREFUSED");
    assert_eq!(outside(), "ok", "others are untouched");
    let report = running.finish();
    assert_eq!(report.only_fault().injected(), 1, "{report:?}");
    assert!(!unit.cgroup().exists(), "nobody is in it: it is gone");

    // What a killed one left is no target for the next: the unit is.
    inject(&lab.chaos, &target).kill9();
    assert!(unit.cgroup().exists());
    let again = inject(&lab.chaos, &target);
    assert_eq!(connect(unit.start()), "ECONNREFUSED");
    again.finish_any();

    inject(&lab.chaos, &target).kill9();
    assert!(unit.cgroup().exists());
    let text = lab.chaos.command(&["cleanup"]).expect_code(0).stdout;
    assert!(text.contains(&unit.name) && !unit.cgroup().exists(), "{text}");

    let running = inject(&lab.chaos, &target);
    let mut lives = unit.start();
    let mut child = lives.arg("--go-on-stdin").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().expect("the unit");
    let entered = || std::fs::read_to_string(unit.cgroup().join("cgroup.procs")).is_ok_and(|text| !text.is_empty());
    assert!(wait_until(Duration::from_secs(10), entered));
    running.finish_any();
    assert!(unit.cgroup().exists(), "it is the unit's while it runs");
    child.kill().and_then(|()| child.wait()).expect("the unit");
}

//! Everything that most tests need: two hosts and the product, and the right to disturb the machine.

use std::fs::{File, OpenOptions};
use std::path::PathBuf;

use crate::command::run;
use crate::need;
use crate::net::Hosts;
use crate::product::{Chaos, Experiment, Running};

/// Two hosts and the product.
#[derive(Debug)]
pub struct Lab {
    /// The hosts.
    pub hosts: Hosts,
    /// The product.
    pub chaos: Chaos,
    /// The dice of [`Lab::inject`]; None: drawn each time.
    seed: Option<&'static str>,
    _lock: NodeLock,
}

/// Of hundreds of shares that are held to an interval of 99.9 % some would be outside each time that they were drawn anew.
const SEED: &str = "seed: 4711";

impl Lab {
    /// Two hosts on a wire; `None` where the test cannot run, and why is printed.
    #[track_caller]
    pub fn open() -> Option<Self> {
        Self::with(NodeLock::shared, Hosts::new)
    }

    /// The same with the target's addresses on a bridge.
    #[track_caller]
    pub fn bridged() -> Option<Self> {
        Self::with(NodeLock::shared, Hosts::bridged)
    }

    /// The same with no other test on the machine at that time: for what stops or counts everything.
    #[track_caller]
    pub fn alone() -> Option<Self> {
        Self::with(NodeLock::exclusive, Hosts::new)
    }

    /// The same on a kernel that can delay packets.
    #[track_caller]
    pub fn delaying() -> Option<Self> {
        Self::open().filter(|_| need::fq())
    }

    /// The same with no other test on the machine at that time.
    #[track_caller]
    pub fn delaying_alone() -> Option<Self> {
        Self::alone().filter(|_| need::fq())
    }

    #[track_caller]
    fn with(lock: fn() -> NodeLock, hosts: fn() -> Hosts) -> Option<Self> {
        if !need::root() || !need::product() {
            return None;
        }
        let lock = lock();
        Some(Self { hosts: hosts(), chaos: Chaos::find().ok()?, seed: Some(SEED), _lock: lock })
    }

    /// The same with other dice for each fault: for what is measured again and again, of which the same dice would be one sample.
    pub fn by_chance(self) -> Self {
        Self { seed: None, ..self }
    }

    /// Adds clsact to host `a`'s interface. While the kernel adds it or takes it away the interface sends nothing (net/sched/sch_api.c,
    /// `qdisc_graft`), whoever does it; what was there before is left alone by the product. For tests to which a pause is a loss.
    #[track_caller]
    pub fn add_clsact(&self) {
        run(&format!("tc -n {} qdisc add dev eth0 clsact", self.hosts.a.ns.name()));
    }

    /// An experiment on host `a`, a minute long, still without faults.
    pub fn experiment(&self) -> Experiment {
        Experiment::on_netns(self.hosts.a.ns.name())
    }

    /// Starts one fault on host `a`, given as YAML, and waits until it is injected. Its dice are the same each time, unless this is
    /// [`Lab::by_chance`].
    #[track_caller]
    pub fn inject(&self, fault: &str) -> Running {
        let experiment = self.experiment();
        let experiment = match self.seed {
            Some(seed) => experiment.setting(seed),
            None => experiment,
        };
        self.chaos.run(&experiment.fault(fault))
    }
}

/// Tests of one machine share it, except those that look at or stop everything. Across processes too: a file's lock.
#[derive(Debug)]
pub struct NodeLock {
    _file: File,
}

impl NodeLock {
    /// For tests that mind their own business.
    pub fn shared() -> Self {
        let file = Self::file();
        file.lock_shared().expect("the tests' lock");
        Self { _file: file }
    }

    /// For tests that concern the whole machine.
    pub fn exclusive() -> Self {
        let file = Self::file();
        file.lock().expect("the tests' lock");
        Self { _file: file }
    }

    fn file() -> File {
        let path = PathBuf::from("/run/lock/chaos-tests.lock");
        let path =
            if path.parent().is_some_and(|folder| folder.is_dir()) { path } else { "/tmp/chaos-tests.lock".into() };
        OpenOptions::new().create(true).truncate(false).write(true).open(&path).expect("the tests' lock")
    }
}

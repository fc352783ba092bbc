//! A pod without a kubelet: a cgroup that is named by its UID, and a process in it.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    process::Child,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use serde_json::Value;

use super::pod_object;
use crate::{
    clock::wait_until,
    net::{Cgroup, NetNs},
};

static NEXT: AtomicU32 = AtomicU32::new(0);

/// It goes with its owner.
#[derive(Debug)]
pub struct LocalPod {
    /// Its name; its namespace is `shop`.
    pub name: String,
    /// Its UID.
    pub uid: String,
    process: Child,
    _cgroup: Cgroup,
}

impl LocalPod {
    /// A pod whose network is this namespace.
    pub fn new(ns: &NetNs) -> Self {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let uid = format!("{:08x}-0000-4000-8000-{number:012x}", std::process::id());
        let cgroup = Cgroup::new(&format!("pod{uid}"));
        let process = cgroup.resident(Some(ns));
        // It is in the cgroup before it is in the namespace.
        let path = format!("/proc/{}/ns/net", process.id());
        let inside = || fs::metadata(&path).is_ok_and(|file| file.ino() == ns.inode());
        assert!(wait_until(Duration::from_secs(20), inside), "process {} has not entered {}", process.id(), ns.name());
        Self { name: format!("pod-{number}"), uid, process, _cgroup: cgroup }
    }

    /// As the API server has it.
    pub fn object(&self) -> Value {
        pod_object(&self.name, &self.uid)
    }
}

impl Drop for LocalPod {
    fn drop(&mut self) {
        let _ended = (self.process.kill(), self.process.wait());
    }
}

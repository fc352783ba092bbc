//! A network namespace that goes away with its owner.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use nix::sched::{CloneFlags, setns};

use super::owner;
use crate::command::{run, try_run};

/// Where ip-netns(8) keeps the names.
const FOLDER: &str = "/run/netns";
static NEXT: AtomicU32 = AtomicU32::new(0);
static SWEEP: Once = Once::new();

/// A named network namespace (`/run/netns/NAME`).
#[derive(Debug)]
pub struct NetNs {
    name: String,
}

impl NetNs {
    /// Makes an empty namespace with its loopback up and none of the packets that IPv6 sends of its own accord: duplicate
    /// address detection delays the first packet, router solicitations spoil counts.
    pub fn new(label: &str) -> Self {
        SWEEP.call_once(sweep_dead_owners);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{}{number}-{label}", owner::prefix());
        run(&format!("ip netns add {name}"));
        let namespace = Self { name };
        namespace.run(|| {
            for setting in ["accept_dad", "accept_ra", "router_solicitations"] {
                for scope in ["all", "default"] {
                    let path = format!("/proc/sys/net/ipv6/conf/{scope}/{setting}");
                    fs::write(&path, "0").unwrap_or_else(|error| panic!("{path}: {error}"));
                }
            }
        });
        namespace.ip("link set lo up");
        namespace
    }

    /// The name, as in `netns: NAME`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file that stands for the namespace.
    pub fn path(&self) -> PathBuf {
        Path::new(FOLDER).join(&self.name)
    }

    /// The inode that identifies the namespace whatever its name.
    pub fn inode(&self) -> u64 {
        use std::os::unix::fs::MetadataExt;
        fs::metadata(self.path()).expect("the namespace's file").ino()
    }

    /// Runs `ip ARGS` inside.
    pub fn ip(&self, args: &str) -> String {
        run(&format!("ip -n {} {args}", self.name))
    }

    /// Runs `tc ARGS` inside.
    pub fn tc(&self, args: &str) -> String {
        run(&format!("tc -n {} {args}", self.name))
    }

    /// Runs a closure inside, on a thread of its own: setns concerns one thread, and the caller's must stay where it is.
    /// Sockets made inside stay inside, whoever uses them later.
    pub fn run<T: Send>(&self, inside: impl FnOnce() -> T + Send) -> T {
        let file = File::open(self.path()).unwrap_or_else(|error| panic!("{}: {error}", self.name));
        let result = thread::scope(|scope| {
            scope
                .spawn(|| {
                    setns(file, CloneFlags::CLONE_NEWNET).expect("setns");
                    inside()
                })
                .join()
        });
        result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

impl Drop for NetNs {
    fn drop(&mut self) {
        // Never panics: it also runs while a failed test unwinds.
        if let Err(error) = try_run(&format!("ip netns del {}", self.name)) {
            eprintln!("left behind: {error}");
        }
    }
}

/// Deletes the namespaces of test processes that were killed before they could.
fn sweep_dead_owners() {
    for name in owner::dead_in(Path::new(FOLDER)) {
        // Another test process may be sweeping the same one: either is welcome to it.
        let _ = try_run(&format!("ip netns del {name}"));
    }
}

/// Deletes the namespaces of this process: for a panic hook, because a panic that aborts runs no `drop`.
pub fn sweep_own() {
    for entry in fs::read_dir(FOLDER).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with(owner::prefix()) {
            let _ = try_run(&format!("ip netns del {name}"));
        }
    }
}

//! On the machine itself.
use std::{fs, path::PathBuf, process::Command};

use crate::{
    ByNetlink, Host, Needs, Reason, Resolution, ResolveError, ScopedBy, Selector, Target, Wanted, resolve_local,
};
use chaos_sys::testing;

fn resolve(wanted: Wanted) -> Result<Resolution, Vec<ResolveError>> {
    let selector = Selector { field: "spec.selector.local[0]".to_owned(), wanted };
    resolve_local(&Host::this().unwrap(), &ByNetlink, Needs::Network, &[selector])
}

/// The only target; other tests start and end processes meanwhile, which may be retried.
fn target(wanted: Wanted) -> Target {
    resolve(wanted).unwrap().targets.pop().unwrap()
}

/// A process that sleeps in a cgroup of level 2 of its own, removed at the end.
struct Sleeper {
    child: std::process::Child,
    directory: PathBuf,
    path: String,
}

impl Sleeper {
    fn start(command: &[&str]) -> Self {
        let path = format!("/chaos-test/{}", testing::unique("c"));
        let directory = Host::cgroup2().unwrap().join(&path[1..]);
        fs::create_dir_all(&directory).unwrap();
        // The shell moves itself, so that the sleeper never was elsewhere.
        let script = format!("echo $$ > {}/cgroup.procs && exec \"$@\"", directory.display());
        let child = Command::new("sh").args(["-c", &script, "sh"]).args(command).spawn().unwrap();
        let procs = directory.join("cgroup.procs");
        let proc = PathBuf::from(format!("/proc/{}", child.id()));
        for _ in 0..500 {
            let moved = fs::read_to_string(&procs).is_ok_and(|pids| !pids.is_empty());
            if moved && fs::read_to_string(proc.join("comm")).is_ok_and(|comm| comm.trim() == "sleep") {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        Self { child, directory, path }
    }

    fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
        let _empty = fs::remove_dir(&self.directory);
        // Removed by the last test that uses it.
        let _in_use = self.directory.parent().map(fs::remove_dir);
    }
}

#[test]
fn a_cgroup_and_a_process_in_our_netns() {
    testing::root_or_return!();
    let sleeper = Sleeper::start(&["sleep", "100"]);
    let by_cgroup = target(Wanted::Cgroup(sleeper.path.clone()));
    assert_eq!((by_cgroup.scoped_by, by_cgroup.pids.as_slice()), (ScopedBy::Cgroup, &[sleeper.pid()][..]));
    assert!(by_cgroup.shares_host_netns && by_cgroup.interfaces.iter().any(|i| i.name == "lo"));
    assert_eq!(by_cgroup.scope().map(|scope| scope.level), Some(2));
    let by_pid = target(Wanted::Pid(sleeper.pid()));
    assert_eq!((by_pid.key(), by_pid.name.clone()), (by_cgroup.key(), format!("{} (sleep)", sleeper.pid())));
}

#[test]
fn a_process_with_a_netns_of_its_own() {
    testing::root_or_return!();
    let sleeper = Sleeper::start(&["unshare", "-n", "sleep", "100"]);
    let found = target(Wanted::Pid(sleeper.pid()));
    assert_eq!((found.scoped_by, found.shares_host_netns), (ScopedBy::Netns, false));
    let names: Vec<&str> = found.interfaces.iter().map(|i| i.name.as_str()).filter(|n| !n.starts_with("ifb")).collect();
    assert_eq!(names, ["lo"]);
    assert_eq!(found.cgroup.unwrap().path, sleeper.path);
}

#[test]
fn a_named_netns_and_what_is_none() {
    testing::root_or_return!();
    let name = testing::unique("r");
    testing::ip(&["netns", "add", &name]);
    let found = resolve(Wanted::Netns(name.clone()));
    testing::ip(&["netns", "del", &name]);
    let found = found.unwrap().targets.pop().unwrap();
    assert!(!found.is_host_netns() && found.pids.is_empty());
    assert!(target(Wanted::Netns("/proc/self/ns/net".to_owned())).is_host_netns());
    for other in ["/proc/self/ns/uts", "/proc/self/stat"] {
        let error = resolve(Wanted::Netns(other.to_owned())).unwrap_err().remove(0);
        assert_eq!(error.reason, Reason::Absent);
        assert!(error.to_string().contains("this is not a network namespace"), "{error}");
    }
}

#[test]
fn ourselves_never() {
    testing::root_or_return!();
    let own = resolve(Wanted::Pid(std::process::id().cast_signed())).unwrap_err().remove(0);
    assert_eq!(own.reason, Reason::Refused, "{own}");
    let root = resolve(Wanted::Cgroup("/".to_owned())).unwrap_err().remove(0);
    assert!(root.reason == Reason::Refused && root.to_string().contains("level 0"), "{root}");
}

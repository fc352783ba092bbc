//! What a test needs of the machine. A test that cannot run says why; in CI, where `CI` is set, that is a failure, because
//! a test that never runs looks like one that passes. Where an old or small kernel lacks a feature that is stated as its
//! limit, the test only says so.

use std::io::Write;

use crate::command::try_run;
use crate::net::NetNs;

/// Says why a test does not run, and fails where it must. Returns `false`, for `if !need(...) { return }`.
#[track_caller]
fn missing(what: &str) -> bool {
    let test = say("SKIPPED", what);
    assert!(std::env::var_os("CI").is_none(), "{test} cannot run in CI: {what}");
    false
}

/// Root, for namespaces, raw sockets and the product itself.
#[track_caller]
pub fn root() -> bool {
    if nix::unistd::geteuid().is_root() { true } else { missing("needs root") }
}

/// The product's binary.
#[track_caller]
pub fn product() -> bool {
    match crate::product::Chaos::find() {
        Ok(_) => true,
        Err(why) => missing(&why),
    }
}

/// A program of the system's packages, looked for where Debian has it, so that no other one of that name is tried.
#[track_caller]
pub fn program(path: &str) -> bool {
    std::path::Path::new(path).is_file() || missing(&format!("{path} is not there: cargo xtask setup installs it"))
}

/// A Kubernetes cluster.
#[track_caller]
pub fn cluster() -> Option<crate::cluster::Cluster> {
    match crate::cluster::Cluster::find() {
        Ok(cluster) => Some(cluster),
        Err(why) => {
            missing(&why);
            None
        }
    }
}

/// A cgroup2 mount.
#[track_caller]
pub fn cgroup2() -> bool {
    if crate::net::cgroup::find_mount().is_some() { true } else { missing("no cgroup2 mount") }
}

/// The fq qdisc, without which no kernel can delay a packet. Its absence is a property of the kernel, not of the machine's
/// set-up, so it is no failure in CI: the same tests run in virtual machines whose kernels have it.
pub fn fq() -> bool {
    has_fq() || absent("this kernel has no fq qdisc, so nothing can be delayed")
}

/// A kernel without the fq qdisc: for what is refused there.
pub fn no_fq() -> bool {
    !has_fq() || absent("this kernel has the fq qdisc, so nothing is refused for want of it")
}

/// Whether this kernel has the fq qdisc; says nothing.
pub fn has_fq() -> bool {
    has_qdisc("fq", "fq")
}

/// The netem qdisc, the reference that measurements are held against.
pub fn netem() -> bool {
    has_qdisc("netem", "netem delay 1ms") || absent("this kernel has no netem qdisc to measure")
}

/// Tries a qdisc on a scratch device: what the kernel's configuration says does not matter.
fn has_qdisc(label: &str, qdisc: &str) -> bool {
    let scratch = NetNs::new(label);
    scratch.ip("link add probe0 type veth peer name probe1");
    try_run(&format!("tc -n {} qdisc add dev probe0 root {qdisc}", scratch.name())).is_ok()
}

/// Whether the running kernel is of this release or a later one; says nothing. For what differs by release and cannot be asked for.
pub fn linux_is_at_least(major: u32, minor: u32) -> bool {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").expect("a kernel");
    let version: Vec<u32> = release.split(['.', '-']).map_while(|part| part.parse().ok()).collect();
    version.as_slice() >= &[major, minor][..]
}

/// Says that the kernel lacks something that only some kernels have. Returns `false`.
pub fn absent(what: &str) -> bool {
    say("NOT HERE", what);
    false
}

/// Tells a measurement, also of a test that passes.
pub fn measured(what: &str) {
    say("MEASURED", what);
}

/// Prints past the test harness, which shows only what failed tests print. Returns the test's name.
fn say(verdict: &str, what: &str) -> String {
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    let _ = writeln!(std::io::stderr(), "{verdict} {test}: {what}");
    test
}

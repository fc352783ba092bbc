//! What comes nearest to a fault of calls that a kernel cannot do; pure.

use chaos_abi::LONGEST_BUSY;
use chaos_spec::plan::call::CallPlan;

/// Calls that bring a file's contents to its disk: they pass no security hook (fs/sync.c).
const SYNCS: [&str; 6] = ["fsync", "fdatasync", "sync_file_range", "msync", "sync", "syncfs"];
/// Calls by which contents reach a file. Those of security hooks are called with the file and its path.
const WRITES: [&str; 3] = ["write", "pwrite64", "writev"];

/// What to ask for instead, if this kernel can do it (`works`).
#[must_use]
pub fn nearest(plan: &CallPlan, name: &str, works: &dyn Fn(&CallPlan, &str) -> bool) -> Option<String> {
    let (syncs, writes) = (SYNCS.contains(&name), WRITES.contains(&name));
    if syncs && plan.args.delay == 0 && WRITES.iter().all(|call| works(plan, call)) {
        return Some(format!(
            "calls: [{}], with the same errno and match: the error comes when something is to be written, before it is",
            WRITES.join(", ")
        ));
    }
    if plan.sleeps() && (syncs || writes) {
        if works(plan, "openat") {
            return Some(
                "calls: [openat], with the same latency and match: each opening of these files is late".to_owned(),
            );
        }
        let mut short = plan.clone();
        (short.args.delay, short.args.jitter) = (LONGEST_BUSY, 0);
        if works(&short, "write") {
            let busy = LONGEST_BUSY / 1000;
            return Some(format!("calls: [{}], with a delay of at most {busy}us", WRITES.join(", ")));
        }
    }
    if name == "connect" && plan.paths.is_some() {
        let anywhere = CallPlan { paths: None, ..plan.clone() };
        if works(&anywhere, name) {
            let text = "match: { all: true }, or comm or uid, which hits every connect of the target: the path of a Unix socket is known at security hooks alone";
            return Some(text.to_owned());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use chaos_spec::Syscall;

    fn plan(text: &str) -> CallPlan {
        let syscall: Syscall = yaml_serde::from_str(text).unwrap();
        chaos_spec::plan::call::plan(&syscall, "").unwrap()
    }

    /// As on Debian 12: errors by security hooks, sleeps in those in which nobody holds a lock.
    fn debian(plan: &CallPlan, name: &str) -> bool {
        match name {
            "openat" => true,
            "write" | "pwrite64" | "writev" => !plan.sleeps(),
            "connect" => plan.paths.is_none(),
            _ => false,
        }
    }

    #[test]
    fn it_is_something_that_works() {
        let near = |text: &str, name: &str| nearest(&plan(text), name, &debian).unwrap_or_default();
        assert!(
            near("{calls: [fsync], errno: EIO, match: {paths: [/a]}}", "fsync")
                .starts_with("calls: [write, pwrite64, writev]")
        );
        let slow = "{calls: [write], latency: {delay: 100ms}, match: {paths: [/a]}}";
        assert!(
            near(slow, "write").starts_with("calls: [openat]")
                && near(slow, "fdatasync").starts_with("calls: [openat]")
        );
        assert!(
            near("{calls: [connect], errno: EIO, match: {paths: [/run/**]}}", "connect")
                .starts_with("match: { all: true }")
        );
        assert_eq!(near("{calls: [getpid], errno: EIO, match: {all: true}}", "getpid"), "");
    }

    #[test]
    fn what_does_not_work_is_not_advised() {
        let fsync = plan("{calls: [fsync], errno: EIO, match: {all: true}}");
        assert_eq!(nearest(&fsync, "fsync", &|_, _| false), None);
        let slow = plan("{calls: [write], latency: {delay: 100ms}, match: {all: true}}");
        let without_sleep = |plan: &CallPlan, _: &str| !plan.sleeps();
        assert!(nearest(&slow, "write", &without_sleep).unwrap().contains("at most 200us"));
    }
}

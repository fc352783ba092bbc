//! On an overlay mount, as containers have: paths are those of the merged tree, and what overlayfs itself does below it is no call of
//! the target.

use super::{Made, fault, inject, inside, promised, scene};
use std::fs;
use std::time::Duration;

use chaos_tests::command::{run, try_run};
use chaos_tests::need;
use chaos_tests::product::{Experiment, Running};

/// Calls on one file, each of which overlayfs answers by a call to the file system below.
const CALLS: [&str; 7] = ["openat", "openat2", "read", "write", "newfstatat", "truncate", "unlinkat"];

/// A merged tree over a lower one, on a file system of its own.
struct Overlay {
    base: String,
}

impl Overlay {
    fn new() -> Self {
        let base = format!("/tmp/chaos-overlay-{}", std::process::id());
        fs::create_dir_all(&base).unwrap();
        run(&format!("mount -t tmpfs chaos-test {base}"));
        for folder in ["lower/folder", "upper", "work", "merged", "plain/folder"] {
            fs::create_dir_all(format!("{base}/{folder}")).unwrap();
        }
        for file in ["lower/folder/file", "plain/folder/file"] {
            fs::write(format!("{base}/{file}"), "x").unwrap();
        }
        let layers = format!("lowerdir={base}/lower,upperdir={base}/upper,workdir={base}/work");
        run(&format!("mount -t overlay chaos-test -o {layers} {base}/merged"));
        Self { base }
    }

    fn file(&self, tree: &str) -> String {
        format!("{}/{tree}/folder/file", self.base)
    }
}

impl Drop for Overlay {
    fn drop(&mut self) {
        // Not by a panic: the test may be in one already.
        for mount in [format!("{}/merged", self.base), self.base.clone()] {
            if let Err(error) = try_run(&format!("umount {mount}")) {
                eprintln!("left behind: {error}");
            }
        }
        let _ = fs::remove_dir(&self.base);
    }
}

/// Those of the calls that this kernel can hit.
fn can(chaos: &chaos_tests::product::Chaos) -> Option<Vec<&'static str>> {
    let promised = promised(chaos);
    let calls: Vec<_> = CALLS.into_iter().filter(|call| promised.contains_key(*call)).collect();
    if calls.is_empty() {
        need::absent("calls of files: this kernel lets no program fail them");
        return None;
    }
    Some(calls)
}

#[test]
fn paths_of_an_overlay_are_those_of_the_merged_tree() {
    let Some((chaos, _slice, cgroup, target)) = scene() else { return };
    let Some(calls) = can(&chaos) else { return };
    let overlay = Overlay::new();
    for (pattern, wanted) in [("merged/**", "EIO"), ("upper/**", "ok"), ("lower/**", "ok")] {
        let victim = inside(&cgroup, &["--path", &overlay.file("merged")], &calls);
        let fault = fault(&calls, &format!("errno: EIO, match: {{ paths: [\"{}/{pattern}\"] }}", overlay.base));
        let running = inject(&chaos, &target, &fault);
        let results = victim.go();
        let report = running.finish_any().report().clone();
        assert!(results.iter().all(|(_, result)| result == wanted), "{pattern}: {results:?}\n{report:?}");
        let injected = report.only_fault().injected();
        let expected = if wanted == "EIO" { calls.len() as u64 } else { 0 };
        assert_eq!(injected, expected, "{pattern}: {report:?}");
    }
}

/// Each of them is as many calls as on a file system without layers.
#[test]
fn what_overlayfs_does_itself_is_not_counted() {
    let Some((chaos, _slice, cgroup, target)) = scene() else { return };
    let Some(calls) = can(&chaos) else { return };
    let overlay = Overlay::new();
    let matched = |tree: &str| {
        let victim = inside(&cgroup, &["--path", &overlay.file(tree)], &calls);
        let fault = fault(&calls, "errno: EIO, match: { paths: [\"/**\"] }");
        let experiment = Experiment::on(&target).duration("120s").setting("dryRun: true").fault(&fault);
        let mut running = Running::start(&chaos, &experiment);
        running.await_injected();
        let results = victim.go();
        assert!(results.iter().all(|(_, result)| result == "ok"), "{tree}: {results:?}");
        running.finish_any().report().only_fault().matched()
    };
    let plain = matched("plain");
    assert!(plain >= calls.len() as u64);
    assert_eq!(matched("merged"), plain);
}

#[test]
fn a_thread_sleeps_once_on_an_overlay() {
    let Some((chaos, _slice, cgroup, target)) = scene() else { return };
    if !super::sleeping::sleeps_here(&chaos) {
        return;
    }
    let overlay = Overlay::new();
    let mut victim = inside(&cgroup, &["--path", &overlay.file("merged")], &["openat"]);
    let fault = fault(&["openat"], "latency: { delay: 400ms }, match: { paths: [\"/**/file\"] }");
    let running = inject(&chaos, &target, &fault);
    victim.begin();
    let made = victim.made();
    let report = running.finish_any().report().clone();
    let [Made { result, took, .. }] = made.as_slice() else { panic!("{made:?}") };
    assert_eq!((result.as_str(), report.only_fault().injected()), ("ok", 1), "{made:?}\n{report:?}");
    assert!((Duration::from_millis(400)..Duration::from_millis(800)).contains(took), "{made:?}: not once");
}

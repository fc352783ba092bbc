//! Targets that are containers.
use super::fake::Machine;
use crate::resolve::{Reason, ScopedBy, Wanted};

fn container(id: &str) -> Wanted {
    Wanted::Container(id.to_owned())
}

fn id(start: &str) -> String {
    format!("{start:0<64}")
}

#[test]
fn found_by_a_prefix_in_every_layout() {
    for layout in [
        "/system.slice/docker-ID.scope",
        "/docker/ID",
        "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podx.slice/cri-containerd-ID.scope",
        "/kubepods/besteffort/podx/ID",
        "/machine.slice/libpod-ID.scope",
        "/kubepods.slice/crio-ID.scope/container",
    ] {
        for machine in [Machine::unified(), Machine::hybrid()] {
            let path = layout.replace("ID", &id("3f2a9c"));
            machine.process(10, 1, "app", &path, "box");
            let target = machine.target(container("3f2"));
            assert_eq!((target.name.as_str(), target.scoped_by), ("3f2a9c000000", ScopedBy::Netns), "{layout}");
            assert_eq!(target.cgroup.as_ref().unwrap().path, path.trim_end_matches("/container"));
            let shown = format!("containerd://{}", id("3f2a9c").to_uppercase());
            assert_eq!(machine.target(container(&shown)).key(), target.key());
        }
    }
}

#[test]
fn one_of_a_pod_is_scoped_by_cgroup_within_the_pods_netns() {
    let machine = Machine::unified();
    machine.process(10, 1, "pause", &format!("/kubepods.slice/podx.slice/cri-containerd-{}.scope", id("aa")), "pod");
    let app = format!("/kubepods.slice/podx.slice/cri-containerd-{}.scope", id("bb"));
    machine.process(11, 1, "app", &app, "pod");
    let target = machine.target(container("bb"));
    assert_eq!((target.scoped_by, target.shares_host_netns), (ScopedBy::Cgroup, false));
    assert_eq!(target.scope().unwrap().level, 3);
}

#[test]
fn ambiguous_and_absent_ids() {
    let machine = Machine::unified();
    machine.process(10, 1, "a", &format!("/docker/{}", id("3f2a9c")), "a");
    machine.process(11, 1, "b", &format!("/docker/{}", id("3f2b00")), "b");
    let words = ["beginning of 2 ids: 3f2a9c000000, 3f2b00000000", "local[0].container"];
    machine.refuses(container("3f2"), Reason::Absent, &words);
    machine.refuses(container("3e2a9c000000"), Reason::Absent, &["did you mean \"3f2a9c000000\""]);
    machine.refuses(container(""), Reason::Absent, &["no cgroup of a container"]);
    machine.refuses(container("é"), Reason::Absent, &["no cgroup of a container"]);
}

#[test]
fn one_that_is_only_in_v1_is_scoped_by_netns_or_not_at_all() {
    let machine = Machine::hybrid();
    machine.process_in(10, 1, "own", ["/", &format!("/docker/{}", id("aa"))], "own");
    machine.process_in(11, 1, "shared", ["/", &format!("/docker/{}", id("bb"))], "host");
    let target = machine.target(container("aa"));
    assert_eq!((target.scoped_by, target.cgroup), (ScopedBy::Netns, None));
    machine.refuses(container("bb"), Reason::Unsupported, &["11 (shared) is in the root of the cgroup2 hierarchy"]);
    // Elsewhere in cgroup2, but exactly these processes: found by way of them.
    machine.process_in(12, 1, "moved", ["/x/y", &format!("/docker/{}", id("cc"))], "host");
    assert_eq!(machine.target(container("cc")).scope().unwrap().path, "/x/y");
}

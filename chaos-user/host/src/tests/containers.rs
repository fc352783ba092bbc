//! Targets that are containers.
use super::fake::Machine;
use crate::{Reason, ScopedBy, Wanted};

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

fn names(machine: &Machine) {
    for (number, of) in [(0x10, "aa"), (0x11, "bb"), (0x12, "cc"), (0x13, "dd"), (0x14, "ee")] {
        machine.process(number, 1, "app", &format!("/docker/{}", id(of)), &format!("box-{of}"));
    }
    let docker = |of: &str, text: &str| {
        machine.state_file(&format!("var/lib/docker/containers/{}/config.v2.json", id(of)), text)
    };
    docker("aa", r#"{ "Name": "/web-1", "Config": {} }"#);
    docker("0a", r#"{ "Name": "/stopped" }"#);
    machine.state_file(
        "var/lib/containers/storage/overlay-containers/containers.json",
        &format!(r#"[ {{ "id": "{}", "names": ["db-1"] }}, 7, {{ "id": "..", "names": ["x"] }} ]"#, id("bb")),
    );
    let task = |namespace: &str, of: &str, name: &str, value: &str| {
        let path = format!("run/containerd/io.containerd.runtime.v2.task/{namespace}/{}/config.json", id(of));
        machine.state_file(&path, &format!(r#"{{ "annotations": {{ "{name}": "{value}" }} }}"#));
    };
    task("k8s.io", "cc", "io.kubernetes.cri.container-name", "app");
    task("k8s.io", "dd", "io.kubernetes.cri.container-name", "app");
    task("default", "ee", "nerdctl/name", "cache");
}

#[test]
fn names_by_the_runtimes_own_state() {
    let machine = Machine::unified();
    names(&machine);
    for (name, of) in [("web-1", "aa"), ("db-1", "bb"), ("cache", "ee")] {
        assert_eq!(machine.target(container(name)).name, id(of)[..12], "{name}");
    }
    machine.refuses(container("app"), Reason::Absent, &["the name of 2 containers: cc0000000000, dd0000000000"]);
    machine.refuses(container("stopped"), Reason::Absent, &["does not run"]);
    machine.refuses(container("web-2"), Reason::Absent, &["did you mean \"web-1\"", "podman ps"]);
}

#[test]
fn names_are_what_others_write() {
    let machine = Machine::unified();
    names(&machine);
    let task = |of: &str, text: &str| {
        let path = format!("run/containerd/io.containerd.runtime.v2.task/k8s.io/{}/config.json", id(of));
        machine.state_file(&path, text);
    };
    // The name of a tenant's container is no other's id, and a beginning that is one is not guessed at.
    task("cc", r#"{ "annotations": { "io.kubernetes.cri.container-name": "aa0000000000" } }"#);
    assert_eq!(machine.target(container("aa0000000000")).name, "aa0000000000");
    task("cc", r#"{ "annotations": { "io.kubernetes.cri.container-name": "aa" } }"#);
    machine.refuses(container("aa"), Reason::Absent, &["begins the id aa0000000000 and is the name of cc0000000000"]);
    for text in ["", "[", "{}", r#"{ "annotations": 7 }"#, &"[".repeat(100_000)] {
        task("dd", text);
        machine.refuses(container("app"), Reason::Absent, &["no cgroup of a container"]);
        assert_eq!(machine.target(container("web-1")).name, "aa0000000000");
    }
}

/// A user whose Podman has a container of this name; where its list is.
fn rootless(machine: &Machine, user: u32, of: &str, name: &str) -> String {
    let slice = format!("/user.slice/user-{user}.slice/user@{user}.service/user.slice");
    machine.process(
        0x20 + user as i32,
        1,
        "app",
        &format!("{slice}/libpod-{}.scope/container", id(of)),
        &format!("box-{of}"),
    );
    let list = format!("home/u{user}/.local/share/containers/storage/overlay-containers/containers.json");
    machine.state_file(&list, &format!(r#"[ {{ "id": "{}", "names": ["{name}"] }} ]"#, id(of)));
    list
}

#[test]
fn names_of_rootless_podman_are_their_users_own() {
    let machine = Machine::unified();
    names(&machine);
    // Files of a test are this user's.
    let me = nix::unistd::geteuid().as_raw();
    machine.state_file(
        "etc/passwd",
        &format!("x\nme:x:{me}:0::/home/u{me}:/bin/sh\nother:x:4711:0::/home/u4711:/bin/sh\n"),
    );
    let list = rootless(&machine, me, "ab", "web-9");
    let target = machine.target(container("web-9"));
    assert_eq!(target.name, id("ab")[..12]);
    assert_eq!(target.wanted, Some(container(&id("ab"))), "followed by its id");
    // It stands for no container but the user's own, and behind names of the system's.
    let says = |of: &str, name: &str| {
        machine.state_file(&list, &format!(r#"[ {{ "id": "{}", "names": ["{name}"] }} ]"#, id(of)))
    };
    says("bb", "web-9");
    machine.refuses(container("web-9"), Reason::Absent, &["no cgroup of a container", "ids"]);
    says("ab", "db-1");
    assert_eq!(machine.target(container("db-1")).name, id("bb")[..12]);
    says("ab", "stopped");
    machine.refuses(container("stopped"), Reason::Absent, &["does not run"]);
    // A file that is not the user's is passed over.
    rootless(&machine, 4711, "ac", "web-8");
    machine.refuses(container("web-8"), Reason::Absent, &["no cgroup of a container"]);
}

#[test]
fn what_users_write_harms_nobody() {
    let machine = Machine::unified();
    names(&machine);
    let me = nix::unistd::geteuid().as_raw();
    machine.state_file("etc/passwd", &format!("me:x:{me}:0::/home/u{me}:/bin/sh\n"));
    let list = rootless(&machine, me, "ab", "web-9");
    for text in ["", "[", "{}", "[7]", &"[".repeat(100_000), &" ".repeat(5 << 20)] {
        machine.state_file(&list, text);
        machine.refuses(container("web-9"), Reason::Absent, &["no cgroup of a container"]);
    }
    let real = format!(r#"[ {{ "id": "{}", "names": ["web-9"] }} ]"#, id("ab"));
    machine.state_file("elsewhere/overlay-containers/containers.json", &real);
    machine.replace_by_link(&format!("home/u{me}/.local/share/containers/storage"), "elsewhere");
    machine.refuses(container("web-9"), Reason::Absent, &["no cgroup of a container"]);
}

//! Targets that are processes, cgroups and units.
use super::fake::{LEVEL, Machine};
use crate::{Reason, ScopedBy, Wanted};

fn cgroup(path: &str) -> Wanted {
    Wanted::Cgroup(path.to_owned())
}

fn unit(name: &str) -> Wanted {
    Wanted::Unit(name.to_owned())
}

const WEB: &str = "/system.slice/web.service";

#[test]
fn a_cgroup_in_the_hosts_netns_is_scoped_by_cgroup() {
    for machine in [Machine::unified(), Machine::hybrid()] {
        machine.process(10, 1, "nginx", WEB, "host");
        machine.process(11, 10, "nginx", &format!("{WEB}/worker"), "host");
        let target = machine.target(cgroup(WEB));
        let scope = target.scope().unwrap();
        assert_eq!((scope.path.as_str(), scope.id, scope.level), (WEB, machine.cgroup_inode(WEB), 2));
        assert_eq!((target.scoped_by, target.pids.as_slice()), (ScopedBy::Cgroup, &[10, 11][..]));
        assert!(target.shares_host_netns && !target.is_host_netns());
        // Without the slash and with the mount in front is understood, too.
        let directory = machine.cgroup(WEB);
        for same in [&WEB[1..], directory.to_str().unwrap()] {
            assert_eq!(machine.target(cgroup(same)).key(), target.key());
        }
        assert_eq!(machine.target(unit("web")).key(), target.key());
    }
}

/// On a node that is a container (kind) the kernel counts from the root of the machine's hierarchy, which is not seen there.
#[test]
fn levels_are_the_kernels_also_where_a_part_of_the_hierarchy_is_seen() {
    let machine = Machine::unified();
    machine.hide(true);
    machine.process(10, 1, "nginx", WEB, "host");
    let scope = machine.target(cgroup(WEB)).scope().unwrap().clone();
    assert_eq!((scope.path.as_str(), scope.level, scope.shown_level()), (WEB, LEVEL + 2, 2));
}

#[test]
fn a_cgroup_with_a_netns_to_itself_is_scoped_by_netns() {
    let machine = Machine::unified();
    machine.process(10, 1, "nginx", WEB, "web");
    let target = machine.target(unit("web.service"));
    assert_eq!((target.scoped_by, target.scope(), target.name.as_str()), (ScopedBy::Netns, None, "web.service"));
    assert_eq!(target.cgroup.unwrap().path, WEB, "syscall faults need it");
    // A stranger joins: now only the cgroup tells them apart.
    machine.process(12, 1, "sidecar", "/system.slice/side.service", "web");
    let target = machine.target(unit("web.service"));
    assert_eq!((target.scoped_by, target.shares_host_netns), (ScopedBy::Cgroup, false));
}

#[test]
fn several_namespaces_are_named() {
    let machine = Machine::unified();
    machine.process(10, 1, "nginx", WEB, "web");
    machine.process(11, 1, "redis", WEB, "db");
    machine.refuses(cgroup(WEB), Reason::Absent, &["2 network namespaces", "10 (nginx)", "11 (redis)"]);
}

#[test]
fn absent_and_empty_ones() {
    let machine = Machine::unified();
    machine.process(10, 1, "nginx", WEB, "host");
    machine.cgroup("/system.slice/idle.service");
    machine.refuses(
        cgroup("/system.slice/wed.service"),
        Reason::Absent,
        &["did you mean \"/system.slice/web.service\"?"],
    );
    machine.refuses(cgroup("/a/../b"), Reason::Absent, &["without .."]);
    machine.refuses(cgroup("/system.slice/idle.service"), Reason::Absent, &["holds no living process"]);
    machine.refuses(unit("idle"), Reason::Absent, &["holds no living process"]);
    machine.refuses(unit("wed"), Reason::Absent, &["unit \"wed.service\"", "did you mean \"web.service\"?"]);
}

#[test]
fn a_zombie_has_no_namespace() {
    let machine = Machine::unified();
    machine.process(10, 1, "nginx", WEB, "host");
    std::fs::remove_file(machine.host().of(10, "ns/net")).unwrap();
    machine.refuses(Wanted::Pid(10), Reason::Absent, &["process 10 (nginx) holds no living process"]);
    machine.refuses(cgroup(WEB), Reason::Absent, &["holds no living process"]);
}

#[test]
fn a_unit_of_two_managers_is_the_systems() {
    let machine = Machine::unified();
    machine.process(11, 1, "nginx", "/user.slice/user@1000.service/web.service", "host");
    assert_eq!(machine.target(unit("web")).pids, [11], "nobody else has one of that name");
    machine.process(10, 1, "nginx", WEB, "host");
    assert_eq!(machine.target(unit("web")).pids, [10]);
    machine.process(12, 1, "nginx", "/other.slice/web.service", "host");
    machine.refuses(unit("web"), Reason::Absent, &["several cgroups", WEB, "/other.slice/web.service"]);
}

#[test]
fn a_process_and_its_descendants() {
    let machine = Machine::unified();
    machine.process(10, 1, "shell) S 7", "/user.slice/run.scope", "host");
    machine.process(11, 10, "worker", "/user.slice/run.scope", "host");
    let target = machine.target(Wanted::Pid(10));
    assert_eq!((target.name.as_str(), target.pids.as_slice()), ("10 (shell) S 7)", &[10, 11][..]));
    assert_eq!(target.scope().map(|scope| scope.level), Some(2));
    let words = ["not its descendants: 10 (shell) S 7)", "systemd-run --scope -u NAME CMD", "local[0].pid"];
    machine.refuses(Wanted::Pid(11), Reason::Refused, &words);
    machine.refuses(Wanted::Pid(77), Reason::Absent, &["no process 77"]);
}

#[test]
fn a_process_among_strangers_may_have_a_netns_of_its_own() {
    let machine = Machine::unified();
    machine.process(10, 1, "bash", "/user.slice/term.scope", "host");
    machine.process(11, 10, "nginx", "/user.slice/term.scope", "web");
    let target = machine.target(Wanted::Pid(11));
    assert_eq!((target.scoped_by, target.cgroup.as_ref()), (ScopedBy::Netns, None));
    // A second one in that namespace would be hit, too.
    machine.process(12, 10, "curl", "/user.slice/term.scope", "web");
    machine.refuses(Wanted::Pid(11), Reason::Refused, &["10 (bash), 12 (curl)", "name its network namespace as netns"]);
}

#[test]
fn the_path_of_another_cgroup_namespace_is_searched_for() {
    let machine = Machine::unified();
    machine.process_in(10, 1, "nginx", [WEB, WEB], "host");
    std::fs::write(machine.host().of(10, "cgroup"), "0::/../../elsewhere\n").unwrap();
    assert_eq!(machine.target(Wanted::Pid(10)).scope().unwrap().path, WEB);
}

#[test]
fn a_process_in_the_root_of_cgroup2_only() {
    let machine = Machine::hybrid();
    machine.process_in(10, 1, "nginx", ["/", "/system.slice/web.service"], "host");
    let words = ["10 (nginx) is in the root of the cgroup2 hierarchy and only in cgroup v1", WEB];
    machine.refuses(unit("web"), Reason::Unsupported, &words);
    machine.refuses(cgroup(WEB), Reason::Unsupported, &["only in the cgroup v1 tree", "name=systemd"]);
    machine.process_in(12, 1, "sshd", ["/", "/system.slice/ssh.service"], "host");
    machine.refuses(
        Wanted::Pid(10),
        Reason::Refused,
        &["12 (sshd)", "root of the cgroup2 hierarchy and only in cgroup v1"],
    );
    // With a network namespace of its own nothing more is needed.
    machine.process_in(11, 1, "redis", ["/", "/system.slice/db.service"], "db");
    assert_eq!(machine.target(unit("db")).scoped_by, ScopedBy::Netns);
}

#[test]
fn a_machine_without_cgroup2() {
    let machine = Machine::legacy();
    machine.process(10, 1, "nginx", WEB, "host");
    machine.process(11, 1, "redis", "/system.slice/db.service", "db");
    machine.refuses(unit("web"), Reason::Unsupported, &["cgroup2 is not mounted"]);
    machine.refuses(cgroup(WEB), Reason::Unsupported, &["cgroup2 is not mounted"]);
    machine.refuses(Wanted::Pid(10), Reason::Unsupported, &["cgroup2 is not mounted"]);
    assert_eq!(machine.target(unit("db")).scoped_by, ScopedBy::Netns);
}

#[test]
fn a_part_of_the_hierarchy_is_not_enough() {
    let machine = Machine::unified();
    machine.process(10, 1, "nginx", WEB, "host");
    machine.hide(false);
    machine.refuses(cgroup(WEB), Reason::Unsupported, &["only a part of the hierarchy", "is not below it"]);
}

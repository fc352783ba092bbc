//! What must never be a target.
use super::fake::{Machine, OWN_PID};
use crate::{Reason, Wanted};

fn cgroup(path: &str) -> Wanted {
    Wanted::Cgroup(path.to_owned())
}

#[test]
fn the_root_and_the_first_level() {
    let machine = Machine::unified();
    machine.process(10, 1, "nginx", "/system.slice/web.service", "host");
    machine.refuses(cgroup("/"), Reason::Refused, &["level 0"]);
    machine.refuses(cgroup("/system.slice"), Reason::Refused, &["level 1"]);
    machine.refuses(Wanted::Unit("system.slice".to_owned()), Reason::Refused, &["level 1"]);
    machine.process(11, 1, "alone", "/alone", "host");
    machine.refuses(Wanted::Pid(11), Reason::Refused, &["level 1"]);
}

#[test]
fn the_root_and_the_first_level_of_a_container() {
    let machine = Machine::unified();
    machine.hide(true);
    machine.process(10, 1, "nginx", "/system.slice/web.service", "host");
    machine.refuses(cgroup("/"), Reason::Refused, &["level 0"]);
    machine.refuses(cgroup("/system.slice"), Reason::Refused, &["level 1"]);
}

#[test]
fn our_own_cgroup_and_those_above() {
    let machine = Machine::unified();
    machine.process(10, 1, "shell", "/user.slice/shell.scope/sub", "host");
    machine.refuses(cgroup("/user.slice/shell.scope"), Reason::Refused, &["this very process"]);
    machine.refuses(Wanted::Pid(OWN_PID), Reason::Refused, &["10 (shell)"]);
    assert!(machine.resolve(&[cgroup("/user.slice/shell.scope/sub")]).is_ok());
}

#[test]
fn kubelet_and_container_runtimes() {
    for comm in ["kubelet", "containerd", "dockerd", "crio"] {
        let machine = Machine::unified();
        machine.process(10, 1, comm, "/system.slice/x.service", "host");
        machine.refuses(cgroup("/system.slice/x.service"), Reason::Refused, &["protected", &format!("10 ({comm})")]);
        machine.refuses(Wanted::Unit("x".to_owned()), Reason::Refused, &["protected"]);
        machine.refuses(Wanted::Pid(10), Reason::Refused, &["protected"]);
    }
    let machine = Machine::unified();
    machine.process(10, 1, "kubelet", "/system.slice/x.service", "host");
    machine.executable(10, "sleep");
    assert!(machine.resolve(&[cgroup("/system.slice/x.service")]).is_ok(), "a name protects nobody");
    machine.executable(10, "kubelet (deleted)");
    machine.refuses(cgroup("/system.slice/x.service"), Reason::Refused, &["protected"]);
    let machine = Machine::unified();
    machine.process(10, 1, "containerd-shim", "/system.slice/x.service", "host");
    assert!(machine.resolve(&[cgroup("/system.slice/x.service")]).is_ok(), "a shim serves one container");
}

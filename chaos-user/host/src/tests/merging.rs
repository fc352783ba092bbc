//! Several selectors at once.
use super::fake::Machine;
use crate::{Reason, Wanted};

fn unit(name: &str) -> Wanted {
    Wanted::Unit(name.to_owned())
}

#[test]
fn the_same_target_is_taken_once_with_a_warning() {
    let machine = Machine::unified();
    machine.process(10, 1, "nginx", "/system.slice/web.service", "web");
    machine.process(11, 1, "redis", "/system.slice/db.service", "host");
    machine.name_netns("web");
    let wanted = [Wanted::Netns("web".to_owned()), unit("db"), unit("web"), Wanted::Pid(11)];
    let resolution = machine.resolve(&wanted).unwrap();
    let names: Vec<&str> = resolution.targets.iter().map(|target| target.name.as_str()).collect();
    assert_eq!(names, ["web", "db.service"]);
    assert_eq!(
        resolution.warnings,
        [
            "spec.selector.local[2]: unit web is the same target as spec.selector.local[0] (netns web); it is taken once",
            "spec.selector.local[3]: pid 11 is the same target as spec.selector.local[1] (unit db.service); it is taken \
             once",
        ]
    );
    let cgroup = resolution.targets[0].cgroup.as_ref().map(|scope| scope.path.as_str());
    assert_eq!(cgroup, Some("/system.slice/web.service"), "what the second entry knows is kept");
}

#[test]
fn every_problem_is_said_at_once() {
    let machine = Machine::unified();
    machine.process(10, 1, "nginx", "/system.slice/web.service", "host");
    let errors = machine.resolve(&[unit("a"), unit("web"), Wanted::Pid(1), Wanted::Netns("b".to_owned())]).unwrap_err();
    let starts: Vec<_> = errors.iter().map(|(reason, text)| (*reason, text.split(": ").next().unwrap())).collect();
    let field = |i, kind: &str| format!("spec.selector.local[{i}].{kind}");
    let expected =
        [(Reason::Absent, field(0, "unit")), (Reason::Refused, field(2, "pid")), (Reason::Absent, field(3, "netns"))];
    assert_eq!(starts, expected.each_ref().map(|(reason, text)| (*reason, text.as_str())));
}

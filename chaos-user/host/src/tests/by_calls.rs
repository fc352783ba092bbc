//! Targets of which only the calls are meant: a cgroup is enough.
use super::fake::Machine;
use crate::{Needs, Reason, ScopedBy, Target, Wanted};

const WEB: &str = "/system.slice/web.service";

fn resolve(machine: &Machine, wanted: Wanted) -> Result<Target, (Reason, String)> {
    let found = machine.resolve_for(Needs::Cgroup, &[wanted]);
    found.map(|found| found.targets.into_iter().next().unwrap()).map_err(|mut errors| errors.remove(0))
}

#[track_caller]
fn assert_by_cgroup(machine: &Machine, target: &Target, pids: &[i32]) {
    let scope = target.scope().unwrap();
    assert_eq!((scope.path.as_str(), scope.id, scope.level), (WEB, machine.cgroup_inode(WEB), 2));
    assert_eq!((target.scoped_by, target.netns.inode, target.pids.as_slice()), (ScopedBy::Cgroup, 0, pids));
    assert!(!target.is_host_netns() && target.interfaces.is_empty());
}

#[test]
fn several_namespaces_and_none_are_all_the_same() {
    for machine in [Machine::unified(), Machine::hybrid()] {
        machine.cgroup(WEB);
        for wanted in [Wanted::Cgroup(WEB.to_owned()), Wanted::Unit("web".to_owned())] {
            assert_by_cgroup(&machine, &resolve(&machine, wanted).unwrap(), &[]);
        }
        machine.process(10, 1, "nginx", WEB, "web");
        machine.process(11, 10, "nginx", WEB, "other");
        for wanted in [Wanted::Cgroup(WEB.to_owned()), Wanted::Unit("web".to_owned()), Wanted::Pid(10)] {
            assert_by_cgroup(&machine, &resolve(&machine, wanted).unwrap(), &[10, 11]);
        }
    }
}

#[test]
fn what_is_protected_stays_so() {
    let machine = Machine::unified();
    machine.process(30, 1, "kubelet", "/system.slice/kubelet.service", "host");
    machine.cgroup("/top.slice");
    let refused = |wanted| resolve(&machine, wanted).unwrap_err();
    for (wanted, word) in [
        (Wanted::Unit("kubelet".to_owned()), "protected"),
        (Wanted::Cgroup("/top.slice".to_owned()), "level 1"),
        (Wanted::Cgroup("/user.slice/shell.scope".to_owned()), "this very process"),
    ] {
        let (reason, text) = refused(wanted);
        assert!(reason == Reason::Refused && text.contains(word), "{text}");
    }
    machine.process(12, 1, "a", WEB, "web");
    machine.process(13, 1, "b", WEB, "other");
    let (reason, text) = refused(Wanted::Pid(12));
    assert!(reason == Reason::Refused && text.contains("13 (b)"), "calls of strangers would be hit: {text}");
    assert_eq!(refused(Wanted::Cgroup("/system.slice/nobody".to_owned())).0, Reason::Absent);
}

#[test]
fn a_unit_that_is_known_may_start_later() {
    let machine = Machine::unified();
    machine.cgroup("/system.slice");
    let absent = |name: &str| resolve(&machine, Wanted::Unit(name.to_owned())).unwrap_err();
    assert_eq!(absent("web").0, Reason::Absent, "nobody knows it");
    machine.unit_file("web.service", "[Service]\nExecStart=/bin/true\n");
    machine.unit_file("db.service", "[Service]\n");
    let target = resolve(&machine, Wanted::Unit("web".to_owned())).unwrap();
    let scope = target.scope().unwrap();
    assert_eq!((scope.path.as_str(), scope.id, scope.level), (WEB, 0, 2));
    assert_eq!((target.name.as_str(), target.pids.as_slice()), ("web.service", &[][..]));
    let both = [Wanted::Unit("web".to_owned()), Wanted::Unit("db".to_owned())];
    assert_eq!(machine.resolve_for(Needs::Cgroup, &both).unwrap().targets.len(), 2, "each of its own");
    // Of its packets nothing is known before it runs.
    machine.refuses(Wanted::Unit("web".to_owned()), Reason::Absent, &["it does not run"]);
    machine.unit_file("web.service.d/slice.conf", "[Service]\nSlice=other.slice\n");
    assert!(absent("web").1.contains("start it first"), "{}", absent("web").1);
    assert_eq!(absent("x@y").0, Reason::Absent);
    machine.unit_file("shop-web-1.service", "[Service]\n");
    assert!(resolve(&machine, Wanted::Unit("shop-web-1".to_owned())).is_ok());
    machine.unit_file("shop-web-.service.d/all.conf", "[Service]\nSlice=shop.slice\n");
    assert!(absent("shop-web-1").1.contains("start it first"));
    machine.unit_link("www.service", "db.service");
    assert_eq!(resolve(&machine, Wanted::Unit("www".to_owned())).unwrap().name, "db.service", "by its other name");
    machine.process(10, 1, "db", "/system.slice/db.service", "host");
    let running = resolve(&machine, Wanted::Unit("www".to_owned())).unwrap();
    assert_eq!((running.name.as_str(), running.pids.as_slice()), ("db.service", &[10][..]));
    assert_eq!(absent("../web").0, Reason::Absent);
}

#[test]
fn the_first_folder_decides_what_a_unit_is() {
    let machine = Machine::unified();
    machine.cgroup("/system.slice");
    machine.unit_file("../units.d/web.service", "[Service]\n");
    machine.unit_file("../units.d/masked.service", "[Service]\n");
    machine.unit_file("db.service", "[Service]\n");
    machine.unit_file("web.service", "[Service]\n");
    // Below, another package has the name for an alias.
    machine.unit_link("../units.d/own.service", "../units/db.service");
    machine.unit_file("own.service", "[Service]\n");
    machine.unit_link("masked.service", "/dev/null");
    let resolve = |name: &str| resolve(&machine, Wanted::Unit(name.to_owned()));
    assert_eq!(resolve("own").unwrap().name, "own.service");
    assert_eq!(resolve("web").unwrap().name, "web.service");
    assert_eq!(resolve("masked").unwrap_err().0, Reason::Absent);
}

#[test]
fn an_instance_may_start_later_beside_others_of_its_template() {
    let machine = Machine::unified();
    machine.cgroup("/system.slice");
    machine.unit_file("web-app@.service", "[Service]\n");
    let resolve = |name: &str| resolve(&machine, Wanted::Unit(name.to_owned()));
    let (reason, text) = resolve("web-app@2").unwrap_err();
    assert!(reason == Reason::Absent && text.contains("start it first"), "{text}");
    let slice = "/system.slice/system-web\\x2dapp.slice";
    machine.process(10, 1, "web", &format!("{slice}/web-app@1.service"), "host");
    assert_eq!(resolve("web-app@1").unwrap().pids, [10]);
    let target = resolve("web-app@2").unwrap();
    let scope = target.scope().unwrap();
    assert_eq!((scope.path.as_str(), scope.id, scope.level), (&*format!("{slice}/web-app@2.service"), 0, 3));
    assert_eq!(resolve("web-app@").unwrap_err().0, Reason::Absent, "a template is no unit");
    machine.unit_file("web-app@.service.d/slice.conf", "[Service]\nSlice=other.slice\n");
    assert!(resolve("web-app@2").unwrap_err().1.contains("names a slice"));
}

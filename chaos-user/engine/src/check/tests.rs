use super::*;
use chaos_sys::testing;
use std::process::Command;

fn row<'a>(check: &'a Check, fault: &str, direction: &str) -> &'a Row {
    let found = check.faults.iter().find(|row| row.fault == fault && row.direction == direction);
    found.unwrap_or_else(|| panic!("{fault} {direction} is not in {check:#?}"))
}

/// Whether `tc` can add a qdisc fq, in a namespace of its own.
fn tc_has_fq() -> bool {
    let name = testing::unique("fq");
    testing::ip(&["netns", "add", &name]);
    testing::ip(&["-n", &name, "link", "set", "lo", "up"]);
    let fq = Command::new("tc").args(["-n", &name, "qdisc", "add", "dev", "lo", "root", "fq"]).output().unwrap();
    testing::ip(&["netns", "del", &name]);
    fq.status.success()
}

#[test]
fn this_kernel_s_abilities_are_found_by_effect() {
    testing::root_or_return!();
    let started = std::time::Instant::now();
    let check = check().unwrap();
    let took = started.elapsed();
    for row in check.faults.iter().filter(|row| !["latency", "reorder", "bandwidth"].contains(&row.fault.as_str())) {
        assert!(row.supported, "{row:#?}");
        let at_sockets = row.variant.as_deref() == Some("cgroup") && row.direction == "ingress";
        assert_eq!(row.mechanism.as_deref(), if at_sockets { Some("cgroup_skb") } else { check.mechanism });
    }
    for fault in ["partition", "loss", "reset", "duplicate", "corrupt"] {
        row(&check, fault, "egress");
        row(&check, fault, "ingress");
    }
    let fq = tc_has_fq();
    for fault in ["latency", "reorder", "bandwidth"] {
        for direction in ["egress", "ingress"] {
            let row = row(&check, fault, direction);
            assert_eq!(row.supported, fq, "{row:#?}");
            let (why, remedy) = (row.why.clone().unwrap_or_default(), row.remedy.clone().unwrap_or_default());
            assert!(fq || why.contains("ENOENT") && remedy.contains("sch_fq"), "{row:#?}");
        }
    }
    // Alone on a machine 0.7 s, in an emulated one 10 s; a wait that ran into its limit for every fault would take longer.
    assert!(took.as_secs() < 30, "{took:?}");
}

/// The check must be able to fail: faults that match and count, and do nothing, are not supported.
#[test]
fn faults_without_effect_are_not_supported() {
    testing::root_or_return!();
    let check = run(true);
    for row in &check.faults {
        let why = row.why.as_deref().unwrap_or_default();
        assert!(!row.supported, "{row:#?}");
        assert!(why.contains("without the promised effect") || why.contains("ENOENT"), "{row:#?}");
    }
}

#[test]
fn a_lack_keeps_cause_and_remedy_apart() {
    let error = KernelError::new("add qdisc fq to", "chaos0", nix::errno::Errno::ENOENT).unsupported("load sch_fq");
    let lack = Lack::from(error);
    assert_eq!(lack.why, "add qdisc fq to chaos0: No such file or directory (ENOENT)");
    assert_eq!(lack.remedy.as_deref(), Some("load sch_fq"));
}

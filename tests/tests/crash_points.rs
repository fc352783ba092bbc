//! Death and failure at every single operation that changes the kernel or the journal: the effect ends, nothing stays behind,
//! and what failed is named. The product is built with its feature `crash-points`, which counts those operations.

mod crash_points {
    pub mod binary;
    pub mod calls;
    pub mod host;
    pub mod orphans;
    pub mod scene;
}

use crash_points::{
    binary,
    calls::Calls,
    scene::{Scene, Stage, Strike},
};

/// What may fail without failing the run: the switch that only makes it faster, what only keeps the order of packets that several
/// processors send, the trial of a mechanism, after which another one is taken, and what has rules follow a service before user space sees it.
const MAY_FAIL: [&str; 11] = [
    "write kernel/rcu_expedited",
    "steer what arrives at ",
    "load program for __x64_sys_getsid",
    "attach program to __x64_sys_getsid",
    "load program for bpf_lsm_task_getsid",
    "attach program to bpf_lsm_task_getsid",
    "load program for security_task_getsid",
    "attach program to security_task_getsid",
    "load program for cgroup_mkdir",
    "attach program to cgroup_mkdir",
    "write map CHAOS_HEIRS",
];

/// The operation without its numbers: interfaces have others in each run.
fn unnumbered(text: &str) -> String {
    text.chars().filter(|letter| !letter.is_ascii_digit()).collect()
}

fn die_at_every_operation(stage: &impl Stage) {
    let operations = stage.operations();
    println!("{} operations:\n{}", operations.len(), operations.join("\n"));
    assert!(operations.iter().any(|line| line.contains("end lease")), "the revert is part of it: {operations:#?}");
    let mut wrong = Vec::new();
    for (number, operation) in (1..).zip(&operations) {
        let output = stage.run(Strike::Crash(number));
        if output.code != -1 {
            wrong.push(format!(
                "death at {operation}: it did not die but ended with {}: {}",
                output.code,
                output.text()
            ));
        }
        wrong.extend(stage.effect_left().map(|why| format!("death at {operation}: {why}")));
        stage.chaos().command(&["cleanup"]).expect_code(0);
        wrong.extend(stage.left_behind().into_iter().map(|what| format!("death at {operation}: {what}")));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

fn fail_at_every_operation(stage: &impl Stage) {
    let operations = stage.operations();
    let start = operations.iter().position(|line| line.contains("start lease")).expect("a start");
    let mut wrong = Vec::new();
    for (index, operation) in operations.iter().enumerate() {
        let mut wrong_at = |what: String| wrong.push(format!("failure of {operation}: {what}"));
        let output = stage.run(Strike::Fail(index as u64 + 1));
        let name = operation.split_once(' ').map_or("", |(_, name)| name);
        let said = unnumbered(&output.text()).contains(&unnumbered(&format!("{name}: ")));
        let may_fail = MAY_FAIL.iter().any(|begin| name.starts_with(begin));
        if !(output.code > 0 && said || may_fail && output.code == 0) {
            wrong_at(format!("it ended with {} and said {}", output.code, output.text()));
        }
        stage.effect_left().into_iter().for_each(&mut wrong_at);
        // What was being built is rolled back by the run itself; what could not be taken away is left to cleanup.
        if index >= start {
            stage.chaos().command(&["cleanup"]).expect_code(0);
        }
        stage.left_behind().into_iter().for_each(&mut wrong_at);
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn death_at_every_operation_leaves_no_effect_and_nothing_behind() {
    let Some(scene) = Scene::open() else { return };
    die_at_every_operation(&scene);
}

#[test]
fn failure_at_every_operation_is_said_and_leaves_nothing_behind() {
    let Some(scene) = Scene::open() else { return };
    fail_at_every_operation(&scene);
}

/// The same for system calls: whoever sleeps in one is released, too.
#[test]
fn death_at_every_operation_frees_all_calls() {
    let Some(calls) = Calls::open() else { return };
    die_at_every_operation(&calls);
}

#[test]
fn failure_at_every_operation_frees_all_calls() {
    let Some(calls) = Calls::open() else { return };
    fail_at_every_operation(&calls);
}

/// Another experiment on the same interfaces: whoever dies beside it takes only its own.
#[test]
fn death_beside_a_living_run_leaves_that_one_alone() {
    let Some(scene) = Scene::open() else { return };
    let count = scene.operations().len();
    let bystander = scene.bystander();
    let mut wrong = Vec::new();
    // Joining the maps of a living run is another way through the code than loading them.
    let operations = scene.operations();
    assert!(operations.len() < count, "the second run loads no programs of its own: {operations:#?}");
    for (number, operation) in (1..).zip(&operations) {
        scene.run(Strike::Crash(number));
        wrong.extend(scene.effect_left().map(|why| format!("death at {operation}: {why}")));
        scene.chaos().command(&["cleanup"]).expect_code(0);
        wrong.extend(bystander.harmed().map(|why| format!("death at {operation}: {why}")));
    }
    bystander.end();
    wrong.extend(scene.left_behind());
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_product_without_the_feature_has_no_crash_points() {
    let Some(scene) = Scene::open() else { return };
    let Ok(plain) = chaos_tests::product::Chaos::find() else { return };
    assert_ne!(plain.path(), scene.chaos().path());
    let output = binary::command(plain.path(), Strike::Crash(1)).args(["cleanup"]).status().expect("chaos cleanup");
    assert_eq!(output.code(), Some(0), "a variable of the environment must not kill a product");
}

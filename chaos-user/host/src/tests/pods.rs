//! Pods by their UIDs, in the trees of a machine on which others write folders' names.
use super::fake::{Machine, OneInterface};
use crate::{
    Reason,
    error::Problem,
    pod::{PodRef, Pods},
};

const MINE: &str = "11111111-0000-4000-8000-000000000001";
const OTHER: &str = "22222222-0000-4000-8000-000000000002";

fn pod(uid: &str, mirrored: Option<&str>) -> PodRef {
    PodRef {
        namespace: "mine".to_owned(),
        name: "web".to_owned(),
        uid: uid.to_owned(),
        mirrored: mirrored.map(str::to_owned),
        host_network: false,
    }
}

/// The processes of the pod that is found.
fn pids(machine: &Machine, pod: &PodRef) -> Result<Vec<i32>, Problem> {
    Ok(Pods::new(machine.host()).locate(&OneInterface, pod, &[])?.remove(0).pids)
}

fn machines() -> [Machine; 3] {
    [Machine::unified(), Machine::hybrid(), Machine::legacy()].map(|machine| {
        machine.process(100, 1, "web", &format!("/kubepods/burstable/pod{MINE}/a"), "mine");
        machine.process(200, 1, "dns", &format!("/kubepods/burstable/pod{OTHER}/a"), "other");
        machine
    })
}

#[test]
fn a_pod_is_found_by_its_own_uid_whatever_it_claims_to_show() {
    for machine in machines() {
        assert_eq!(pids(&machine, &pod(MINE, None)).unwrap(), [100]);
        assert_eq!(pids(&machine, &pod(MINE, Some(OTHER))).unwrap(), [100]);
        assert_eq!(pids(&machine, &pod("33333333-0000-4000-8000-000000000003", Some(OTHER))).unwrap(), [200]);
    }
}

#[test]
fn a_pod_whose_processes_have_ended_is_not_taken_for_another() {
    let machine = Machine::unified();
    machine.process(200, 1, "dns", &format!("/kubepods/burstable/pod{OTHER}/a"), "other");
    machine.cgroup(&format!("/kubepods/burstable/pod{MINE}"));
    assert_eq!(pids(&machine, &pod(MINE, Some(OTHER))).unwrap_err().reason, Reason::Absent);
}

#[test]
fn no_uid_leads_out_of_its_folder() {
    for machine in machines() {
        for uid in [format!("{MINE}/../pod{OTHER}"), "..".to_owned(), ".".to_owned(), String::new(), "/".to_owned()] {
            for one in [pod(&uid, None), pod("33333333-0000-4000-8000-000000000003", Some(&uid))] {
                // The folder of a pod that was found before is looked into first.
                let finder = Pods::new(machine.host());
                assert!(finder.locate(&OneInterface, &pod(MINE, None), &[]).is_ok());
                assert_eq!(finder.locate(&OneInterface, &one, &[]).unwrap_err().reason, Reason::Absent, "{one:?}");
            }
        }
    }
}

#[test]
fn folders_that_pods_make_below_their_own_are_not_pods() {
    let machine = Machine::unified();
    machine.process(100, 1, "web", &format!("/kubepods/pod{MINE}/a/pod{OTHER}/b"), "mine");
    machine.process(
        101,
        1,
        "web",
        &format!("/kubepods.slice/kubepods-pod{}.slice/a/x-pod22.slice", MINE.replace('-', "_")),
        "mine",
    );
    assert_eq!(pids(&machine, &pod(OTHER, None)).unwrap_err().reason, Reason::Absent);
    assert_eq!(pids(&machine, &pod("22", None)).unwrap_err().reason, Reason::Absent);
    machine.process(200, 1, "dns", &format!("/kubepods/z/burstable/more/pod{OTHER}/a"), "other");
    assert_eq!(pids(&machine, &pod(OTHER, None)).unwrap(), [200]);
}

#[test]
fn a_pod_does_not_hide_behind_the_name_of_the_runtime() {
    let machine = Machine::unified();
    machine.process(100, 1, "kubelet", &format!("/kubepods/pod{MINE}/a"), "mine");
    assert_eq!(pids(&machine, &pod(MINE, None)).unwrap(), [100]);
}

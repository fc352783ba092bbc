use super::*;
use crate::testing;
use std::{fs, path::PathBuf, process::Command};

const ALLOW_MULTI: u32 = 2; // BPF_F_ALLOW_MULTI (linux/bpf.h), as runc attaches its own

/// Refuses every device, or, with 1, none.
fn program(answer: i32) -> OwnedFd {
    let code = [insn(0xb7, 0, 0, 0, answer), insn(0x95, 0, 0, 0, 0)]; // r0 = answer; exit
    let program = Program {
        name: "device",
        kind: bpf_prog_type::BPF_PROG_TYPE_CGROUP_DEVICE,
        attach: bpf_attach_type::BPF_CGROUP_DEVICE,
        code: &code,
        types: None,
        target: None,
        sleepable: false,
    };
    load_program(&program, "a test").unwrap()
}

/// A cgroup that goes with the test.
struct Group(PathBuf);

impl Group {
    fn new() -> Option<Self> {
        let directory = testing::cgroup2()?.join(testing::unique("guard"));
        fs::create_dir(&directory).unwrap();
        Some(Self(directory))
    }

    fn file(&self) -> File {
        File::open(&self.0).unwrap()
    }

    /// Can a process in it open this device?
    fn opens(&self, device: &str) -> bool {
        let script = format!("echo $$ > {}/cgroup.procs && exec 3< {device}", self.0.display());
        Command::new("sh").args(["-c", &script]).output().unwrap().status.success()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _gone_already = fs::remove_dir(&self.0);
    }
}

#[test]
fn what_is_lifted_is_put_back_as_it_was() {
    testing::root_or_return!();
    let Some(group) = Group::new() else { return };
    assert!(Lifted::of(&group.0, group.file()).unwrap_err().to_string().contains("further up"));
    for flags in [ALLOW_MULTI, 0] {
        for answer in [0, 1, 1].into_iter().take(if flags == 0 { 1 } else { 3 }) {
            attach_device_program(program(answer).as_fd(), group.file().as_fd(), flags).unwrap();
        }
        let before = device_programs(group.file().as_fd()).unwrap();
        assert!(!group.opens("/dev/null"), "all are refused");
        for by_hand in [true, false] {
            let lifted = Lifted::of(&group.0, group.file()).unwrap();
            assert_eq!(device_programs(group.file().as_fd()).unwrap().0.len(), 1, "ours alone");
            assert!(group.opens("/dev/null") && group.opens("/dev/urandom"));
            assert!(!group.opens("/dev/kmsg"), "what not every container has");
            if by_hand {
                lifted.put_back().unwrap()
            } else {
                drop(lifted)
            }
            assert_eq!(device_programs(group.file().as_fd()).unwrap(), before);
        }
        for id in before.0 {
            let gone = bpf::program_by_id(id).unwrap();
            detach_device_program(gone.as_fd(), group.file().as_fd()).unwrap();
        }
    }
}

/// Whoever is killed in between, or cannot put them back, leaves less than a container has, and says so.
#[test]
fn what_is_not_put_back_stays_closed() {
    testing::root_or_return!();
    let Some(group) = Group::new() else { return };
    for answer in [0, 1] {
        attach_device_program(program(answer).as_fd(), group.file().as_fd(), ALLOW_MULTI).unwrap();
    }
    let lifted = Lifted::of(&group.0, group.file()).unwrap();
    // Somebody else has ours detached: its place cannot be given back.
    let (ids, _) = device_programs(group.file().as_fd()).unwrap();
    let ours = bpf::program_by_id(ids[0]).unwrap();
    detach_device_program(ours.as_fd(), group.file().as_fd()).unwrap();
    let error = lifted.put_back().unwrap_err().to_string();
    assert!(error.contains("restarted"), "{error}");
    for id in device_programs(group.file().as_fd()).unwrap().0 {
        detach_device_program(bpf::program_by_id(id).unwrap().as_fd(), group.file().as_fd()).unwrap();
    }
    attach_device_program(program(0).as_fd(), group.file().as_fd(), ALLOW_MULTI).unwrap();
    // As by SIGKILL: nothing is put back.
    std::mem::forget(Lifted::of(&group.0, group.file()).unwrap());
    assert!(!group.opens("/dev/kmsg") && group.opens("/dev/null"), "not more than every container has");
}

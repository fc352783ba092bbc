//! A container's runtime keeps devices from it: on cgroup v2 by programs at the container's own cgroup. Those of our own are taken away
//! for the moment in which one file is opened, and put back; nobody else's are touched.

use crate::{
    kernel::{
        bpf::{self, attach_device_program, detach_device_program, device_programs},
        error::KernelError,
    },
    resolve::{Host, cgroup},
};
use nix::errno::Errno;
use std::{
    fs::File,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
};

/// While it lives, the cgroup's own programs for devices are not attached.
#[derive(Debug)]
pub struct Lifted {
    cgroup: File,
    programs: Vec<OwnedFd>,
    flags: u32,
}

impl Lifted {
    /// Takes those of this process's own cgroup away.
    ///
    /// # Errors
    /// There are none: devices are kept from us by cgroup v1, or further up; or the kernel's answer.
    pub fn of_ours() -> Result<Self, KernelError> {
        Self::of(&own()?)
    }

    fn of(directory: &Path) -> Result<Self, KernelError> {
        let shown = || directory.display().to_string();
        let cgroup = File::open(directory).map_err(|e| KernelError::from_io("open", shown(), &e))?;
        let (ids, flags) = device_programs(cgroup.as_fd())?;
        if ids.is_empty() {
            let why =
                "no program at this container's own cgroup keeps devices from it: cgroup v1 or one further up does";
            return Err(KernelError::new("find", shown(), Errno::ENOENT).with_detail(why));
        }
        let programs = ids.into_iter().map(bpf::program_by_id).collect::<Result<Vec<_>, _>>()?;
        let mut lifted = Self { cgroup, programs: Vec::new(), flags };
        for program in programs {
            detach_device_program(program.as_fd(), lifted.cgroup.as_fd())?;
            // From now on it is ours to put back.
            lifted.programs.push(program);
        }
        Ok(lifted)
    }
}

impl Drop for Lifted {
    fn drop(&mut self) {
        for program in &self.programs {
            if let Err(error) = attach_device_program(program.as_fd(), self.cgroup.as_fd(), self.flags) {
                tracing::error!("{error}: what kept devices from this container is gone until it is restarted");
            }
        }
    }
}

/// The directory of this process's cgroup.
fn own() -> Result<PathBuf, KernelError> {
    let absent = |why: String| KernelError::new("find", "this process's cgroup", Errno::ENOENT).with_detail(why);
    let tree = Host::this().map_err(|problem| absent(problem.text))?.unified.map_err(absent)?;
    cgroup::own(&tree).ok_or_else(|| absent("it is not below the cgroup2 mount".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::{
        bpf::{Program, insn, load_program},
        testing,
    };
    use aya_obj::generated::{bpf_attach_type, bpf_prog_type};
    use std::fs;

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

    #[test]
    fn what_is_lifted_is_put_back_as_it_was() {
        const ALLOW_MULTI: u32 = 2; // BPF_F_ALLOW_MULTI (linux/bpf.h), as runc attaches its own
        testing::root_or_return!();
        let Ok(mount) = Host::cgroup2() else { return eprintln!("skipped: cgroup2 is not mounted here") };
        let directory = mount.join(testing::unique("guard"));
        fs::create_dir(&directory).unwrap();
        assert!(Lifted::of(&directory).unwrap_err().to_string().contains("further up"));
        let cgroup = File::open(&directory).unwrap();
        for answer in [0, 1] {
            attach_device_program(program(answer).as_fd(), cgroup.as_fd(), ALLOW_MULTI).unwrap();
        }
        let before = device_programs(cgroup.as_fd()).unwrap();
        assert_eq!((before.0.len(), before.1), (2, ALLOW_MULTI));
        let lifted = Lifted::of(&directory).unwrap();
        assert!(device_programs(cgroup.as_fd()).unwrap().0.is_empty());
        drop(lifted);
        assert_eq!(device_programs(cgroup.as_fd()).unwrap(), before);
        fs::remove_dir(&directory).unwrap();
    }
}

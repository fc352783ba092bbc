//! Programs that say which devices the processes of a cgroup may use (BPF_CGROUP_DEVICE): how container runtimes keep devices from
//! containers on cgroup v2.

use super::{attributes, call};
use crate::{error::KernelError, seam};
use aya_obj::generated::{bpf_attach_type, bpf_cmd};
use nix::errno::Errno;
use std::os::fd::{AsRawFd, BorrowedFd};

/// More than one runtime attaches; the kernel takes up to 64 (linux/bpf-cgroup.h, BPF_CGROUP_MAX_PROGS).
const MOST: usize = 64;
const OBJECT: &str = "programs for devices";

/// The ids of those that stand at a cgroup itself, in their order, and the flags that they were attached with.
///
/// # Errors
/// EPERM without CAP_NET_ADMIN.
pub fn device_programs(cgroup: BorrowedFd) -> Result<(Vec<u32>, u32), KernelError> {
    let mut ids = [0_u32; MOST];
    let mut attr = attributes();
    attr.query.__bindgen_anon_1.target_fd = cgroup.as_raw_fd() as u32;
    attr.query.attach_type = bpf_attach_type::BPF_CGROUP_DEVICE as u32;
    attr.query.prog_ids = ids.as_mut_ptr() as u64;
    attr.query.__bindgen_anon_2.prog_cnt = MOST as u32;
    call(bpf_cmd::BPF_PROG_QUERY, &mut attr).map_err(|errno| KernelError::new("ask for", OBJECT, errno))?;
    // SAFETY: the kernel wrote these members, which are integers.
    let (count, flags) = unsafe { (attr.query.__bindgen_anon_2.prog_cnt, attr.query.attach_flags) };
    Ok((ids.into_iter().take(count as usize).collect(), flags))
}

/// BPF_F_ALLOW_MULTI and BPF_F_REPLACE (linux/bpf.h).
const ALLOW_MULTI: u32 = 1 << 1;
const REPLACE: u32 = 1 << 2;

/// Puts one in the place of another, in one step. Linux 5.6.
///
/// # Errors
/// The kernel's answer to BPF_PROG_ATTACH; ENOENT where the other is not there.
pub fn replace_device_program(
    old: BorrowedFd,
    new: BorrowedFd,
    cgroup: BorrowedFd,
    flags: u32,
) -> Result<(), KernelError> {
    // Where there may be but one, the next takes its place by itself.
    let several = flags & ALLOW_MULTI != 0;
    let (flags, old) = if several { (flags | REPLACE, Some(old)) } else { (flags, None) };
    seam::run("replace", OBJECT, || {
        change(bpf_cmd::BPF_PROG_ATTACH, new, cgroup, flags, old)
            .map_err(|errno| KernelError::new("replace", OBJECT, errno))
    })
}

/// Attaches one to a cgroup.
///
/// # Errors
/// The kernel's answer to BPF_PROG_ATTACH.
pub fn attach_device_program(program: BorrowedFd, cgroup: BorrowedFd, flags: u32) -> Result<(), KernelError> {
    seam::run("attach", OBJECT, || {
        change(bpf_cmd::BPF_PROG_ATTACH, program, cgroup, flags, None)
            .map_err(|errno| KernelError::new("attach", OBJECT, errno))
    })
}

/// Takes one from a cgroup.
///
/// # Errors
/// The kernel's answer to BPF_PROG_DETACH; ENOENT for one that a link holds there.
pub fn detach_device_program(program: BorrowedFd, cgroup: BorrowedFd) -> Result<(), KernelError> {
    seam::run("detach", OBJECT, || {
        change(bpf_cmd::BPF_PROG_DETACH, program, cgroup, 0, None)
            .map_err(|errno| KernelError::new("detach", OBJECT, errno))
    })
}

fn change(
    cmd: bpf_cmd,
    program: BorrowedFd,
    cgroup: BorrowedFd,
    flags: u32,
    old: Option<BorrowedFd>,
) -> Result<(), Errno> {
    let mut attr = attributes();
    // SAFETY: every member of the union is made of integers; this one is read by both commands.
    let attach = unsafe { &mut attr.__bindgen_anon_5 };
    attach.__bindgen_anon_1.target_fd = cgroup.as_raw_fd() as u32;
    attach.attach_bpf_fd = program.as_raw_fd() as u32;
    attach.attach_type = bpf_attach_type::BPF_CGROUP_DEVICE as u32;
    attach.attach_flags = flags;
    attach.replace_bpf_fd = old.map_or(0, |old| old.as_raw_fd() as u32);
    call(cmd, &mut attr).map(drop)
}

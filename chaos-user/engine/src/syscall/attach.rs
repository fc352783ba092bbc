//! Loads and attaches a program at its site.

use aya_obj::generated::{bpf_attach_type, bpf_prog_type};
use chaos_spec::plan::call::{AttachMethod, CgroupHook, HookSite};
use chaos_sys::{
    bpf::{self, Program},
    error::KernelError,
};
use std::os::fd::{BorrowedFd, OwnedFd};

const fn attach_type(hook: CgroupHook) -> bpf_attach_type {
    match hook {
        CgroupHook::Connect4 => bpf_attach_type::BPF_CGROUP_INET4_CONNECT,
        CgroupHook::Connect6 => bpf_attach_type::BPF_CGROUP_INET6_CONNECT,
        CgroupHook::Bind4 => bpf_attach_type::BPF_CGROUP_INET4_BIND,
        CgroupHook::Bind6 => bpf_attach_type::BPF_CGROUP_INET6_BIND,
        CgroupHook::SendMsg4 => bpf_attach_type::BPF_CGROUP_UDP4_SENDMSG,
        CgroupHook::SendMsg6 => bpf_attach_type::BPF_CGROUP_UDP6_SENDMSG,
        CgroupHook::SockCreate => bpf_attach_type::BPF_CGROUP_INET_SOCK_CREATE,
    }
}

/// Type and attach type of its programs.
pub(super) fn types(method: AttachMethod) -> (bpf_prog_type, bpf_attach_type) {
    match method {
        AttachMethod::Entry | AttachMethod::Security | AttachMethod::EntryLater => {
            (bpf_prog_type::BPF_PROG_TYPE_TRACING, bpf_attach_type::BPF_MODIFY_RETURN)
        }
        AttachMethod::Lsm | AttachMethod::LsmAsleep | AttachMethod::Sleep | AttachMethod::LsmLater => {
            (bpf_prog_type::BPF_PROG_TYPE_LSM, bpf_attach_type::BPF_LSM_MAC)
        }
        AttachMethod::Kprobe => (bpf_prog_type::BPF_PROG_TYPE_KPROBE, bpf_attach_type::BPF_CGROUP_INET_INGRESS),
        AttachMethod::Cgroup(CgroupHook::SockCreate) => {
            (bpf_prog_type::BPF_PROG_TYPE_CGROUP_SOCK, attach_type(CgroupHook::SockCreate))
        }
        AttachMethod::Cgroup(hook) => (bpf_prog_type::BPF_PROG_TYPE_CGROUP_SOCK_ADDR, attach_type(hook)),
    }
}

/// Attaches its program; it stays as long as the descriptors. `root`: the uppermost directory of the cgroup2 tree, where
/// programs of cgroups stand: they look for the target's cgroup as those of all other means do.
///
/// # Errors
/// What the kernel says.
pub fn attach(site: &HookSite, program: BorrowedFd, root: BorrowedFd) -> Result<Vec<OwnedFd>, KernelError> {
    match site.method {
        AttachMethod::Kprobe => bpf::attach_kprobe(program, &site.function).map(|fd| vec![fd]),
        AttachMethod::Cgroup(hook) => {
            Ok(vec![bpf::attach_to_cgroup(program, root, attach_type(hook), &site.function)?])
        }
        _ => Ok(vec![bpf::attach_tracing(program, &site.function)?]),
    }
}

/// Loads a program for a place.
///
/// # Errors
/// `unsupported` where the kernel does not have the function or lets nobody change what it returns.
pub(super) fn load(site: &HookSite, program: &Program) -> Result<OwnedFd, KernelError> {
    bpf::load_program(program, &site.function).map_err(|error| {
        let said = error.detail.as_deref().unwrap_or("");
        if site.method == AttachMethod::Kprobe && (said.contains("cannot use helper") || said.contains("unknown func")) {
            return error.unsupported(
                "the kernel was built without CONFIG_BPF_KPROBE_OVERRIDE (Ubuntu, Amazon Linux, Bottlerocket and RHEL 8 have it)",
            );
        }
        if site.method == AttachMethod::Sleep && said.contains("unknown") {
            return error.unsupported("needs bpf_task_from_pid and bpf_copy_from_user_task: Linux 6.2, as in Debian 13 and Ubuntu 24.04");
        }
        if matches!(site.method, AttachMethod::Entry | AttachMethod::EntryLater) && said.contains("not modifiable") {
            return error.unsupported(
                "needs CONFIG_FUNCTION_ERROR_INJECTION (Ubuntu, RHEL 9, Amazon Linux, Azure Linux, Bottlerocket, COS and Talos have \
                 it), or Linux 7.1, as in Debian 14",
            );
        }
        error
    })
}

/// The descriptor of the cgroup2 tree's uppermost directory.
///
/// # Errors
/// ENOENT where none is mounted.
pub(super) fn open_root(path: &std::path::Path) -> Result<OwnedFd, KernelError> {
    let file = std::fs::File::open(path).map_err(|e| KernelError::from_io("open", path.display().to_string(), &e))?;
    Ok(file.into())
}

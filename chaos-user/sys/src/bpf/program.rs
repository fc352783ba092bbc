//! Programs that aya 0.14 cannot load or attach: `fmod_ret`, and those that get the maps of another object.

use super::{attributes, call, call_fd};
use crate::{error::KernelError, seam};
use aya_obj::generated::{
    BPF_F_SLEEPABLE, PERF_EVENT_IOC_ENABLE, PERF_EVENT_IOC_SET_BPF, bpf_attach_type, bpf_cmd, bpf_insn, bpf_prog_info,
    bpf_prog_type, perf_event_attr,
};
use nix::errno::Errno;
use std::{
    ffi::CString,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
};

/// Type information of a program.
#[derive(Clone, Copy)]
pub struct Types<'a> {
    /// As [`load_types`] made it.
    pub loaded: BorrowedFd<'a>,
    /// Which of its functions has which type.
    pub functions: &'a [u8],
    /// The size of one such entry, bytes.
    pub size: u32,
}

/// A program that aya cannot load.
pub struct Program<'a> {
    /// Its name, for people; the kernel keeps 15 characters.
    pub name: &'a str,
    /// Its type.
    pub kind: bpf_prog_type,
    /// And what it is to be attached to.
    pub attach: bpf_attach_type,
    /// Its instructions.
    pub code: &'a [bpf_insn],
    /// Its type information; None: it has but one function, and needs none.
    pub types: Option<Types<'a>>,
    /// The kernel's function at which it stands, by its id in the kernel's type information.
    pub target: Option<u32>,
    /// It may sleep.
    pub sleepable: bool,
}

/// Loads type information of programs.
///
/// # Errors
/// The kernel's answer to BPF_BTF_LOAD.
pub fn load_types(types: &[u8]) -> Result<OwnedFd, KernelError> {
    let mut attr = attributes();
    // SAFETY: every member of the union is made of integers; this one is read by BPF_BTF_LOAD.
    let load = unsafe { &mut attr.__bindgen_anon_7 };
    load.btf = types.as_ptr() as u64;
    load.btf_size = types.len() as u32;
    call_fd(bpf_cmd::BPF_BTF_LOAD, &mut attr)
        .map_err(|errno| KernelError::new("load types of", "programs of system calls", errno))
}

/// Loads a program for `object`. Where the kernel refuses it, the verifier's log is in the error.
///
/// # Errors
/// The kernel's answer to BPF_PROG_LOAD.
pub fn load_program(program: &Program, object: &str) -> Result<OwnedFd, KernelError> {
    seam::run("load program for", object, || match load_logged(program, &mut []) {
        Ok(fd) => Ok(fd),
        Err(_) => {
            // A second time with a log: writing one costs more than loading.
            let mut log = vec![0_u8; 1 << 20];
            load_logged(program, &mut log).map_err(|errno| {
                // Behind its end stands what was taken back: states that turned out to be known (kernel/bpf/verifier.c, `bpf_vlog_reset`).
                let text = log.split(|byte| *byte == 0).next().unwrap_or_default();
                let text = String::from_utf8_lossy(text);
                let text = text.trim();
                let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with("processed ")).collect();
                let error = KernelError::new("load program for", object, errno);
                // What it says at last is the reason.
                match lines.last() {
                    Some(last) => error.with_detail(*last),
                    None => error,
                }
            })
        }
    })
}

fn load_logged(program: &Program, log: &mut [u8]) -> Result<OwnedFd, Errno> {
    let mut attr = attributes();
    // SAFETY: every member of the union is made of integers; this one is read by BPF_PROG_LOAD.
    let load = unsafe { &mut attr.__bindgen_anon_3 };
    load.prog_type = program.kind as u32;
    load.expected_attach_type = program.attach as u32;
    load.insns = program.code.as_ptr() as u64;
    load.insn_cnt = program.code.len() as u32;
    load.license = c"GPL".as_ptr() as u64;
    if let Some(types) = &program.types {
        load.prog_btf_fd = types.loaded.as_raw_fd() as u32;
        load.func_info = types.functions.as_ptr() as u64;
        load.func_info_rec_size = types.size;
        load.func_info_cnt = (types.functions.len() as u32).checked_div(types.size).unwrap_or(0);
    }
    load.attach_btf_id = program.target.unwrap_or(0);
    load.prog_flags = if program.sleepable { BPF_F_SLEEPABLE } else { 0 };
    if !log.is_empty() {
        load.log_level = 1;
        load.log_buf = log.as_mut_ptr() as u64;
        load.log_size = log.len() as u32;
    }
    for (to, from) in load.prog_name.iter_mut().zip(format!("chaos_{}", program.name).bytes().take(15)) {
        *to = from as std::ffi::c_char;
    }
    call_fd(bpf_cmd::BPF_PROG_LOAD, &mut attr)
}

/// How often the kernel left a program out because it was running on that CPU already (Linux 5.12); 0 where it does not say.
#[must_use]
pub fn recursion_misses(program: BorrowedFd) -> u64 {
    // SAFETY: a struct of integers: zero is valid.
    let mut info: bpf_prog_info = unsafe { std::mem::zeroed() };
    let mut attr = attributes();
    attr.info.bpf_fd = program.as_raw_fd() as u32;
    attr.info.info_len = size_of::<bpf_prog_info>() as u32;
    attr.info.info = (&raw mut info) as u64;
    call(bpf_cmd::BPF_OBJ_GET_INFO_BY_FD, &mut attr).map_or(0, |_| info.recursion_misses)
}

/// Attaches an `fmod_ret` or LSM program to the function that it was loaded for. The link lives as long as its descriptors.
///
/// # Errors
/// The kernel's answer to BPF_RAW_TRACEPOINT_OPEN.
pub fn attach_tracing(program: BorrowedFd, object: &str) -> Result<OwnedFd, KernelError> {
    seam::run("attach program to", object, || {
        let mut attr = attributes();
        attr.raw_tracepoint.prog_fd = program.as_raw_fd() as u32;
        call_fd(bpf_cmd::BPF_RAW_TRACEPOINT_OPEN, &mut attr)
            .map_err(|errno| KernelError::new("attach program to", object, errno))
    })
}

/// Attaches a program to a raw tracepoint. The link lives as long as its descriptors.
///
/// # Errors
/// The kernel's answer to BPF_RAW_TRACEPOINT_OPEN.
pub fn attach_raw_tracepoint(program: BorrowedFd, name: &std::ffi::CStr) -> Result<OwnedFd, KernelError> {
    let object = name.to_string_lossy().into_owned();
    seam::run("attach program to", &object, || {
        let mut attr = attributes();
        attr.raw_tracepoint.name = name.as_ptr() as u64;
        attr.raw_tracepoint.prog_fd = program.as_raw_fd() as u32;
        call_fd(bpf_cmd::BPF_RAW_TRACEPOINT_OPEN, &mut attr)
            .map_err(|errno| KernelError::new("attach program to", object.clone(), errno))
    })
}

/// Attaches a program to a hook of a cgroup and all below it, beside whatever is there. Linux 5.7. The link lives as long as its
/// descriptors.
///
/// # Errors
/// The kernel's answer to BPF_LINK_CREATE.
pub fn attach_to_cgroup(
    program: BorrowedFd,
    directory: BorrowedFd,
    hook: bpf_attach_type,
    object: &str,
) -> Result<OwnedFd, KernelError> {
    seam::run("attach program to", object, || {
        let mut attr = attributes();
        attr.link_create.__bindgen_anon_1.prog_fd = program.as_raw_fd() as u32;
        attr.link_create.__bindgen_anon_2.target_fd = directory.as_raw_fd() as u32;
        attr.link_create.attach_type = hook as u32;
        call_fd(bpf_cmd::BPF_LINK_CREATE, &mut attr)
            .map_err(|errno| KernelError::new("attach program to", object, errno))
    })
}

/// Attaches a program to the entry of a function by a kprobe (kernel/trace/trace_event_perf.c, `perf_kprobe_init`). It is gone with its
/// descriptor.
///
/// # Errors
/// The kernel's answer to perf_event_open(2) and ioctl(2); ENOENT, `unsupported`, on a kernel without kprobes.
pub fn attach_kprobe(program: BorrowedFd, function: &str) -> Result<OwnedFd, KernelError> {
    /// `PERF_FLAG_FD_CLOEXEC` (linux/perf_event.h).
    const CLOSE_ON_EXEC: libc::c_ulong = 1 << 3;
    const TYPE: &str = "/sys/bus/event_source/devices/kprobe/type";
    seam::run("attach kprobe to", function, || {
        let kind = std::fs::read_to_string(TYPE).map_err(|e| {
            KernelError::from_io("read", TYPE, &e).unsupported("the kernel was built without CONFIG_KPROBE_EVENTS")
        })?;
        let kind = kind.trim().parse().map_err(|_| KernelError::malformed("read", TYPE, kind.clone()))?;
        let error = |errno| KernelError::new("attach kprobe to", function, errno);
        let name = CString::new(function).map_err(|_| error(Errno::EINVAL))?;
        // SAFETY: a struct of integers and unions of such: zero is valid.
        let mut attr: perf_event_attr = unsafe { std::mem::zeroed() };
        attr.type_ = kind;
        attr.size = size_of::<perf_event_attr>() as u32;
        attr.__bindgen_anon_3.config1 = name.as_ptr() as u64;
        // Needed: no safe wrapper exists. Any process on CPU 0: a kprobe fires on all CPUs whatever is said here.
        // SAFETY: `attr` and the name that it points to live through the call.
        let fd = unsafe { libc::syscall(libc::SYS_perf_event_open, &raw const attr, -1, 0, -1, CLOSE_ON_EXEC) };
        let fd = Errno::result(fd).map_err(error)?;
        // SAFETY: a new descriptor that nobody else owns.
        let fd = unsafe { OwnedFd::from_raw_fd(fd as i32) };
        for (request, argument) in [(PERF_EVENT_IOC_SET_BPF, program.as_raw_fd()), (PERF_EVENT_IOC_ENABLE, 0)] {
            // SAFETY: both requests take a number.
            Errno::result(unsafe { libc::ioctl(fd.as_raw_fd(), request.into(), argument) }).map_err(|errno| {
                // kernel/trace/bpf_trace.c, `perf_event_attach_bpf_prog`, of a program that overrides.
                let error = error(errno);
                if errno != Errno::EINVAL {
                    return error;
                }
                error.unsupported("the kernel lets nobody change what this function returns; was the call built in?")
            })?;
        }
        Ok(fd)
    })
}

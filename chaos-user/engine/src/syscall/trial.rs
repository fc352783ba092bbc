//! A program for a trial: one thread, known by its name, gets an error. Assembled by hand, because it is small, and the verifier of
//! an old or emulated machine takes seconds for one that is not.

use super::attach;
use aya_obj::generated::bpf_insn;
use chaos_spec::plan::call::{AttachMethod, HookSite};
use chaos_sys::{
    bpf::{self, Program},
    btf::KernelTypes,
    error::KernelError,
};
use nix::errno::Errno;
use std::os::fd::{AsFd, OwnedFd};

/// The name of the thread that makes the trial calls.
pub const THREAD: &str = "chaos-trial";
/// The error that it gets.
pub const ERROR: Errno = Errno::EXDEV;

const GET_CURRENT_COMM: i32 = 16;
const OVERRIDE_RETURN: i32 = 58;
const SET_RETVAL: i32 = 187;

fn code(method: AttachMethod) -> Vec<bpf_insn> {
    use bpf::insn;
    let mut name = [0_u8; 16];
    name.iter_mut().zip(THREAD.bytes()).for_each(|(to, from)| *to = from);
    let [first, second] = [0, 8].map(|at| u64::from_ne_bytes(std::array::from_fn(|n| name[at + n])));
    let error = -(ERROR as i32);
    // What a program returns that lets the call go on.
    let on = i32::from(matches!(method, AttachMethod::Cgroup(_)));
    let hit = match method {
        // r1 = ctx; r2 = error; override_return; r0 = 0
        AttachMethod::Kprobe => vec![
            insn(0xbf, 1, 6, 0, 0),
            insn(0xb7, 2, 0, 0, error),
            insn(0x85, 0, 0, 0, OVERRIDE_RETURN),
            insn(0xb7, 0, 0, 0, 0),
        ],
        // r1 = error; set_retval; r0 = 0
        AttachMethod::Cgroup(_) => {
            vec![insn(0xb7, 1, 0, 0, error), insn(0x85, 0, 0, 0, SET_RETVAL), insn(0xb7, 0, 0, 0, 0)]
        }
        _ => vec![insn(0xb7, 0, 0, 0, error)],
    };
    let wide = |value: u64| [insn(0x18, 2, 0, 0, value as u32 as i32), insn(0, 0, 0, 0, (value >> 32) as u32 as i32)];
    // r6 = ctx; get_current_comm(fp - 16, 16)
    let mut code = vec![
        insn(0xbf, 6, 1, 0, 0),
        insn(0x7a, 10, 0, -16, 0),
        insn(0x7a, 10, 0, -8, 0),
        insn(0xbf, 1, 10, 0, 0),
        insn(0x07, 1, 0, 0, -16),
        insn(0xb7, 2, 0, 0, 16),
        insn(0x85, 0, 0, 0, GET_CURRENT_COMM),
    ];
    // if either half differs, over the hit and its exit
    let behind = hit.len() as i16 + 1;
    code.push(insn(0x79, 1, 10, -16, 0));
    code.extend(wide(first));
    code.push(insn(0x5d, 1, 2, behind + 4, 0));
    code.push(insn(0x79, 1, 10, -8, 0));
    code.extend(wide(second));
    code.push(insn(0x5d, 1, 2, behind, 0));
    code.extend(hit);
    code.extend([insn(0x95, 0, 0, 0, 0), insn(0xb7, 0, 0, 0, on), insn(0x95, 0, 0, 0, 0)]);
    code
}

/// Puts the program of a trial in a place; it stays as long as the descriptors.
///
/// # Errors
/// What the kernel says; `unsupported` where it lacks the function or lets nobody change what it returns.
pub fn attach_trial(
    site: &HookSite,
    kernel: Option<&KernelTypes>,
    root: &std::path::Path,
) -> Result<Vec<OwnedFd>, KernelError> {
    put(site, &code(site.method), kernel, root)
}

/// Puts a program that lets every call go on in a place: what a measurement compares with.
///
/// # Errors
/// As [`attach_trial`].
pub fn attach_empty(
    site: &HookSite,
    kernel: Option<&KernelTypes>,
    root: &std::path::Path,
) -> Result<Vec<OwnedFd>, KernelError> {
    let on = i32::from(matches!(site.method, AttachMethod::Cgroup(_)));
    put(site, &[bpf::insn(0xb7, 0, 0, 0, on), bpf::insn(0x95, 0, 0, 0, 0)], kernel, root)
}

fn put(
    site: &HookSite,
    code: &[bpf_insn],
    kernel: Option<&KernelTypes>,
    root: &std::path::Path,
) -> Result<Vec<OwnedFd>, KernelError> {
    let target = match site.method {
        AttachMethod::Kprobe | AttachMethod::Cgroup(_) => None,
        _ => {
            let id = kernel.and_then(|kernel| kernel.function(&site.function));
            Some(id.ok_or_else(|| {
                let error = KernelError::new("find function", &site.function, Errno::ENOENT);
                error.unsupported("this kernel has no such function, or no type information (CONFIG_DEBUG_INFO_BTF)")
            })?)
        }
    };
    let (kind, attach) = attach::types(site.method);
    let program = Program { name: "trial", kind, attach, code, types: None, target, sleepable: false };
    let program = attach::load(site, &program)?;
    let mut held = attach::attach(site, program.as_fd(), attach::open_root(root)?.as_fd())?;
    held.push(program);
    Ok(held)
}

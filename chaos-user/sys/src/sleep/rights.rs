//! What the process in which threads wait may do. It serves whole days and reads what the kernel tells it of others' calls, so once it serves
//! it has no right of root's, and few system calls.

use crate::error::KernelError;
use nix::{
    errno::Errno,
    sys::mman::{MlockAllFlags, mlockall},
    unistd::{dup2_stderr, dup2_stdin, dup2_stdout},
};
use std::fs::{self, File};

const WHAT: &str = "process in which threads wait";

/// `_LINUX_CAPABILITY_VERSION_3` (linux/capability.h).
const VERSION: u32 = 0x2008_0522;
/// CAP_SYS_PTRACE there.
const SYS_PTRACE: u64 = 1 << 19;
/// How readily it is chosen when memory is short (proc_pid_oom_score_adj(5), -1000 to 1000): its end frees next to nothing, and all threads.
const OOM_SCORE: &str = "-900";

/// `struct __user_cap_header_struct`.
#[repr(C)]
struct Header {
    version: u32,
    pid: i32,
}

/// `struct __user_cap_data_struct`, for 32 capabilities.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Half {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// Input and output are nobody's: whoever reads what the run writes is not kept waiting by its copy.
pub fn leave_streams() {
    if let Ok(null) = File::options().read(true).write(true).open("/dev/null") {
        let _ = dup2_stdin(&null);
        let _ = dup2_stdout(&null);
        let _ = dup2_stderr(&null);
    }
}

/// Memory that is here stays here, and others go first when it is short; where that is refused, it is as it was. Before the pages of the
/// served file are mapped, which must not be read by us.
pub fn hold_memory() {
    let _ = mlockall(MlockAllFlags::from_bits_retain(libc::MCL_CURRENT | libc::MCL_ONFAULT));
    let _ = fs::write("/proc/self/oom_score_adj", OOM_SCORE);
}

/// Gives up all capabilities, and all system calls but those that serving takes. No new ones come by exec, as `no_new_privs` stands.
///
/// # Errors
/// What the kernel says; it is not to serve then.
pub fn give_up() -> Result<(), KernelError> {
    let error = |errno| KernelError::new("take rights from", WHAT, errno);
    // Whether a thread dies stands in a file that everybody may read, unless /proc is mounted so as to hide others' processes.
    let kept = if hides_processes() { SYS_PTRACE & permitted().map_err(error)? } else { 0 };
    keep(kept).map_err(error)?;
    filter::install().map_err(error)
}

fn hides_processes() -> bool {
    let hides = |line: &str| {
        let mut words = line.split(' ').skip(1);
        let (at, _, options) = (words.next(), words.next(), words.next().unwrap_or_default());
        at == Some("/proc") && options.split(',').any(|option| option.starts_with("hidepid="))
    };
    fs::read_to_string("/proc/self/mounts").is_ok_and(|text| text.lines().any(hides))
}

fn permitted() -> Result<u64, Errno> {
    let header = Header { version: VERSION, pid: 0 };
    let mut halves = [Half::default(); 2];
    // Needed: no safe wrapper is at hand. Sound: version 3 writes two structures of this layout (kernel/capability.c, `capget`).
    // SAFETY: both pointers are to live memory of the kernel's layout.
    Errno::result(unsafe { libc::syscall(libc::SYS_capget, &raw const header, halves.as_mut_ptr()) })?;
    Ok(u64::from(halves[0].permitted) | u64::from(halves[1].permitted) << 32)
}

fn keep(capabilities: u64) -> Result<(), Errno> {
    let header = Header { version: VERSION, pid: 0 };
    let half = |bits: u64| Half { effective: bits as u32, permitted: bits as u32, inheritable: 0 };
    let halves = [half(capabilities), half(capabilities >> 32)];
    // Needed and sound as above; this one reads.
    // SAFETY: both pointers are to live memory of the kernel's layout.
    Errno::result(unsafe { libc::syscall(libc::SYS_capset, &raw const header, halves.as_ptr()) }).map(drop)
}

/// A filter of system calls (seccomp(2)): what is not named fails with EPERM.
mod filter {
    use nix::errno::Errno;

    /// AUDIT_ARCH_* of linux/audit.h.
    #[cfg(target_arch = "x86_64")]
    const ARCHITECTURE: u32 = 0xc000_003e;
    #[cfg(target_arch = "aarch64")]
    const ARCHITECTURE: u32 = 0xc000_00b7;

    const CALLS: &[libc::c_long] = &[
        libc::SYS_read,
        libc::SYS_write,
        libc::SYS_recvfrom,
        libc::SYS_sendto,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_poll,
        libc::SYS_ppoll,
        libc::SYS_clock_gettime,
        libc::SYS_clock_nanosleep,
        libc::SYS_nanosleep,
        libc::SYS_close,
        libc::SYS_munmap,
        libc::SYS_futex,
        libc::SYS_rt_sigreturn,
        libc::SYS_rt_sigprocmask,
        libc::SYS_sigaltstack,
        libc::SYS_restart_syscall,
        libc::SYS_exit,
        libc::SYS_exit_group,
    ];

    // linux/bpf_common.h, linux/seccomp.h
    const LOAD: u16 = 0x20;
    const IF_EQUAL: u16 = 0x15;
    const IF_BITS: u16 = 0x45;
    const RETURN: u16 = 0x06;
    const ALLOW: u32 = 0x7fff_0000;
    const REFUSE: u32 = 0x0005_0000 | libc::EPERM as u32;
    /// Offsets in `struct seccomp_data`: the number, the architecture, the low half of the third argument.
    const NUMBER: u32 = 0;
    const ARCH: u32 = 4;
    const THIRD: u32 = 32;
    /// Files are opened to be read.
    const WRITES: u32 = (libc::O_WRONLY | libc::O_RDWR | libc::O_CREAT | libc::O_TRUNC) as u32;

    const fn step(code: u16, k: u32, jt: u8, jf: u8) -> libc::sock_filter {
        libc::sock_filter { code, jt, jf, k }
    }

    pub(super) fn program() -> Vec<libc::sock_filter> {
        let mut code = vec![step(LOAD, ARCH, 0, 0), step(IF_EQUAL, ARCHITECTURE, 1, 0), step(RETURN, REFUSE, 0, 0)];
        code.push(step(LOAD, NUMBER, 0, 0));
        for call in CALLS {
            code.push(step(IF_EQUAL, *call as u32, 0, 1));
            code.push(step(RETURN, ALLOW, 0, 0));
        }
        code.push(step(IF_EQUAL, libc::SYS_openat as u32, 1, 0));
        code.push(step(RETURN, REFUSE, 0, 0));
        code.push(step(LOAD, THIRD, 0, 0));
        code.push(step(IF_BITS, WRITES, 0, 1));
        code.push(step(RETURN, REFUSE, 0, 0));
        code.push(step(RETURN, ALLOW, 0, 0));
        code
    }

    pub fn install() -> Result<(), Errno> {
        let mut code = program();
        let program = libc::sock_fprog { len: code.len() as u16, filter: code.as_mut_ptr() };
        // Needed: no safe wrapper exists. Sound: the kernel copies the program, checks it, and applies it to this thread, the only one.
        // SAFETY: the pointers are to live memory of the kernel's layout, of the length that is given.
        Errno::result(unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) })
            .map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::root_or_return;
    use nix::{
        sys::wait::{WaitStatus, waitpid},
        unistd::{ForkResult, fork},
    };

    #[test]
    fn without_rights_files_are_read_and_little_else() {
        root_or_return!();
        // Needed: what is given up does not come back, so a copy gives it up.
        // SAFETY: the copy calls nothing that another thread's lock could hold: system calls alone.
        let child = match unsafe { fork() }.unwrap() {
            ForkResult::Parent { child } => child,
            ForkResult::Child => {
                let code = tried();
                // SAFETY: ends this copy at once.
                unsafe { libc::_exit(code) }
            }
        };
        assert_eq!(waitpid(child, None).unwrap(), WaitStatus::Exited(child, 0));
    }

    /// 0, or which step went wrong.
    fn tried() -> i32 {
        let _ = nix::sys::prctl::set_no_new_privs();
        // SAFETY: system calls on constant texts and numbers.
        let open = |path: &std::ffi::CStr, flags| unsafe { libc::open(path.as_ptr(), flags) };
        if keep(0).is_err() || filter::install().is_err() {
            return 1;
        }
        if permitted() != Err(Errno::EPERM) {
            return 2;
        }
        let status = open(c"/proc/self/status", libc::O_RDONLY);
        let mut text = [0_u8; 4096];
        // SAFETY: as long as the buffer.
        let length = unsafe { libc::read(status, text.as_mut_ptr().cast(), text.len()) };
        let text = std::str::from_utf8(&text[..length.max(0) as usize]).unwrap_or("");
        let has = |line: &str| text.lines().any(|one| one == line);
        if !has("CapEff:\t0000000000000000") || !has("CapPrm:\t0000000000000000") || !has("Seccomp:\t2") {
            return 3;
        }
        if open(c"/dev/null", libc::O_WRONLY) >= 0 || Errno::last() != Errno::EPERM {
            return 4;
        }
        // SAFETY: a socket that nobody uses.
        if unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM, 0) } >= 0 {
            return 5;
        }
        0
    }
}

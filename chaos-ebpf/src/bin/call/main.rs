//! The programs of system calls: their entries, and the security hooks that they pass. User space loads each for the kernel
//! functions that it is to stand at (`fmod_ret`, LSM, kprobe), as often as needed, by a loader of its own: the sections' names
//! mean nothing but that these are programs.
#![cfg_attr(target_arch = "bpf", no_std)]
#![cfg_attr(target_arch = "bpf", no_main)]

#[cfg(not(target_arch = "bpf"))]
fn main() {}

#[cfg(target_arch = "bpf")]
mod cgroup;

#[cfg(target_arch = "bpf")]
mod bpf {
    use aya_ebpf::helpers::generated::bpf_override_return;
    use chaos_abi::{
        HOOK_ENTRY, HOOK_EXEC, HOOK_FILE, HOOK_FILE_OPEN, HOOK_FILE_PERMISSION, HOOK_INODE_GETATTR,
        HOOK_INODE_PERMISSION, HOOK_KPROBE, HOOK_PATH, HOOK_PATH_LINK, HOOK_PATH_TRUNCATE, HOOK_PLAIN, HOOK_SOCKET,
        HOOK_SOCKET_ADDRESS, HOOK_SOCKET_CREATE, HOOK_SOCKET_SENDMSG, HOOK_UNIX_CONNECT,
    };
    use chaos_ebpf::call::{Call, act, file, heir as heirs, hooks, later, sleep, task};

    /// The arguments of a function, one word each, and behind them what it is to return so far.
    type Arguments = *const u64;

    macro_rules! hook {
        ($(#[$meta:meta])* $name:ident, $hook:expr, $fill:expr) => {
            $(#[$meta])*
            #[unsafe(no_mangle)]
            #[unsafe(link_section = concat!("fentry/", stringify!($name)))]
            extern "C" fn $name(ctx: Arguments) -> i64 {
                let number = task::number();
                if number == task::NO_CALL {
                    return 0;
                }
                let mut call = Call::new($hook, number);
                let fill: fn(&mut Call, Arguments) -> bool = $fill;
                if !fill(&mut call, ctx) {
                    return 0;
                }
                act(&mut call)
            }
        };
    }

    hook!(
        /// `__x64_sys_*(const struct pt_regs *)`.
        entry, HOOK_ENTRY, |_, _| true
    );
    hook!(
        /// `security_file_open(struct file *)`.
        file_open, HOOK_FILE_OPEN, |call, ctx| hooks::file(call, argument(ctx, 0)) && !file::is_internal(call.file)
    );
    hook!(
        /// `security_file_permission(struct file *, int mask)`.
        file_permission, HOOK_FILE_PERMISSION,
        |call, ctx| hooks::file(call, argument(ctx, 0)) && !file::is_internal(call.file)
    );
    hook!(
        /// `security_file_*(struct file *, ...)`: ioctl, fcntl, lock, truncate; mmap, which may be without.
        file, HOOK_FILE, |call, ctx| hooks::file(call, argument(ctx, 0))
    );
    hook!(
        /// `security_inode_getattr(const struct path *)`.
        inode_getattr, HOOK_INODE_GETATTR, |call, ctx| hooks::path(call, argument(ctx, 0))
    );
    hook!(
        /// `security_inode_permission(struct inode *, int mask)`.
        inode_permission, HOOK_INODE_PERMISSION, |_, ctx| hooks::is_access(argument(ctx, 1))
    );
    hook!(
        /// `security_path_*(const struct path *dir, struct dentry *, ...)`.
        path, HOOK_PATH, |call, ctx| hooks::entry_of(call, argument(ctx, 0), argument(ctx, 1))
    );
    hook!(
        /// `security_path_link(struct dentry *old, const struct path *new_dir, struct dentry *new)`.
        path_link, HOOK_PATH_LINK, |call, ctx| hooks::entry_of(call, argument(ctx, 1), argument(ctx, 0))
    );
    hook!(
        /// `security_path_truncate(const struct path *)`.
        path_truncate, HOOK_PATH_TRUNCATE, |call, ctx| hooks::path(call, argument(ctx, 0))
    );
    hook!(
        /// `security_socket_create(int family, int type, int protocol, int kern)`.
        socket_create, HOOK_SOCKET_CREATE, |_, ctx| argument(ctx, 3) as u32 == 0
    );
    hook!(
        /// `security_socket_connect`, `security_socket_bind(struct socket *, struct sockaddr *, int)`.
        socket_address, HOOK_SOCKET_ADDRESS,
        |call, ctx| hooks::socket(call, argument(ctx, 0), argument(ctx, 1))
    );
    hook!(
        /// `security_socket_sendmsg(struct socket *, struct msghdr *, int)`.
        socket_sendmsg, HOOK_SOCKET_SENDMSG,
        |call, ctx| hooks::message(call, argument(ctx, 0), argument(ctx, 1))
    );
    hook!(
        /// `security_unix_stream_connect(struct sock *, struct sock *other, struct sock *)`.
        unix_connect, HOOK_UNIX_CONNECT, |call, ctx| hooks::unix(call, argument(ctx, 1))
    );
    hook!(
        /// `security_socket_*(struct socket *, ...)`.
        socket, HOOK_SOCKET, |call, ctx| hooks::socket(call, argument(ctx, 0), 0)
    );
    hook!(
        /// `security_*`.
        plain, HOOK_PLAIN, |_, _| true
    );
    hook!(
        /// `security_bprm_check(struct linux_binprm *)`.
        exec, HOOK_EXEC, |call, ctx| hooks::exec(call, argument(ctx, 0))
    );

    #[inline(always)]
    fn argument(ctx: Arguments, place: usize) -> u64 {
        // SAFETY: the hooked function has that many arguments, which the verifier makes sure of.
        unsafe { *ctx.add(place) }
    }

    /// `bpf_lsm_*`: a sleep that another program decided.
    #[unsafe(no_mangle)]
    #[unsafe(link_section = "fentry/sleeper")]
    extern "C" fn sleeper(_ctx: Arguments) -> i64 {
        sleep::found()
    }

    /// At any hook or entry: a sleep on the way back that another program decided.
    #[unsafe(no_mangle)]
    #[unsafe(link_section = "fentry/later")]
    extern "C" fn later(_ctx: Arguments) -> i64 {
        later::arranged()
    }

    /// `cgroup_mkdir(struct cgroup *cgrp, const char *path)` (include/trace/events/cgroup.h), a raw tracepoint.
    #[unsafe(no_mangle)]
    #[unsafe(link_section = "fentry/heir")]
    extern "C" fn heir(ctx: Arguments) -> i64 {
        heirs::made(argument(ctx, 0));
        0
    }

    /// A kprobe at the entry of a call: returns at once with the error.
    #[unsafe(no_mangle)]
    #[unsafe(link_section = "fentry/kprobe")]
    extern "C" fn kprobe(ctx: *mut core::ffi::c_void) -> i64 {
        let number = task::number();
        if number == task::NO_CALL {
            return 0;
        }
        let error = act(&mut Call::new(HOOK_KPROBE, number));
        if error != 0 {
            // SAFETY: the context of this run, registers of whatever architecture.
            unsafe { bpf_override_return(ctx.cast(), error as u64) };
        }
        0
    }

    #[panic_handler]
    fn panic(_: &core::panic::PanicInfo) -> ! {
        loop {}
    }

    #[unsafe(link_section = "license")]
    #[unsafe(no_mangle)]
    static LICENSE: [u8; 4] = *b"GPL\0";
}

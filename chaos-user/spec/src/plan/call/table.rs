//! System calls by name: the kernel function at their entry, the security hook that they pass, and what is known there.

use super::CgroupHook;
use chaos_abi::{
    CALL_BIND, CALL_CONNECT, CALL_SEND, CALL_SOCKET, HOOK_EXEC, HOOK_FILE, HOOK_FILE_OPEN, HOOK_FILE_PERMISSION,
    HOOK_INODE_GETATTR, HOOK_INODE_PERMISSION, HOOK_PATH, HOOK_PATH_LINK, HOOK_PATH_TRUNCATE, HOOK_PLAIN, HOOK_SOCKET,
    HOOK_SOCKET_ADDRESS, HOOK_SOCKET_CREATE, HOOK_SOCKET_SENDMSG, HOOK_UNIX_CONNECT,
};

/// A file's path is known.
pub const PATH: u8 = 1;
/// What the descriptor is, is known.
pub const KIND: u8 = 1 << 1;
/// The peer's address is known.
pub const PEER: u8 = 1 << 2;

/// A security hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hook {
    /// The kernel's functions: the first that it has is meant.
    pub functions: &'static [&'static str],
    /// The program that stands there.
    pub program: &'static str,
    /// `HOOK_*`.
    pub number: u32,
    /// What is known there.
    pub knows: u8,
}

const fn hook(functions: &'static [&'static str], program: &'static str, number: u32, knows: u8) -> Option<Hook> {
    Some(Hook { functions, program, number, knows })
}

const OPEN: Option<Hook> = hook(&["security_file_open"], "file_open", HOOK_FILE_OPEN, PATH | KIND);
const PERMISSION: Option<Hook> =
    hook(&["security_file_permission"], "file_permission", HOOK_FILE_PERMISSION, PATH | KIND);
const GETATTR: Option<Hook> = hook(&["security_inode_getattr"], "inode_getattr", HOOK_INODE_GETATTR, PATH | KIND);
const ACCESS: Option<Hook> = hook(&["security_inode_permission"], "inode_permission", HOOK_INODE_PERMISSION, 0);
const SENDMSG: Option<Hook> = hook(&["security_socket_sendmsg"], "socket_sendmsg", HOOK_SOCKET_SENDMSG, PEER | KIND);

const fn path(function: &'static [&'static str]) -> Option<Hook> {
    hook(function, "path", HOOK_PATH, PATH)
}

const fn file(function: &'static [&'static str]) -> Option<Hook> {
    hook(function, "file", HOOK_FILE, PATH | KIND)
}

const fn socket(function: &'static [&'static str]) -> Option<Hook> {
    hook(function, "socket", HOOK_SOCKET, PEER | KIND)
}

const fn address(function: &'static [&'static str]) -> Option<Hook> {
    hook(function, "socket_address", HOOK_SOCKET_ADDRESS, PEER | KIND)
}

const fn plain(function: &'static [&'static str]) -> Option<Hook> {
    hook(function, "plain", HOOK_PLAIN, 0)
}

/// A hook of cgroups: its number for a call (`CALL_*`), and where programs stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Group {
    /// `CALL_*`.
    pub number: u32,
    /// Where programs stand.
    pub hooks: &'static [CgroupHook],
    /// Calls that nobody can tell apart there: all of them must be asked for.
    pub calls: &'static [&'static str],
}

const CONNECT: Option<Group> =
    Some(Group { number: CALL_CONNECT, hooks: &[CgroupHook::Connect4, CgroupHook::Connect6], calls: &["connect"] });
const BIND: Option<Group> =
    Some(Group { number: CALL_BIND, hooks: &[CgroupHook::Bind4, CgroupHook::Bind6], calls: &["bind"] });
const SEND: Option<Group> = Some(Group {
    number: CALL_SEND,
    hooks: &[CgroupHook::SendMsg4, CgroupHook::SendMsg6],
    calls: &["sendto", "sendmsg", "sendmmsg"],
});
const SOCKET: Option<Group> = Some(Group { number: CALL_SOCKET, hooks: &[CgroupHook::SockCreate], calls: &["socket"] });

/// Whether a thread may sleep in the LSM hook behind a security hook: marked so by the kernel (kernel/bpf/bpf_lsm.c,
/// `sleepable_lsm_hooks`), and passed without a lock that others would wait for. Unlinking, renaming and the like hold their folder's.
#[must_use]
pub fn may_sleep(function: &str) -> bool {
    const HOOKS: [&str; 17] = [
        "bprm_check",
        "file_open",
        "inode_getattr",
        "path_truncate",
        "file_ioctl",
        "file_lock",
        "mmap_file",
        "task_alloc",
        "socket_create",
        "socket_connect",
        "socket_accept",
        "socket_bind",
        "socket_listen",
        "socket_sendmsg",
        "socket_recvmsg",
        "socket_getsockopt",
        "socket_shutdown",
    ];
    function.strip_prefix("security_").is_some_and(|hook| HOOKS.contains(&hook))
}

/// The function at which LSM programs of a security hook stand.
#[must_use]
pub fn lsm(function: &str) -> String {
    match function.strip_prefix("security_").unwrap_or(function) {
        // The one whose two names differ (security/security.c, `security_bprm_check`).
        "bprm_check" => "bpf_lsm_bprm_check_security".to_owned(),
        hook => format!("bpf_lsm_{hook}"),
    }
}

/// Groups of calls, as bits.
pub const FILES: u8 = 1;
/// Of the network.
pub const NETWORK: u8 = 1 << 1;
/// Of memory.
pub const MEMORY: u8 = 1 << 2;
/// Of processes.
pub const PROCESS: u8 = 1 << 3;

/// What is known of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// Its name.
    pub name: &'static str,
    /// The groups that it is in.
    pub groups: u8,
    /// Its first argument is a file descriptor.
    pub descriptor: bool,
    /// The security hook that it passes, once.
    pub hook: Option<Hook>,
    /// The hook of cgroups.
    pub group: Option<Group>,
}

/// Where connecting to a stream or sequenced-packet socket of AF_UNIX passes once more, with the other end (net/unix/af_unix.c,
/// `unix_stream_connect`).
const UNIX_CONNECT: Option<Hook> = hook(&["security_unix_stream_connect"], "unix_connect", HOOK_UNIX_CONNECT, PATH);

impl Row {
    /// The security hook that knows what is asked for: paths of `connect` are those of Unix sockets.
    #[must_use]
    pub fn hook_for(&self, needs: u8) -> Option<Hook> {
        if self.name == "connect" && needs & PATH != 0 { UNIX_CONNECT } else { self.hook }
    }

    /// What is known at the call's entry: that of its descriptor. The path of `connect` is the other end's.
    #[must_use]
    pub fn known_at_entry(&self) -> u8 {
        match (self.descriptor, self.name) {
            (true, "connect") => KIND,
            (true, _) => PATH | KIND,
            (false, _) => 0,
        }
    }
}

const fn row(name: &'static str, groups: u8, descriptor: bool, hook: Option<Hook>) -> Row {
    Row { name, groups, descriptor, hook, group: None }
}

const fn net(name: &'static str, hook: Option<Hook>, group: Option<Group>) -> Row {
    Row { name, groups: NETWORK, descriptor: true, hook, group }
}

/// The calls whose hooks are known. Others can be hit at their entry.
pub const ROWS: &[Row] = &[
    row("open", FILES, false, OPEN),
    row("openat", FILES, false, OPEN),
    row("openat2", FILES, false, OPEN),
    row("creat", FILES, false, OPEN),
    row("read", FILES, true, PERMISSION),
    row("pread64", FILES, true, PERMISSION),
    row("readv", FILES, true, PERMISSION),
    row("preadv", FILES, true, PERMISSION),
    row("preadv2", FILES, true, PERMISSION),
    row("write", FILES, true, PERMISSION),
    row("pwrite64", FILES, true, PERMISSION),
    row("writev", FILES, true, PERMISSION),
    row("pwritev", FILES, true, PERMISSION),
    row("pwritev2", FILES, true, PERMISSION),
    row("fsync", FILES, true, None),
    row("fdatasync", FILES, true, None),
    row("sync_file_range", FILES, true, None),
    row("close", FILES, true, None),
    row("stat", FILES, false, GETATTR),
    row("fstat", FILES, true, GETATTR),
    row("lstat", FILES, false, GETATTR),
    row("newfstatat", FILES, false, GETATTR),
    row("statx", FILES, false, GETATTR),
    row("access", FILES, false, ACCESS),
    row("faccessat", FILES, false, ACCESS),
    row("faccessat2", FILES, false, ACCESS),
    row("unlink", FILES, false, path(&["security_path_unlink"])),
    row("unlinkat", FILES, false, path(&["security_path_unlink"])),
    row("rename", FILES, false, path(&["security_path_rename"])),
    row("renameat", FILES, false, path(&["security_path_rename"])),
    row("renameat2", FILES, false, path(&["security_path_rename"])),
    row("mkdir", FILES, false, path(&["security_path_mkdir"])),
    row("mkdirat", FILES, false, path(&["security_path_mkdir"])),
    row("rmdir", FILES, false, path(&["security_path_rmdir"])),
    row("link", FILES, false, hook(&["security_path_link"], "path_link", HOOK_PATH_LINK, PATH)),
    row("linkat", FILES, false, hook(&["security_path_link"], "path_link", HOOK_PATH_LINK, PATH)),
    row("symlink", FILES, false, path(&["security_path_symlink"])),
    row("symlinkat", FILES, false, path(&["security_path_symlink"])),
    row("truncate", FILES, false, hook(&["security_path_truncate"], "path_truncate", HOOK_PATH_TRUNCATE, PATH)),
    row("ftruncate", FILES, true, file(&["security_file_truncate"])),
    row("fallocate", FILES, true, PERMISSION),
    row("getdents64", FILES, true, PERMISSION),
    row("sendfile", FILES, true, None),
    row("splice", FILES, true, None),
    row("copy_file_range", FILES, true, None),
    row("ioctl", FILES, true, file(&["security_file_ioctl"])),
    row("fcntl", FILES, true, file(&["security_file_fcntl"])),
    row("flock", FILES, true, file(&["security_file_lock"])),
    net("socket", hook(&["security_socket_create"], "socket_create", HOOK_SOCKET_CREATE, 0), SOCKET),
    net("connect", address(&["security_socket_connect"]), CONNECT),
    net("accept", socket(&["security_socket_accept"]), None),
    net("accept4", socket(&["security_socket_accept"]), None),
    net("bind", address(&["security_socket_bind"]), BIND),
    net("listen", socket(&["security_socket_listen"]), None),
    net("sendto", SENDMSG, SEND),
    net("sendmsg", SENDMSG, SEND),
    net("sendmmsg", SENDMSG, SEND),
    net("recvfrom", socket(&["security_socket_recvmsg"]), None),
    net("recvmsg", socket(&["security_socket_recvmsg"]), None),
    net("recvmmsg", socket(&["security_socket_recvmsg"]), None),
    net("shutdown", socket(&["security_socket_shutdown"]), None),
    net("getsockopt", socket(&["security_socket_getsockopt"]), None),
    net("setsockopt", socket(&["security_socket_setsockopt"]), None),
    row("epoll_wait", NETWORK, true, None),
    row("epoll_pwait", NETWORK, true, None),
    row("epoll_pwait2", NETWORK, true, None),
    row("poll", NETWORK, false, None),
    row("ppoll", NETWORK, false, None),
    row("select", NETWORK, false, None),
    row("pselect6", NETWORK, false, None),
    row("mmap", MEMORY, false, hook(&["security_mmap_file"], "file", HOOK_FILE, PATH | KIND)),
    row("mprotect", MEMORY, false, plain(&["security_file_mprotect"])),
    row("brk", MEMORY, false, plain(&["security_vm_enough_memory_mm"])),
    row("clone", PROCESS, false, plain(&["security_task_alloc"])),
    row("clone3", PROCESS, false, plain(&["security_task_alloc"])),
    row("execve", PROCESS, false, hook(&["security_bprm_check"], "exec", HOOK_EXEC, PATH | KIND)),
    row("execveat", PROCESS, false, hook(&["security_bprm_check"], "exec", HOOK_EXEC, PATH | KIND)),
    row("kill", PROCESS, false, plain(&["security_task_kill"])),
    row("getrandom", 0, false, None),
    row("nanosleep", PROCESS, false, None),
    row("clock_nanosleep", PROCESS, false, None),
    row("futex", PROCESS, false, None),
];

/// Functions at the entry of calls whose names differ from the call's (arch/x86/entry/syscalls/syscall_64.tbl).
const ENTRIES: &[(&str, &str)] = &[
    ("stat", "newstat"),
    ("fstat", "newfstat"),
    ("lstat", "newlstat"),
    ("uname", "newuname"),
    ("sendfile", "sendfile64"),
    ("umount2", "umount"),
];

/// What is known of a call; None of one that this architecture does not have.
#[must_use]
pub fn find(name: &str) -> Option<(Row, u32)> {
    let number = u32::try_from(name.parse::<syscalls::Sysno>().ok()?.id()).ok()?;
    let known = ROWS.iter().find(|row| row.name == name).copied();
    known.map(|row| (row, number)).or_else(|| Some((row(all_names(name)?, 0, false, None), number)))
}

/// The name as the architecture's table has it, which lives for ever.
fn all_names(name: &str) -> Option<&'static str> {
    Some(name.parse::<syscalls::Sysno>().ok()?.name())
}

/// The kernel's function at the entry of a call.
#[must_use]
pub fn entry(name: &str) -> String {
    let function = ENTRIES.iter().find(|(call, _)| *call == name).map_or(name, |(_, function)| *function);
    format!("{}{function}", if cfg!(target_arch = "aarch64") { "__arm64_sys_" } else { "__x64_sys_" })
}

/// The calls of a group that this architecture has.
pub fn of_group(name: &str) -> impl Iterator<Item = &'static str> {
    let bit = match name {
        "@file" => FILES,
        "@network" => NETWORK,
        "@memory" => MEMORY,
        "@process" => PROCESS,
        _ => 0,
    };
    ROWS.iter().filter(move |row| row.groups & bit != 0 && find(row.name).is_some()).map(|row| row.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_found_by_name() {
        assert_eq!(
            find("openat").map(|(row, number)| (row.name, i64::from(number))),
            Some(("openat", libc::SYS_openat))
        );
        assert_eq!(find("getpid").map(|(row, number)| (row.hook, i64::from(number))), Some((None, libc::SYS_getpid)));
        assert!(find("opanat").is_none());
        assert_eq!(of_group("@memory").collect::<Vec<_>>(), ["mmap", "mprotect", "brk"]);
        let mut names: Vec<&str> = ROWS.iter().map(|row| row.name).collect();
        names.sort_unstable();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "a name twice");
    }
}

//! System calls: which rules mean which call of which cgroup, and what the programs know of the running kernel.

use crate::abi_struct;

/// Most rules for one call of one cgroup.
pub const MAX_RULES_PER_CALL: usize = 16;
/// Most depths of cgroups at which targets lie at the same time.
pub const MAX_LEVELS: usize = 8;
/// Most triples of a cgroup, a hook and a call that have rules, per process.
pub const MAX_CALLS: u32 = 16_384;
/// The longest delay for which a thread may keep its CPU, ns; it sleeps where it is to be longer.
pub const LONGEST_BUSY: u64 = 200_000;
/// Rows of the tables by which paths and names are matched, per process: 2 MiB.
pub const MAX_GLOB_ROWS: u32 = 4096;

abi_struct! {
    /// A call of the members of a cgroup, as one hook sees it.
    pub struct CallKey {
        /// cgroup id.
        pub cgroup: u64,
        /// Number of the system call.
        pub number: u32,
        /// `HOOK_*`.
        pub hook: u32,
    }
}

/// [`CallList::needs`]: what the file descriptor is.
pub const NEEDS_KIND: u32 = 1;
/// The peer's address and port.
pub const NEEDS_PEER: u32 = 1 << 1;

abi_struct! {
    /// The rules for a call.
    pub struct CallList {
        /// How many.
        pub count: u32,
        /// `NEEDS_*` of any of them.
        pub needs: u32,
        /// Their ids, in the order of the file.
        pub rules: [u32; MAX_RULES_PER_CALL],
    }
}

abi_struct! {
    /// At which depths targets lie; one entry.
    pub struct Scopes {
        /// How many of `levels` are in use.
        pub count: u32,
        /// Unused.
        pub reserved: u32,
        /// Depth below the root of the cgroup tree.
        pub levels: [u32; MAX_LEVELS],
    }
}

abi_struct! {
    /// What a rule remembers between calls. Changed by atomic instructions: programs of these hooks may not hold a lock.
    pub struct CallState {
        /// Calls that matched within the time window.
        pub position: u64,
        /// Calls hit, for `budget`; counts on beyond it.
        pub hits: u64,
    }
}

/// The entry of the call itself, by `fmod_ret`.
pub const HOOK_ENTRY: u32 = 1;
/// `security_file_open`.
pub const HOOK_FILE_OPEN: u32 = 2;
/// `security_file_permission`.
pub const HOOK_FILE_PERMISSION: u32 = 3;
/// `security_inode_getattr`.
pub const HOOK_INODE_GETATTR: u32 = 4;
/// `security_inode_permission`, of access(2) alone.
pub const HOOK_INODE_PERMISSION: u32 = 5;
/// `security_path_*` with a folder and an entry of it.
pub const HOOK_PATH: u32 = 6;
/// `security_path_truncate`.
pub const HOOK_PATH_TRUNCATE: u32 = 7;
/// `security_file_*` with a file as the first argument.
pub const HOOK_FILE: u32 = 8;
/// `security_socket_create`.
pub const HOOK_SOCKET_CREATE: u32 = 9;
/// `security_socket_connect` and `security_socket_bind`: an address is given.
pub const HOOK_SOCKET_ADDRESS: u32 = 10;
/// `security_socket_sendmsg`.
pub const HOOK_SOCKET_SENDMSG: u32 = 11;
/// `security_socket_*` with nothing but a socket.
pub const HOOK_SOCKET: u32 = 12;
/// `security_*` of which no argument is looked at.
pub const HOOK_PLAIN: u32 = 13;
/// `security_bprm_check`.
pub const HOOK_EXEC: u32 = 14;
/// `security_path_link`: the entry that is linked comes first.
pub const HOOK_PATH_LINK: u32 = 15;
/// The cgroup's own hooks.
pub const HOOK_CGROUP: u32 = 16;
/// The entry of the call itself, by a kprobe that overrides the return. Not [`HOOK_ENTRY`]: where programs of both kinds stand at a
/// call, each is to find its own rules only, or a rule would count the call twice.
pub const HOOK_KPROBE: u32 = 17;
/// `security_unix_stream_connect`: the path of the other end is known.
pub const HOOK_UNIX_CONNECT: u32 = 18;

/// Added to a hook's number in [`CallKey::hook`] for rules that have threads sleep in it: as above, each program is to find its own
/// rules only.
pub const TIMING_ASLEEP: u32 = 1 << 8;
/// The same for rules that have them sleep on the way back from the call.
pub const TIMING_LATER: u32 = 1 << 9;

/// [`crate::CallArgs::kind`]: any.
pub const KIND_ANY: u32 = 0;
/// A file of a file system.
pub const KIND_FILE: u32 = 1;
/// A socket.
pub const KIND_SOCKET: u32 = 2;
/// A pipe.
pub const KIND_PIPE: u32 = 3;
/// Something else.
pub const KIND_OTHER: u32 = 4;

/// In a row of a glob's table: the text up to here agrees with the glob, where it ends here.
pub const GLOB_ACCEPT: u16 = 1;
/// The row from which nothing agrees any more.
pub const GLOB_DEAD: u16 = 0;

/// Constants of the running kernel that the programs hold: `mov` instructions whose immediate is [`OFFSET_MAGIC`] plus one of these.
/// User space looks the offsets up in the kernel's type information and puts them in place before it loads the programs.
pub const OFFSET_MAGIC: i32 = 0x7c40_0000;

macro_rules! offsets {
    ($($(#[$meta:meta])* $name:ident = $index:literal, $path:literal;)*) => {
        $($(#[$meta])* pub const $name: i32 = $index;)*

        /// Which field of which struct each offset is: `struct.field.field`.
        pub const OFFSETS: &[(i32, &str)] = &[$(($index, $path)),*];
    };
}

offsets! {
    /// Of the number of the running system call in `pt_regs`.
    OFFSET_NUMBER = 0, "pt_regs.orig_ax|pt_regs.syscallno";
    /// Of the code segment, which tells 32-bit callers apart; absent where there is none.
    OFFSET_CS = 1, "pt_regs.cs|";
    /// Of a call's first argument.
    OFFSET_ARG0 = 2, "pt_regs.di|pt_regs.regs";
    /// The file's inode.
    OFFSET_FILE_INODE = 3, "file.f_inode";
    /// The mount of a file.
    OFFSET_FILE_MNT = 4, "file.f_path.mnt";
    /// The entry of a file.
    OFFSET_FILE_DENTRY = 5, "file.f_path.dentry";
    /// The mount of a path.
    OFFSET_PATH_MNT = 6, "path.mnt";
    /// The entry of a path.
    OFFSET_PATH_DENTRY = 7, "path.dentry";
    /// Type and permissions.
    OFFSET_INODE_MODE = 8, "inode.i_mode";
    /// The folder that an entry is in.
    OFFSET_DENTRY_PARENT = 9, "dentry.d_parent";
    /// The text of its name.
    OFFSET_DENTRY_NAME = 10, "dentry.d_name.name";
    /// And its length.
    OFFSET_DENTRY_LENGTH = 11, "dentry.d_name.len";
    /// The inode of an entry.
    OFFSET_DENTRY_INODE = 12, "dentry.d_inode";
    /// The public part of a mount.
    OFFSET_MOUNT_MNT = 13, "mount.mnt";
    /// What it is mounted on.
    OFFSET_MOUNT_PARENT = 14, "mount.mnt_parent";
    /// Where.
    OFFSET_MOUNT_MOUNTPOINT = 15, "mount.mnt_mountpoint";
    /// Its namespace; NULL or an error of an internal one, as overlayfs has for its layers.
    OFFSET_MOUNT_NS = 16, "mount.mnt_ns";
    /// The uppermost folder.
    OFFSET_VFSMOUNT_ROOT = 17, "vfsmount.mnt_root";
    /// What a task takes for the file system's root.
    OFFSET_TASK_FS = 18, "task_struct.fs";
    /// Its mount.
    OFFSET_FS_ROOT_MNT = 19, "fs_struct.root.mnt";
    /// Its folder.
    OFFSET_FS_ROOT_DENTRY = 20, "fs_struct.root.dentry";
    /// A task's open files.
    OFFSET_TASK_FILES = 21, "task_struct.files";
    /// Their table.
    OFFSET_FILES_FDT = 22, "files_struct.fdt";
    /// Its length.
    OFFSET_FDT_MAX = 23, "fdtable.max_fds";
    /// Its entries.
    OFFSET_FDT_FD = 24, "fdtable.fd";
    /// A socket's network side.
    OFFSET_SOCKET_SK = 25, "socket.sk";
    /// Its family.
    OFFSET_SK_FAMILY = 26, "sock_common.skc_family";
    /// Its peer's IPv4 address.
    OFFSET_SK_DADDR = 27, "sock_common.skc_daddr";
    /// Its peer's port.
    OFFSET_SK_DPORT = 28, "sock_common.skc_dport";
    /// Its peer's IPv6 address.
    OFFSET_SK_V6_DADDR = 29, "sock_common.skc_v6_daddr";
    /// The address that a message is sent to.
    OFFSET_MSG_NAME = 30, "msghdr.msg_name";
    /// The program that is executed.
    OFFSET_BPRM_FILE = 31, "linux_binprm.file";
    /// How a file was opened.
    OFFSET_FILE_MODE = 32, "file.f_mode";
    /// What a task is about.
    OFFSET_TASK_FLAGS = 33, "task_struct.flags";
    /// The path that a Unix socket is bound to; none where such sockets are a module.
    OFFSET_UNIX_PATH = 35, "unix_sock.path";
    /// A cgroup's node in the file system.
    OFFSET_CGROUP_KN = 36, "cgroup.kn";
    /// Its hierarchy.
    OFFSET_CGROUP_ROOT = 37, "cgroup.root";
    /// The number of that.
    OFFSET_ROOT_HIERARCHY = 38, "cgroup_root.hierarchy_id";
    /// What stands for a cgroup in the tree of them.
    OFFSET_CGROUP_SELF = 39, "cgroup.self";
    /// The same of the cgroup that it is in.
    OFFSET_CGROUP_PARENT = 40, "cgroup.self.parent";
    /// The id of a node: the inode's number.
    OFFSET_KN_ID = 41, "kernfs_node.id";
    /// Its name.
    OFFSET_KN_NAME = 42, "kernfs_node.name";
}

/// In the same way, but for each program that is loaded: `TIMING_*`, or 0.
pub const OFFSET_TIMING: i32 = 34;

/// [`CallKey::number`] with [`HOOK_CGROUP`], where no program knows a call by its number: connect(2).
pub const CALL_CONNECT: u32 = 1;
/// bind(2).
pub const CALL_BIND: u32 = 2;
/// sendto(2), sendmsg(2), sendmmsg(2) of a datagram to an address.
pub const CALL_SEND: u32 = 3;
/// socket(2).
pub const CALL_SOCKET: u32 = 4;

//! How deep a cgroup lies below the root of the hierarchy, where a cgroup namespace hides what is above it. Only the kernel knows, and
//! only programs can ask it.

use super::bpf::{self, Program, insn};
use aya_obj::generated::{bpf_attach_type, bpf_insn, bpf_prog_type};
use std::os::fd::AsFd as _;

/// The deepest that is looked for: no runtime nests nodes that deep.
const DEEPEST: i32 = 32;
/// What the program returns for a cgroup that is none of ours.
const NONE: i32 = -1;

/// Compares the ids of the running task's cgroups with its first argument, from the root down.
fn code() -> Vec<bpf_insn> {
    const LOAD_U64: u8 = 0x79; // dst = *(u64 *)(src + off)
    const MOVE_NUMBER: u8 = 0xb7;
    const CALL: u8 = 0x85;
    const JUMP_UNLESS_SAME: u8 = 0x5d;
    const EXIT: u8 = 0x95;
    const ANCESTOR_CGROUP_ID: i32 = 123; // bpf_get_current_ancestor_cgroup_id (linux/bpf.h), Linux 5.6
    let mut code = vec![insn(LOAD_U64, 6, 1, 0, 0)];
    for level in 0..=DEEPEST {
        code.extend([
            insn(MOVE_NUMBER, 1, 0, 0, level),
            insn(CALL, 0, 0, 0, ANCESTOR_CGROUP_ID),
            insn(JUMP_UNLESS_SAME, 0, 6, 2, 0),
            insn(MOVE_NUMBER, 0, 0, 0, level),
            insn(EXIT, 0, 0, 0, 0),
        ]);
    }
    code.extend([insn(MOVE_NUMBER, 0, 0, 0, NONE), insn(EXIT, 0, 0, 0, 0)]);
    code
}

/// The level of the cgroup with this id (the inode of its directory) among those that this process is in; the root's is 0.
///
/// # Errors
/// It is none of them, or the kernel lets nobody ask: CAP_BPF and CAP_PERFMON are needed, and Linux 5.10.
pub fn of_ancestor(id: u64) -> Result<u32, String> {
    let program = Program {
        name: "level",
        kind: bpf_prog_type::BPF_PROG_TYPE_RAW_TRACEPOINT,
        attach: bpf_attach_type::BPF_CGROUP_INET_INGRESS, // 0: it has none
        code: &code(),
        types: None,
        target: None,
        sleepable: false,
    };
    let loaded = bpf::load_program(&program, "the level of a cgroup").map_err(|error| error.to_string())?;
    match bpf::call_program(loaded.as_fd(), &[id]).map_err(|error| error.to_string())? {
        NONE => Err("this process is not below it".to_owned()),
        level => Ok(level.cast_unsigned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;
    use std::{fs, os::unix::fs::MetadataExt as _};

    #[test]
    fn the_root_and_the_own_cgroup_are_found() {
        testing::root_or_return!();
        let Some(root) = testing::cgroup2() else { return };
        if root.join("cgroup.events").exists() {
            return eprintln!("skipped: here a cgroup namespace hides the root");
        }
        assert_eq!(of_ancestor(fs::metadata(&root).unwrap().ino()), Ok(0));
        let own = fs::read_to_string("/proc/self/cgroup").unwrap();
        let own = own.lines().find_map(|line| line.strip_prefix("0::/")).unwrap().to_owned();
        let level = own.split('/').filter(|name| !name.is_empty()).count();
        assert_eq!(of_ancestor(fs::metadata(root.join(own)).unwrap().ino()), Ok(u32::try_from(level).unwrap()));
        assert!(of_ancestor(1 << 60).unwrap_err().contains("not below"));
    }
}

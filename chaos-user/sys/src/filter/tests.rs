//! With a program of two instructions on real devices in scratch namespaces.
use std::{
    fs::File,
    io,
    os::fd::{AsFd, FromRawFd, OwnedFd},
};

use super::*;
use crate::{
    qdisc,
    testing::{self, in_scratch},
};

/// Loads `return TC_ACT_UNSPEC`, which lets everything pass.
fn program() -> OwnedFd {
    // struct bpf_insn: opcode, registers, offset, immediate. r0 = -1; exit.
    let code: [[u8; 8]; 2] = [[0xb7, 0, 0, 0, 0xff, 0xff, 0xff, 0xff], [0x95, 0, 0, 0, 0, 0, 0, 0]];
    // The head of union bpf_attr for BPF_PROG_LOAD (linux/bpf.h): type, count, instructions, licence, log (none),
    // kernel version, flags, name.
    #[repr(C)]
    struct Load {
        kind: u32,
        count: u32,
        code: u64,
        licence: u64,
        log_level: u32,
        log_size: u32,
        log: u64,
        version: u32,
        flags: u32,
        name: [u8; 16],
    }
    const SCHED_CLS: u32 = 3;
    const PROG_LOAD: libc::c_long = 5;
    let load = Load {
        kind: SCHED_CLS,
        count: 2,
        code: code.as_ptr() as u64,
        licence: c"GPL".as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log: 0,
        version: 0,
        flags: 0,
        name: *b"chaos_test\0\0\0\0\0\0",
    };
    // SAFETY: the attribute has the layout and size that are passed, and what it points to lives until the call is over.
    let fd = unsafe { libc::syscall(libc::SYS_bpf, PROG_LOAD, &raw const load, size_of::<Load>()) };
    assert!(fd >= 0, "load program: {}", io::Error::last_os_error());
    // SAFETY: the kernel has just given this descriptor to us alone.
    unsafe { OwnedFd::from_raw_fd(i32::try_from(fd).unwrap()) }
}

const LO: Place = Place { interface: 1, direction: Direction::Egress, pref: 7, handle: 42 };

#[test]
fn filter_is_added_listed_and_deleted() {
    testing::root_or_return!();
    let program = program();
    in_scratch(|rtnl| {
        let early = add(rtnl, LO, "chaos:x", program.as_fd()).unwrap_err();
        assert_eq!(early.category(), "invalid", "{early}");
        assert_eq!(list(rtnl, 1, Direction::Egress).unwrap(), []);
        qdisc::add_clsact(rtnl, 1).unwrap();
        add(rtnl, LO, "chaos:x", program.as_fd()).unwrap();
        let found = list(rtnl, 1, Direction::Egress).unwrap();
        assert_eq!((found[0].pref, found[0].handle, found[0].name.as_str()), (7, 42, "chaos:x"));
        assert!(found.len() == 1 && found[0].program.is_some_and(|id| id > 0), "{found:?}");
        assert_eq!(list(rtnl, 1, Direction::Ingress).unwrap(), []);
        let shown = testing::command("tc", &["filter", "show", "dev", "lo", "egress"]);
        assert!(shown.contains("direct-action") && shown.contains("protocol all pref 7"), "{shown}");
        assert_eq!(add(rtnl, LO, "chaos:y", program.as_fd()).unwrap_err().category(), "exists");
        assert!(delete(rtnl, Place { handle: 43, ..LO }).is_err());
        delete(rtnl, LO).unwrap();
        assert_eq!(list(rtnl, 1, Direction::Egress).unwrap(), []);
    });
}

#[test]
fn many_are_added_at_once_with_one_outcome_each() {
    testing::root_or_return!();
    let program = program();
    in_scratch(|rtnl| {
        qdisc::add_clsact(rtnl, 1).unwrap();
        let ingress = Place { direction: Direction::Ingress, ..LO };
        let absent = Place { interface: 9999, ..LO };
        let outcomes =
            add_all(rtnl, &[LO, absent, ingress, LO].map(|place| (place, "chaos", program.as_fd()))).unwrap();
        let words: Vec<_> = outcomes.iter().map(|o| o.as_ref().map_or_else(KernelError::category, |()| "ok")).collect();
        assert_eq!(words, ["ok", "absent", "ok", "exists"]);
    });
}

#[test]
fn what_is_no_program_is_refused() {
    testing::root_or_return!();
    in_scratch(|rtnl| {
        qdisc::add_clsact(rtnl, 1).unwrap();
        let file = File::open("/proc/self/stat").unwrap();
        assert_eq!(add(rtnl, LO, "chaos", file.as_fd()).unwrap_err().category(), "invalid");
    });
}

//! The few bpf(2) calls that aya 0.14 does not offer: stubs assembled by hand, tcx links at the head of the chain of the calling
//! thread's netns, links on cgroups that belong to their descriptors alone, objects by id, and test runs of programs that another
//! process loaded.

mod device;
mod ids;
mod program;
mod work;

pub use device::{attach_device_program, detach_device_program, device_programs, replace_device_program};
pub use ids::map_ids;
pub use program::{
    Program, Types, attach_kprobe, attach_raw_tracepoint, attach_to_cgroup, attach_tracing, load_program, load_types,
    recursion_misses,
};
pub use work::create_work_array;

use super::{error::KernelError, seam};
use aya_obj::generated::{bpf_attach_type, bpf_attr, bpf_cmd, bpf_insn, bpf_link_info, bpf_prog_info, bpf_prog_type};
use chaos_abi::{NO_DEVICE, POINT_DNS, PROGRAM_DNS, Point};
use nix::{
    errno::Errno,
    sys::resource::{RLIM_INFINITY, Resource, setrlimit},
};
use serde::{Deserialize, Serialize};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// `BPF_F_BEFORE`: without a relative, the head of the chain (include/uapi/linux/bpf.h).
const BEFORE: u32 = 1 << 3;

/// All-zero attributes, as bpf(2) wants the unused part to be.
fn attributes() -> bpf_attr {
    // SAFETY: a union of structs of integers: zero is valid.
    unsafe { std::mem::zeroed() }
}

fn call(cmd: bpf_cmd, attr: &mut bpf_attr) -> Result<RawFd, Errno> {
    // Needed: no safe wrapper of bpf(2) exists for these commands.
    // SAFETY: `attr` lives through the call and its size is passed; pointers within it were made from live references by the
    // callers below, which keep them alive across the call.
    let result = unsafe { libc::syscall(libc::SYS_bpf, cmd, attr, size_of::<bpf_attr>()) };
    Errno::result(result).map(|fd| fd as RawFd)
}

fn call_fd(cmd: bpf_cmd, attr: &mut bpf_attr) -> Result<OwnedFd, Errno> {
    let fd = match call(cmd, attr) {
        // Before Linux 5.11 programs count as locked memory of the user's (kernel/bpf/syscall.c, `bpf_prog_charge_memlock`), of which
        // there may be 64 KiB. aya does the same where it loads something, which who joins another's maps may never ask of it.
        Err(Errno::EPERM) if cmd == bpf_cmd::BPF_PROG_LOAD && lock_all_memory().is_ok() => call(cmd, attr)?,
        other => other?,
    };
    // SAFETY: the commands used with this function return a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn lock_all_memory() -> Result<(), Errno> {
    setrlimit(Resource::RLIMIT_MEMLOCK, RLIM_INFINITY, RLIM_INFINITY)
}

/// One instruction (linux/bpf.h, `struct bpf_insn`).
pub fn insn(code: u8, dst: u8, src: u8, off: i16, imm: i32) -> bpf_insn {
    let mut i = bpf_insn { code, _bitfield_align_1: [], _bitfield_1: Default::default(), off, imm };
    i.set_dst_reg(dst);
    i.set_src_reg(src);
    i
}

/// Where a stub is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Hook {
    /// A tc program; where the tail call fails, the next program has the packet (`TCX_NEXT`, `TC_ACT_UNSPEC`).
    Interface,
    /// A cgroup's ingress; where the tail call fails, the socket has the packet.
    Cgroup,
}

impl Hook {
    fn program_type(self) -> bpf_prog_type {
        match self {
            Self::Interface => bpf_prog_type::BPF_PROG_TYPE_SCHED_CLS,
            Self::Cgroup => bpf_prog_type::BPF_PROG_TYPE_CGROUP_SKB,
        }
    }

    fn untouched(self) -> i32 {
        match self {
            Self::Interface => -1,
            Self::Cgroup => 1,
        }
    }
}

/// What a stub needs besides its attach point.
#[derive(Clone, Copy, Debug)]
pub struct StubMaps<'a> {
    /// Where it writes the point's id.
    pub slot: BorrowedFd<'a>,
    /// The table of tail calls.
    pub programs: BorrowedFd<'a>,
    /// Where points say whether questions and answers of the DNS are read.
    pub points: Option<BorrowedFd<'a>>,
}

/// The stub of attach point `id`: writes the id into this CPU's first entry of `slot`, then tail-calls entry `index` of
/// `programs`; where that fails, the packet goes on untouched. With `points`, one that has `POINT_DNS` gets the DNS program first, which
/// goes on to the faults; without such a program the stub does.
fn stub(hook: Hook, maps: StubMaps, index: u32, id: u32) -> Vec<bpf_insn> {
    const MAP_LOOKUP: i32 = 1;
    const TAIL_CALL: i32 = 12;
    let map = |dst, fd: BorrowedFd| [insn(0x18, dst, 1, 0, fd.as_raw_fd()), insn(0, 0, 0, 0, 0)];
    // *(u32 *)(fp - 4) = key; r0 = lookup(map, fp - 4)
    let lookup = |fd, key: u32| {
        let mut code = vec![insn(0x62, 10, 0, -4, key as i32), insn(0xbf, 2, 10, 0, 0), insn(0x07, 2, 0, 0, -4)];
        code.extend(map(1, fd));
        code.push(insn(0x85, 0, 0, 0, MAP_LOOKUP));
        code
    };
    // r1 = ctx; r2 = programs; r3 = index; tail call
    let jump = |index: u32| {
        let mut code = vec![insn(0xbf, 1, 6, 0, 0)];
        code.extend(map(2, maps.programs));
        code.extend([insn(0xb7, 3, 0, 0, index as i32), insn(0x85, 0, 0, 0, TAIL_CALL)]);
        code
    };
    // r6 = ctx
    let mut code = vec![insn(0xbf, 6, 1, 0, 0)];
    code.extend(lookup(maps.slot, 0));
    // if r0 != 0 { *(u32 *)r0 = id }
    code.extend([insn(0x15, 0, 0, 1, 0), insn(0x62, 0, 0, 0, id as i32)]);
    if let Some(points) = maps.points {
        let dns = jump(PROGRAM_DNS);
        code.extend(lookup(points, id));
        // if r0 == 0 || (r0->flags & POINT_DNS) == 0 { go on behind `dns` }
        let flags = std::mem::offset_of!(Point, flags) as i16;
        code.extend([insn(0x15, 0, 0, dns.len() as i16 + 3, 0), insn(0x61, 0, 0, flags, 0)]);
        code.extend([insn(0x57, 0, 0, 0, POINT_DNS as i32), insn(0x15, 0, 0, dns.len() as i16, 0)]);
        code.extend(dns);
    }
    code.extend(jump(index));
    // return untouched
    code.extend([insn(0xb7, 0, 0, 0, hook.untouched()), insn(0x95, 0, 0, 0, 0)]);
    code
}

/// Loads a stub. About 0.04 ms, where a copy of the whole program takes 9 ms.
///
/// # Errors
/// The kernel's answer to BPF_PROG_LOAD.
pub fn load_stub(hook: Hook, maps: StubMaps, index: u32, id: u32) -> Result<OwnedFd, KernelError> {
    seam::run("load stub of", &format!("attach point {id}"), || {
        load(hook, &stub(hook, maps, index, id), b"chaos_stub")
            .map_err(|errno| KernelError::new("load stub of", format!("attach point {id}"), errno))
    })
}

/// Loads a program that leaves every packet untouched: what a measurement compares with.
///
/// # Errors
/// The kernel's answer to BPF_PROG_LOAD.
pub fn load_empty(hook: Hook) -> Result<OwnedFd, KernelError> {
    let code = [insn(0xb7, 0, 0, 0, hook.untouched()), insn(0x95, 0, 0, 0, 0)];
    load(hook, &code, b"chaos_empty").map_err(|errno| KernelError::new("load", "empty program", errno))
}

fn load(hook: Hook, code: &[bpf_insn], name: &[u8]) -> Result<OwnedFd, Errno> {
    let mut attr = attributes();
    // SAFETY: every member of the union is made of integers; this one is read by BPF_PROG_LOAD.
    let load = unsafe { &mut attr.__bindgen_anon_3 };
    load.prog_type = hook.program_type() as u32;
    load.insns = code.as_ptr() as u64;
    load.insn_cnt = code.len() as u32;
    load.license = c"GPL".as_ptr() as u64;
    for (to, from) in load.prog_name.iter_mut().zip(name) {
        *to = *from as std::ffi::c_char;
    }
    call_fd(bpf_cmd::BPF_PROG_LOAD, &mut attr)
}

/// Attaches a program as a tcx link, first in the chain, to a device of the calling thread's netns. Linux 6.6
/// (kernel/bpf/tcx.c). The link lives as long as its descriptors.
///
/// # Errors
/// EINVAL on kernels without tcx.
pub fn attach_tcx(program: BorrowedFd, ifindex: u32, ingress: bool, object: &str) -> Result<OwnedFd, KernelError> {
    seam::run("attach tcx link to", object, || {
        let mut attr = attributes();
        attr.link_create.__bindgen_anon_1.prog_fd = program.as_raw_fd() as u32;
        attr.link_create.__bindgen_anon_2.target_ifindex = ifindex;
        attr.link_create.attach_type =
            if ingress { bpf_attach_type::BPF_TCX_INGRESS } else { bpf_attach_type::BPF_TCX_EGRESS } as u32;
        attr.link_create.flags = BEFORE;
        call_fd(bpf_cmd::BPF_LINK_CREATE, &mut attr)
            .map_err(|errno| KernelError::new("attach tcx link to", object, errno))
    })
}

/// Does this kernel have tcx links? Asked with an interface that no namespace has.
///
/// # Errors
/// What the kernel says, where it is neither of the two answers.
pub fn has_tcx(program: BorrowedFd) -> Result<bool, KernelError> {
    match attach_tcx(program, NO_DEVICE, false, "no interface") {
        Err(error) if error.errno == Errno::ENODEV => Ok(true),
        Err(error) if error.errno == Errno::EINVAL => Ok(false),
        Err(error) => Err(error),
        Ok(_link) => Err(KernelError::malformed("attach tcx link to", "no interface", "the kernel accepted it")),
    }
}

/// Attaches a program to what arrives for a cgroup (an open directory of the cgroup2 tree) and all below it, beside whatever
/// is there. Linux 5.7 (kernel/bpf/cgroup.c, `cgroup_bpf_link_attach`). The link lives as long as its descriptors.
///
/// # Errors
/// EPERM also where another program holds the hook of this cgroup, or of one above it, for itself alone.
pub fn attach_cgroup(program: BorrowedFd, directory: BorrowedFd, object: &str) -> Result<OwnedFd, KernelError> {
    const OP: &str = "attach link to arrivals of";
    seam::run(OP, object, || {
        let mut attr = attributes();
        attr.link_create.__bindgen_anon_1.prog_fd = program.as_raw_fd() as u32;
        attr.link_create.__bindgen_anon_2.target_fd = directory.as_raw_fd() as u32;
        attr.link_create.attach_type = bpf_attach_type::BPF_CGROUP_INET_INGRESS as u32;
        call_fd(bpf_cmd::BPF_LINK_CREATE, &mut attr).map_err(|errno| {
            let error = KernelError::new(OP, object, errno);
            match errno {
                Errno::EPERM => {
                    error.with_detail("or a program attached without BPF_F_ALLOW_MULTI holds that hook alone")
                }
                Errno::EINVAL => error.unsupported("links on cgroups need Linux 5.7; place the fault at the peer"),
                _ => error,
            }
        })
    })
}

/// The id of a link.
///
/// # Errors
/// The kernel's answer to BPF_OBJ_GET_INFO_BY_FD.
pub fn link_id(link: BorrowedFd) -> Result<u32, KernelError> {
    // SAFETY: a struct of integers and unions of such: zero is valid.
    let mut info: bpf_link_info = unsafe { std::mem::zeroed() };
    let mut attr = attributes();
    attr.info.bpf_fd = link.as_raw_fd() as u32;
    attr.info.info_len = size_of::<bpf_link_info>() as u32;
    attr.info.info = (&raw mut info) as u64;
    call(bpf_cmd::BPF_OBJ_GET_INFO_BY_FD, &mut attr)
        .map_err(|errno| KernelError::new("read id of", "bpf link", errno))?;
    Ok(info.id)
}

/// The id of a program.
///
/// # Errors
/// The kernel's answer to BPF_OBJ_GET_INFO_BY_FD.
pub fn program_id(program: BorrowedFd) -> Result<u32, KernelError> {
    // SAFETY: a struct of integers: zero is valid.
    let mut info: bpf_prog_info = unsafe { std::mem::zeroed() };
    let mut attr = attributes();
    attr.info.bpf_fd = program.as_raw_fd() as u32;
    attr.info.info_len = size_of::<bpf_prog_info>() as u32;
    attr.info.info = (&raw mut info) as u64;
    call(bpf_cmd::BPF_OBJ_GET_INFO_BY_FD, &mut attr)
        .map_err(|errno| KernelError::new("read id of", "bpf program", errno))?;
    Ok(info.id)
}

/// A descriptor of a link that some other process holds.
///
/// # Errors
/// ENOENT if it is gone.
pub fn link_by_id(id: u32) -> Result<OwnedFd, KernelError> {
    let mut attr = attributes();
    attr.__bindgen_anon_6.__bindgen_anon_1.link_id = id;
    call_fd(bpf_cmd::BPF_LINK_GET_FD_BY_ID, &mut attr)
        .map_err(|errno| KernelError::new("open", format!("bpf link {id}"), errno))
}

/// A descriptor of a program that some other process loaded.
///
/// # Errors
/// ENOENT if it is gone.
pub fn program_by_id(id: u32) -> Result<OwnedFd, KernelError> {
    let mut attr = attributes();
    attr.__bindgen_anon_6.__bindgen_anon_1.prog_id = id;
    call_fd(bpf_cmd::BPF_PROG_GET_FD_BY_ID, &mut attr)
        .map_err(|errno| KernelError::new("open", format!("bpf program {id}"), errno))
}

/// What a test run returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TestRun {
    /// The program's verdict.
    pub verdict: i32,
    /// Mean time of one run, ns.
    pub nanoseconds: u32,
}

/// Runs a tc program on `packet` (at least 14 bytes) `repeat` times (BPF_PROG_TEST_RUN, net/bpf/test_run.c).
///
/// # Errors
/// The kernel's answer.
pub fn test_run(program: BorrowedFd, packet: &[u8], repeat: u32) -> Result<TestRun, KernelError> {
    let mut attr = attributes();
    attr.test.prog_fd = program.as_raw_fd() as u32;
    attr.test.data_in = packet.as_ptr() as u64;
    attr.test.data_size_in = packet.len() as u32;
    attr.test.repeat = repeat;
    call(bpf_cmd::BPF_PROG_TEST_RUN, &mut attr).map_err(|errno| KernelError::new("run", "bpf program", errno))?;
    // SAFETY: the kernel wrote this member, which is made of integers.
    let test = unsafe { attr.test };
    Ok(TestRun { verdict: test.retval as i32, nanoseconds: test.duration })
}

/// Runs a tc program on `packet` (at least 14 bytes) once: its verdict, and the packet as it left it.
///
/// # Errors
/// The kernel's answer.
pub fn test_pass(program: BorrowedFd, packet: &[u8]) -> Result<(i32, Vec<u8>), KernelError> {
    // Room for what a program may put in front.
    let mut out = vec![0; packet.len() + 256];
    let mut attr = attributes();
    attr.test.prog_fd = program.as_raw_fd() as u32;
    attr.test.data_in = packet.as_ptr() as u64;
    attr.test.data_size_in = packet.len() as u32;
    attr.test.data_out = out.as_mut_ptr() as u64;
    attr.test.data_size_out = out.len() as u32;
    attr.test.repeat = 1;
    call(bpf_cmd::BPF_PROG_TEST_RUN, &mut attr).map_err(|errno| KernelError::new("run", "bpf program", errno))?;
    // SAFETY: the kernel wrote this member, which is made of integers.
    let test = unsafe { attr.test };
    out.truncate(test.data_size_out as usize);
    Ok((test.retval as i32, out))
}

/// Runs a raw tracepoint's program in this very task, with these arguments; what it returns (Linux 5.10).
///
/// # Errors
/// The kernel's answer.
pub fn call_program(program: BorrowedFd, arguments: &[u64]) -> Result<i32, KernelError> {
    let mut attr = attributes();
    attr.test.prog_fd = program.as_raw_fd() as u32;
    attr.test.ctx_in = arguments.as_ptr() as u64;
    attr.test.ctx_size_in = size_of_val(arguments) as u32;
    call(bpf_cmd::BPF_PROG_TEST_RUN, &mut attr).map_err(|errno| KernelError::new("run", "bpf program", errno))?;
    // SAFETY: the kernel wrote this member, which is made of integers.
    Ok(unsafe { attr.test.retval } as i32)
}

/// Puts a program into a table of tail calls.
///
/// # Errors
/// The kernel's answer to BPF_MAP_UPDATE_ELEM.
pub fn set_program(table: BorrowedFd, index: u32, program: BorrowedFd) -> Result<(), KernelError> {
    let value = program.as_raw_fd() as u32;
    let mut attr = attributes();
    attr.__bindgen_anon_2.map_fd = table.as_raw_fd() as u32;
    attr.__bindgen_anon_2.key = (&raw const index) as u64;
    attr.__bindgen_anon_2.__bindgen_anon_1.value = (&raw const value) as u64;
    call(bpf_cmd::BPF_MAP_UPDATE_ELEM, &mut attr)
        .map_err(|errno| KernelError::new("fill", "table of programs", errno))
        .map(drop)
}

/// The descriptor of any map.
pub fn map_fd(map: &aya::maps::Map) -> Option<BorrowedFd<'_>> {
    use aya::maps::Map;
    Some(match map {
        Map::Array(m)
        | Map::PerCpuArray(m)
        | Map::HashMap(m)
        | Map::LruHashMap(m)
        | Map::LpmTrie(m)
        | Map::ProgramArray(m) => m.fd().as_fd(),
        _ => return None,
    })
}

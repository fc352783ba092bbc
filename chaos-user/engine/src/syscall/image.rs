//! The object of the system calls' programs, ready to be loaded as often as needed.

use super::{CallMaps, attach};
use aya_obj::{
    Function, Object,
    btf::BtfFeatures,
    generated::{BPF_PSEUDO_KFUNC_CALL, bpf_attach_type, bpf_prog_type},
};
use chaos_abi::{
    OFFSET_CGROUP_KN, OFFSET_CGROUP_PARENT, OFFSET_CGROUP_ROOT, OFFSET_CGROUP_SELF, OFFSET_CS, OFFSET_KN_ID,
    OFFSET_KN_NAME, OFFSET_MAGIC, OFFSET_ROOT_HIERARCHY, OFFSET_TIMING, OFFSET_UNIX_PATH, OFFSETS,
};
use chaos_spec::plan::call::{AttachMethod, HookSite};
use chaos_sys::{
    bpf::{self, Program, Types},
    btf::KernelTypes,
    datapath::{Shared, load_error},
    error::KernelError,
};
use nix::errno::Errno;
use std::{
    collections::HashMap,
    os::fd::{AsFd, OwnedFd, RawFd},
};

const WHAT: &str = "programs of system calls";
/// The program that has threads sleep on their way back.
const LATER: &str = "later";
/// The program that goes by the path to which a Unix socket is bound.
const UNIX: &str = "unix_connect";
/// The program that follows cgroups.
const HEIR: &str = "heir";
/// What it has to know.
const OF_CGROUPS: [i32; 7] = [
    OFFSET_CGROUP_KN,
    OFFSET_CGROUP_ROOT,
    OFFSET_ROOT_HIERARCHY,
    OFFSET_CGROUP_SELF,
    OFFSET_CGROUP_PARENT,
    OFFSET_KN_ID,
    OFFSET_KN_NAME,
];
/// `mov` of a 64-bit register from an immediate (linux/bpf.h, BPF_ALU64 | BPF_MOV | BPF_K).
const MOV: u8 = 0xb7;
/// `BPF_JMP | BPF_CALL`.
const CALL: u8 = 0x85;

/// The programs, with the maps that they use.
pub struct Image {
    functions: HashMap<String, Function>,
    types: OwnedFd,
    /// The running kernel's type information; the reason where it has none.
    kernel: &'static Result<KernelTypes, KernelError>,
    root: OwnedFd,
    /// The maps of this process.
    pub maps: CallMaps,
}

fn error(op: &'static str, cause: &dyn std::error::Error) -> KernelError {
    load_error(op, WHAT, cause)
}

impl Image {
    /// Reads the object and makes its maps; `shared` are those that it has in common with others.
    ///
    /// # Errors
    /// What the kernel says of maps and types; ENOENT without a cgroup2 tree at `root`.
    pub fn new(shared: &Shared, root: &std::path::Path) -> Result<Self, KernelError> {
        let maps = CallMaps::new()?;
        let mut object = Object::parse(chaos_objects::CALL).map_err(|e| error("read", &e))?;
        let features = BtfFeatures::new(true, true, true, true, false, false, false, false);
        let types = object.fixup_and_sanitize_btf(&features).map_err(|e| error("read types of", &e))?;
        let types = types.ok_or_else(|| KernelError::malformed("read types of", WHAT, "there are none"))?;
        let types = bpf::load_types(&types.to_bytes())?;
        let text = object.functions.keys().map(|(section, _)| *section).collect();
        let all: HashMap<&str, RawFd> = shared.iter().copied().chain(maps.descriptors()?).collect();
        let known = std::mem::take(&mut object.maps);
        // What the object shares of functions with the programs for packets is in it, too, and wants maps that it does not have;
        // a program that used one would not be loaded.
        let used = known.iter().map(|(name, map)| (name.as_str(), all.get(name.as_str()).copied().unwrap_or(-1), map));
        object.relocate_maps(used, &text).map_err(|e| error("link", &e))?;
        object.relocate_calls(&text).map_err(|e| error("link", &e))?;
        let kernel = KernelTypes::shared();
        let programs = object.programs.iter().filter_map(|(name, program)| {
            let mut function = object.functions.get(&program.function_key())?.clone();
            if let Ok(kernel) = kernel {
                patch(&mut function, kernel);
            }
            Some((name.clone(), function))
        });
        let functions = programs.collect();
        Ok(Self { functions, types, kernel, root: attach::open_root(root)?, maps })
    }

    /// Loads the program of a place; it does nothing until it is attached.
    ///
    /// # Errors
    /// `unsupported` where this kernel does not have the place or cannot change what it returns.
    pub fn load(&self, site: &HookSite) -> Result<OwnedFd, KernelError> {
        let function = self
            .functions
            .get(site.program)
            .ok_or_else(|| KernelError::new("find program", site.program, Errno::ENOENT))?;
        if site.program == LATER && !self.maps.can_later() {
            let error = KernelError::new("load program for", &site.function, Errno::EOPNOTSUPP);
            return Err(error.unsupported("needs bpf_task_work_schedule_resume: Linux 6.18, as in Debian 14 and Talos"));
        }
        if site.program == UNIX
            && let Ok(kernel) = self.kernel
            && !has_unix_path(kernel)
        {
            let error = KernelError::new("load program for", &site.function, Errno::EOPNOTSUPP);
            return Err(error.unsupported(
                "this kernel does not say where a Unix socket keeps its path: they are a module there (CONFIG_UNIX=m); leave path out",
            ));
        }
        let target = match site.method {
            AttachMethod::Kprobe => {
                self.kernel.as_ref().map_err(Clone::clone)?;
                None
            }
            AttachMethod::Cgroup(_) => None,
            _ => Some(self.target(&site.function)?),
        };
        let (kind, attach) = attach::types(site.method);
        let mut code = function.instructions.clone();
        for instruction in code.iter_mut().filter(|one| one.code == MOV && one.imm == OFFSET_MAGIC + OFFSET_TIMING) {
            instruction.imm = site.method.timing() as i32;
        }
        let program = Program {
            name: site.program,
            kind,
            attach,
            code: &code,
            types: Some(Types {
                loaded: self.types.as_fd(),
                functions: &function.func_info.func_info_bytes(),
                size: function.func_info_rec_size as u32,
            }),
            target,
            sleepable: site.method == AttachMethod::Sleep,
        };
        attach::load(site, &program)
    }

    /// Loads and attaches the program that has rules follow where a cgroup is made in another one's place; it goes with the descriptors.
    ///
    /// # Errors
    /// `unsupported` where this kernel does not say how cgroups lie; what the kernel says.
    pub fn heirs(&self) -> Result<[OwnedFd; 2], KernelError> {
        let kernel = self.kernel.as_ref().map_err(Clone::clone)?;
        let wrong = || KernelError::new("find program", HEIR, Errno::ENOENT);
        if OF_CGROUPS.iter().any(|offset| kernel.offset(*offset).is_none()) {
            return Err(wrong().unsupported("this kernel's type information lacks cgroups"));
        }
        let function = self.functions.get(HEIR).ok_or_else(wrong)?;
        let program = Program {
            name: HEIR,
            kind: bpf_prog_type::BPF_PROG_TYPE_RAW_TRACEPOINT,
            attach: bpf_attach_type::BPF_CGROUP_INET_INGRESS, // 0: it has none
            code: &function.instructions,
            types: Some(Types {
                loaded: self.types.as_fd(),
                functions: &function.func_info.func_info_bytes(),
                size: function.func_info_rec_size as u32,
            }),
            target: None,
            sleepable: false,
        };
        let program = bpf::load_program(&program, "cgroup_mkdir")?;
        let link = bpf::attach_raw_tracepoint(program.as_fd(), c"cgroup_mkdir")?;
        Ok([program, link])
    }

    /// Attaches a loaded program.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn attach(&self, site: &HookSite, program: &OwnedFd) -> Result<Vec<OwnedFd>, KernelError> {
        attach::attach(site, program.as_fd(), self.root.as_fd())
    }

    fn target(&self, function: &str) -> Result<u32, KernelError> {
        let kernel = self.kernel.as_ref().map_err(Clone::clone)?;
        kernel.function(function).ok_or_else(|| {
            KernelError::new("find function", function, Errno::ENOENT).unsupported("this kernel has no such function")
        })
    }
}

/// At its beginning stands the socket itself (net/af_unix.h, `struct unix_sock`), so an offset of 0 is no path's.
fn has_unix_path(kernel: &KernelTypes) -> bool {
    kernel.offset(OFFSET_UNIX_PATH).is_some_and(|offset| offset > 0)
}

/// Writes the kernel's offsets over the placeholders. What this kernel lacks reads from address 0 on, which fails and gives zero.
fn patch(function: &mut Function, kernel: &KernelTypes) {
    for instruction in function.instructions.iter_mut().filter(|instruction| instruction.code == MOV) {
        let place = instruction.imm.wrapping_sub(OFFSET_MAGIC);
        if let Some((_, path)) = OFFSETS.iter().find(|(index, _)| *index == place) {
            let offset = kernel.offset(place);
            let may_lack = [OFFSET_CS, OFFSET_UNIX_PATH].contains(&place) || OF_CGROUPS.contains(&place);
            debug_assert!(offset.is_some() || may_lack, "{path}");
            instruction.imm = offset.map_or(0, |offset| offset as i32);
        }
    }
    // Where the kernel lacks one, the call stays what it is, and the verifier knows no such helper.
    for instruction in function.instructions.iter_mut().filter(|i| i.code == CALL && i.src_reg() == 0) {
        let names = chaos_abi::KFUNCS.iter().find(|(number, _)| *number == instruction.imm).map(|(_, names)| *names);
        if let Some(id) = names.unwrap_or_default().iter().find_map(|name| kernel.function(name)) {
            instruction.set_src_reg(BPF_PSEUDO_KFUNC_CALL as u8);
            instruction.imm = id as i32;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::syscall::SharedMaps;

    #[test]
    fn a_kernel_without_types_of_unix_sockets_has_no_path_of_theirs() {
        assert!(!has_unix_path(&KernelTypes::with_offsets(&[])));
        assert!(!has_unix_path(&KernelTypes::with_offsets(&[(OFFSET_UNIX_PATH, 0)])));
        assert!(has_unix_path(&KernelTypes::with_offsets(&[(OFFSET_UNIX_PATH, 800)])));
    }

    /// The verifier of any kernel goes through the programs as if they were kprobes, whatever else it allows.
    #[test]
    fn every_program_passes_the_verifier() {
        chaos_sys::testing::root_or_return!();
        let shared = SharedMaps::private().unwrap();
        let image = Image::new(&shared.descriptors(), std::path::Path::new("/")).unwrap();
        for (name, function) in &image.functions {
            if [
                "sleeper",
                "later",
                "kprobe",
                "connect4",
                "connect6",
                "bind4",
                "bind6",
                "sendmsg4",
                "sendmsg6",
                "sock_create",
            ]
            .contains(&name.as_str())
            {
                continue;
            }
            let program = Program {
                name,
                kind: bpf_prog_type::BPF_PROG_TYPE_KPROBE,
                attach: bpf_attach_type::BPF_CGROUP_INET_INGRESS,
                code: &function.instructions,
                types: Some(Types {
                    loaded: image.types.as_fd(),
                    functions: &function.func_info.func_info_bytes(),
                    size: function.func_info_rec_size as u32,
                }),
                target: None,
                sleepable: false,
            };
            if let Err(error) = bpf::load_program(&program, name) {
                panic!("{name}: {error}");
            }
        }
    }
}

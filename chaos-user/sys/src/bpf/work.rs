//! A map in whose values the kernel has a part of its own, which it finds by their type.

use super::{attributes, call_fd, load_types};
use crate::{error::KernelError, seam};
use aya_obj::generated::{bpf_cmd, bpf_map_type};
use chaos_abi::{Later, maps::LATER};
use std::os::fd::{AsRawFd, OwnedFd};

/// `BTF_KIND_INT` and `BTF_KIND_STRUCT`, where a type has its kind (linux/btf.h).
const INT: u32 = 1 << 24;
const STRUCT: u32 = 4 << 24;
/// Ids of the types below.
const U32: u32 = 1;
const U64: u32 = 2;
const WORK: u32 = 3;
const VALUE: u32 = 4;

/// The types of [`Later`] as the kernel wants them: the part that is its own is known by its name.
fn types() -> Vec<u8> {
    let mut strings = vec![0_u8];
    let mut name = |text: &str| {
        let at = strings.len() as u32;
        strings.extend(text.bytes().chain([0]));
        at
    };
    let mut types: Vec<u32> = vec![name("unsigned int"), INT, 4, 32, name("unsigned long"), INT, 8, 64];
    types.extend([name("bpf_task_work"), STRUCT | 1, 8, name("__opaque"), U64, 0]);
    let fields =
        [("work", WORK, 0), ("decided", U64, 64), ("duration", U64, 128), ("rule", U32, 192), ("errno", U32, 224)];
    types.extend([name("later"), STRUCT | fields.len() as u32, size_of::<Later>() as u32]);
    for (field, kind, bits) in fields {
        types.extend([name(field), kind, bits]);
    }
    let types: Vec<u8> = types.into_iter().flat_map(u32::to_ne_bytes).collect();
    let header = [0xeb9f_u16.to_ne_bytes(), [1, 0]].concat();
    let lengths = [24, 0, types.len() as u32, types.len() as u32, strings.len() as u32].map(u32::to_ne_bytes).concat();
    [header, lengths, types, strings].concat()
}

/// An array of [`Later`].
///
/// # Errors
/// The kernel's answer to BPF_BTF_LOAD or BPF_MAP_CREATE.
pub fn create_work_array(entries: u32) -> Result<OwnedFd, KernelError> {
    seam::run("make map", LATER, || {
        let types = load_types(&types())?;
        let mut attr = attributes();
        // SAFETY: every member of the union is made of integers; this one is read by BPF_MAP_CREATE.
        let map = unsafe { &mut attr.__bindgen_anon_1 };
        map.map_type = bpf_map_type::BPF_MAP_TYPE_ARRAY as u32;
        map.key_size = size_of::<u32>() as u32;
        map.value_size = size_of::<Later>() as u32;
        map.max_entries = entries;
        map.btf_fd = types.as_raw_fd() as u32;
        map.btf_key_type_id = U32;
        map.btf_value_type_id = VALUE;
        call_fd(bpf_cmd::BPF_MAP_CREATE, &mut attr).map_err(|errno| KernelError::new("make map", LATER, errno))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_takes_the_types() {
        crate::testing::root_or_return!();
        create_work_array(4).unwrap();
    }
}

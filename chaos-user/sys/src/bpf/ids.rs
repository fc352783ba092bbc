//! Which maps there are, without opening one.

use super::{attributes, call};
use crate::error::KernelError;
use aya_obj::generated::bpf_cmd;
use nix::errno::Errno;

/// The ids of all maps of this kernel.
///
/// # Errors
/// EPERM without CAP_SYS_ADMIN.
pub fn map_ids() -> Result<Vec<u32>, KernelError> {
    let (mut all, mut last) = (Vec::new(), 0);
    loop {
        let mut attr = attributes();
        attr.__bindgen_anon_6.__bindgen_anon_1.start_id = last;
        match call(bpf_cmd::BPF_MAP_GET_NEXT_ID, &mut attr) {
            // Needed: the attributes are a union. Sound: the kernel has written this field, a number.
            // SAFETY: every field of the union is made of integers.
            Ok(_) => last = unsafe { attr.__bindgen_anon_6.next_id },
            Err(Errno::ENOENT) => return Ok(all),
            Err(errno) => return Err(KernelError::new("find", "maps", errno)),
        }
        all.push(last);
    }
}

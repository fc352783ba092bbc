//! A cgroup that is made in the place of one that was a target: its rules follow at once. Whoever looks from user space may come later
//! than its first process.

use super::{
    kernel::{offset, opaque, pointer, read},
    maps::{CHAOS_CALLS, CHAOS_HEIRS},
};
use crate::maps::CHAOS_RULES;
use aya_ebpf::helpers::generated::bpf_probe_read_kernel_str;
use chaos_abi::{
    CallKey, HEIR_NAME, Heir, HeirKey, MAX_HEIR_CALLS, MAX_HEIR_RULES, OFFSET_CGROUP_KN, OFFSET_CGROUP_PARENT,
    OFFSET_CGROUP_ROOT, OFFSET_CGROUP_SELF, OFFSET_KN_ID, OFFSET_KN_NAME, OFFSET_ROOT_HIERARCHY,
};

/// `struct cgroup *` that is about to be there: nobody sees its directory yet (kernel/cgroup/cgroup.c, `cgroup_mkdir`).
#[inline(always)]
pub fn made(cgroup: u64) {
    let root = pointer(cgroup + offset!(OFFSET_CGROUP_ROOT));
    // Of cgroup v1: its ids are others' (kernel/cgroup/cgroup.c, `cgroup_init`: the default hierarchy has number 0).
    if read::<u32>(root + offset!(OFFSET_ROOT_HIERARCHY)) != 0 {
        return;
    }
    let above = pointer(cgroup + offset!(OFFSET_CGROUP_PARENT));
    if above == 0 {
        return;
    }
    let node = pointer(cgroup + offset!(OFFSET_CGROUP_KN));
    let mut key = HeirKey::zeroed();
    key.parent = id_of(pointer(above - offset!(OFFSET_CGROUP_SELF) + offset!(OFFSET_CGROUP_KN)));
    let name = pointer(node + offset!(OFFSET_KN_NAME));
    // SAFETY: writes at most as many bytes as there are, and reads by checked access.
    if unsafe { bpf_probe_read_kernel_str(key.name.as_mut_ptr().cast(), HEIR_NAME as u32, name as *const _) } < 0 {
        return;
    }
    // By reference: the stack has no room for another one.
    let key = &key;
    if let Some(heir) = CHAOS_HEIRS.get_ptr_mut(key) {
        // SAFETY: a map value, of which user space writes the whole when it changes.
        follow(unsafe { &mut *heir }, id_of(node));
    }
}

/// The id of a cgroup, by its node in the file system.
#[inline(always)]
fn id_of(node: u64) -> u64 {
    read(node + offset!(OFFSET_KN_ID))
}

#[inline(always)]
fn follow(heir: &mut Heir, id: u64) {
    let old = heir.cgroup;
    for place in 0..opaque(MAX_HEIR_CALLS) {
        if place >= MAX_HEIR_CALLS || place >= heir.call_count as usize {
            break;
        }
        let from = CallKey { cgroup: old, number: heir.numbers[place], hook: heir.hooks[place] };
        let to = CallKey { cgroup: id, ..from };
        // SAFETY: a map value, which is copied by the kernel.
        if let Some(list) = CHAOS_CALLS.get_ptr(from).map(|list| unsafe { &*list }) {
            let _full = CHAOS_CALLS.insert(to, list, 0);
            let _gone_already = CHAOS_CALLS.remove(from);
        }
    }
    for place in 0..opaque(MAX_HEIR_RULES) {
        if place >= MAX_HEIR_RULES || place >= heir.rule_count as usize {
            break;
        }
        let Some(rule) = CHAOS_RULES.get_ptr_mut(heir.rules[place]) else { continue };
        // SAFETY: a field of a map value. A rule that means another cgroup, or every packet of a namespace, is not this one's any more.
        unsafe {
            if (&raw const (*rule).cgroup).read_volatile() == old {
                (&raw mut (*rule).cgroup).write_volatile(id);
            }
        }
    }
    heir.cgroup = id;
}

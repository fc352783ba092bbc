//! What the agent learns of pods that come: cgroups that are made, programs that begin in those that it awaits. An ELF of its own,
//! so that a kernel that refuses these programs loses nothing but the head start over new pods.
#![cfg_attr(target_arch = "bpf", no_std)]
#![cfg_attr(target_arch = "bpf", no_main)]

#[cfg(not(target_arch = "bpf"))]
fn main() {}

#[cfg(target_arch = "bpf")]
mod bpf {
    use aya_ebpf::{
        EbpfContext as _,
        bindings::BPF_F_NO_PREALLOC,
        btf_maps::{HashMap, RingBuf},
        helpers::generated::{
            bpf_get_current_ancestor_cgroup_id, bpf_get_current_cgroup_id, bpf_get_current_pid_tgid, bpf_ktime_get_ns,
            bpf_probe_read_kernel_str,
        },
        macros::{btf_map, raw_tracepoint},
        programs::RawTracePointContext,
    };
    use chaos_abi::{BIRTH_CGROUP, BIRTH_EXEC, BIRTH_LEVELS, BIRTH_PATH, Birth};

    /// To user space.
    #[btf_map]
    static CHAOS_BIRTHS: RingBuf<Birth, 262_144, 0> = RingBuf::new();

    /// cgroups of pods that are awaited.
    #[btf_map]
    static CHAOS_AWAITED: HashMap<u64, u32, 4096, { BPF_F_NO_PREALLOC as usize }> = HashMap::new();

    /// `cgroup_mkdir(struct cgroup *cgrp, const char *path)` (include/trace/events/cgroup.h).
    #[raw_tracepoint(tracepoint = "cgroup_mkdir")]
    fn cgroup_made(ctx: RawTracePointContext) -> i32 {
        let Some(mut entry) = CHAOS_BIRTHS.reserve(0) else { return 0 };
        let birth = entry.as_mut_ptr();
        let path: *const u8 = ctx.arg(1);
        // SAFETY: the reserved entry is ours until it is submitted, and every field is written; the helper writes at most
        // `BIRTH_PATH` bytes and reads by checked access.
        unsafe {
            (&raw mut (*birth).time).write(bpf_ktime_get_ns());
            (&raw mut (*birth).cgroup).write(0);
            (&raw mut (*birth).awaited).write(0);
            (&raw mut (*birth).kind).write(BIRTH_CGROUP);
            (&raw mut (*birth).pid).write(0);
            let to = (&raw mut (*birth).path).cast();
            if bpf_probe_read_kernel_str(to, BIRTH_PATH as u32, path.cast()) < 0 {
                entry.discard(0);
                return 0;
            }
        }
        entry.submit(0);
        0
    }

    /// `sched_process_exec(struct task_struct *p, pid_t old_pid, struct linux_binprm *bprm)` (include/trace/events/sched.h).
    #[raw_tracepoint(tracepoint = "sched_process_exec")]
    fn program_began(ctx: RawTracePointContext) -> i32 {
        let _unused = ctx.as_ptr();
        let awaited = awaited();
        if awaited == 0 {
            return 0;
        }
        let Some(mut entry) = CHAOS_BIRTHS.reserve(0) else { return 0 };
        let birth = entry.as_mut_ptr();
        // SAFETY: as above; a path that is not written is 0 at its begin, and user space reads no further.
        unsafe {
            (&raw mut (*birth).time).write(bpf_ktime_get_ns());
            (&raw mut (*birth).cgroup).write(bpf_get_current_cgroup_id());
            (&raw mut (*birth).awaited).write(awaited);
            (&raw mut (*birth).kind).write(BIRTH_EXEC);
            (&raw mut (*birth).pid).write((bpf_get_current_pid_tgid() >> 32) as u32);
            (&raw mut (*birth).path).cast::<u8>().write(0);
        }
        entry.submit(0);
        0
    }

    /// The awaited cgroup that this process is in; 0: none.
    #[inline(always)]
    fn awaited() -> u64 {
        for level in 1..=BIRTH_LEVELS {
            // SAFETY: takes a number; 0 below the process's own level.
            let id = unsafe { bpf_get_current_ancestor_cgroup_id(level) };
            if id == 0 {
                return 0;
            }
            // SAFETY: only presence is asked.
            if unsafe { CHAOS_AWAITED.get(id) }.is_some() {
                return id;
            }
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

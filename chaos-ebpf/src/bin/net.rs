//! The network programs. A stub per attach point writes its id into `CHAOS_SLOT` and tail-calls one of these.
#![cfg_attr(target_arch = "bpf", no_std)]
#![cfg_attr(target_arch = "bpf", no_main)]

#[cfg(not(target_arch = "bpf"))]
fn main() {}

#[cfg(target_arch = "bpf")]
mod bpf {
    use aya_ebpf::{
        btf_maps::Array,
        macros::{btf_map, cgroup_skb, classifier},
        programs::{SkBuffContext, TcContext},
    };
    use chaos_abi::{Clock, POINT_INGRESS, PROGRAM_DNS_RECORDS, PROGRAM_FAULT};
    use chaos_ebpf::{
        arrival, clock, dns,
        maps::{CHAOS_CGPROGS, CHAOS_NAMES, CHAOS_POINTS, CHAOS_PROGS, CHAOS_SLOT},
        skb::{INGRESS, NEXT, Skb, redirect},
        walk,
    };

    /// What `clock` read last.
    #[btf_map]
    static CHAOS_CLOCK: Array<Clock, 1, 0> = Array::new();

    /// All faults of an attach point.
    #[classifier]
    fn fault(ctx: TcContext) -> i32 {
        walk::run::<false>(Skb(ctx.skb.skb))
    }

    /// The same for kernels without `bpf_skb_set_tstamp` (before Linux 5.18).
    #[classifier]
    fn fault_legacy(ctx: TcContext) -> i32 {
        walk::run::<true>(Skb(ctx.skb.skb))
    }

    /// In front of `fault` where questions and answers of the DNS are read. It is a program of its own so that a kernel that refuses it loses host
    /// names and nothing else.
    #[classifier]
    fn dns(ctx: TcContext) -> i32 {
        if dns::begin(Skb(ctx.skb.skb)) {
            jump(&ctx, PROGRAM_DNS_RECORDS);
        }
        jump(&ctx, PROGRAM_FAULT);
        NEXT
    }

    /// The records of an answer, some at a time.
    #[classifier]
    fn dns_records(ctx: TcContext) -> i32 {
        if dns::walk(Skb(ctx.skb.skb)) {
            jump(&ctx, PROGRAM_DNS_RECORDS);
        }
        jump(&ctx, PROGRAM_FAULT);
        NEXT
    }

    /// Returns where the table has no such program.
    #[inline(always)]
    fn jump(ctx: &TcContext, program: u32) {
        // SAFETY: the context of this run.
        unsafe { CHAOS_PROGS.tail_call(ctx, program) };
    }

    /// At the far end of a veth pair: back to where the packet came from.
    #[classifier]
    fn back(_ctx: TcContext) -> i32 {
        let Some(slot) = CHAOS_SLOT.get(0) else { return NEXT };
        let Some(point) = CHAOS_POINTS.get(slot.point) else { return NEXT };
        let flags = if point.flags & POINT_INGRESS != 0 { INGRESS } else { 0 };
        redirect(point.ifindex, flags)
    }

    /// On the queue's device, for kernels without `bpf_skb_set_tstamp`: writes the departure that `fault_legacy` decided on this CPU.
    #[classifier]
    fn stamp(ctx: TcContext) -> i32 {
        if let Some(slot) = CHAOS_SLOT.get(0) {
            Skb(ctx.skb.skb).write_tstamp(slot.departure);
        }
        NEXT
    }

    /// Run by user space (BPF_PROG_TEST_RUN): reads the clocks that the programs go by.
    #[classifier]
    fn clock(ctx: TcContext) -> i32 {
        if let Some(value) = CHAOS_CLOCK.get_ptr_mut(0) {
            // SAFETY: a map value; user space reads it under its own lock.
            unsafe {
                (*value).jiffies = clock::jiffies();
                (*value).ns = clock::now();
                (*value).boot = clock::boot();
            }
        }
        // Keeps the names in this object, which no program reads: by this one they are found. Not the table of tail calls: who looks for
        // the others would open it (chaos-user/sys/src/search.rs says why not).
        if ctx.len() == u32::MAX {
            let _ = CHAOS_NAMES.remove(0);
        }
        0
    }

    /// What arrives for the sockets of a cgroup.
    #[cgroup_skb(ingress)]
    fn cgroup_ingress(ctx: SkBuffContext) -> i32 {
        arrival::run::<false>(Skb(ctx.skb.skb))
    }

    /// The same for kernels before 5.18.
    #[cgroup_skb(ingress)]
    fn cgroup_ingress_legacy(ctx: SkBuffContext) -> i32 {
        arrival::run::<true>(Skb(ctx.skb.skb))
    }

    /// Never loaded: keeps the table of tail calls in this object. A program with functions of its own may not do it, because
    /// kernels below 6.0 on arm64 refuse both in one.
    #[cgroup_skb(ingress)]
    fn cgroup_table(ctx: SkBuffContext) -> i32 {
        // SAFETY: the context of this run.
        unsafe { CHAOS_CGPROGS.tail_call(&ctx, 0) };
        arrival::LET
    }

    #[panic_handler]
    fn panic(_: &core::panic::PanicInfo) -> ! {
        loop {}
    }

    #[unsafe(link_section = "license")]
    #[unsafe(no_mangle)]
    static LICENSE: [u8; 4] = *b"GPL\0";
}

//! The socket buffer: the few fields and helpers that the programs use.

use aya_ebpf::{
    bindings::__sk_buff,
    helpers::generated::{
        bpf_clone_redirect, bpf_redirect, bpf_set_hash, bpf_skb_ancestor_cgroup_id, bpf_skb_change_head,
        bpf_skb_change_tail, bpf_skb_load_bytes, bpf_skb_set_tstamp, bpf_skb_store_bytes,
    },
};
use chaos_abi::NO_DEVICE;
use core::mem::MaybeUninit;

/// Verdict: not ours, next program (include/uapi/linux/bpf.h, `TCX_NEXT`; `TC_ACT_UNSPEC` for cls_bpf).
pub const NEXT: i32 = -1;
/// Verdict at ingress: drop. The sender does not learn of it.
pub const SHOT: i32 = 2;
/// `bpf_redirect`, `bpf_clone_redirect`: into the receive path.
pub const INGRESS: u64 = 1;
/// Bytes of an Ethernet header.
const ETHERNET: u32 = 14;
/// `bpf_skb_store_bytes`: keep a hardware checksum over the whole packet (CHECKSUM_COMPLETE) right.
pub const RECOMPUTE: u64 = 1;

/// A socket buffer in a tc program; in one of a cgroup its first byte is the IP header's, and some fields and helpers are
/// forbidden (net/core/filter.c, `cg_skb_is_valid_access`, `cg_skb_func_proto`).
#[derive(Clone, Copy)]
pub struct Skb(pub *mut __sk_buff);

macro_rules! field {
    ($($(#[$meta:meta])* $name:ident: $ty:ty,)*) => { $(
        $(#[$meta])*
        #[inline(always)]
        pub fn $name(self) -> $ty {
            // Volatile, or LLVM folds it with another load into one instruction on either of two pointers, which the verifier
            // refuses ("same insn cannot be used with different pointers").
            // SAFETY: the context pointer of this program run; the verifier checks the access.
            unsafe { (&raw const (*self.0).$name).read_volatile() }
        }
    )* };
}

#[allow(clippy::len_without_is_empty, reason = "a buffer under way is never empty")]
impl Skb {
    field! {
        /// Bytes from the link header on.
        len: u32,
        /// Begin of what can be read directly.
        data: u32,
        /// Its end.
        data_end: u32,
        /// EtherType, network byte order.
        protocol: u32,
        /// Device on which it arrived.
        ingress_ifindex: u32,
        /// Its device.
        ifindex: u32,
        /// Our mark at ingress.
        tc_index: u32,
        /// Departure time.
        tstamp: u64,
        /// Which clock the departure time is of (Linux 5.18). A program that does not read this gets 0 for a departure time at
        /// ingress (net/core/filter.c, `bpf_convert_tstamp_read`).
        tstamp_type: u8,
        /// Wire packets, 0 when not segmented.
        gso_segs: u32,
        /// Bytes on the wire, headers of each segment included.
        wire_len: u32,
    }

    /// Wire packets in this buffer, at least 1.
    #[inline(always)]
    pub fn packets(self) -> u64 {
        let segs = self.gso_segs();
        if segs > 1 { u64::from(segs) } else { 1 }
    }

    /// Sets our mark.
    #[inline(always)]
    pub fn set_tc_index(self, value: u32) {
        // SAFETY: as `field!`; tc programs may write it (net/core/filter.c, `tc_cls_act_is_valid_access`).
        unsafe { (*self.0).tc_index = value }
    }

    /// Reads a value at `offset`; None past the end.
    #[inline(always)]
    pub fn load<T>(self, offset: u32) -> Option<T> {
        let mut value = MaybeUninit::<T>::uninit();
        // SAFETY: writes exactly size_of::<T>() bytes or fails; T is made of integers by its callers.
        unsafe {
            if bpf_skb_load_bytes(self.0.cast(), offset, value.as_mut_ptr().cast(), size_of::<T>() as u32) != 0 {
                return None;
            }
            Some(value.assume_init())
        }
    }

    /// Writes a value at `offset`.
    #[inline(always)]
    pub fn store<T>(self, offset: u32, value: &T, flags: u64) -> bool {
        // SAFETY: reads size_of::<T>() bytes of `value`.
        unsafe {
            bpf_skb_store_bytes(self.0, offset, core::ptr::from_ref(value).cast(), size_of::<T>() as u32, flags) == 0
        }
    }

    /// Cuts or pads to `len` bytes; ends segmentation offload.
    #[inline(always)]
    pub fn change_tail(self, len: u32) -> bool {
        // SAFETY: no packet pointer is held across.
        unsafe { bpf_skb_change_tail(self.0, len, 0) == 0 }
    }

    /// An Ethernet header in front of a packet of a device that has none: a redirect to a device that has one asks for it
    /// (net/core/filter.c, `__bpf_redirect_common`), and the way back takes it off (`__bpf_redirect_no_mac`). The receiver sees no
    /// more of it than the EtherType.
    #[inline(always)]
    pub fn push_ethernet(self) -> bool {
        let kind = self.protocol() as u16;
        // SAFETY: no packet pointer is held across.
        unsafe { bpf_skb_change_head(self.0, ETHERNET, 0) == 0 && self.store(ETHERNET - 2, &kind, 0) }
    }

    /// A copy without its socket to `ifindex`. Positive and `-ENOBUFS`: the queue dropped it.
    #[inline(always)]
    pub fn clone_to(self, ifindex: u32, flags: u64) -> i64 {
        // SAFETY: no packet pointer is held across.
        unsafe { bpf_clone_redirect(self.0, ifindex, flags) }
    }

    /// Departure time on CLOCK_MONOTONIC (BPF_SKB_TSTAMP_DELIVERY_MONO, Linux 5.18); 0 clears it.
    #[inline(always)]
    pub fn set_tstamp(self, ns: u64) -> bool {
        // SAFETY: arguments are checked by the helper.
        unsafe { bpf_skb_set_tstamp(self.0, ns, u32::from(ns != 0)) == 0 }
    }

    /// Departure time by the bare field, for kernels without the helper.
    #[inline(always)]
    pub fn write_tstamp(self, ns: u64) {
        // SAFETY: as `field!`.
        unsafe { (*self.0).tstamp = ns }
    }

    /// The flow hash that fq sorts by.
    #[inline(always)]
    pub fn set_hash(self, hash: u32) {
        // SAFETY: cannot fail.
        unsafe { bpf_set_hash(self.0, hash) };
    }

    /// The cgroup of its socket at depth `level`; 0 without a socket.
    #[inline(always)]
    pub fn cgroup(self, level: u32) -> u64 {
        // SAFETY: arguments are checked by the helper.
        unsafe { bpf_skb_ancestor_cgroup_id(self.0, level as i32) }
    }
}

/// Sends this buffer to `ifindex` after the program ended.
#[inline(always)]
pub fn redirect(ifindex: u32, flags: u64) -> i32 {
    // SAFETY: takes two numbers.
    unsafe { bpf_redirect(ifindex, flags) as i32 }
}

/// Drops without telling the sender: a local TCP takes SHOT at egress for congestion of its own device and neither counts
/// nor retransmits it (net/ipv4/tcp_output.c, `tcp_transmit_skb`), while a redirect always reports success.
#[inline(always)]
pub fn drop_silently(ingress: bool) -> i32 {
    if ingress { SHOT } else { redirect(NO_DEVICE, 0) }
}

//! Has the node itself a socket for this connection? What it merely forwards, as a masqueraded client of a NodePort, has none there,
//! though its packets bear the node's address.

use crate::{parse::Packet, skb::Skb};
use aya_ebpf::{
    bindings::{__sk_buff, bpf_sock_tuple},
    helpers::generated::{bpf_sk_release, bpf_skc_lookup_tcp},
};

/// `BPF_TCP_LISTEN` (include/uapi/linux/bpf.h): a listener is of no connection.
const LISTEN: u32 = 10;

/// `struct bpf_sock_tuple` of IPv4: the kernel tells them apart by their size (net/core/filter.c, `bpf_sk_lookup`).
#[repr(C)]
struct Tuple4 {
    source: u32,
    destination: u32,
    source_port: u16,
    destination_port: u16,
}

/// The same of IPv6.
#[repr(C, packed(4))]
struct Tuple6 {
    source: [u64; 2],
    destination: [u64; 2],
    source_port: u16,
    destination_port: u16,
}

/// Looks in the namespace that the packet's own calls `netns`. A socket is found from its first SYN to the end of its TIME_WAIT.
#[inline(always)]
pub fn begun(skb: Skb, packet: &Packet, ingress: bool, netns: u32) -> bool {
    if packet.family == 4 { over_v4(skb.0, packet, ingress, netns) } else { over_v6(skb.0, packet, ingress, netns) }
}

/// From the target to the node, whichever way this packet goes: as what arrives at the node's socket would be.
#[inline(always)]
fn towards_node<T: Copy>(ingress: bool, source: T, destination: T) -> [T; 2] {
    if ingress { [destination, source] } else { [source, destination] }
}

/// A function of its own in BPF, for its stack.
#[inline(never)]
fn over_v4(ctx: *mut __sk_buff, packet: &Packet, ingress: bool, netns: u32) -> bool {
    let [source, destination] = towards_node(ingress, packet.source[0], packet.destination[0]);
    let [source_port, destination_port] = towards_node(ingress, packet.source_port, packet.destination_port);
    let tuple = Tuple4 {
        // The address fills the first four bytes in memory.
        source: u32::from_ne_bytes(first(source)),
        destination: u32::from_ne_bytes(first(destination)),
        source_port: source_port.to_be(),
        destination_port: destination_port.to_be(),
    };
    has_socket(ctx, &tuple, netns)
}

/// As [`over_v4`].
#[inline(never)]
fn over_v6(ctx: *mut __sk_buff, packet: &Packet, ingress: bool, netns: u32) -> bool {
    let [source, destination] = towards_node(ingress, packet.source, packet.destination);
    let [source_port, destination_port] = towards_node(ingress, packet.source_port, packet.destination_port);
    let tuple =
        Tuple6 { source, destination, source_port: source_port.to_be(), destination_port: destination_port.to_be() };
    has_socket(ctx, &tuple, netns)
}

#[inline(always)]
fn first(word: u64) -> [u8; 4] {
    let [a, b, c, d, ..] = word.to_ne_bytes();
    [a, b, c, d]
}

#[inline(always)]
fn has_socket<T>(ctx: *mut __sk_buff, tuple: &T, netns: u32) -> bool {
    let tuple = core::ptr::from_ref(tuple).cast_mut().cast::<bpf_sock_tuple>();
    // SAFETY: reads size_of::<T>() bytes; the socket is released below.
    let socket = unsafe { bpf_skc_lookup_tcp(ctx.cast(), tuple, size_of::<T>() as u32, u64::from(netns), 0) };
    if socket.is_null() {
        return false;
    }
    // SAFETY: a socket that is held; its state may be read of any (net/core/filter.c, `bpf_sock_common_is_valid_access`).
    let state = unsafe { (&raw const (*socket).state).read_volatile() };
    // SAFETY: held until here, used no more.
    unsafe { bpf_sk_release(socket.cast()) };
    state != LISTEN
}

//! The cgroup's own hooks for calls of IPv4 and IPv6 sockets: they need no type information of the kernel's and run on any from
//! Linux 5.18 on.

use aya_ebpf::{
    bindings::{bpf_sock, bpf_sock_addr},
    helpers::generated::bpf_set_retval,
};
use chaos_abi::{CALL_BIND, CALL_CONNECT, CALL_SEND, CALL_SOCKET, HOOK_CGROUP, KIND_SOCKET};
use chaos_ebpf::call::{Call, act, socket};

/// Verdicts (kernel/bpf/cgroup.c, `bpf_prog_run_array_cg`).
const GO_ON: i32 = 1;
const REFUSE: i32 = 0;

#[inline(always)]
fn verdict(mut call: Call) -> i32 {
    call.kind = KIND_SOCKET;
    let error = act(&mut call);
    if error == 0 {
        return GO_ON;
    }
    // SAFETY: takes a number.
    unsafe { bpf_set_retval(error as i32) };
    REFUSE
}

#[inline(always)]
fn peer4(ctx: *mut bpf_sock_addr) -> socket::Peer {
    // SAFETY: fields of the context, whole words as the verifier wants them.
    let (address, port) =
        unsafe { ((&raw const (*ctx).user_ip4).read_volatile(), (&raw const (*ctx).user_port).read_volatile()) };
    socket::Peer { address: [u64::from(address), 0], family: 4, port: u16::from_be(port as u16), reserved: 0 }
}

#[inline(always)]
fn peer6(ctx: *mut bpf_sock_addr) -> socket::Peer {
    // SAFETY: as above.
    let (words, port) = unsafe {
        let word = |place: usize| u64::from((&raw const (*ctx).user_ip6[place]).read_volatile());
        ([word(0) | word(1) << 32, word(2) | word(3) << 32], (&raw const (*ctx).user_port).read_volatile())
    };
    socket::unwrap(words, u16::from_be(port as u16))
}

macro_rules! address {
    ($(#[$meta:meta])* $name:ident, $number:expr, $peer:ident) => {
        $(#[$meta])*
        #[unsafe(no_mangle)]
        #[unsafe(link_section = concat!("fentry/", stringify!($name)))]
        extern "C" fn $name(ctx: *mut bpf_sock_addr) -> i32 {
            let mut call = Call::new(HOOK_CGROUP, $number);
            call.peer = $peer(ctx);
            verdict(call)
        }
    };
}

address!(
    /// connect(2) over IPv4.
    connect4, CALL_CONNECT, peer4
);
address!(
    /// connect(2) over IPv6.
    connect6, CALL_CONNECT, peer6
);
address!(
    /// bind(2) over IPv4.
    bind4, CALL_BIND, peer4
);
address!(
    /// bind(2) over IPv6.
    bind6, CALL_BIND, peer6
);
address!(
    /// A datagram to an address, over IPv4.
    sendmsg4, CALL_SEND, peer4
);
address!(
    /// The same over IPv6.
    sendmsg6, CALL_SEND, peer6
);

/// socket(2).
#[unsafe(no_mangle)]
#[unsafe(link_section = "fentry/sock_create")]
extern "C" fn sock_create(_ctx: *mut bpf_sock) -> i32 {
    verdict(Call::new(HOOK_CGROUP, CALL_SOCKET))
}

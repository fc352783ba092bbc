//! Somebody else's program on an interface, as a network plugin has: it counts a flow and changes nothing.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::net::if_::if_nametoindex;

use super::netns::NetNs;
use crate::sys;

/// A tcx program that counts UDP packets over IPv4 to one port. Gone when dropped.
#[derive(Debug)]
pub struct Onlooker {
    counter: OwnedFd,
    _link: OwnedFd,
}

impl Onlooker {
    /// Attaches it behind all programs that are there; an error where the kernel has no tcx (before 6.6).
    pub fn attach(ns: &NetNs, interface: &str, egress: bool, port: u16) -> io::Result<Self> {
        let counter = sys::bpf_one_counter()?;
        let program = sys::bpf_load_classifier(&instructions(counter.as_raw_fd(), port))?;
        let link = ns.run(|| sys::bpf_attach_tcx(program.as_fd(), if_nametoindex(interface)?, egress))?;
        Ok(Self { counter, _link: link })
    }

    /// How many packets it has seen.
    pub fn count(&self) -> u64 {
        sys::bpf_read_counter(self.counter.as_fd()).expect("the counter")
    }
}

/// The program: count where EtherType, protocol and destination port are right; always TCX_NEXT.
fn instructions(map: i32, port: u16) -> Vec<[u8; 8]> {
    let load = |size: u8, at: i32| instruction(0x20 | size, 0, 0, 0, at);
    let skip_unless = |value: i32, distance: i16| instruction(0x55, 0, 0, distance, value);
    let (half, byte) = (0x08, 0x10);
    vec![
        instruction(0xbf, 6, 1, 0, 0), // r6 = ctx, where absolute loads look for it
        load(half, 12),
        skip_unless(0x0800, 13),
        load(byte, 23),
        skip_unless(17, 11),
        load(half, 36),
        skip_unless(port.into(), 9),
        instruction(0x62, 10, 0, -4, 0), // *(u32 *)(r10 - 4) = 0: the key
        instruction(0xbf, 2, 10, 0, 0),
        instruction(0x07, 2, 0, 0, -4),
        instruction(0x18, 1, 1, 0, map), // r1 = map, in two halves
        instruction(0, 0, 0, 0, 0),
        instruction(0x85, 0, 0, 0, 1),  // r0 = map_lookup_elem(r1, r2)
        instruction(0x15, 0, 0, 2, 0),  // if r0 == 0 skip the counting
        instruction(0xb7, 1, 0, 0, 1),  // r1 = 1
        instruction(0xdb, 0, 1, 0, 0),  // lock *(u64 *)r0 += r1
        instruction(0xb7, 0, 0, 0, -1), // r0 = TCX_NEXT
        instruction(0x95, 0, 0, 0, 0),
    ]
}

/// `struct bpf_insn` on a little-endian machine.
fn instruction(code: u8, destination: u8, source: u8, offset: i16, immediate: i32) -> [u8; 8] {
    let (offset, immediate) = (offset.to_ne_bytes(), immediate.to_ne_bytes());
    let registers = destination | source << 4;
    [code, registers, offset[0], offset[1], immediate[0], immediate[1], immediate[2], immediate[3]]
}

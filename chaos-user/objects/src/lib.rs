//! The eBPF objects, as the build script leaves them. The build of this package alone needs bpf-linker.

#![no_std]
#![forbid(unsafe_code)]

/// Parsers read the headers where they lie, so that these must be aligned.
#[repr(C, align(32))]
struct Aligned<T: ?Sized>(T);

/// The programs of packets.
pub static NET: &[u8] = {
    static OBJECT: &Aligned<[u8]> = &Aligned(*include_bytes!(concat!(env!("OUT_DIR"), "/net")));
    &OBJECT.0
};

/// The programs of system calls.
pub static CALL: &[u8] = {
    static OBJECT: &Aligned<[u8]> = &Aligned(*include_bytes!(concat!(env!("OUT_DIR"), "/call")));
    &OBJECT.0
};

/// The programs that report new cgroups and the programs begun in them.
pub static BIRTH: &[u8] = {
    static OBJECT: &Aligned<[u8]> = &Aligned(*include_bytes!(concat!(env!("OUT_DIR"), "/birth")));
    &OBJECT.0
};

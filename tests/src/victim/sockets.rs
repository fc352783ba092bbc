//! Calls on sockets. Connections are over TCP on 127.0.0.1; data goes between two sockets of this process.

use libc::{AF_INET, SO_KEEPALIVE, SO_TYPE, SOCK_CLOEXEC, SOCK_STREAM, SOL_SOCKET};

use super::deed::{After, Trouble};
use super::kit::Kit;
use super::table::Entry;
use crate::sys::raw::RawCall;

/// The size of `struct sockaddr_in`.
const ADDRESS: usize = 16;
/// How much is sent.
const AMOUNT: usize = 16;

pub const CALLS: &[Entry] = &[
    Entry::again("socket", |_| Ok(After::Close.of(tcp()))),
    Entry::once("connect", |kit| {
        let (_, port) = listener(kit)?;
        let socket = kit.just("socket", tcp())?;
        Ok(on_address(libc::SYS_connect, socket, port).into())
    }),
    Entry::once("accept", |kit| Ok(After::Close.of(RawCall::new(libc::SYS_accept).size(called(kit)?)))),
    Entry::once("accept4", |kit| {
        let flags = SOCK_CLOEXEC;
        Ok(After::Close.of(RawCall::new(libc::SYS_accept4).size(called(kit)?).int(0).int(0).int(flags)))
    }),
    Entry::once("bind", |kit| Ok(on_address(libc::SYS_bind, kit.just("socket", tcp())?, [0; 2]).into())),
    Entry::again("listen", |kit| Ok(listen(kit.just("socket", tcp())?).into())),
    Entry::once("sendto", |kit| {
        let to = kit.pair()?[1];
        Ok(RawCall::new(libc::SYS_sendto).int(to).bytes(vec![b'x'; AMOUNT]).size(AMOUNT).into())
    }),
    Entry::once("sendmsg", |kit| Ok(message(libc::SYS_sendmsg, kit.pair()?[1]).into())),
    Entry::once("sendmmsg", |kit| Ok(message(libc::SYS_sendmmsg, kit.pair()?[1]).int(1).into())),
    Entry::once("recvfrom", |kit| {
        let from = kit.full_socket()?;
        Ok(RawCall::new(libc::SYS_recvfrom).int(from).bytes(vec![0; AMOUNT]).size(AMOUNT).into())
    }),
    Entry::once("recvmsg", |kit| Ok(message(libc::SYS_recvmsg, kit.full_socket()?).into())),
    Entry::once("recvmmsg", |kit| Ok(message(libc::SYS_recvmmsg, kit.full_socket()?).int(1).into())),
    Entry::once("shutdown", |kit| Ok(RawCall::new(libc::SYS_shutdown).int(kit.pair()?[0]).int(libc::SHUT_WR).into())),
    Entry::again("getsockopt", |kit| {
        let call = RawCall::new(libc::SYS_getsockopt).int(kit.pair()?[0]).int(SOL_SOCKET).int(SO_TYPE);
        Ok(call.bytes(vec![0; 4]).bytes(4u32.to_ne_bytes().to_vec()).into())
    }),
    Entry::again("setsockopt", |kit| {
        let call = RawCall::new(libc::SYS_setsockopt).int(kit.pair()?[0]).int(SOL_SOCKET).int(SO_KEEPALIVE);
        Ok(call.bytes(1u32.to_ne_bytes().to_vec()).size(4).into())
    }),
];

fn tcp() -> RawCall {
    RawCall::new(libc::SYS_socket).int(AF_INET).int(SOCK_STREAM | SOCK_CLOEXEC)
}

fn on_address(number: libc::c_long, socket: usize, port: [u8; 2]) -> RawCall {
    let mut address = vec![0; ADDRESS];
    address[..2].copy_from_slice(&(AF_INET as u16).to_ne_bytes());
    address[2..4].copy_from_slice(&port);
    address[4..8].copy_from_slice(&[127, 0, 0, 1]);
    RawCall::new(number).size(socket).bytes(address).size(ADDRESS)
}

fn listen(socket: usize) -> RawCall {
    RawCall::new(libc::SYS_listen).size(socket).int(8)
}

/// A listening socket and its port, as addresses have it.
fn listener(kit: &Kit) -> Result<(usize, [u8; 2]), Trouble> {
    let socket = kit.just("socket", tcp())?;
    kit.just("bind", on_address(libc::SYS_bind, socket, [0; 2]))?;
    kit.just("listen", listen(socket))?;
    let name = nix::sys::socket::getsockname::<nix::sys::socket::SockaddrIn>(socket as i32);
    let name = name.map_err(|errno| Trouble { errno: errno as i32, what: "getsockname" })?;
    Ok((socket, name.port().to_be_bytes()))
}

/// A listening socket that somebody has connected to.
fn called(kit: &Kit) -> Result<usize, Trouble> {
    let (socket, port) = listener(kit)?;
    let caller = kit.just("socket", tcp())?;
    kit.just("connect", on_address(libc::SYS_connect, caller, port))?;
    Ok(socket)
}

/// A call with a `struct msghdr`, or with one `struct mmsghdr`, which has one word more.
fn message(number: libc::c_long, fd: i32) -> RawCall {
    let mut call = RawCall::new(number).int(fd);
    let bytes = call.keep_bytes(vec![b'x'; AMOUNT]);
    let vector = call.keep_words(vec![bytes, AMOUNT]);
    call.words(vec![0, 0, vector, 1, 0, 0, 0, 0])
}

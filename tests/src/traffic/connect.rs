//! TCP connections: whether they come about, and how they end.

use std::io::{self, ErrorKind, Read};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, bind, connect, listen, socket};

use crate::clock::now_ns;
use crate::net::{Family, NetNs};
use crate::sys;

/// How an attempt to connect ended.
#[derive(Debug)]
pub enum Ending {
    /// Connected.
    Open(TcpStream),
    /// `ECONNREFUSED`.
    Refused,
    /// `ECONNRESET`.
    Reset,
    /// No answer within the time given.
    TimedOut,
    /// Any other error.
    Other(io::Error),
}

impl Ending {
    /// Whether the peer's side answered with a RST, whichever name the kernel gives it.
    pub fn is_refused(&self) -> bool {
        matches!(self, Self::Refused | Self::Reset)
    }

    /// Whether the connection came about.
    pub fn is_open(&self) -> bool {
        matches!(self, Self::Open(_))
    }
}

/// One attempt to connect.
#[derive(Debug)]
pub struct Attempt {
    /// How it ended.
    pub ending: Ending,
    /// How long that took.
    pub took: Duration,
}

/// Tries to connect from a namespace, from any port (0) or a given one.
pub fn attempt(from: &NetNs, source_port: u16, to: SocketAddr, limit: Duration) -> Attempt {
    let start = now_ns();
    let ending = match begin(from, source_port, to) {
        Ok(socket) => wait_open(socket, limit),
        Err(error) => Ending::Other(error),
    };
    Attempt { ending, took: Duration::from_nanos(now_ns() - start) }
}

/// Sends the SYN and does not wait.
pub fn begin(from: &NetNs, source_port: u16, to: SocketAddr) -> io::Result<TcpStream> {
    let socket = from.run(|| stream_socket(Family::of(to.ip())));
    if source_port != 0 {
        sys::set_int_option(socket.as_fd(), libc::SOL_SOCKET, libc::SO_REUSEADDR, 1)?;
        bind(socket.as_raw_fd(), &SockaddrStorage::from(Family::of(to.ip()).any(source_port)))?;
    }
    match connect(socket.as_raw_fd(), &SockaddrStorage::from(to)) {
        Ok(()) | Err(Errno::EINPROGRESS) => Ok(TcpStream::from(socket)),
        Err(error) => Err(error.into()),
    }
}

fn wait_open(stream: TcpStream, limit: Duration) -> Ending {
    let timeout = PollTimeout::try_from(limit).unwrap_or(PollTimeout::MAX);
    let ready = poll(&mut [PollFd::new(stream.as_fd(), PollFlags::POLLOUT)], timeout);
    if ready == Ok(0) {
        return Ending::TimedOut;
    }
    match stream.take_error() {
        Ok(None) => {
            stream.set_nonblocking(false).expect("a blocking socket again");
            Ending::Open(stream)
        }
        Ok(Some(error)) | Err(error) => match error.kind() {
            ErrorKind::ConnectionRefused => Ending::Refused,
            ErrorKind::ConnectionReset => Ending::Reset,
            ErrorKind::TimedOut => Ending::TimedOut,
            _ => Ending::Other(error),
        },
    }
}

fn stream_socket(family: Family) -> OwnedFd {
    let family = if family == Family::V4 { AddressFamily::Inet } else { AddressFamily::Inet6 };
    socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK, None).expect("a TCP socket")
}

/// A listener in a namespace with a backlog that a thousand connections at once do not overflow.
pub fn listener(ns: &NetNs, at: SocketAddr) -> TcpListener {
    let socket = ns.run(|| stream_socket(Family::of(at.ip())));
    sys::set_int_option(socket.as_fd(), libc::SOL_SOCKET, libc::SO_REUSEADDR, 1).expect("SO_REUSEADDR");
    bind(socket.as_raw_fd(), &SockaddrStorage::from(at)).expect("the listener's address");
    listen(&socket, Backlog::MAXALLOWABLE).expect("listen");
    let listener = TcpListener::from(socket);
    listener.set_nonblocking(false).expect("a blocking listener");
    listener
}

/// An established connection, seen from both ends.
#[derive(Debug)]
pub struct Pair {
    /// The end that connected.
    pub client: TcpStream,
    /// The end that accepted.
    pub server: TcpStream,
}

impl Pair {
    /// Connects two namespaces; panics when that fails.
    pub fn open(from: &NetNs, to: &NetNs, at: SocketAddr) -> Self {
        let tried = Self::try_open(from, to, at, Duration::from_secs(10));
        tried.unwrap_or_else(|ending| panic!("no connection to {at}: {ending:?}"))
    }

    /// Connects two namespaces, or says how the attempt ended.
    pub fn try_open(from: &NetNs, to: &NetNs, at: SocketAddr, limit: Duration) -> Result<Self, Ending> {
        let listener = listener(to, at);
        match attempt(from, 0, at, limit).ending {
            Ending::Open(client) => Ok(Self { client, server: listener.accept().map_err(Ending::Other)?.0 }),
            ending => Err(ending),
        }
    }
}

/// How a connection that is read to its end ends: the error, `None` for an orderly end, `TimedOut` when it does not end.
pub fn await_end(stream: &TcpStream, limit: Duration) -> Option<ErrorKind> {
    let end = now_ns() + limit.as_nanos() as u64;
    let mut buffer = [0u8; 4096];
    loop {
        let left = end.saturating_sub(now_ns());
        if left == 0 {
            return Some(ErrorKind::TimedOut);
        }
        stream.set_read_timeout(Some(Duration::from_nanos(left.max(1_000)))).expect("a read timeout");
        match (&mut &*stream).read(&mut buffer) {
            Ok(0) => return None,
            Err(error) if error.kind() != ErrorKind::WouldBlock => return Some(error.kind()),
            Ok(_) | Err(_) => {}
        }
    }
}

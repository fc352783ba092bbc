//! The far end of the stage's cable: raw frames in and out (packet(7)).

use crate::error::KernelError;
use nix::{
    errno::Errno,
    sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket},
};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// Larger than any frame here: the MTU is 1,500 bytes.
const FRAME: usize = 2048;

/// All frames of one interface. A program at that interface has no part in what is seen or sent here.
#[derive(Debug)]
pub struct Wire {
    socket: OwnedFd,
}

fn failed(errno: Errno) -> KernelError {
    let error = KernelError::new("open", "packet socket", errno);
    match errno {
        Errno::EAFNOSUPPORT => error.unsupported("this kernel has no packet sockets: load the module af_packet"),
        Errno::EPERM => error.with_hint("CAP_NET_RAW is needed"),
        _ => error,
    }
}

impl Wire {
    /// Opens it on an interface of the calling thread's namespace.
    ///
    /// # Errors
    /// EPERM without CAP_NET_RAW; `unsupported` without CONFIG_PACKET.
    pub fn open(interface: u32) -> Result<Self, KernelError> {
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let socket = socket(AddressFamily::Packet, SockType::Raw, flags, SockProtocol::EthAll).map_err(failed)?;
        // SAFETY: a struct of integers and a byte array: zero is valid.
        let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
        address.sll_ifindex = interface.cast_signed();
        // nix can make a LinkAddr only of what the kernel returned.
        // SAFETY: `address` is a sockaddr_ll that lives through the call, and its size is passed.
        let bound = unsafe {
            libc::bind(socket.as_raw_fd(), (&raw const address).cast(), size_of::<libc::sockaddr_ll>() as u32)
        };
        Errno::result(bound).map_err(failed)?;
        Ok(Self { socket })
    }

    /// Sends one frame, link header first.
    ///
    /// # Errors
    /// ENETDOWN, ENOBUFS.
    pub fn send(&self, frame: &[u8]) -> Result<(), KernelError> {
        let sent = send(self.socket.as_raw_fd(), frame, MsgFlags::empty());
        sent.map(drop).map_err(|errno| KernelError::new("send on", "packet socket", errno))
    }

    /// The next frame, in either direction; None: none waits.
    ///
    /// # Errors
    /// ENETDOWN.
    pub fn next(&self) -> Result<Option<Vec<u8>>, KernelError> {
        let mut frame = vec![0; FRAME];
        match recv(self.socket.as_raw_fd(), &mut frame, MsgFlags::empty()) {
            Ok(length) => {
                frame.truncate(length);
                Ok(Some(frame))
            }
            Err(Errno::EAGAIN | Errno::EINTR) => Ok(None),
            Err(errno) => Err(KernelError::new("read from", "packet socket", errno)),
        }
    }
}

impl AsFd for Wire {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

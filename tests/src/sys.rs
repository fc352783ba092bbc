//! The system calls that neither std nor nix offers safely: the only unsafe code of the tests.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// `setsockopt` with the value as raw bytes.
pub fn set_option(fd: BorrowedFd<'_>, level: i32, name: i32, value: &[u8]) -> io::Result<()> {
    // SAFETY: the pointer and the length describe `value`, which lives across the call; the kernel only reads it.
    let result =
        unsafe { libc::setsockopt(fd.as_raw_fd(), level, name, value.as_ptr().cast(), value.len() as libc::socklen_t) };
    check(result).map(drop)
}

/// `setsockopt` with an int, the usual case.
pub fn set_int_option(fd: BorrowedFd<'_>, level: i32, name: i32, value: i32) -> io::Result<()> {
    set_option(fd, level, name, &value.to_ne_bytes())
}

/// `getsockopt` into raw bytes; returns how many the kernel filled in.
pub fn get_option(fd: BorrowedFd<'_>, level: i32, name: i32, value: &mut [u8]) -> io::Result<usize> {
    let mut length = value.len() as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes, and `value` is that long and lives across the call.
    let result = unsafe { libc::getsockopt(fd.as_raw_fd(), level, name, value.as_mut_ptr().cast(), &mut length) };
    check(result).map(|_| length as usize)
}

/// A packet socket for every protocol, bound to one interface of the calling thread's network namespace.
pub fn packet_socket(ifindex: u32) -> io::Result<OwnedFd> {
    let every_protocol = (libc::ETH_P_ALL as u16).to_be();
    // SAFETY: no pointers; the result is checked before it is used as a descriptor.
    let fd = unsafe {
        libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK, every_protocol.into())
    };
    check(fd)?;
    // SAFETY: `fd` was just made and nothing else owns it.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    // SAFETY: sockaddr_ll is plain integers, for which all zeroes is a valid value.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = every_protocol;
    address.sll_ifindex = ifindex as i32;
    let length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: the pointer and the length describe `address`, which lives across the call.
    check(unsafe { libc::bind(fd.as_raw_fd(), (&raw const address).cast(), length) })?;
    Ok(fd)
}

/// Receives one frame of a packet socket without waiting; the flag says whether this host sent it.
pub fn receive_frame(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<(usize, bool)> {
    // SAFETY: sockaddr_ll is plain integers, for which all zeroes is a valid value.
    let mut from: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    let mut length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: buffer and address are described with their own sizes and live across the call.
    let received = unsafe {
        libc::recvfrom(
            fd.as_raw_fd(),
            buffer.as_mut_ptr().cast(),
            buffer.len(),
            libc::MSG_DONTWAIT | libc::MSG_TRUNC,
            (&raw mut from).cast(),
            &mut length,
        )
    };
    let received = usize::try_from(received).map_err(|_| io::Error::last_os_error())?;
    Ok((received.min(buffer.len()), from.sll_pkttype == libc::PACKET_OUTGOING))
}

/// One `SIOCETHTOOL` call of the kind that carries a single value, on an interface of the socket's network namespace.
pub fn ethtool(socket: BorrowedFd<'_>, interface: &str, command: u32, value: u32) -> io::Result<u32> {
    let mut ethtool_value: [u32; 2] = [command, value];
    // SAFETY: ifreq is integers and a union of them, for which all zeroes is a valid value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if interface.len() >= request.ifr_name.len() {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    for (to, from) in request.ifr_name.iter_mut().zip(interface.bytes()) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_data = ethtool_value.as_mut_ptr().cast();
    // SAFETY: the request points to a `struct ethtool_value`, which is two u32, and both live across the call.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL as libc::Ioctl, &mut request) })?;
    Ok(ethtool_value[1])
}

/// `bpf(2)` with an attribute of plain integers (no pointers in it), which the kernel may also write to.
pub fn bpf(command: u32, attribute: &mut [u8]) -> io::Result<i32> {
    // SAFETY: the kernel reads and writes at most the given size of `attribute`.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attribute.as_mut_ptr(), attribute.len()) };
    check(result as i32)
}

/// Like `bpf`, for the commands whose result is a new descriptor.
pub fn bpf_open(command: u32, attribute: &mut [u8]) -> io::Result<OwnedFd> {
    let fd = bpf(command, attribute)?;
    // SAFETY: the kernel has just made this descriptor for us and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// `BPF_OBJ_GET_INFO_BY_FD`: fills `info` with the kernel's description of a program or map.
pub fn bpf_object_info(object: BorrowedFd<'_>, info: &mut [u8]) -> io::Result<()> {
    const BPF_OBJ_GET_INFO_BY_FD: u32 = 15;
    let mut attribute = [0u8; 16];
    attribute[0..4].copy_from_slice(&object.as_raw_fd().to_ne_bytes());
    attribute[4..8].copy_from_slice(&(info.len() as u32).to_ne_bytes());
    attribute[8..16].copy_from_slice(&(info.as_mut_ptr() as u64).to_ne_bytes());
    // The attribute holds the address of `info` with its length; the borrow keeps it alive across the call.
    bpf(BPF_OBJ_GET_INFO_BY_FD, &mut attribute).map(drop)
}

/// Raises this process's limit of open files to the hard limit: a thousand connections need two thousand.
pub fn raise_file_limit() -> io::Result<()> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointer is to a local that lives across the call.
    check(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) })?;
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: as above; the kernel only reads it.
    check(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) }).map(drop)
}

fn check(result: i32) -> io::Result<i32> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

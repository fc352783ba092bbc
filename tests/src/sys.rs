//! The system calls that neither std nor nix offers safely: the only unsafe code of the tests.

pub mod raw;

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

/// Makes the open `/dev/net/tun` a tun device of this name, without packet information (tun(4) of the kernel's documentation).
pub fn make_tun(fd: BorrowedFd<'_>, name: &str) -> io::Result<()> {
    // SAFETY: ifreq is plain integers, for which all zeroes is a valid value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, byte) in request.ifr_name.iter_mut().zip(name.bytes().take(libc::IFNAMSIZ - 1)) {
        *to = byte as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_TUN | libc::IFF_NO_PI) as libc::c_short;
    // SAFETY: the kernel reads and writes an ifreq, which lives across the call.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNSETIFF, &raw mut request) }).map(drop)
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

/// What `bpf(2)` can enumerate: its "next id" and its "open by id" command.
#[derive(Clone, Copy, Debug)]
pub enum BpfKind {
    /// Programs.
    Program,
    /// Maps.
    Map,
    /// Links.
    Link,
}

impl BpfKind {
    /// The lowest id above one that exists.
    pub fn next_id(self, id: u32) -> io::Result<u32> {
        let command = [11, 12, 31][self as usize];
        let mut attribute = words([id, 0, 0, 0]);
        bpf(command, &mut attribute)?;
        Ok(u32::from_ne_bytes([attribute[4], attribute[5], attribute[6], attribute[7]]))
    }

    /// Opens the object with an id.
    pub fn open(self, id: u32) -> io::Result<OwnedFd> {
        bpf_open([13, 14, 30][self as usize], &mut words([id, 0, 0, 0]))
    }
}

/// Fills `info` with the kernel's description of a BPF object (`BPF_OBJ_GET_INFO_BY_FD`).
pub fn bpf_object_info(object: BorrowedFd<'_>, info: &mut [u8]) -> io::Result<()> {
    let mut attribute = words([object.as_raw_fd() as u32, info.len() as u32, 0, 0]);
    attribute[8..16].copy_from_slice(&(info.as_mut_ptr() as u64).to_ne_bytes());
    bpf(15, &mut attribute).map(drop)
}

/// Makes an array map with one value of eight bytes.
pub fn bpf_one_counter() -> io::Result<OwnedFd> {
    const ARRAY: u32 = 2;
    bpf_open(0, &mut words([ARRAY, 4, 8, 1, 0, 0, 0, 0]))
}

/// Reads the value of a map made by `bpf_one_counter`.
pub fn bpf_read_counter(map: BorrowedFd<'_>) -> io::Result<u64> {
    let key = 0u32;
    let mut value = 0u64;
    let mut attribute = words([map.as_raw_fd() as u32, 0, 0, 0, 0, 0, 0, 0]);
    attribute[8..16].copy_from_slice(&(&raw const key as u64).to_ne_bytes());
    attribute[16..24].copy_from_slice(&(&raw mut value as u64).to_ne_bytes());
    bpf(1, &mut attribute)?;
    Ok(value)
}

/// Loads a program for tc, given as raw instructions.
pub fn bpf_load_classifier(instructions: &[[u8; 8]]) -> io::Result<OwnedFd> {
    const SCHED_CLS: u32 = 3;
    let mut attribute = words([SCHED_CLS, instructions.len() as u32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    attribute[8..16].copy_from_slice(&(instructions.as_ptr() as u64).to_ne_bytes());
    attribute[16..24].copy_from_slice(&(c"GPL".as_ptr() as u64).to_ne_bytes());
    bpf_open(5, &mut attribute)
}

/// Attaches a program at the end of an interface's tcx chain (Linux 6.6), for as long as the result is open.
pub fn bpf_attach_tcx(program: BorrowedFd<'_>, ifindex: u32, egress: bool) -> io::Result<OwnedFd> {
    let attach_type = if egress { 47 } else { 46 };
    bpf_open(28, &mut words([program.as_raw_fd() as u32, ifindex, attach_type, 0, 0, 0, 0, 0, 0, 0, 0, 0]))
}

fn words<const N: usize>(words: [u32; N]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

/// `bpf(2)`. Private: an attribute may hold addresses, and only the functions above make attributes.
fn bpf(command: u32, attribute: &mut [u8]) -> io::Result<i32> {
    // SAFETY: the kernel reads and writes at most the given size of `attribute`. The addresses that the callers above put
    // into it are those of buffers that they borrow across this call, with lengths that the kernel is told or knows from
    // the map.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attribute.as_mut_ptr(), attribute.len()) };
    check(result as i32)
}

fn bpf_open(command: u32, attribute: &mut [u8]) -> io::Result<OwnedFd> {
    let fd = bpf(command, attribute)?;
    // SAFETY: the kernel has just made this descriptor for us and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Raises this process's limit of open files to the hard limit: a thousand connections need two thousand.
pub fn raise_file_limit() -> io::Result<()> {
    raise_file_limit_but_for(0)
}

/// The same, but for so many files: who opens as many as there may be can have these later.
pub fn raise_file_limit_but_for(reserve: u64) -> io::Result<()> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointer is to a local that lives across the call.
    check(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) })?;
    limit.rlim_cur = limit.rlim_max.saturating_sub(reserve);
    // SAFETY: as above; the kernel only reads it.
    check(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) }).map(drop)
}

fn check(result: i32) -> io::Result<i32> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

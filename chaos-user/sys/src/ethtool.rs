//! ethtool's ioctl, for the switches that rtnetlink does not have (netdevice(7), include/uapi/linux/ethtool.h).

use super::error::KernelError;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use std::os::fd::AsRawFd;

/// `ETHTOOL_SGRO`.
const SET_GRO: u32 = 0x2c;

/// `struct ethtool_value`.
#[repr(C)]
struct Value {
    command: u32,
    data: u32,
}

mod ioctl {
    // SIOCETHTOOL takes a pointer to struct ifreq whose data points to the command.
    nix::ioctl_write_ptr_bad!(ethtool, libc::SIOCETHTOOL, libc::ifreq);
}

/// Generic receive offload.
///
/// # Errors
/// Where no socket can be made. That the device has no such switch is none.
pub fn set_gro(name: &str, on: bool) -> Result<(), KernelError> {
    const OP: &str = "set receive offload of";
    let socket = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)
        .map_err(|errno| KernelError::new(OP, name, errno))?;
    let mut value = Value { command: SET_GRO, data: u32::from(on) };
    // SAFETY: a struct of bytes and a union of plain data: zero is valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // The last byte stays 0.
    let room = request.ifr_name.len() - 1;
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes().take(room)) {
        *to = from as std::ffi::c_char;
    }
    request.ifr_ifru.ifru_data = (&raw mut value).cast();
    // Needed: there is no safe wrapper, and netlink has this switch only in a protocol family of its own (ethtool, 5.6).
    // SAFETY: `request` and `value` live through the call; the kernel reads both and writes neither beyond its size.
    let _device_may_lack_it = unsafe { ioctl::ethtool(socket.as_raw_fd(), &raw const request) };
    Ok(())
}

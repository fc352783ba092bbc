//! What the kernel knows of a TCP connection.

use std::net::TcpStream;
use std::os::fd::AsFd;

use crate::sys;

/// Fields of `struct tcp_info` (linux/tcp.h). Those that a kernel is too old for are 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpInfo {
    /// Segments sent again over the life of the connection.
    pub retransmits: u32,
    /// The smoothed round trip in microseconds.
    pub rtt_us: u32,
    /// Bytes that the peer acknowledged.
    pub bytes_acked: u64,
    /// Bytes in order that came from the peer.
    pub bytes_received: u64,
    /// Segments sent.
    pub segments_out: u32,
    /// Bytes sent again (from Linux 4.19).
    pub bytes_retransmitted: u64,
}

impl TcpInfo {
    /// Asks the kernel.
    pub fn of(stream: &TcpStream) -> Self {
        let mut bytes = [0u8; 256];
        let length = sys::get_option(stream.as_fd(), libc::IPPROTO_TCP, libc::TCP_INFO, &mut bytes).unwrap_or(0);
        let word = |at: usize| u32::from_ne_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
        let long = |at: usize| u64::from_ne_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
        // What lies beyond the kernel's own structure stays zero, as the buffer was.
        debug_assert!(length <= bytes.len());
        Self {
            rtt_us: word(68),
            retransmits: word(100),
            bytes_acked: long(120),
            bytes_received: long(128),
            segments_out: word(136),
            bytes_retransmitted: long(208),
        }
    }
}

//! What passed an interface: outgoing frames as they left the host, incoming ones before anything touched them.

use std::io::ErrorKind;
use std::os::fd::{AsFd, OwnedFd};

use nix::net::if_::if_nametoindex;

use super::frame::{self, Tcp};
use crate::net::NetNs;
use crate::sys;

/// The length of `struct virtio_net_hdr`, which the kernel puts before each frame.
const VIRTIO_HEADER: usize = 10;
/// Its flag for "the checksum is still to be computed".
const NEEDS_CHECKSUM: u8 = 1;

/// One frame.
#[derive(Clone, Debug)]
pub struct Captured {
    /// Whether this host sent it.
    pub outgoing: bool,
    /// Whether the device was to compute the checksum: the field then holds the pseudo header's sum only.
    pub needs_checksum: bool,
    /// The segment size of what travels as one but is many; 0 for a single packet.
    pub segment_size: u16,
    /// The frame from its Ethernet header on.
    pub bytes: Vec<u8>,
}

impl Captured {
    /// The TCP segment inside.
    pub fn tcp(&self) -> Option<Tcp> {
        frame::tcp(&self.bytes)
    }

    /// The Ethernet protocol number.
    pub fn ethertype(&self) -> Option<u16> {
        frame::protocol(&self.bytes).map(|(protocol, _)| protocol)
    }

    /// Whether a receiver would take the TCP checksum for right.
    pub fn checksum_right(&self) -> bool {
        self.tcp().is_some_and(|tcp| if self.needs_checksum { tcp.checksum_seed } else { tcp.checksum_full })
    }
}

/// An open capture. The kernel keeps the frames until `frames` asks for them.
#[derive(Debug)]
pub struct Capture {
    socket: OwnedFd,
}

impl Capture {
    /// Opens a capture on an interface; what passes from now on is kept.
    pub fn open(ns: &NetNs, interface: &str) -> Self {
        let socket =
            ns.run(|| sys::packet_socket(if_nametoindex(interface).expect("the interface")).expect("a packet socket"));
        sys::set_int_option(socket.as_fd(), libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, 64 << 20).expect("a large buffer");
        sys::set_int_option(socket.as_fd(), libc::SOL_PACKET, libc::PACKET_VNET_HDR, 1).expect("PACKET_VNET_HDR");
        Self { socket }
    }

    /// The frames since the last call. Those that the capture itself lost are an error.
    pub fn frames(&self) -> Vec<Captured> {
        let mut frames = Vec::new();
        let mut buffer = vec![0u8; VIRTIO_HEADER + 70_000];
        loop {
            match sys::receive_frame(self.socket.as_fd(), &mut buffer) {
                Ok((length, outgoing)) if length >= VIRTIO_HEADER => frames.push(Captured {
                    outgoing,
                    needs_checksum: buffer[0] & NEEDS_CHECKSUM != 0,
                    segment_size: u16::from_ne_bytes([buffer[4], buffer[5]]),
                    bytes: buffer[VIRTIO_HEADER..length].to_vec(),
                }),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => panic!("capture: {error}"),
            }
        }
        assert_eq!(self.dropped(), 0, "the capture itself lost frames");
        frames
    }

    /// The TCP segments since the last call that satisfy a condition, with their frames.
    pub fn segments(&self, wanted: impl Fn(&Tcp) -> bool) -> Vec<(Tcp, Captured)> {
        let segments = self.frames().into_iter().filter_map(|captured| Some((captured.tcp()?, captured)));
        segments.filter(|(tcp, _)| wanted(tcp)).collect()
    }

    fn dropped(&self) -> u32 {
        let mut statistics = [0u8; 8];
        sys::get_option(self.socket.as_fd(), libc::SOL_PACKET, libc::PACKET_STATISTICS, &mut statistics)
            .expect("PACKET_STATISTICS");
        u32::from_ne_bytes([statistics[4], statistics[5], statistics[6], statistics[7]])
    }
}

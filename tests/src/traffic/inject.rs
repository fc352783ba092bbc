//! Frames made by hand: what no socket would send, and a fault must survive.

use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::net::if_::if_nametoindex;
use nix::sys::socket::{MsgFlags, send};

use super::frame::{checksum, ethertype};
use crate::net::NetNs;
use crate::sys;

/// A socket that puts frames on an interface as they are.
#[derive(Debug)]
pub struct Injector {
    socket: OwnedFd,
}

impl Injector {
    /// Opens an interface.
    pub fn open(ns: &NetNs, interface: &str) -> Self {
        let socket =
            ns.run(|| sys::packet_socket(if_nametoindex(interface).expect("the interface")).expect("a packet socket"));
        Self { socket }
    }

    /// Sends one frame.
    pub fn send(&self, frame: &[u8]) {
        send(self.socket.as_raw_fd(), frame, MsgFlags::empty()).expect("the interface takes the frame");
    }
}

/// A UDP datagram over IPv4 that can be cut and tagged.
#[derive(Clone, Debug)]
pub struct Datagram {
    /// The sender's hardware address.
    pub source_mac: [u8; 6],
    /// The receiver's hardware address.
    pub destination_mac: [u8; 6],
    /// The sender.
    pub source: (Ipv4Addr, u16),
    /// The receiver.
    pub destination: (Ipv4Addr, u16),
    /// The bytes carried.
    pub payload: Vec<u8>,
}

impl Datagram {
    /// The frame, with a VLAN tag if a number is given.
    pub fn frame(&self, vlan: Option<u16>) -> Vec<u8> {
        self.framed(vlan, &ipv4(self.source.0, self.destination.0, &self.udp(), 0, false))
    }

    /// The frames of the datagram cut into fragments of at most `size` bytes, which must be a multiple of 8.
    pub fn fragments(&self, size: usize) -> Vec<Vec<u8>> {
        assert!(size > 0 && size.is_multiple_of(8), "fragments are cut at multiples of 8");
        let udp = self.udp();
        let last = udp.len().div_ceil(size) - 1;
        let cut = udp.chunks(size).enumerate();
        cut.map(|(index, part)| {
            let offset = (index * size / 8) as u16;
            self.framed(None, &ipv4(self.source.0, self.destination.0, part, offset, index != last))
        })
        .collect()
    }

    /// UDP with the checksum zero, which means "none" in IPv4.
    fn udp(&self) -> Vec<u8> {
        let mut udp = Vec::new();
        for word in [self.source.1, self.destination.1, (8 + self.payload.len()) as u16, 0] {
            udp.extend_from_slice(&word.to_be_bytes());
        }
        udp.extend_from_slice(&self.payload);
        udp
    }

    fn framed(&self, vlan: Option<u16>, packet: &[u8]) -> Vec<u8> {
        let mut frame = [self.destination_mac, self.source_mac].concat();
        if let Some(number) = vlan {
            frame.extend_from_slice(&ethertype::VLAN.to_be_bytes());
            frame.extend_from_slice(&number.to_be_bytes());
        }
        frame.extend_from_slice(&ethertype::IPV4.to_be_bytes());
        frame.extend_from_slice(packet);
        frame
    }
}

fn ipv4(source: Ipv4Addr, destination: Ipv4Addr, payload: &[u8], offset: u16, more: bool) -> Vec<u8> {
    let mut header = vec![0x45, 0];
    header.extend_from_slice(&((20 + payload.len()) as u16).to_be_bytes());
    header.extend_from_slice(&[0x12, 0x34]);
    header.extend_from_slice(&(offset | if more { 0x2000 } else { 0 }).to_be_bytes());
    header.extend_from_slice(&[64, libc::IPPROTO_UDP as u8, 0, 0]);
    header.extend_from_slice(&source.octets());
    header.extend_from_slice(&destination.octets());
    let sum = checksum(&header);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    header.extend_from_slice(payload);
    header
}

/// A datagram cut off at every length, with and without a VLAN tag, so that headers promise more than there is; then
/// random bytes behind several protocol numbers. The same frames each time.
pub fn garbage(datagram: &Datagram) -> Vec<Vec<u8>> {
    const SHORTEST: usize = 14;
    let whole = [datagram.frame(None), datagram.frame(Some(5))];
    let cut = whole.iter().flat_map(|frame| (SHORTEST..frame.len()).map(|length| frame[..length].to_vec()));
    let mut frames: Vec<Vec<u8>> = cut.collect();
    let mut state = 0x2545_f491_4f6c_dd1du64;
    for number in 0..500 {
        let mut frame = [datagram.destination_mac, datagram.source_mac].concat();
        let protocols = [ethertype::IPV4, ethertype::IPV6, ethertype::VLAN, 0x1234];
        frame.extend_from_slice(&protocols[number % protocols.len()].to_be_bytes());
        for _ in 0..number % 90 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            frame.push((state >> 33) as u8);
        }
        frames.push(frame);
    }
    // A receiver takes tags off before anyone sees the frame, and drops those that are too short for that.
    frames.retain(|frame| frame[12..14] != ethertype::VLAN.to_be_bytes() || frame.len() >= 20);
    frames
}

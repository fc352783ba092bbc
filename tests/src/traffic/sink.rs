//! A receiver that is a process of its own, and a sender that expects nothing back.

use std::net::{SocketAddr, UdpSocket};
use std::process::Command;
use std::time::Duration;

use super::partner::Partner;
use crate::net::{Family, NetNs};

/// A running `chaos-sink`; killed when dropped.
#[derive(Debug)]
pub struct Sink(Partner);

impl Sink {
    /// Starts it by a command that was made with the program's path and port, and waits until its socket is there.
    pub fn start(command: Command) -> Self {
        Self(Partner::start(command))
    }

    /// How many datagrams came since it was last asked.
    pub fn count(&mut self) -> u64 {
        self.0.ask("?\n").parse().expect("a number")
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.0.pid()
    }
}

/// Sends datagrams, a few each millisecond; panics if the socket refuses one, as it would if a drop were not silent.
pub fn send(from: &NetNs, to: SocketAddr, count: u64) {
    let socket = from.run(|| UdpSocket::bind(Family::of(to.ip()).any(0)).expect("a socket"));
    for number in 0..count {
        socket.send_to(&[7; 64], to).expect("the socket takes a datagram");
        if number % 20 == 19 {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

//! A sender that is a process of its own.

use std::process::Command;
use std::time::Duration;

use super::partner::Partner;
use super::udp_receiver::Receiver;
use crate::net::NetNs;

/// A running `chaos-datagrams`; killed when dropped.
#[derive(Debug)]
pub struct Source(Partner);

impl Source {
    /// Starts it by a command that was made with the program's path, its peer and a count, and waits until its socket is there.
    pub fn start(command: Command) -> Self {
        Self(Partner::start(command))
    }

    /// Has it send its count, and counts what arrives at a port.
    pub fn arrivals(&mut self, to: &NetNs, port: u16) -> usize {
        let receiver = Receiver::start(to, port);
        assert_eq!(self.0.ask("go\n"), "sent");
        receiver.finish(to, Duration::from_millis(200)).len()
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.0.pid()
    }
}

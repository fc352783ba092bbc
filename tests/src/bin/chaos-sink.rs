//! A process to aim at: receives datagrams, so that tests can put it into a cgroup.
//!
//! `chaos-sink PORT` binds the port of both families, prints `ready`, and prints for each line that it reads how many datagrams
//! came since the last one. Its socket is made before the first line, as a service's is before an experiment.

use std::io::{BufRead, Write};
use std::net::{Ipv6Addr, UdpSocket};
use std::os::fd::AsFd;
use std::time::Duration;

use chaos_tests::sys;

/// How long nothing must come before a count is final.
const SETTLE: Duration = Duration::from_millis(200);

fn main() {
    let port: u16 = std::env::args().nth(1).and_then(|port| port.parse().ok()).expect("a port");
    let socket = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, port)).expect("a free port");
    // All that comes between two lines waits in this buffer.
    sys::set_int_option(socket.as_fd(), libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, 64 << 20).expect("a large buffer");
    socket.set_read_timeout(Some(SETTLE)).expect("a timeout");
    tell("ready");
    for line in std::io::stdin().lock().lines() {
        if line.is_err() {
            return;
        }
        let mut buffer = [0; 2048];
        let mut count = 0;
        while socket.recv(&mut buffer).is_ok() {
            count += 1;
        }
        tell(&format!("{count}"));
    }
}

fn tell(word: &str) {
    println!("{word}");
    std::io::stdout().flush().expect("a reader");
}

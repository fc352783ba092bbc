//! A process to aim at: sends datagrams when told to, so that tests can put it into a cgroup.
//!
//! `chaos-datagrams ADDRESS:PORT COUNT` prints `ready`, then sends COUNT datagrams for each line that it reads and prints
//! `sent`. Its socket is made before the first line, as a service's is before an experiment.

use std::io::{BufRead, Write};
use std::net::{SocketAddr, UdpSocket};

use chaos_tests::clock::now_ns;
use chaos_tests::net::Family;
use chaos_tests::traffic::payload::Payload;

fn main() {
    let mut args = std::env::args().skip(1);
    let to: SocketAddr = args.next().and_then(|to| to.parse().ok()).expect("an address and port");
    let count: u64 = args.next().and_then(|count| count.parse().ok()).expect("a count");
    let socket = UdpSocket::bind(Family::of(to.ip()).any(0)).expect("a socket");
    let mut packet = [0u8; 64];
    tell("ready");
    for line in std::io::stdin().lock().lines() {
        if line.is_err() {
            return;
        }
        for sequence in 0..count {
            Payload { flow: 0, sequence, sent_ns: now_ns() }.write(&mut packet);
            socket.send_to(&packet, to).expect("the socket takes a datagram");
        }
        tell("sent");
    }
}

fn tell(word: &str) {
    println!("{word}");
    std::io::stdout().flush().expect("a reader");
}

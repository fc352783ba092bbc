//! A receiver that is a process of its own, and a sender that expects nothing back.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, UdpSocket};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use crate::net::{Family, NetNs};

/// A running `chaos-sink`; killed when dropped.
#[derive(Debug)]
pub struct Sink {
    child: Child,
    words: BufReader<ChildStdout>,
}

impl Sink {
    /// Starts it by a command that was made with the program's path and port, and waits until its socket is there.
    pub fn start(mut command: Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("a process");
        let words = BufReader::new(child.stdout.take().expect("its output"));
        let mut sink = Self { child, words };
        assert_eq!(sink.word(), "ready");
        sink
    }

    fn word(&mut self) -> String {
        let mut line = String::new();
        self.words.read_line(&mut line).expect("a word");
        line.trim().to_owned()
    }

    /// How many datagrams came since it was last asked.
    pub fn count(&mut self) -> u64 {
        self.child.stdin.as_mut().expect("its input").write_all(b"?\n").expect("a reader");
        self.word().parse().expect("a number")
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
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

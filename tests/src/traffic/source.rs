//! A sender that is a process of its own.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use super::udp_receiver::Receiver;
use crate::net::NetNs;

/// A running `chaos-datagrams`; killed when dropped.
#[derive(Debug)]
pub struct Source {
    child: Child,
    words: BufReader<ChildStdout>,
}

impl Source {
    /// Starts it by a command that was made with the program's path, its peer and a count, and waits until its socket is there.
    pub fn start(mut command: Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("a process");
        let words = BufReader::new(child.stdout.take().expect("its output"));
        let mut source = Self { child, words };
        source.expect("ready");
        source
    }

    fn expect(&mut self, wanted: &str) {
        let mut line = String::new();
        self.words.read_line(&mut line).expect("a word");
        assert_eq!(line.trim(), wanted);
    }

    /// Has it send its count, and counts what arrives at a port.
    pub fn arrivals(&mut self, to: &NetNs, port: u16) -> usize {
        let receiver = Receiver::start(to, port);
        self.child.stdin.as_mut().expect("its input").write_all(b"go\n").expect("a reader");
        self.expect("sent");
        receiver.finish(to, Duration::from_millis(200)).len()
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

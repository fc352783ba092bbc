//! A process that takes part in a test and is spoken to by lines.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdout, Command, Stdio};

/// A running program; killed when dropped.
#[derive(Debug)]
pub struct Partner {
    child: Child,
    words: BufReader<ChildStdout>,
}

impl Partner {
    /// Starts it, and waits until it says that it is ready.
    pub fn start(mut command: Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("a process");
        let words = BufReader::new(child.stdout.take().expect("its output"));
        let mut partner = Self { child, words };
        assert_eq!(partner.word(), "ready");
        partner
    }

    /// Says a line to it, and returns its answer.
    pub fn ask(&mut self, line: &str) -> String {
        self.child.stdin.as_mut().expect("its input").write_all(line.as_bytes()).expect("a reader");
        self.word()
    }

    fn word(&mut self) -> String {
        let mut line = String::new();
        self.words.read_line(&mut line).expect("a word");
        line.trim().to_owned()
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Partner {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

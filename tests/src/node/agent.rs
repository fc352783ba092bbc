//! An agent of this machine.

use std::{
    fs::{self, File},
    io::{Read as _, Write as _},
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{ApiServer, NODE};
use crate::{clock::wait_until, product::Chaos};

/// For anything that an agent does.
const PATIENCE: Duration = Duration::from_secs(30);

/// A process of it; it is killed with its owner.
#[derive(Debug)]
pub struct Agent {
    process: Child,
    health: u16,
    log: PathBuf,
}

/// A port that nobody has now.
pub(super) fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    listener.local_addr().expect("an address").port()
}

impl Agent {
    /// One of the API server's node, with a port for its health of its own.
    pub fn start(chaos: &Chaos, server: &ApiServer) -> Self {
        Self::at(chaos, server, free_port())
    }

    /// Another one for the same node, as an update starts it beside the first: with the same port.
    pub fn beside(&self, chaos: &Chaos, server: &ApiServer) -> Self {
        Self::at(chaos, server, self.health)
    }

    fn at(chaos: &Chaos, server: &ApiServer, health: u16) -> Self {
        let policy = Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests/base/policy.yaml");
        let log = std::env::temp_dir().join(format!("chaos-agent-{}-{}.log", std::process::id(), free_port()));
        let file = File::create(&log).unwrap_or_else(|error| panic!("{}: {error}", log.display()));
        let mut command = Command::new(chaos.path());
        command.args(["agent", "--node", NODE, "--policy"]).arg(policy);
        command.arg(format!("--health-port={health}")).env("KUBECONFIG", server.kubeconfig());
        command.stdin(Stdio::null()).stdout(file.try_clone().expect("a file")).stderr(file);
        Self { process: command.spawn().expect("start the agent"), health, log }
    }

    /// Waits until it, or whoever has its port, says that it is ready.
    #[track_caller]
    pub fn await_ready(&self) {
        assert!(wait_until(PATIENCE, || self.is_ready()), "it is not ready: {}", self.said());
    }

    /// Whether who has its port says so.
    pub fn is_ready(&self) -> bool {
        let asked = || -> std::io::Result<String> {
            let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.health))?;
            stream.set_read_timeout(Some(Duration::from_secs(5)))?;
            stream.write_all(b"GET /readyz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")?;
            let mut text = String::new();
            stream.read_to_string(&mut text).map(|_| text)
        };
        asked().is_ok_and(|text| text.starts_with("HTTP/1.1 200"))
    }

    /// All that it has said.
    pub fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// A line of its /proc/PID/status, such as `VmRSS`, in MiB.
    #[track_caller]
    pub fn memory(&self, key: &str) -> f64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix(&format!("{key}:")));
        let kib = line.and_then(|text| text.trim().strip_suffix(" kB")?.parse::<f64>().ok());
        kib.unwrap_or_else(|| panic!("{key} of the agent: {}", self.said())) / 1024.0
    }

    /// Sends it a signal.
    #[track_caller]
    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.process.id().cast_signed()), signal).expect("an agent that lives");
    }

    /// Waits until it has ended.
    #[track_caller]
    pub fn await_end(&mut self) {
        let ended = wait_until(PATIENCE, || matches!(self.process.try_wait(), Ok(Some(_))));
        assert!(ended, "it does not end: {}", self.said());
    }

    /// Has it ended?
    pub fn has_ended(&mut self) -> bool {
        matches!(self.process.try_wait(), Ok(Some(_)))
    }
}

impl Agent {
    /// Ends it, whatever it does.
    pub fn kill(&mut self) {
        let _ended = (self.process.kill(), self.process.wait());
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("the agent said:\n{}", self.said());
        }
        let _gone = fs::remove_file(&self.log);
    }
}

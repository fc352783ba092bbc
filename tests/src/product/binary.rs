//! The `chaos` binary: found, and run to its end.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::clock::wait_until;

use super::experiment::Experiment;
use super::run::Running;

/// The binary under test.
#[derive(Clone, Debug)]
pub struct Chaos {
    path: PathBuf,
}

/// What a command of the product came to.
#[derive(Clone, Debug)]
pub struct Output {
    /// Its exit code; -1 when a signal ended it.
    pub code: i32,
    /// What it printed.
    pub stdout: String,
    /// What it said beside that.
    pub stderr: String,
}

impl Output {
    /// Panics with all that was said unless the exit code is this one.
    #[track_caller]
    pub fn expect_code(self, code: i32) -> Self {
        assert_eq!(self.code, code, "exit code\nstdout: {}\nstderr: {}", self.stdout, self.stderr);
        self
    }

    /// Everything said, for searching.
    pub fn text(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }
}

/// No command of the product may hang a test for longer.
const LIMIT: Duration = Duration::from_secs(60);

impl Chaos {
    /// `CHAOS_BIN`, or `chaos` in the target folder that the running executable is in; why not, otherwise.
    pub fn find() -> Result<Self, String> {
        let path = match std::env::var_os("CHAOS_BIN") {
            Some(path) => PathBuf::from(path),
            None => beside_executable().ok_or("no chaos binary: build the product, or set CHAOS_BIN")?,
        };
        Self::at(path)
    }

    /// A given binary, if it answers as chaos does.
    pub fn at(path: PathBuf) -> Result<Self, String> {
        let version = Command::new(&path).arg("--version").output();
        let version = version.map_err(|error| format!("{}: {error}", path.display()))?;
        if version.status.success() && version.stdout.starts_with(b"chaos") {
            return Ok(Self { path });
        }
        Err(format!("{} --version does not answer as chaos does", path.display()))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Runs a command of the product to its end.
    #[track_caller]
    pub fn command(&self, args: &[&str]) -> Output {
        finish(self.start(args), LIMIT).unwrap_or_else(|| panic!("chaos {args:?} did not end within {LIMIT:?}"))
    }

    /// Starts an experiment and waits until it is injected.
    #[track_caller]
    pub fn run(&self, experiment: &Experiment) -> Running {
        let mut running = Running::start(self, experiment);
        running.await_injected();
        running
    }

    /// Runs an experiment, whatever comes of it, to its own end.
    #[track_caller]
    pub fn run_to_end(&self, experiment: &Experiment, more: &[&str]) -> Output {
        let file = experiment.write();
        let path = file.path().to_string_lossy().into_owned();
        self.command(&[&["run", "-o", "json"], more, &[path.as_str()]].concat())
    }

    /// Runs a verb on the file of an experiment: `plan`.
    #[track_caller]
    pub fn on_file(&self, verb: &str, experiment: &Experiment) -> Output {
        let file = experiment.write();
        self.command(&[verb, &file.path().to_string_lossy()])
    }

    /// Starts a command of the product with its output kept.
    pub fn start(&self, args: &[&str]) -> Child {
        Command::new(&self.path)
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", self.path.display()))
    }
}

fn beside_executable() -> Option<PathBuf> {
    let executable = std::env::current_exe().ok()?;
    // target/debug/chaos, seen from target/debug/xtask and from target/debug/deps/loss-0123.
    executable.ancestors().skip(1).take(2).map(|folder| folder.join("chaos")).find(|path| path.is_file())
}

/// Waits for a child's end and takes its output; kills it and returns `None` when it takes too long.
pub(crate) fn finish(mut child: Child, limit: Duration) -> Option<Output> {
    let stdout = drain(child.stdout.take().expect("kept output"));
    let stderr = drain(child.stderr.take().expect("kept output"));
    let ended = wait_until(limit, || matches!(child.try_wait(), Ok(Some(_))));
    if !ended {
        let _ = child.kill();
    }
    let status = child.wait().ok()?;
    let (stdout, stderr) = (stdout.join().ok()?, stderr.join().ok()?);
    if !ended {
        eprintln!("killed after {limit:?}\nstdout: {stdout}\nstderr: {stderr}");
        return None;
    }
    Some(Output { code: status.code().unwrap_or(-1), stdout, stderr })
}

/// Reads a pipe to its end on a thread of its own: a full pipe would block the child.
fn drain(mut pipe: impl Read + Send + 'static) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = pipe.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

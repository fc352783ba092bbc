//! The command behind `--`: started once the faults act, and ended with the experiment.

use super::watch::TICK;
use chaos_outcome::CommandReport;
use chaos_sys::command;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    env,
    ffi::OsString,
    os::unix::{fs::PermissionsExt, process::ExitStatusExt},
    path::{Path, PathBuf},
    process::{Child, ExitStatus},
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

/// So long a command that was told to end may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// After it, a Ctrl-C that a terminal has not sent to the command, too, is passed on.
const TERMINAL: Duration = Duration::from_millis(500);

/// What was asked to be started.
pub struct Command {
    program: OsString,
    arguments: Vec<OsString>,
    child: Option<Child>,
    report: CommandReport,
}

impl Command {
    /// Of the words behind `--`; none where there are none.
    ///
    /// # Errors
    /// Where there is no such program.
    pub fn of(words: &[OsString]) -> Result<Option<Self>, String> {
        let Some((program, arguments)) = words.split_first() else { return Ok(None) };
        if !is_there(program) {
            return Err(format!(
                "no program {:?}; give its path, or its name where PATH has it",
                program.to_string_lossy()
            ));
        }
        let words = words.iter().map(|word| word.to_string_lossy().into_owned()).collect();
        Ok(Some(Self {
            program: program.clone(),
            arguments: arguments.to_vec(),
            child: None,
            report: CommandReport { words, ..CommandReport::default() },
        }))
    }

    /// The program's name, for people.
    pub fn name(&self) -> String {
        Path::new(&self.program).file_name().unwrap_or(&self.program).to_string_lossy().into_owned()
    }

    /// Starts it in this cgroup. That a fault keeps it from starting is its end, too.
    pub fn start(&mut self, cgroup: &Path) {
        match command::start_in(cgroup, &self.program, &self.arguments) {
            Ok(child) => self.child = Some(child),
            Err(error) => self.report.error = Some(error.to_string()),
        }
    }

    /// Has it ended?
    pub fn is_over(&mut self) -> bool {
        let Some(child) = &mut self.child else { return true };
        match child.try_wait() {
            Ok(None) => false,
            Ok(Some(status)) => {
                self.ended(status);
                true
            }
            Err(error) => {
                self.report.error = Some(error.to_string());
                self.child = None;
                true
            }
        }
    }

    fn ended(&mut self, status: ExitStatus) {
        self.child = None;
        self.report.exit_code = status.code();
        let name = |number| {
            Signal::try_from(number).map_or_else(|_| format!("signal {number}"), |one| one.as_str().to_owned())
        };
        self.report.signal = status.signal().map(name);
    }

    /// Waits until it has ended; a signal that has come, or comes, is passed on, and it is killed where that does not end it.
    pub fn finish(mut self, signal: &AtomicUsize) -> CommandReport {
        let (mut told, mut since) = (false, None);
        while !self.is_over() {
            let number = signal.load(Ordering::Relaxed);
            let passed = i32::try_from(number).ok().and_then(|number| Signal::try_from(number).ok());
            if let (Some(passed), Some(pid)) = (passed, self.pid()) {
                let waited = since.get_or_insert_with(Instant::now).elapsed();
                let terminal = passed == Signal::SIGINT && waited < TERMINAL;
                if waited > PATIENCE {
                    let _gone_already = kill(pid, Signal::SIGKILL);
                } else if !told && !terminal {
                    told = true;
                    let _gone_already = kill(pid, passed);
                }
            }
            std::thread::sleep(TICK);
        }
        self.report
    }

    fn pid(&self) -> Option<Pid> {
        let id = self.child.as_ref()?.id();
        i32::try_from(id).ok().map(Pid::from_raw)
    }
}

/// As execvp(3) looks for it.
fn is_there(program: &OsString) -> bool {
    let runs =
        |path: PathBuf| path.metadata().is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0);
    if Path::new(program).components().count() > 1 || Path::new(program).is_absolute() {
        return runs(PathBuf::from(program));
    }
    let path = env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into());
    env::split_paths(&path).any(|folder| runs(folder.join(program)))
}

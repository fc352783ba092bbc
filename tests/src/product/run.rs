//! An experiment under way.

use std::process::Child;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::binary::{Chaos, Output, finish};
use super::experiment::{Experiment, SpecFile};
use super::report::Report;

/// A running `chaos run`. Dropped without an end, it is killed, and what it left is cleaned up.
#[derive(Debug)]
pub struct Running {
    chaos: Chaos,
    name: String,
    child: Option<Child>,
    _file: SpecFile,
}

/// How an experiment ended.
#[derive(Clone, Debug)]
pub struct Ended {
    /// What the command printed and returned.
    pub output: Output,
    /// The report, if stdout held one.
    pub report: Option<Report>,
}

impl Ended {
    /// The report; panics with all that was said unless there is one.
    #[track_caller]
    pub fn report(&self) -> &Report {
        let said = || panic!("no report (exit code {})\n{}", self.output.code, self.output.text());
        self.report.as_ref().unwrap_or_else(said)
    }
}

/// How long an ended run may take to leave.
const LEAVE: Duration = Duration::from_secs(30);

impl Running {
    /// Starts without waiting for anything.
    pub fn start(chaos: &Chaos, experiment: &Experiment) -> Self {
        let file = experiment.write();
        let path = file.path().to_string_lossy().into_owned();
        let child = chaos.start(&["run", "-o", "json", &path]);
        Self { chaos: chaos.clone(), name: experiment.name().into(), child: Some(child), _file: file }
    }

    /// Waits until the faults act; panics with what the run said when they never do.
    #[track_caller]
    pub fn await_injected(&mut self) {
        let waited = self.wait_for("injected", "10s");
        if waited.code != 0 {
            let said = match self.child.take() {
                Some(mut child) => {
                    // It may hang, and its words are wanted.
                    let _ = child.kill();
                    finish(child, LEAVE)
                }
                None => None,
            };
            panic!("{} was not injected: wait said {}; run said {said:?}", self.name, waited.text());
        }
    }

    /// `chaos wait NAME --for STATE --timeout LIMIT`.
    #[track_caller]
    pub fn wait_for(&self, state: &str, limit: &str) -> Output {
        self.chaos.command(&["wait", &self.name, "--for", state, "--timeout", limit])
    }

    /// The experiment's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The process's number.
    pub fn pid(&self) -> Pid {
        let child = self.child.as_ref().expect("a run that has not ended");
        Pid::from_raw(child.id() as i32)
    }

    /// Ends it as if its duration were over; the report of a run that passed.
    #[track_caller]
    pub fn finish(self) -> Report {
        let ended = self.finish_any();
        let report = ended.report().clone();
        assert_eq!((report.verdict(), ended.output.code), ("Pass", 0), "{}\n{}", report.reason(), ended.output.stderr);
        report
    }

    /// Ends it as if its duration were over, whatever its verdict.
    #[track_caller]
    pub fn finish_any(self) -> Ended {
        self.chaos.command(&["stop", &self.name, "--finish"]).expect_code(0);
        self.ended()
    }

    /// Waits for its own end.
    #[track_caller]
    pub fn ended(mut self) -> Ended {
        let child = self.child.take().expect("a run that has not ended");
        let output = finish(child, Duration::from_secs(90)).unwrap_or_else(|| panic!("{} did not end", self.name));
        let report = Report::parse(&output.stdout);
        Ended { output, report }
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).expect("a signal to the run");
    }

    /// SIGKILL, and gone.
    pub fn kill9(mut self) {
        self.signal(Signal::SIGKILL);
        let child = self.child.take().expect("a run that has not ended");
        let _ = finish(child, LEAVE);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        // Only a failed test comes here. SIGINT lets the run revert; a stopped or hung one is killed.
        let pid = Pid::from_raw(child.id() as i32);
        let _ = kill(pid, Signal::SIGCONT);
        let _ = kill(pid, Signal::SIGINT);
        let gone = crate::clock::wait_until(Duration::from_secs(5), || matches!(child.try_wait(), Ok(Some(_))));
        if !gone {
            let _ = child.kill();
        }
        if let Some(output) = finish(child, LEAVE) {
            eprintln!("chaos run {}: exit code {}\n{}", self.name, output.code, output.text());
        }
    }
}

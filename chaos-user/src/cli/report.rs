//! `chaos report`: what became of an experiment of this node that is over.

use super::{fail, run};
use chaos_engine::{journal, kept};
use chaos_outcome::EngineError;
use chaos_outcome::{ExitCode, Format};

/// Prints the report; its verdict's exit code.
pub fn report(name: &str, output: Format) -> ExitCode {
    match kept::find(name) {
        Ok(Some(report)) => run::print(&[report], output, Vec::new()),
        Ok(None) => fail(&unknown(name)),
        Err(error) => fail(&error),
    }
}

/// Why there is no report of it.
pub fn unknown(name: &str) -> EngineError {
    let is_active = journal::peek()
        .is_ok_and(|journal| journal.runs.iter().any(|run| run.is_called(name) && run.owner().is_alive()));
    EngineError::Invalid(vec![if is_active {
        format!("the experiment {name:?} is still active; its report comes at its end")
    } else {
        format!("no experiment {name:?} is active on this node, and no report of that name is kept")
    }])
}

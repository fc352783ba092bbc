//! `chaos agent`.

pub use crate::k8s::agent::Options;

use super::fail;
use crate::{k8s, observe::ExitCode};

/// Runs until SIGTERM.
pub fn agent(options: Options) -> ExitCode {
    tracing_subscriber::fmt().json().with_writer(std::io::stderr).init();
    match k8s::agent::run(options) {
        Ok(()) => ExitCode::Pass,
        Err(error) => fail(&error),
    }
}

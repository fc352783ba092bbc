//! `chaos agent`.

pub use crate::k8s::agent::Options;

use super::{fail, log};
use crate::k8s;
use chaos_outcome::ExitCode;

/// Runs until SIGTERM.
pub fn agent(options: Options) -> ExitCode {
    log::start();
    match k8s::agent::run(options) {
        Ok(()) => ExitCode::Pass,
        Err(error) => fail(&error),
    }
}

//! `chaos agent`.

pub use chaos_agent::Options;

use super::{fail, log};
use chaos_outcome::ExitCode;

/// Runs until SIGTERM.
pub fn agent(options: Options) -> ExitCode {
    log::start();
    match chaos_agent::run(options) {
        Ok(()) => ExitCode::Pass,
        Err(error) => fail(&error),
    }
}

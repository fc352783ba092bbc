//! `chaos controller`.

pub use crate::k8s::controller::Options;

use super::fail;
use crate::{k8s, observe::ExitCode};

/// Runs until SIGTERM.
pub fn controller(options: Options) -> ExitCode {
    tracing_subscriber::fmt().json().with_writer(std::io::stderr).init();
    match k8s::controller::run(options) {
        Ok(()) => ExitCode::Pass,
        Err(error) => fail(&error),
    }
}

//! `chaos controller`.

pub use chaos_k8s::controller::Options;

use super::{fail, log};
use chaos_k8s as k8s;
use chaos_outcome::ExitCode;

/// A name that no other process of a cluster has.
pub fn identity() -> String {
    let host = nix::sys::utsname::uname().map(|name| name.nodename().to_string_lossy().into_owned());
    format!("{}-{}", host.unwrap_or_default(), std::process::id())
}

/// Runs until SIGTERM.
pub fn controller(options: Options) -> ExitCode {
    log::start();
    match k8s::controller::run(options) {
        Ok(()) => ExitCode::Pass,
        Err(error) => fail(&error),
    }
}

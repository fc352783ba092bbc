//! kubectl as the cluster's administrator, from this machine's own network namespace.

use std::process::Command;

use anyhow::Result;

use super::state;
use crate::process;

/// A kubectl still without its words.
pub fn command() -> Command {
    let mut command = Command::new(state::program("kubectl"));
    command.arg("--kubeconfig").arg(state::kubeconfig());
    command
}

/// Runs it out of sight and returns what it printed.
pub fn capture(words: &[&str]) -> Result<String> {
    process::capture(command().args(words))
}

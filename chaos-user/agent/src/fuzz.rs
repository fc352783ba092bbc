//! The parsers of the agent's files, for `cargo xtask fuzz` and its like among the unit tests.

use super::{notebook::Notebook, policy::Policy};

/// The node's policy.
pub fn policy(text: &str) {
    if let Ok(policy) = yaml_serde::from_str::<Policy>(text) {
        let _ = policy.namespace("kube-system");
    }
}

/// What an earlier process noted.
///
/// # Panics
/// What can be read cannot be written.
pub fn notebook(input: &[u8]) {
    let Ok(text) = str::from_utf8(input) else { return };
    if let Ok(notebook) = Notebook::read(text) {
        assert!(notebook.text().is_ok(), "it cannot be written again");
    }
}

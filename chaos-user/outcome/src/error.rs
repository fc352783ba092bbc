//! What keeps an experiment from running, by the exit code that it means.

use chaos_error::KernelError;
use chaos_spec::plan::Refusal;
use std::fmt;

/// An experiment that was not applied. Whatever was made for it has been rolled back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EngineError {
    /// The input is wrong: exit 2.
    Invalid(Vec<String>),
    /// This kernel, user or machine cannot: exit 3.
    Unsupported(String),
    /// A lock, a policy or a protected target forbids it: exit 7.
    Refused(String),
    /// An operation failed that should not: exit 1.
    Failed(String),
}

impl fmt::Display for EngineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid(lines) => f.write_str(&lines.join("\n")),
            Self::Unsupported(text) | Self::Refused(text) | Self::Failed(text) => f.write_str(text),
        }
    }
}

impl From<KernelError> for EngineError {
    fn from(error: KernelError) -> Self {
        match error.category() {
            "unsupported" | "permission" => Self::Unsupported(error.to_string()),
            _ => Self::Failed(error.to_string()),
        }
    }
}

impl From<Vec<Refusal>> for EngineError {
    fn from(refusals: Vec<Refusal>) -> Self {
        let lines: Vec<_> = refusals.iter().map(ToString::to_string).collect();
        Self::Unsupported(lines.join("\n"))
    }
}

//! What is wrong with a document, and where.

use std::fmt;

use super::Path;

/// What is wrong with an experiment, without the file that it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The field; the root where the document as a whole is wrong.
    pub path: Path,
    /// What is wrong, with the remedy.
    pub message: String,
}

impl Finding {
    /// A finding at a field.
    pub fn new(path: Path, message: impl Into<String>) -> Self {
        Self { path, message: message.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_root() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)
    }
}

/// What is wrong with a file; prints as
/// `FILE:LINE (Experiment/name): spec.faults[0].network.latency.delay: "100" has no unit; write "100ms"`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file, as it was given.
    pub file: String,
    /// The line, from 1 on: of the field, or of what it should stand in.
    pub line: usize,
    /// The experiment's name; `None` where it has none, or the text is no YAML.
    pub experiment: Option<String>,
    /// The field; empty where the document or the file as a whole is wrong.
    pub path: String,
    /// What is wrong, with the remedy.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)?;
        if let Some(experiment) = &self.experiment {
            write!(f, " ({}/{experiment})", super::KIND)?;
        }
        f.write_str(": ")?;
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)
    }
}

impl std::error::Error for Problem {}

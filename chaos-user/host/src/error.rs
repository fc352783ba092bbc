//! Why a selector has no target.
use std::fmt;

/// What kind of problem it is, which decides the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// What was asked for is not there, or the words fit several: invalid input.
    Absent,
    /// It is there, but must not be a target: protected, or others would be hit.
    Refused,
    /// This machine, or this process on it, cannot serve it.
    Unsupported,
}

impl Reason {
    /// One word of a fixed set, for metrics and events.
    pub fn category(self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Refused => "refused",
            Self::Unsupported => "unsupported",
        }
    }
}

/// A selector without a target. Displayed as `field: text`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolveError {
    /// Path of the field in the experiment, such as `spec.selector.local[0].netns`.
    pub field: String,
    /// The kind of problem.
    pub reason: Reason,
    /// What was looked for, what was found, what to do.
    pub text: String,
}

impl fmt::Display for ResolveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.text)
    }
}

impl std::error::Error for ResolveError {}

/// A [`ResolveError`] before its field is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The kind of problem.
    pub reason: Reason,
    /// The text for people.
    pub text: String,
}

impl Problem {
    /// Not there.
    pub fn absent(text: impl Into<String>) -> Self {
        Self { reason: Reason::Absent, text: text.into() }
    }

    /// Must not be.
    pub fn refused(text: impl Into<String>) -> Self {
        Self { reason: Reason::Refused, text: text.into() }
    }

    /// Cannot be here.
    pub fn unsupported(text: impl Into<String>) -> Self {
        Self { reason: Reason::Unsupported, text: text.into() }
    }
}

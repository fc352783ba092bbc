//! Exit codes.

use super::Verdict;
use schemars::JsonSchema;

/// The exit code of a command; the numbers are a contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, JsonSchema)]
#[repr(u8)]
pub enum ExitCode {
    /// All is well.
    Pass = 0,
    /// We failed.
    Error = 1,
    /// The input is not valid.
    Invalid = 2,
    /// Not possible here: the kernel, not root, a capability missing. Nothing was attached.
    Unsupported = 3,
    /// A fault that is not optional injected nothing.
    NoEffect = 4,
    /// A signal, a stop or a lost lease.
    Aborted = 5,
    /// A probe failed.
    Fail = 6,
    /// A policy, a lock or a protected target.
    Refused = 7,
}

impl ExitCode {
    /// The number that the process ends with.
    pub const fn number(self) -> u8 {
        self as u8
    }
}

impl From<Verdict> for ExitCode {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Pass => Self::Pass,
            Verdict::Error => Self::Error,
            Verdict::Invalid => Self::Invalid,
            Verdict::Unsupported => Self::Unsupported,
            Verdict::NoEffect => Self::NoEffect,
            Verdict::Aborted => Self::Aborted,
            Verdict::Fail => Self::Fail,
            Verdict::Refused => Self::Refused,
        }
    }
}

/// The code of several files: the gravest that occurred; Pass for none.
pub fn combined(codes: impl IntoIterator<Item = ExitCode>) -> ExitCode {
    /// From the gravest on: an error of ours may hide anything else, an early end by the user hides least.
    const GRAVITY: [ExitCode; 7] = [
        ExitCode::Error,
        ExitCode::Unsupported,
        ExitCode::Refused,
        ExitCode::Invalid,
        ExitCode::Fail,
        ExitCode::Aborted,
        ExitCode::NoEffect,
    ];
    let occurred: Vec<ExitCode> = codes.into_iter().collect();
    GRAVITY.into_iter().find(|code| occurred.contains(code)).unwrap_or(ExitCode::Pass)
}

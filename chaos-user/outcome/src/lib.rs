//! What happened: counters in; report, verdict and exit code out. No effects: others read the counters and write
//! the text.

#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::print_stdout, clippy::print_stderr))]

mod condense;
pub mod error;
mod exit;
mod figure;
mod junit;
mod merge;
mod percentile;
mod progress;
mod render;
mod report;
mod table;
mod verdict;

pub use figure::{count, printable};
pub use table::{aligned, row};

pub use condense::condensed;
pub use error::EngineError;
pub use exit::{ExitCode, combined};
pub use merge::merged;
pub use percentile::{LatencyReport, percentile};
pub use progress::{FaultProgress, line, lines};
pub use render::{Format, render};
pub use report::{
    Actions, CommandReport, FaultReport, Gap, HostAddresses, MissedPeer, PhaseReport, ProbeReport, RejectedBy, Report,
    Samples, TakenOver, TargetReport, Verdict,
};
pub use verdict::{Ending, FaultPlanned, Unit, judge, planned};

#[cfg(test)]
mod tests;

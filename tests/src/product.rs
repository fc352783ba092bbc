//! The product as its users see it: a binary, files, a report, and what it leaves on the machine.

pub mod binary;
pub mod experiment;
pub mod leftovers;
pub mod report;
pub mod run;

pub use binary::Chaos;
pub use experiment::Experiment;
pub use leftovers::Leftovers;
pub use report::Report;
pub use run::Running;

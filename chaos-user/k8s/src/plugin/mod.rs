//! The verbs of `kubectl chaos`: what a user asks of a cluster and is told of it. Only the API server is talked to.

mod check;
mod cluster;
mod describe;
mod error;
mod follow;
mod gather;
mod halt;
mod list;
mod nodes;
mod plan;
mod report;
mod run;
mod serve;
mod stop;
mod submit;
mod wait;
mod words;
mod world;

pub use check::check;
pub use cluster::{Cluster, Options};
pub use describe::describe;
pub use follow::Show;
pub use halt::unlock;
pub use list::list;
pub use plan::plan;
pub use report::report;
pub use run::{Wish, run};
pub use stop::{How, stop, stop_all};
pub use wait::{Awaited, wait};

use chaos_outcome::ExitCode;

/// What a verb says on stdout, and how it ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Ends with an end of line, or is empty.
    pub text: String,
    /// The exit code.
    pub code: ExitCode,
}

//! When: the life of experiments, leases, the journal, rollback. Drives `chaos_sys`.

#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::print_stdout, clippy::print_stderr))]

mod active;
mod anew;
pub mod arrivals;
pub mod attach;
pub mod calls;
pub mod check;
pub mod clsact;
pub mod collect;
mod drain;
pub mod expedite;
pub mod folder;
mod heirs;
pub mod hosts;
mod interfaces;
pub mod journal;
pub mod kept;
pub mod lease;
pub mod limit;
pub mod lookup;
pub mod made;
pub mod marks;
pub mod mechanism;
pub mod never;
mod node;
pub mod own;
pub mod owner;
pub mod possible;
mod prepare;
mod private;
pub mod queue;
pub mod reap;
pub mod release;
pub mod rules;
pub mod run;
pub mod session;
pub mod sets;
pub mod syscall;
pub mod taken;
pub mod trial;
pub mod undo;
pub mod walk;
pub mod wants;

pub use active::Active;
use chaos_outcome::EngineError;
pub use journal::{FilterEntry, Journal, LimitEntry, LimitPlace, Locked, PairEntry, PointEntry, PointKind, RunEntry};
pub use owner::Owner;
pub use prepare::{Asker, CLUSTER, Request};
pub use rules::Remembered;
pub use run::{Engine, prepare};
pub use session::Session;

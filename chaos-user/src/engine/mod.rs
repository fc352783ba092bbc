//! Step 5, when: the life of experiments, leases, the journal, rollback. Drives `kernel/`.

mod active;
pub mod arrivals;
pub mod attach;
pub mod check;
pub mod collect;
mod drain;
pub mod error;
pub mod expedite;
pub mod hosts;
pub mod journal;
pub mod lease;
pub mod limit;
pub mod lookup;
mod node;
pub mod owner;
pub mod possible;
mod prepare;
mod private;
pub mod reap;
pub mod release;
pub mod rules;
pub mod run;
pub mod session;
pub mod sets;
pub mod undo;
pub mod walk;
pub mod wants;

pub use active::Active;
pub use error::EngineError;
pub use journal::{FilterEntry, Journal, LimitEntry, LimitPlace, Locked, PairEntry, PointEntry, PointKind, RunEntry};
pub use owner::Owner;
pub use prepare::{Asker, CLUSTER, Request};
pub use rules::Remembered;
pub use run::{Engine, prepare};
pub use session::Session;

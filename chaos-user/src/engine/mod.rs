//! Step 5, when: the life of experiments, leases, the journal, rollback. Drives `kernel/`.

pub mod attach;
pub mod collect;
pub mod error;
pub mod expedite;
pub mod journal;
pub mod lease;
pub mod owner;
pub mod reap;
pub mod release;
pub mod rules;
pub mod run;
pub mod session;
pub mod undo;
pub mod walk;
pub mod wants;

pub use error::EngineError;
pub use journal::{FilterEntry, Journal, Locked, PairEntry, PointEntry, RunEntry};
pub use owner::Owner;
pub use run::{Active, Engine, Request, prepare};
pub use session::Session;

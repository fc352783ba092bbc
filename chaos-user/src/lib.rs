//! chaos: in-kernel fault injection. The folders are the steps of an experiment; see ARCHITECTURE.md.

pub mod kernel;
pub mod observe;
pub mod resolve;
pub mod spec;

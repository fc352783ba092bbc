//! chaos: in-kernel fault injection. The folders are the steps of an experiment; see ARCHITECTURE.md.

pub mod cli;
pub mod engine;
pub mod faults;
#[cfg(any(test, feature = "fuzz"))]
pub mod fuzz;
pub mod k8s;
pub mod kernel;
pub mod observe;
pub mod plan;
pub mod probe;
pub mod resolve;
pub mod spec;

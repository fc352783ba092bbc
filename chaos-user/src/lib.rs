//! chaos: in-kernel fault injection. The layers below are crates of their own; see ARCHITECTURE.md.

#![forbid(unsafe_code)]
// The standard library's print and panic; those of `say` do not.
#![deny(clippy::print_stdout, clippy::print_stderr)]

#[macro_use]
pub mod say;

pub mod cli;
#[cfg(any(test, feature = "fuzz"))]
pub mod fuzz;

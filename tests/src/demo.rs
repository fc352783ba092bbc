//! What `cargo xtask demo` shows: an experiment on real traffic, measured from outside before, during and after it.

pub mod measured;
pub mod phases;
pub mod round_trip;
pub mod sample;
pub mod show;

pub use measured::{Effort, Measured};
pub use phases::Phases;
pub use sample::Sample;
pub use show::show;

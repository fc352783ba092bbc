//! What xtask is doing, on stderr: stdout belongs to results.

use std::time::Instant;

use anyhow::{Context as _, Result};

/// Announces a step that may take long, does it, and says how long it took.
pub fn step<T>(what: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    eprintln!("==> {what}");
    let started = Instant::now();
    let done = work().with_context(|| what.to_owned())?;
    eprintln!("    done in {:.1} s", started.elapsed().as_secs_f64());
    Ok(done)
}

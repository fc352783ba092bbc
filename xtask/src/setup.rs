//! `cargo xtask setup`: everything that building and testing needs, in the cache or on the system.

use std::{
    fs::{self, File},
    io,
};

use anyhow::{Context as _, Error, Result, bail};

use crate::{
    linker, packages, rust_src,
    toolchain::{self, BpfToolchain, Rustc},
};

/// What `cargo build` needs. Quick, and offline, where it is all there.
pub fn for_build() -> Result<()> {
    if BpfToolchain::find().is_ok() {
        return Ok(());
    }
    let rustc = Rustc::in_use()?;
    let _lock = lock("setup")?;
    report(vec![rust_src::ensure(&rustc), linker::ensure(&rustc)])
}

/// What the tests need, too.
pub fn for_tests() -> Result<()> {
    report(vec![for_build(), packages::ensure(&packages::OF_TESTS)])
}

/// Keeps another xtask of this user from doing the same until the file is dropped: two setups would build the same tools
/// into the same places, and to the tests another run's faults look like leftovers.
pub fn lock(activity: &str) -> Result<File> {
    let dir = toolchain::cache_dir();
    fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
    let path = dir.join(format!("{}.lock", activity.replace(' ', "-")));
    let file = File::create(&path).with_context(|| format!("create {}", path.display()))?;
    if let Err(fs::TryLockError::WouldBlock) = file.try_lock() {
        eprintln!("==> wait for the other {activity}, which holds {}", path.display());
        file.lock().map_err(|error: io::Error| Error::new(error).context(format!("lock {}", path.display())))?;
    }
    Ok(file)
}

/// One missing tool must not hide the next.
fn report(results: Vec<Result<()>>) -> Result<()> {
    let problems: Vec<String> = results.into_iter().filter_map(Result::err).map(|error| format!("{error:#}")).collect();
    if problems.is_empty() {
        return Ok(());
    }
    bail!("{}", problems.join("\nerror: "))
}

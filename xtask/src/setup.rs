//! `cargo xtask setup`: everything that building and testing needs, in the cache or on the system.

use std::{
    fs::{self, File},
    io,
};

use anyhow::{Context as _, Error, Result, bail};

use crate::{
    linker, packages, rust_src,
    toolchain::{self, Rustc},
};

/// What `cargo build` needs. Quick, and offline, where it is all there.
pub fn for_build() -> Result<()> {
    let rustc = Rustc::in_use()?;
    let _lock = lock()?;
    report(vec![rust_src::ensure(&rustc), linker::ensure(&rustc)])
}

/// What the tests need, too.
pub fn for_tests() -> Result<()> {
    report(vec![for_build(), packages::ensure()])
}

/// Two setups at once would build the same tools into the same places.
pub fn lock() -> Result<File> {
    let dir = toolchain::cache_dir();
    fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
    let path = dir.join("lock");
    let file = File::create(&path).with_context(|| format!("create {}", path.display()))?;
    if let Err(fs::TryLockError::WouldBlock) = file.try_lock() {
        eprintln!("==> wait for another setup, which holds {}", path.display());
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

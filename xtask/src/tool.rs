//! Tools of the registry that CI runs: built once into the cache.

use std::path::PathBuf;

use anyhow::Result;

use crate::{process, progress::step, setup, toolchain};

/// The program of this package, built if it is not there. Not optimised: it runs for seconds, and building it is what takes time.
///
/// # Errors
/// Where cargo cannot fetch or build it.
pub fn ensure(name: &str, version: &str, options: &[&str]) -> Result<PathBuf> {
    let root = toolchain::cache_dir().join(format!("{name}-{version}"));
    let program = root.join("bin").join(name);
    if program.is_file() {
        return Ok(program);
    }
    let _lock = setup::lock("setup")?;
    let mut install = process::cargo();
    install.args(["install", "--quiet", "--locked", "--debug", "--config", "profile.dev.debug=false"]);
    install.args([name, "--version", version]).args(options).arg("--root").arg(&root);
    step(&format!("build {name} {version} (1 to 2 minutes)"), || process::run(&mut install))?;
    Ok(program)
}

//! The product with its crash points.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use chaos_tests::product::Chaos;

use super::scene::Strike;

/// `CHAOS_CRASH_POINTS_BIN`, or a build of this workspace in a target folder of its own, so that the product's is not made anew.
pub fn build() -> Result<Chaos, String> {
    static BUILT: OnceLock<Result<Chaos, String>> = OnceLock::new();
    BUILT.get_or_init(find).clone()
}

fn find() -> Result<Chaos, String> {
    if let Some(path) = std::env::var_os("CHAOS_CRASH_POINTS_BIN") {
        return Chaos::at(path.into());
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().ok_or("no workspace")?;
    let target: PathBuf = root.join("target/crash-points");
    let status = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .current_dir(root)
        .args(["build", "--quiet", "--package", "chaos", "--features", "crash-points", "--target-dir"])
        .arg(&target)
        .status()
        .map_err(|error| format!("cargo: {error}; or set CHAOS_CRASH_POINTS_BIN"))?;
    if !status.success() {
        return Err("the product cannot be built with crash-points".into());
    }
    Chaos::at(target.join("debug/chaos"))
}

/// A command of a binary with the variables of a strike.
pub fn command(binary: &Path, strike: Strike) -> Command {
    let mut command = Command::new(binary);
    match strike {
        Strike::None => &mut command,
        Strike::Crash(number) => command.env("CHAOS_CRASH_AT", number.to_string()),
        Strike::Fail(number) => command.env("CHAOS_FAIL_AT", number.to_string()),
    };
    command
}

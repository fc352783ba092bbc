//! The product with its crash points.

use std::path::Path;
use std::process::Command;

use chaos_tests::product::Chaos;

use super::scene::Strike;

/// `CHAOS_CRASH_POINTS_BIN`, which `cargo xtask test` builds and names.
pub fn find() -> Result<Chaos, String> {
    let path = std::env::var_os("CHAOS_CRASH_POINTS_BIN")
        .ok_or("no CHAOS_CRASH_POINTS_BIN: run `cargo xtask test`, or name a build with the feature crash-points")?;
    Chaos::at(path.into())
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

//! Rust's library sources, from which cargo builds `core` for the BPF target.

use std::process::Command;

use anyhow::{Context as _, Result, anyhow};

use crate::{
    apt::Apt,
    process,
    progress::step,
    toolchain::{self, Rustc},
};

/// Suites that may have the sources of a recent stable Rust.
const SUITES: [&str; 3] = ["sid", "trixie-backports", "trixie"];
/// rustup waits long for a server that does not answer.
const RUSTUP_SECONDS: &str = "60";

/// Finds the sources or fetches them.
pub fn ensure(rustc: &Rustc) -> Result<()> {
    if toolchain::find_rust_src(rustc).is_some() {
        return Ok(());
    }
    let what = format!("fetch the library source of Rust {} (10 s)", rustc.version);
    step(&what, || {
        let Err(rustup) = from_rustup() else { return Ok(()) };
        from_debian(rustc).map_err(|debian| {
            anyhow!(
                "neither rustup nor Debian has it.\n  rustup: {rustup:#}\n  Debian: {debian:#}\n  By hand: run \
                 `rustup component add rust-src`, or unpack that version's rustc-src so that \
                 {}/usr/src/rustc-{}/library exists",
                toolchain::rust_src_dir(rustc).display(),
                rustc.version
            )
        })
    })
}

fn from_rustup() -> Result<()> {
    let mut rustup = Command::new("timeout");
    rustup.args([RUSTUP_SECONDS, "rustup", "component", "add", "rust-src"]);
    process::capture(&mut rustup).map(drop)
}

fn from_debian(rustc: &Rustc) -> Result<()> {
    let apt = Apt::with_suites(&SUITES)?;
    let ours = |version: &String| version.strip_prefix(&rustc.version).is_some_and(|rest| !rest.starts_with('.'));
    let versions = apt.versions("rust-src")?;
    let version = versions.iter().find(|version| ours(version)).ok_or_else(|| {
        anyhow!("the package rust-src is there as {}, none of which is {}", versions.join(", "), rustc.version)
    })?;
    apt.unpack(&[&format!("rust-src={version}")], &toolchain::rust_src_dir(rustc), |_| Ok(()))
        .with_context(|| format!("unpack rust-src {version}"))
}

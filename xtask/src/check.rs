//! `cargo xtask clippy`, `doc` and `licences`: what is judged without running the product.

use std::process::Command;

use anyhow::{Context as _, Result};

use crate::{artifacts, process, progress::step, setup, tool, toolchain::BpfToolchain};

const CARGO_DENY_VERSION: &str = "0.20.2";
/// The advisory database is a git repository, which may be out of reach.
const FETCH_SECONDS: &str = "60";

/// Lints the host's code and that of the eBPF programs, which the host's build leaves out.
pub fn clippy() -> Result<()> {
    setup::for_build()?;
    let mut host = process::cargo();
    host.args(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]);
    step("clippy for the host", || here(&mut host))?;
    let tools = BpfToolchain::find()?;
    let mut bpf = process::cargo();
    bpf.args(["clippy", "--package", "chaos-ebpf", "--lib", "--bins", "--release"]);
    bpf.args(["--target", "bpfel-unknown-none", "-Z", "build-std=core"]);
    // The lints must not make cargo build core anew for the build of the product, and the other way round.
    bpf.args(["--target-dir", "target/clippy-bpf", "--", "-D", "warnings"]).envs(tools.environment()?);
    step("clippy for the BPF target", || here(&mut bpf))
}

/// Builds the documentation; a broken link is an error.
pub fn doc() -> Result<()> {
    setup::for_build()?;
    let mut cargo = process::cargo();
    cargo.args(["doc", "--quiet", "--workspace", "--no-deps"]).env("RUSTDOCFLAGS", "-D warnings");
    step("documentation", || here(&mut cargo))
}

/// Checks the dependencies against `deny.toml`.
pub fn licences() -> Result<()> {
    let program = tool::ensure("cargo-deny", CARGO_DENY_VERSION, &[])?;
    let mut deny = Command::new(&program);
    step("licences, bans and sources of the dependencies", || {
        here(deny.args(["check", "licenses", "bans", "sources"]))
    })?;
    let mut fetch = Command::new("timeout");
    fetch.arg(FETCH_SECONDS).arg(&program).args(["fetch", "db"]).current_dir(artifacts::workspace());
    if let Err(error) = process::capture(&mut fetch) {
        let reason = format!("{error:#}");
        let reason = reason.lines().last().unwrap_or_default().to_owned();
        eprintln!("==> advisories SKIPPED: the advisory database is out of reach: {reason}");
        return Ok(());
    }
    let mut deny = Command::new(&program);
    step("advisories", || here(deny.args(["check", "--disable-fetch", "advisories"])))
}

fn here(command: &mut Command) -> Result<()> {
    process::run(command.current_dir(artifacts::workspace())).context("see above")
}

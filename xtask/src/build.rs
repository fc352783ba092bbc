//! `cargo xtask build` and `cargo xtask run`: the product, with its eBPF objects inside.

use std::{
    ffi::OsString,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Error, Result, anyhow};

use crate::{arch::Arch, artifacts, process, setup};

/// How to build it.
#[derive(clap::Args, Default)]
pub struct Arguments {
    /// Optimised.
    #[arg(long)]
    pub release: bool,
    /// Optimised and without shared libraries: runs on any Linux of this architecture.
    #[arg(long = "static")]
    pub standalone: bool,
    /// For another architecture than this machine's.
    #[arg(long, value_enum, requires = "standalone")]
    pub arch: Option<Arch>,
}

/// Builds the product and returns where it is.
pub fn build(arguments: &Arguments) -> Result<PathBuf> {
    setup::for_build()?;
    let mut cargo = if arguments.standalone {
        arguments.arch.unwrap_or(Arch::HERE).static_cargo("build")?
    } else {
        let mut cargo = process::cargo();
        cargo.arg("build");
        cargo
    };
    cargo.args(["--package", "chaos"]);
    if arguments.release || arguments.standalone {
        cargo.arg("--release");
    }
    let programs = artifacts::build(&mut cargo)?;
    let product = programs.into_iter().find(|program| program.name == "chaos");
    product.map(|program| program.path).ok_or_else(|| anyhow!("cargo built no binary called chaos"))
}

/// Builds the variant that dies or fails at a chosen operation, under the product's name: whoever wants to keep it copies it.
pub fn with_crash_points() -> Result<PathBuf> {
    setup::for_build()?;
    let mut cargo = process::cargo();
    cargo.args(["build", "--package", "chaos", "--features", "crash-points"]);
    let programs = artifacts::build(&mut cargo)?;
    let built = programs.into_iter().find(|program| program.name == "chaos");
    Ok(built.ok_or_else(|| anyhow!("cargo built no binary called chaos"))?.path)
}

/// Builds it and becomes `chaos run WORDS...`, as root.
pub fn run(words: &[OsString]) -> Result<()> {
    let product = build(&Arguments::default())?;
    Err(become_root(&product, words))
}

fn become_root(product: &Path, words: &[OsString]) -> Error {
    let mut command = process::as_root(product, &[]);
    command.arg("run").args(words);
    if !process::is_root() {
        eprintln!("==> sudo {} run", product.display());
    }
    // Not a child: Ctrl-C is to reach the product alone, which has something to revert before the prompt comes back.
    let error = command.exec();
    Error::new(error).context(format!("start {}", product.display()))
}

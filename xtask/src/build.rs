//! `cargo xtask build` and `cargo xtask run`: the product, with its eBPF objects inside.

use std::{
    ffi::OsString,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Error, Result, anyhow};

use crate::{artifacts, process, setup};

/// How to build it.
#[derive(clap::Args, Default)]
pub struct Arguments {
    /// Optimised.
    #[arg(long)]
    release: bool,
    /// Optimised and without shared libraries: runs on any Linux of this architecture.
    #[arg(long = "static")]
    standalone: bool,
    /// With --static: not optimised.
    #[arg(long, requires = "standalone", conflicts_with = "release")]
    debug: bool,
}

impl Arguments {
    /// A static build, optimised or not.
    pub fn standalone(debug: bool) -> Self {
        Self { release: false, standalone: true, debug }
    }
}

/// Builds the product and returns where it is.
pub fn build(arguments: &Arguments) -> Result<PathBuf> {
    setup::for_build()?;
    let mut cargo = if arguments.standalone {
        artifacts::static_cargo("build")
    } else {
        let mut cargo = process::cargo();
        cargo.arg("build");
        cargo
    };
    cargo.args(["--package", "chaos"]);
    if arguments.debug {
        // Nobody has a debugger where it goes; its tables are most of its size.
        cargo.env("CARGO_PROFILE_DEV_DEBUG", "0");
    }
    if arguments.release || (arguments.standalone && !arguments.debug) {
        cargo.arg("--release");
    }
    let programs = artifacts::build(&mut cargo)?;
    let product = programs.into_iter().find(|program| program.name == "chaos");
    product.map(|program| program.path).ok_or_else(|| anyhow!("cargo built no binary called chaos"))
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

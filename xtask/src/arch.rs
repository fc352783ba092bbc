//! Architectures that a static binary can be made for here: this machine's, and the other one by a cross compiler.

use std::{path::Path, process::Command};

use anyhow::{Context as _, Result};

use crate::{
    packages::{self, Tool},
    process,
    progress::step,
};

/// By the names that Go, and so OCI and Kubernetes, have for them.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arch {
    Amd64,
    Arm64,
}

impl Arch {
    /// This machine's.
    pub const HERE: Self = if cfg!(target_arch = "aarch64") { Self::Arm64 } else { Self::Amd64 };

    /// As OCI has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }

    /// As rustc has it. With glibc: Debian has a cross compiler for it, which some dependencies' C wants, too.
    pub fn target(self) -> &'static str {
        match self {
            Self::Amd64 => "x86_64-unknown-linux-gnu",
            Self::Arm64 => "aarch64-unknown-linux-gnu",
        }
    }

    /// The cross compiler, and the static libraries that it links.
    fn tools(self) -> [Tool; 2] {
        match self {
            Self::Amd64 => [
                Tool { program: "x86_64-linux-gnu-gcc", package: "gcc-x86-64-linux-gnu" },
                Tool { program: "/usr/x86_64-linux-gnu/lib/libc.a", package: "libc6-dev-amd64-cross" },
            ],
            Self::Arm64 => [
                Tool { program: "aarch64-linux-gnu-gcc", package: "gcc-aarch64-linux-gnu" },
                Tool { program: "/usr/aarch64-linux-gnu/lib/libc.a", package: "libc6-dev-arm64-cross" },
            ],
        }
    }

    /// A cargo that makes static binaries for it. Naming the target keeps the flags away from build scripts and procedural
    /// macros, which cannot be static.
    ///
    /// # Errors
    /// Where something that cross-building needs can be neither found nor fetched.
    pub fn static_cargo(self, verb: &str) -> Result<Command> {
        let mut cargo = process::cargo();
        cargo.args([verb, "--target", self.target()]).env("RUSTFLAGS", "-C target-feature=+crt-static");
        if self != Self::HERE {
            let tools = self.tools();
            packages::ensure(&tools)?;
            self.ensure_std()?;
            let variable = format!("CARGO_TARGET_{}_LINKER", self.target().to_uppercase().replace('-', "_"));
            cargo.env(variable, tools[0].program);
        }
        Ok(cargo)
    }

    /// Rust's standard library for it.
    fn ensure_std(self) -> Result<()> {
        let mut ask = Command::new("rustc");
        let place = process::capture(ask.args(["--print", "target-libdir", "--target", self.target()]))?;
        if Path::new(place.trim()).is_dir() {
            return Ok(());
        }
        step(&format!("fetch Rust's standard library for {} (5 s)", self.target()), || {
            process::capture(Command::new("timeout").args(["60", "rustup", "target", "add", self.target()])).map(drop)
        })
        .with_context(|| {
            format!(
                "By hand: `rustup target add {}`, or your system's package of it for this very rustc",
                self.target()
            )
        })
    }
}

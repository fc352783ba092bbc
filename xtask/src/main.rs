//! Development commands of chaos: `cargo xtask <verb>`.

mod apt;
mod linker;
mod packages;
mod process;
mod progress;
mod rust_src;
mod setup;
#[expect(dead_code, reason = "chaos-user's build script uses the rest")]
mod toolchain;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;

/// Development commands of chaos.
#[derive(Parser)]
#[command(name = "cargo xtask", version, about)]
enum Verb {
    /// Fetch and build every tool that building and testing needs, into ~/.cache/chaos (or $CHAOS_CACHE).
    Setup,
}

fn main() -> ExitCode {
    match run(Verb::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(verb: Verb) -> Result<ExitCode> {
    match verb {
        Verb::Setup => {
            setup::for_tests()?;
            println!("everything is in {}", toolchain::cache_dir().display());
        }
    }
    Ok(ExitCode::SUCCESS)
}

//! `cargo xtask fuzz`: the parsers of what others write, under libFuzzer.

use std::{fs, process::Command, time::Duration};

use anyhow::{Context as _, Result, anyhow, bail};

use crate::{
    arch::Arch,
    artifacts,
    packages::{self, Tool},
    process,
    progress::step,
    setup, toolchain,
};

/// Those of chaos-user/src/fuzz.rs.
const TARGETS: [&str; 8] = ["spec", "resources", "policy", "journal", "dns", "netlink", "procfs", "files"];
/// What libFuzzer needs to see of a program: edges, and the operands of comparisons (SanitizerCoverage).
const COVERAGE: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1";
/// Megabytes that one input may cost, and seconds.
const LIMITS: [&str; 3] = ["-rss_limit_mb=1024", "-malloc_limit_mb=200", "-timeout=5"];

/// What to feed, and for how long.
#[derive(clap::Args)]
pub struct Arguments {
    /// The parser; all of them if left out.
    #[arg(value_parser = TARGETS)]
    target: Option<String>,
    /// Seconds for each.
    #[arg(long, default_value_t = 600)]
    seconds: u64,
}

/// Feeds them; what they learn stays in the cache for the next time.
pub fn run(arguments: &Arguments) -> Result<()> {
    setup::for_build()?;
    packages::ensure(&[Tool { program: "g++", package: "g++" }])?;
    let home = toolchain::cache_dir().join("fuzz");
    let mut cargo = process::cargo();
    // With --target the flags are not for build scripts, which have nobody to count for.
    cargo.args(["build", "--package", "chaos", "--bin", "fuzz", "--features", "fuzz", "--target", Arch::HERE.target()]);
    cargo.arg("--target-dir").arg(artifacts::target().join("fuzz"));
    let flags = format!("CARGO_TARGET_{}_RUSTFLAGS", Arch::HERE.target().replace('-', "_").to_uppercase());
    cargo.env(flags, COVERAGE).env("CARGO_PROFILE_DEV_OPT_LEVEL", "1").env("CARGO_INCREMENTAL", "0");
    let built = artifacts::build(&mut cargo)?.into_iter().find(|program| program.name == "fuzz");
    let program = built.ok_or_else(|| anyhow!("cargo built no binary called fuzz"))?.path;
    for target in TARGETS.iter().filter(|target| arguments.target.as_deref().is_none_or(|one| one == **target)) {
        let corpus = home.join(target);
        fs::create_dir_all(&corpus).with_context(|| format!("make {}", corpus.display()))?;
        let mut fuzzer = Command::new(&program);
        fuzzer.arg(&corpus).args(LIMITS).env("CHAOS_FUZZ", target);
        fuzzer.arg(format!("-max_total_time={}", arguments.seconds));
        fuzzer.arg(format!("-artifact_prefix={}/", home.display())).args(["-max_len=8192", "-print_final_stats=1"]);
        let length = Duration::from_secs(arguments.seconds);
        if let Err(error) = step(&format!("fuzz {target} for {length:?}"), || process::run(&mut fuzzer)) {
            bail!("{target}: {error:#}; the input is in {}", home.display());
        }
    }
    Ok(())
}

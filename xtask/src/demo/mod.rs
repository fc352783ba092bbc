//! `cargo xtask demo`: what the product does to real traffic, with nothing to prepare.

pub mod kubernetes;

use std::{
    ffi::OsString,
    io::{stderr, stdout},
    path::Path,
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow, bail};

use crate::{
    artifacts, build, orphans, process, setup,
    vm::{self, Machine},
};

/// Run by any kernel.
const DROPPING: [&str; 3] = ["loss", "partition", "reset"];
/// Need the fq qdisc.
const DELAYING: [&str; 2] = ["latency", "bandwidth"];
/// What the program says when this kernel lacks it.
const NOT_HERE: i32 = 3;
/// Shows what the running kernel cannot.
const SERIES: &str = "6.12";

/// Shows it.
pub fn run() -> Result<ExitCode> {
    orphans::end();
    setup::for_tests()?;
    let product = build::build(&build::Arguments::default())?;
    let demo = program()?;
    let mut command = process::as_root(&demo, &["CHAOS_BIN", orphans::MARK]);
    orphans::mark(&mut command);
    command.env("CHAOS_BIN", &product).args(DROPPING).args(DELAYING);
    if !process::is_root() {
        eprintln!("==> needs root, for namespaces and for the product: sudo {}", demo.display());
    }
    let status = command.status().with_context(|| format!("start {}", demo.display()))?;
    match status.code() {
        Some(0) => {}
        Some(NOT_HERE) => in_machine(&demo, &product)?,
        _ => bail!("the demonstration failed: {status}"),
    }
    println!("\nAll that was asked was measured, and nothing is left.");
    Ok(ExitCode::SUCCESS)
}

fn program() -> Result<std::path::PathBuf> {
    let mut cargo = process::cargo();
    // Optimised: a slow sender would be taken for a slow wire.
    cargo.args(["build", "--release", "--package", "chaos-tests", "--bin", "chaos-demo"]);
    let programs = artifacts::build(&mut cargo)?;
    let demo = programs.into_iter().find(|program| program.name == "chaos-demo");
    demo.map(|program| program.path).ok_or_else(|| anyhow!("cargo built no chaos-demo"))
}

fn in_machine(demo: &Path, product: &Path) -> Result<()> {
    println!(
        "\n== the same in a virtual machine with Debian's Linux {SERIES} (its processor is emulated: all is slower)"
    );
    let words = [demo.into(), "--small".into()].into_iter().chain(DELAYING.map(OsString::from));
    let machine = Machine {
        timeout: Duration::from_secs(300),
        variables: vec![("CHAOS_BIN".into(), product.into())],
        ..Machine::new(SERIES, words.collect())
    };
    match vm::persistently(|| machine.run(stdout(), stderr()))? {
        0 => Ok(()),
        code => bail!("the demonstration in the virtual machine failed: exit code {code}"),
    }
}

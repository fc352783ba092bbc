//! `cargo xtask bench`: what the product costs, each figure beside its pair in the same run, and the promises that hang on them.

mod chart;
mod compare;
mod figure;
mod page;
mod programs;
mod promise;
mod promises;
mod store;

use std::{fs, process::ExitCode};

use anyhow::{Context as _, Result, bail};
use clap::ValueEnum;

use crate::{artifacts, orphans, setup};
use programs::Bench;
use store::Run;

/// What to measure, and how to show it.
#[derive(clap::Args)]
pub struct Arguments {
    /// Three rounds instead of seven, and programs that are built quickly: shows that the benchmarks work.
    #[arg(long)]
    quick: bool,
    /// User space not optimised: is built faster; what runs in the kernel is the same.
    #[arg(long)]
    dev: bool,
    /// Only this one; may be repeated.
    #[arg(long, value_enum, value_name = "NAME")]
    only: Vec<Bench>,
    /// Nothing in a virtual machine.
    #[arg(long)]
    native: bool,
    /// What to print.
    #[arg(short, long, value_enum, default_value = "md")]
    output: Output,
    /// Write PROMISES.md: each promise with its bound and what was measured.
    #[arg(long)]
    promises: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Output {
    /// The run as it is stored.
    Json,
    /// The page.
    Md,
}

/// Measures, stores, compares with the last run, prints.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    orphans::end();
    setup::for_tests()?;
    let chosen = if arguments.only.is_empty() { Bench::value_variants() } else { &arguments.only };
    let earlier = store::earlier()?;
    let mut run = Run::new(arguments.quick, !arguments.quick && !arguments.dev);
    let problems = programs::measure(chosen, arguments.native, &mut run)?;
    if run.figures.is_empty() {
        bail!("nothing was measured: {}", problems.join("; "));
    }
    let last = earlier.iter().rev().find(|one| (one.quick, one.optimised) == (run.quick, run.optimised));
    let changes = last.map(|last| compare::with(&run, last)).unwrap_or_default();
    run.save()?;
    let page = page::write(&run, last, &changes)?;
    match arguments.output {
        Output::Json => println!("{}", run.json()?),
        Output::Md => println!("{page}"),
    }
    if arguments.promises {
        let path = artifacts::workspace().join("PROMISES.md");
        let text = promises::page(&run, &earlier);
        fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
        eprintln!("==> wrote {}", path.display());
    }
    for problem in &problems {
        eprintln!("error: {problem}");
    }
    Ok(if problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

//! The benchmark programs: built, run here and in a virtual machine, listened to.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    io::{BufRead as _, BufReader, stderr},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow, bail};
use clap::ValueEnum;

use super::{figure::Line, store::Run};
use crate::{
    artifacts, build, orphans, process, setup,
    vm::{self, Kept, Machine},
};

/// A benchmark program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Bench {
    /// ns per packet of every path of the network program.
    Verdicts,
    /// How long loading, attaching, starting and stopping take, and what a process with many targets holds.
    Lifecycle,
    /// What a node's agent holds, and for how long faults are off while one process of it follows another.
    Agent,
    /// ns per system call: left alone, hooked, out of scope, not matched, failed.
    Calls,
    /// Throughput and round trip of a wire, delays and loss beside netem's.
    Wire,
    /// A wire's throughput with faults that hit nothing: by flows, rules and offloads, and for datagrams.
    Load,
    /// Further delays, loss, rates and the spread of jitter, beside netem and tbf.
    Emulation,
}

/// Emulated, all is slow.
const VM_PATIENCE: Duration = Duration::from_secs(2 * 3600);
/// Tells the programs which binary they are to measure.
const PRODUCT: &str = "CHAOS_BIN";
/// Tells them that the processor is emulated, so that they leave out what they have measured without.
const MACHINE: &str = "CHAOS_BENCH_MACHINE";
/// Tells them to be quick.
const QUICK: &str = "CHAOS_BENCH_QUICK";

impl Bench {
    fn name(self) -> &'static str {
        match self {
            Self::Verdicts => "verdicts",
            Self::Lifecycle => "lifecycle",
            Self::Agent => "agent",
            Self::Calls => "calls",
            Self::Wire => "wire",
            Self::Load => "load",
            Self::Emulation => "emulation",
        }
    }

    fn package(self) -> &'static str {
        match self {
            Self::Verdicts | Self::Lifecycle | Self::Calls => "chaos",
            Self::Agent | Self::Wire | Self::Load | Self::Emulation => "chaos-tests",
        }
    }

    /// The kernel that can do what the running one may lack.
    fn elsewhere(self) -> Option<&'static str> {
        match self {
            Self::Verdicts | Self::Lifecycle | Self::Agent | Self::Load => None,
            // Delays and netem.
            Self::Wire | Self::Emulation => Some("6.12"),
            // No older one of Debian's lets a program fail a read.
            Self::Calls => Some("7.2"),
        }
    }
}

/// Runs them. What went wrong with one does not keep the others from running: the sentences say what.
pub fn measure(benches: &[Bench], native: bool, run: &mut Run) -> Result<Vec<String>> {
    let product = build::build(&build::Arguments { release: run.optimised, ..build::Arguments::default() })?;
    let programs = programs(benches, run.optimised)?;
    let mut problems = Vec::new();
    {
        // A test beside it would spoil the times, and its faults the packets.
        let _lock = setup::lock("tests on this kernel")?;
        for (bench, program) in &programs {
            eprintln!("==> {} on this kernel", bench.name());
            if let Err(error) = here(program, &product, run) {
                problems.push(format!("{}: {error:#}", bench.name()));
            }
        }
    }
    let mut elsewhere: BTreeMap<&str, Vec<&Path>> = BTreeMap::new();
    for (bench, program) in programs.iter().filter(|_| !native) {
        if let Some(series) = bench.elsewhere() {
            elsewhere.entry(series).or_default().push(program);
        }
    }
    for (series, programs) in elsewhere {
        eprintln!("==> on Linux {series} in a virtual machine, whose processor is emulated: ratios count, not times");
        if let Err(error) = in_machine(series, &programs, &product, run) {
            problems.push(format!("on Linux {series}: {error:#}"));
        }
    }
    Ok(problems)
}

fn programs(benches: &[Bench], optimised: bool) -> Result<Vec<(Bench, PathBuf)>> {
    let mut built = Vec::new();
    for package in ["chaos", "chaos-tests"] {
        let of_it: Vec<Bench> = benches.iter().copied().filter(|bench| bench.package() == package).collect();
        if of_it.is_empty() {
            continue;
        }
        let mut cargo = process::cargo();
        cargo.args(["bench", "--no-run", "--package", package]);
        // What sends is always optimised: a slow sender would be taken for a slow wire.
        if !optimised && package == "chaos" {
            cargo.args(["--profile", "dev"]);
        }
        for bench in of_it {
            cargo.args(["--bench", bench.name()]);
        }
        built.extend(artifacts::build(&mut cargo)?);
    }
    let find = |bench: &Bench| {
        let program = built.iter().find(|program| program.test && program.name == bench.name());
        program.map(|program| (*bench, program.path.clone())).ok_or_else(|| anyhow!("cargo built no {}", bench.name()))
    };
    benches.iter().map(find).collect()
}

fn here(program: &Path, product: &Path, run: &mut Run) -> Result<()> {
    let mut command = process::as_root(program, &[PRODUCT, QUICK, orphans::MARK, "PATH"]);
    orphans::mark(&mut command);
    command.env(PRODUCT, product).stdin(Stdio::null()).stdout(Stdio::piped());
    if run.quick {
        command.env(QUICK, "1");
    }
    let mut child = command.spawn().with_context(|| format!("start {}", program.display()))?;
    let stdout = child.stdout.take().ok_or_else(|| anyhow!("the program has no stdout"))?;
    for line in BufReader::new(stdout).lines() {
        take(&line.context("read what the program prints")?, false, run);
    }
    let status = child.wait().context("wait for the program")?;
    if !status.success() {
        bail!("it ended early: {status}; what it said is above");
    }
    Ok(())
}

/// Figures into the run, and on the terminal so that somebody who waits sees them come.
fn take(line: &str, emulated: bool, run: &mut Run) {
    match Line::parse(line) {
        Some(mut parsed) => {
            if let Line::Figure(figure) = &mut parsed {
                figure.emulated = emulated;
                eprintln!("    {}: {} {}", figure.name, super::figure::shown(figure.value), figure.unit);
            }
            run.add(parsed);
        }
        None => eprintln!("{line}"),
    }
}

/// One boot for all programs.
const LOOP: &str = r#"failed=0; for bench; do "$bench" || failed=1; done; exit $failed"#;

fn in_machine(series: &str, programs: &[&Path], product: &Path, run: &mut Run) -> Result<()> {
    let mut command: Vec<OsString> = ["/bin/sh", "-c", LOOP, "sh"].map(OsString::from).into();
    command.extend(programs.iter().map(OsString::from));
    let mut variables: Vec<(OsString, OsString)> = vec![(PRODUCT.into(), product.into()), (MACHINE.into(), "1".into())];
    if run.quick {
        variables.push((QUICK.into(), "1".into()));
    }
    // With one the emulator is spared what it does wrong on 7.2 with several (code that is replaced while it runs), and no figure of that
    // kernel needs more.
    let processors = if Some(series) == Bench::Calls.elsewhere() { 1 } else { 2 };
    let machine = Machine { timeout: VM_PATIENCE, processors, variables, ..Machine::new(series, command) };
    let (code, printed) = vm::persistently(|| {
        let printed = Kept::default();
        let code = machine.run(printed.clone(), stderr())?;
        Ok((code, printed))
    })?;
    for line in printed.text().lines() {
        take(line, true, run);
    }
    if code != 0 {
        bail!("a program ended early: exit code {code}; what it said is above");
    }
    Ok(())
}

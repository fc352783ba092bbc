//! `cargo xtask test`: unit tests as the user, tests against the kernel as root, here and in virtual machines. The same
//! test programs run in all these places: nothing is built for a machine.

use std::{
    ffi::OsString,
    io,
    path::Path,
    process::{Command, ExitCode, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow};

use crate::{
    artifacts::{self, Program},
    build, process, setup,
    tally::{Reader, Tally},
    vm::{self, Machine},
};

/// The package whose integration tests need root.
const KERNEL_PACKAGE: &str = "chaos-tests";
/// The one of them that is worth another kernel.
const KERNEL_SUITE: &str = "kernel";
/// Runs whole; the others get the tests with this in their names, unless --full.
const MAIN_SERIES: &str = "6.12";
const SMOKE: &str = "smoke";
/// Tells the tests which binary they are to try.
const PRODUCT: &str = "CHAOS_BIN";
/// Emulated, everything takes ten to twenty times as long.
const VM_PATIENCE: Duration = Duration::from_secs(3600);

/// Which tests to run.
#[derive(clap::Args)]
pub struct Arguments {
    /// All tests on all kernels.
    #[arg(long)]
    full: bool,
    /// No virtual machines.
    #[arg(long, conflicts_with = "full")]
    native: bool,
    /// Only tests whose names contain this.
    filter: Option<String>,
}

/// Runs them; the last line says how many passed, failed and were skipped.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    setup::for_tests()?;
    let product = build::build(&build::Arguments::default())?;
    let mut cargo = process::cargo();
    cargo.args(["test", "--workspace", "--no-run"]);
    let programs: Vec<Program> = artifacts::build(&mut cargo)?.into_iter().filter(|program| program.test).collect();
    let mut report = Report::default();
    let filter = arguments.filter.as_deref();
    for program in programs.iter().filter(|program| !needs_root(program)) {
        let mut command = Command::new(&program.path);
        report.add(&format!("{} ({})", program.package, program.name), native(&mut command, program, filter));
    }
    report.add("examples in the documentation", doc_tests(filter));
    for program in programs.iter().filter(|program| needs_root(program)) {
        let mut command = process::as_root(&program.path, &[PRODUCT, "CI", "PATH"]);
        command.env(PRODUCT, &product).args(ONE_BY_ONE);
        report.add(&format!("{} on this kernel", program.name), native(&mut command, program, filter));
    }
    if !arguments.native {
        machines(arguments, &programs, &product, &mut report);
    }
    Ok(report.finish())
}

/// Faults of one test must not hit another's packets; and the harness must show what skipped tests say.
const ONE_BY_ONE: [&str; 2] = ["--test-threads=1", "--show-output"];

fn needs_root(program: &Program) -> bool {
    program.package == KERNEL_PACKAGE && program.integration
}

fn native(command: &mut Command, program: &Program, filter: Option<&str>) -> Result<Tally> {
    command.args(filter).current_dir(&program.directory).env("CARGO_MANIFEST_DIR", &program.directory);
    listen(command)
}

fn doc_tests(filter: Option<&str>) -> Result<Tally> {
    let mut cargo = process::cargo();
    cargo.args(["test", "--quiet", "--workspace", "--doc", "--"]).args(filter).current_dir(artifacts::workspace());
    listen(&mut cargo)
}

/// Runs a harness on this machine.
fn listen(command: &mut Command) -> Result<Tally> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("start {}", command.get_program().display()))?;
    let mut reader = Reader::default();
    let mut second = reader.clone();
    let mut stdout = child.stdout.take().ok_or_else(|| anyhow!("the tests have no stdout"))?;
    let mut stderr = child.stderr.take().ok_or_else(|| anyhow!("the tests have no stderr"))?;
    let copier = thread::spawn(move || io::copy(&mut stderr, &mut second));
    io::copy(&mut stdout, &mut reader).context("read what the tests print")?;
    copier.join().map_err(|_| anyhow!("the thread that reads stderr panicked"))?.context("read the tests' stderr")?;
    let status = child.wait().context("wait for the tests")?;
    settle(reader.tally(), status.success(), || status.to_string())
}

/// A harness that fails without a failed test has not run its tests to the end.
fn settle(tally: Tally, success: bool, status: impl Fn() -> String) -> Result<Tally> {
    if success || tally.failed > 0 { Ok(tally) } else { Err(anyhow!("the tests broke off: {}", status())) }
}

fn machines(arguments: &Arguments, programs: &[Program], product: &Path, report: &mut Report) {
    let Some(suite) = programs.iter().find(|program| needs_root(program) && program.name == KERNEL_SUITE) else {
        return;
    };
    for (series, _) in vm::kernel::SERIES {
        let whole = arguments.full || series == MAIN_SERIES || arguments.filter.is_some();
        let filter = if whole { arguments.filter.clone() } else { Some(SMOKE.to_owned()) };
        let extent = if whole { "" } else { ", smoke tests" };
        report.add(&format!("{} on Linux {series}{extent}", suite.name), in_machine(series, suite, product, filter));
    }
}

fn in_machine(series: &str, suite: &Program, product: &Path, filter: Option<String>) -> Result<Tally> {
    let mut command: Vec<OsString> = vec![suite.path.clone().into()];
    command.extend(ONE_BY_ONE.map(OsString::from));
    command.extend(filter.map(OsString::from));
    let machine = Machine {
        timeout: VM_PATIENCE,
        variables: vec![
            (PRODUCT.into(), product.into()),
            ("CARGO_MANIFEST_DIR".into(), suite.directory.clone().into()),
        ],
        directory: suite.directory.clone(),
        ..Machine::new(series, command)
    };
    let reader = Reader::default();
    let code = machine.run(reader.clone(), reader.clone())?;
    settle(reader.tally(), code == 0, || format!("exit code {code}"))
}

/// What each place had to say.
#[derive(Default)]
struct Report {
    total: Tally,
    lines: Vec<String>,
}

impl Report {
    fn add(&mut self, place: &str, outcome: Result<Tally>) {
        match outcome {
            // A package without tests is not worth a line.
            Ok(tally) if tally == Tally::default() => {}
            Ok(tally) => {
                self.total += tally;
                self.lines.push(format!("{place}: {tally}"));
            }
            Err(error) => {
                self.total.failed += 1;
                self.lines.push(format!("{place}: failed: {error:#}"));
            }
        }
    }

    fn finish(self) -> ExitCode {
        println!();
        for line in &self.lines {
            println!("{line}");
        }
        println!("{}", self.total);
        if self.total.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

//! `cargo xtask test`: unit tests as the user, tests against the kernel as root, here and in virtual machines, and tests of
//! a Kubernetes cluster. The same test programs run on all kernels: nothing is built for a machine.

use std::{
    env,
    ffi::OsString,
    fs, io,
    path::Path,
    process::{Command, ExitCode, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow};

use crate::{
    artifacts::{self, Program},
    cluster::{self, Raised},
    kernels, orphans, process,
    products::{PRODUCT, Products, WITH_CRASH_POINTS},
    report::Report,
    setup,
    tally::{HEADING, Reader, Suites, Tally},
    vm::{self, Machine, built},
};

/// The package whose integration tests need root.
const KERNEL_PACKAGE: &str = "chaos-tests";
/// Those of them that prove the laboratory, the command line or the documentation, which are the same on every kernel.
const KERNEL_INDEPENDENT: [&str; 5] = ["docs", "driver", "fixtures", "measurement", "validate"];
/// The kernel whose virtual machine shows, unless --full, what the running kernel may lack.
const MAIN_SERIES: &str = "6.12";
/// The suites that it runs then: what queues, and one whose programs make all kinds of calls.
const QUEUEING: [&str; 3] = ["bandwidth", "latency", PROGRAMS];
/// The suite of the smoke test of the other series, and the test: a delay in both directions and both families needs every
/// hook and every helper of the datapath.
const SMOKE: [&str; 2] = ["latency", CALLS];
/// Their tests: what these names begin with or contain.
const SMOKE_TESTS: [&str; 5] = [
    "round_trips",
    "every_call_that_check_promises",
    "paths_are_those",
    "every_call_that_may_sleep",
    "in_which_nobody_may_sleep",
];
/// The suite that runs in every machine: which calls can be hit, and how, differs most from kernel to kernel.
const CALLS: &str = "syscalls";
/// The suite whose victims are programs of others.
const PROGRAMS: &str = "programs";
/// The kernel whose programs can have a thread sleep on its way back from a call. The emulator has what that needs with one processor alone,
/// so [`CALLS`] has a machine of its own there.
const LATER_SERIES: &str = "7.2";
/// The suite of package chaos whose tests are ignored unless --full asks for them.
const ENDURANCE: &str = "endurance";
/// The suite that needs a variant of the product.
const CRASH_POINTS: &str = "crash_points";
/// With it begin the names of the suites that need a Kubernetes cluster.
const CLUSTER: &str = "cluster";
/// Those of them which take long: they run where all is asked for, or they by name. The first takes minutes, the second changes the
/// definitions under running agents, the third needs a node in a virtual machine.
const LONG: [&str; 3] = ["cluster_scale", "cluster_versions", ON_A_MACHINE];
const ON_A_MACHINE: &str = "cluster_machine";
/// Tells the tests how to reach one, and us that there is one already.
const KUBECONFIG: &str = "CHAOS_KUBECONFIG";
/// Tells the tests where the files of our own cluster are.
const CLUSTER_STATE: &str = "CHAOS_CLUSTER";
/// Emulated, everything takes ten to twenty times as long.
const VM_PATIENCE: Duration = Duration::from_secs(2 * 3600);
/// Where the suite of the crash points, which takes 25 minutes emulated, runs: with delays on links, and on filters.
const CRASHED: [&str; 2] = ["5.10", MAIN_SERIES];

/// Which tests to run.
#[derive(clap::Args)]
pub struct Arguments {
    /// All tests on all kernels.
    #[arg(long)]
    full: bool,
    /// Only the kernel tests, all of them, and only there: "running" (this machine's kernel), 5.10, 6.1, 6.12, 7.2 or 6.12-override.
    #[arg(long, conflicts_with = "full")]
    kernel: Option<String>,
    /// Only the tests on a Kubernetes cluster: that of CHAOS_KUBECONFIG, or one that is started for them and ended.
    #[arg(long, conflicts_with_all = ["full", "kernel"])]
    cluster: bool,
    /// There, the optimised product, as it is given away, for those that measure it: it is built first, for minutes.
    #[arg(long, requires = "cluster")]
    release: bool,
    /// Only the suites of these names (files of tests/tests); or one word, for the tests whose names contain it.
    #[arg(value_name = "SUITE")]
    suites: Vec<String>,
}

/// Runs them; the last line says how many passed, failed and were skipped.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    orphans::end();
    setup::for_tests()?;
    let named = |name: &str| arguments.suites.iter().any(|suite| suite == name);
    let mut cargo = process::cargo();
    cargo.args(["test", "--workspace", "--no-run"]);
    let mut programs: Vec<Program> = artifacts::build(&mut cargo)?.into_iter().filter(|program| program.test).collect();
    let filter = filter(&arguments.suites, &programs)?;
    if filter.is_none() && !arguments.suites.is_empty() {
        programs.retain(|program| named(&program.name));
    }
    programs.retain(|program| arguments.full || named(&program.name) || !LONG.contains(&program.name.as_str()));
    programs.sort_by(|one, other| one.name.cmp(&other.name));
    let (kernel_tests, unit_tests): (Vec<Program>, Vec<Program>) = programs.into_iter().partition(needs_root);
    let (cluster_tests, kernel_tests): (Vec<Program>, Vec<Program>) =
        kernel_tests.into_iter().partition(|program| program.name.starts_with(CLUSTER));
    let whole = arguments.full || arguments.kernel.is_some() || arguments.cluster;
    let mut report = Report::new(whole && filter.is_none());
    let crashes = |program: &Program| program.name == CRASH_POINTS && has_tests(program, filter);
    let products = Products::new(!arguments.cluster && kernel_tests.iter().any(crashes))?;
    match arguments.kernel.as_deref() {
        None if arguments.cluster => {
            on_clusters(&cluster_tests, &products.tried(), arguments.release, filter, &mut report);
        }
        None => {
            units(&unit_tests, filter, &mut report);
            on_this_kernel(&kernel_tests, &products, filter, &mut report)?;
            if arguments.full {
                endurance(&unit_tests, filter, &mut report);
            }
            machines(arguments.full, &kernel_tests, &products, filter, &mut report);
            on_clusters(&cluster_tests, &products.tried(), false, filter, &mut report);
        }
        Some("running") => on_this_kernel(&kernel_tests, &products, filter, &mut report)?,
        Some(series) => machine(series, true, &kernel_tests, &products, filter, &mut report),
    }
    if arguments.full && filter.is_none() {
        kernels::write_tests()?;
    }
    Ok(report.finish())
}

/// The one word that names no suite.
fn filter<'a>(words: &'a [String], programs: &[Program]) -> Result<Option<&'a str>> {
    let suite = |word: &&String| programs.iter().any(|program| program.integration && program.name == **word);
    match (words, words.iter().find(|word| !suite(word))) {
        ([word], Some(_)) => Ok(Some(word)),
        (_, Some(word)) => {
            Err(anyhow!("{word}: there is no suite of this name in tests/tests; among several each must be one"))
        }
        (_, None) => Ok(None),
    }
}

fn units(programs: &[Program], filter: Option<&str>, report: &mut Report) {
    for program in programs {
        let mut command = Command::new(&program.path);
        orphans::mark(&mut command);
        report.add(&format!("{} ({})", program.package, program.name), None, || native(&mut command, program, filter));
    }
    // None of the suites is wanted where one against the kernel was named.
    if !programs.is_empty() {
        report.add("examples in the documentation", None, || doc_tests(filter));
    }
}

fn on_this_kernel(programs: &[Program], products: &Products, filter: Option<&str>, report: &mut Report) -> Result<()> {
    let _lock = setup::lock("tests on this kernel")?;
    let kernel = running_kernel();
    for program in programs {
        let keep = [PRODUCT, WITH_CRASH_POINTS, orphans::MARK, "CARGO_MANIFEST_DIR", "CI", "PATH"];
        let mut command = process::as_root(&program.path, &keep);
        orphans::mark(&mut command);
        command.envs(products.variables()).args(ONE_BY_ONE);
        report
            .add(&format!("{} on this kernel", program.name), Some(&kernel), || native(&mut command, program, filter));
    }
    Ok(())
}

/// A thousand experiments in one process, and hundreds of targets at once: minutes, and nothing may run beside them.
fn endurance(programs: &[Program], filter: Option<&str>, report: &mut Report) {
    let kernel = running_kernel();
    for program in programs.iter().filter(|program| program.name == ENDURANCE) {
        let mut command = process::as_root(&program.path, &[orphans::MARK, "CARGO_MANIFEST_DIR", "CI", "PATH"]);
        orphans::mark(&mut command);
        command.arg("--ignored").args(ONE_BY_ONE);
        report
            .add(&format!("{} on this kernel", program.name), Some(&kernel), || native(&mut command, program, filter));
    }
}

/// One cluster for all suites, and one with a virtual machine for that which needs it.
fn on_clusters(programs: &[Program], product: &Path, optimised: bool, filter: Option<&str>, report: &mut Report) {
    let (machine, native): (Vec<&Program>, Vec<&Program>) =
        programs.iter().partition(|program| program.name == ON_A_MACHINE);
    on_a_cluster((None, optimised), native, product, filter, report);
    on_a_cluster((Some(MAIN_SERIES), optimised), machine, product, filter, report);
}

/// `kind`: the series of a node in a virtual machine, if there is to be one, and whether the product is the optimised one.
fn on_a_cluster(
    (vm, optimised): (Option<&str>, bool),
    mut programs: Vec<&Program>,
    product: &Path,
    filter: Option<&str>,
    report: &mut Report,
) {
    // A cluster is not started for tests that the filter leaves out.
    programs.retain(|program| has_tests(program, filter));
    if programs.is_empty() {
        return;
    }
    let kernel = running_kernel();
    let (kubeconfig, state, raised) = match env::var_os(KUBECONFIG) {
        Some(given) => (given, env::var_os(CLUSTER_STATE), None),
        None => match Raised::new(vm, optimised) {
            Ok(raised) => (cluster::state::kubeconfig().into(), Some(cluster::state::DIRECTORY.into()), Some(raised)),
            Err(error) => return report.add("a cluster", None, || Err(error)),
        },
    };
    for program in programs {
        if raised.as_ref().is_some_and(Raised::interrupted) {
            break;
        }
        let keep = [PRODUCT, KUBECONFIG, CLUSTER_STATE, "CARGO_MANIFEST_DIR", "CI", "PATH"];
        let mut command = process::as_root(&program.path, &keep);
        command.env(PRODUCT, product).env(KUBECONFIG, &kubeconfig).args(ONE_BY_ONE);
        command.envs(state.as_ref().map(|state| (CLUSTER_STATE, state)));
        report.add(&format!("{} on a cluster", program.name), Some(&kernel), || native(&mut command, program, filter));
    }
    if let Some(Err(error)) = raised.map(Raised::end) {
        report.add("the end of the cluster", None, || Err(error));
    }
}

fn has_tests(program: &Program, filter: Option<&str>) -> bool {
    let mut list = Command::new(&program.path);
    list.args(["--list", "--format=terse"]).args(filter);
    // One that cannot be listed is run, to say why.
    process::capture(&mut list).map_or(true, |names| !names.trim().is_empty())
}

fn running_kernel() -> String {
    fs::read_to_string("/proc/sys/kernel/osrelease")
        .map_or_else(|_| "here".to_owned(), |release| release.trim().to_owned())
}

/// Faults of one test must not hit another's packets; and the harness must show what skipped tests say.
const ONE_BY_ONE: [&str; 2] = ["--test-threads=1", "--show-output"];

fn needs_root(program: &Program) -> bool {
    program.package == KERNEL_PACKAGE && program.integration
}

fn native(command: &mut Command, program: &Program, filter: Option<&str>) -> Result<Suites> {
    command.args(filter).current_dir(&program.directory).env("CARGO_MANIFEST_DIR", &program.directory);
    listen(&program.name, command)
}

fn doc_tests(filter: Option<&str>) -> Result<Suites> {
    let mut cargo = process::cargo();
    cargo.args(["test", "--quiet", "--workspace", "--doc", "--"]).args(filter).current_dir(artifacts::workspace());
    listen("doc", &mut cargo)
}

/// Runs a harness on this machine.
fn listen(suite: &str, command: &mut Command) -> Result<Suites> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("start {}", command.get_program().display()))?;
    let mut reader = Reader::of(suite);
    let mut second = reader.clone();
    let mut stdout = child.stdout.take().ok_or_else(|| anyhow!("the tests have no stdout"))?;
    let mut stderr = child.stderr.take().ok_or_else(|| anyhow!("the tests have no stderr"))?;
    let copier = thread::spawn(move || io::copy(&mut stderr, &mut second));
    io::copy(&mut stdout, &mut reader).context("read what the tests print")?;
    copier.join().map_err(|_| anyhow!("the thread that reads stderr panicked"))?.context("read the tests' stderr")?;
    let status = child.wait().context("wait for the tests")?;
    settle(reader.suites(), status.success(), || status.to_string())
}

/// A harness that fails without a failed test has not run its tests to the end.
fn settle(suites: Suites, success: bool, status: impl Fn() -> String) -> Result<Suites> {
    if success || Tally::sum(&suites).failed > 0 {
        Ok(suites)
    } else {
        Err(anyhow!("the tests broke off: {}", status()))
    }
}

fn machines(full: bool, programs: &[Program], products: &Products, filter: Option<&str>, report: &mut Report) {
    for (series, _) in vm::kernel::SERIES {
        machine(series, full, programs, products, filter, report);
    }
    // In all but the calls it is the 6.12 of above. Otherwise nobody is to wait until it is built.
    if full {
        let of_calls = |program: &&Program| [CALLS, PROGRAMS].contains(&program.name.as_str());
        let calls: Vec<&Program> = programs.iter().filter(of_calls).collect();
        let place = format!("Linux {}, calls", built::NAME);
        let filters: Vec<&str> = filter.into_iter().collect();
        report.add(&place, Some(built::NAME), || in_machine(built::NAME, 2, &calls, products, &filters));
    }
}

fn machine(
    series: &str,
    full: bool,
    programs: &[Program],
    products: &Products,
    filter: Option<&str>,
    report: &mut Report,
) {
    let (extent, filter) = match (full, series == MAIN_SERIES) {
        (true, _) => ("all", filter),
        (false, true) => ("what queues", filter),
        (false, false) => ("smoke test", filter),
    };
    let chosen = |program: &&Program| {
        let name = program.name.as_str();
        match extent {
            "all" if name == CRASH_POINTS => CRASHED.contains(&series),
            "all" => !KERNEL_INDEPENDENT.contains(&name),
            "what queues" => QUEUEING.contains(&name) || name == CALLS,
            _ => SMOKE.contains(&name),
        }
    };
    let suites: Vec<&Program> = programs.iter().filter(chosen).collect();
    let filters: Vec<&str> = match filter {
        None if extent == "smoke test" => SMOKE_TESTS.into(),
        other => other.into_iter().collect(),
    };
    let (alone, suites): (Vec<&Program>, Vec<&Program>) =
        suites.into_iter().partition(|program| series == LATER_SERIES && program.name == CALLS);
    for (place, processors, suites) in [("", 2, suites), (", calls with one processor", 1, alone)] {
        if !suites.is_empty() {
            let place = format!("Linux {series}, {extent}{place}");
            report.add(&place, Some(series), || in_machine(series, processors, &suites, products, &filters));
        }
    }
}

/// The filters, of which there may be none, then the test programs. A test runs whose name contains one of them.
const LOOP: &str = r#"
filter=$1; shift; failed=0
for suite; do
    name=${suite##*/}; heading="$HEADING${name%-*} on Linux $(uname -r)"; echo "$heading"; echo "$heading" >&2
    "$suite" --test-threads=1 --show-output $filter || failed=1
done
exit $failed"#;

/// One boot for all suites; where the emulator spoils it, another for those that had not ended well.
fn in_machine(
    series: &str,
    processors: u32,
    suites: &[&Program],
    products: &Products,
    filters: &[&str],
) -> Result<Suites> {
    let mut ended = Suites::new();
    vm::persistently(|| {
        let left: Vec<&Program> = suites.iter().copied().filter(|suite| !ended.contains_key(&suite.name)).collect();
        let Some(machine) = machine_of(series, processors, &left, products, filters) else { return Ok(()) };
        let reader = Reader::default();
        let code = machine.run(reader.clone(), reader.clone()).inspect_err(|_| {
            // What failed may have failed because of the emulator.
            ended.extend(reader.ended().into_iter().filter(|(_, tally)| tally.failed == 0));
        })?;
        settle(reader.suites(), code == 0, || format!("exit code {code}")).map(|suites| ended.extend(suites))
    })?;
    Ok(ended)
}

/// For these suites, if there are any.
fn machine_of(
    series: &str,
    processors: u32,
    suites: &[&Program],
    products: &Products,
    filters: &[&str],
) -> Option<Machine> {
    let mut command: Vec<OsString> = ["/bin/sh", "-c", LOOP, "sh", &filters.join(" ")].map(OsString::from).into();
    command.extend(suites.iter().map(|suite| suite.path.clone().into()));
    let directory = suites.first()?.directory.clone();
    let mut variables: Vec<(OsString, OsString)> =
        vec![("CARGO_MANIFEST_DIR".into(), directory.clone().into()), ("HEADING".into(), HEADING.into())];
    variables.extend(products.variables().map(|(name, path)| (name.into(), path.into())));
    Some(Machine { timeout: VM_PATIENCE, processors, variables, directory, ..Machine::new(series, command) })
}
